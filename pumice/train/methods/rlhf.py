"""The knobs of learning from rewards. Does not know how it is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pumice.records import Example, Kind
from pumice.train.methods.method import Objective
from pumice.train.rules import Count, Rate, Rule, Text


class Rlhf(Objective):
    """The model writes several answers to each prompt and learns from what a scorer gives them."""

    kinds: ClassVar = frozenset({Kind.PROMPTS, Kind.INSTRUCTION, Kind.CHAT})
    trains: ClassVar = "Learns from the scores of its own answers, kept near where it starts."
    paper: ClassVar = (
        "Shao et al. 2024, DeepSeekMath (GRPO), arXiv:2402.03300; Ahmadian et al. 2024, Back to Basics (RLOO), "
        "arXiv:2402.14740"
    )
    proof: ClassVar = "rewards"
    pace: ClassVar = 0.1

    reward: Text = "exact"
    """What scores an answer: `exact`, `json`, `regex:…`, `length:N`, `file.py:function` or a reward model's name."""
    algorithm: Literal["grpo", "rloo"] = "grpo"
    """How scores become steps."""
    answers: Annotated[int, Field(ge=2), Rule("a whole number, 2 or more")] = 4
    """Answers to each prompt, which are compared with each other."""
    max_tokens: Count = 64
    """Longest answer, in tokens."""
    beta: Rate = 0.04
    """Price of each nat that the model moves away from its start (the KL divergence)."""
    kl_limit: Rate = 1.0
    """Nats a token: training ends early, with what it has, where the KL divergence passes it."""

    def reads(self, example: Example) -> tuple[Example, ...]:
        """The prompt; an answer that the row has becomes the fact `reference`, for scorers."""
        if not example.messages or example.messages[-1]["role"] != "assistant":
            return (example,)
        facts = {**example.facts, "reference": example.messages[-1]["content"]}
        return (replace(example, messages=example.messages[:-1], facts=facts),)

    @property
    def guide(self) -> str | None:
        """The registered reward model, where it is one."""
        word = self.reward.partition(":")[0]
        return None if word in ("exact", "json", "regex", "length") or word.endswith(".py") else self.reward
