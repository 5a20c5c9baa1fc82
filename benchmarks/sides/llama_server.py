"""llama.cpp's own HTTP server on a port, until it is ended: `python -m benchmarks.sides.llama_server ORDER`.

ORDER is JSON: `model`, `port`, and `slots` for its defaults, or what Pumice's child is told, for the same settings.
"""

from __future__ import annotations

import json
import sys
import time

import xllamacpp

from pumice.engine.llamacpp_child import parameters


def main() -> None:
    """Serve."""
    order = json.loads(sys.argv[1])
    if "context" in order:
        params = parameters({**order, "socket": "127.0.0.1"})
    else:
        params = xllamacpp.CommonParams()
        params.model.path, params.n_parallel = order["model"], order["slots"]
    params.port = order["port"]
    server = xllamacpp.Server(params)
    while server:
        time.sleep(60)


if __name__ == "__main__":
    main()
