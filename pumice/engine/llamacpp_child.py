"""The process that holds llama.cpp: xllamacpp's own HTTP server on a socket, set up for ids in and ids out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xllamacpp

from pumice.engine.leash import Leash, read_orders


def parameters(orders: Mapping[str, Any]) -> xllamacpp.CommonParams:
    """llama-server's settings for these orders: paths, `context` tokens for each of `slots`, threads."""
    params = xllamacpp.CommonParams()
    params.hostnames = [orders["socket"]]
    params.model.path = orders["model"]
    params.n_parallel = orders["slots"]
    params.n_ctx = orders["slots"] * orders["context"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = orders["threads"]
    # By default it would shrink the context to fit, keep 8 GiB of old prompts, and run once before the first request.
    params.fit_params = False
    params.cache_ram_mib = 0
    params.warmup = False
    params.verbosity = 1
    params.ui = False
    # Scale 0: whoever does not ask for an adapter gets the base. At 1 the sum of all adapters would answer.
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in orders["adapters"]]
    if orders["exact"]:
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    return params


def main() -> None:
    """Serve until the parent ends."""
    leash = Leash()
    server = xllamacpp.Server(parameters(read_orders()))  # It listens for as long as it is held.
    leash.announce()
    leash.hold(server)


if __name__ == "__main__":
    main()
