"""A real server on loopback, and adapters whose answers cannot be mistaken, for the tests of this folder."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
from openai import OpenAI
from safetensors.numpy import load_file, save_file

from pumice.api.app import create_app
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.records import Base
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train.recipe import make_recipe


@contextmanager
def serving(home: Home, bodies: bool = False) -> Iterator[str]:
    """The address of a server over `home`, which ends, engines too, with the block."""
    app = create_app(open_platform(home, open_database(home.database), log_bodies=bodies), "127.0.0.1")
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server ended before it listened"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the server did not end"


@dataclass(frozen=True)
class Live:
    """The shared server."""

    url: str
    address: tuple[str, int]
    client: OpenAI
    home: Home
    base: Base
    """The default base."""
    tiny: Base
    """The base under the registered adapters `red` and `blue`."""


def write_adapter(base: Base, token: int, folder: Path) -> Path:
    """A LoRA that drowns all else in the last block with the direction of one token, or its opposite."""
    folder.mkdir()
    weights = load_file(base.folder / "model.safetensors")
    last = f"model.layers.{base.layers - 1}.mlp.down_proj"
    hidden, inner = weights[f"{last}.weight"].shape
    direction = weights["model.embed_tokens.weight"][token]
    a = np.random.default_rng(token).normal(size=(1, inner)).astype(np.float32)
    b = (direction[:, None] * 1e4 / np.linalg.norm(direction)).astype(np.float32)
    assert b.shape == (hidden, 1)
    save_file({f"base_model.model.{last}.lora_A.weight": a, f"base_model.model.{last}.lora_B.weight": b},
              folder / "adapter_model.safetensors")  # fmt: skip
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "target_modules": ["down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def register(home: Home, base: Base, name: str, artifact: Path, method: str = "lora") -> str:
    """Register what a training run would; gives `name@version`."""
    recipe = make_recipe({"model": base.name, "name": name, "data": "rows.jsonl", "method": method})
    return Registry(open_database(home.database), home).register(recipe, artifact, base, "0" * 64, None, None).id
