"""The process that folds an adapter into its base and writes it as llama.cpp reads it: `merged_child ORDERS`.

It takes only what others leave over: nobody waits for it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pumice.engine import gguf
from pumice.engine.leash import read_orders, stand_back
from pumice.engine.merge import merge


def main() -> None:
    """ORDERS is JSON: the folders `base` and `adapter`, the file `out`, and its `quant`."""
    orders = read_orders()
    stand_back()
    out = Path(orders["out"])
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=out.parent) as folder:
        whole = Path(folder) / "model"
        merge(Path(orders["base"]), Path(orders["adapter"]), whole)
        gguf.write_model(whole, out, orders["quant"], streamable=True)


if __name__ == "__main__":
    main()
