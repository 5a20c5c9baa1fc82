"""The process that folds an adapter into its base and writes it as llama.cpp reads it: `merged_child ORDERS`.

It takes only what others leave over: nobody waits for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pumice.engine import gguf
from pumice.engine.leash import read_orders, stand_back
from pumice.engine.merge import merge


def main() -> None:
    """ORDERS is JSON: the folders `base` and `adapter`, a `folder` to work in, the file `out`, and its `quant`."""
    orders = read_orders()
    stand_back()
    folder = Path(orders["folder"])
    merge(Path(orders["base"]), Path(orders["adapter"]), folder / "model")
    # In the folder until it is whole: whoever kills this removes the folder.
    whole = folder / "whole.gguf"
    gguf.write_model(folder / "model", whole, orders["quant"], streamable=True)
    whole.replace(orders["out"])
    # Whoever started this may be gone.
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
