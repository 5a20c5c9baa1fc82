"""A trainer of transformers that waits for its turn before each step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from benchmarks.sides.gate import Gate


class Turns(TrainerCallback):
    """Tells each step and waits."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.told = gate, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        tokens, self.told = state.num_input_tokens_seen - self.told, state.num_input_tokens_seen
        self.gate.step(tokens=int(tokens))
