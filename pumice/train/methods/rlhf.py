"""The knobs of learning from rewards. Does not know how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field

from pumice.errors import InputError
from pumice.records import Example, Kind
from pumice.train import scorers
from pumice.train.methods.method import Objective
from pumice.train.rules import Count, Rate, Rule


class Rlhf(Objective):
    """The model writes several answers to each prompt and learns from what a scorer gives them."""

    kinds: ClassVar = frozenset({Kind.PROMPTS, Kind.INSTRUCTION, Kind.CHAT})
    trains: ClassVar = "Learns from the scores of its own answers, kept near where it starts."
    paper: ClassVar = (
        "Shao et al. 2024, DeepSeekMath (GRPO), arXiv:2402.03300; Ahmadian et al. 2024, Back to Basics (RLOO), "
        "arXiv:2402.14740"
    )
    reference: ClassVar = True
    proof: ClassVar = "rewards"
    in_parts: ClassVar = False
    pace: ClassVar = 0.1
    steps: ClassVar = 60

    reward: Annotated[str, AfterValidator(scorers.checked), Rule(scorers.RULE)] = "exact"
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
        """The prompt; an answer that the row has becomes the fact `reference`, and the last question `prompt`.

        Raises `InputError` for a row that the scorer `exact` could not judge.
        """
        messages, facts = example.messages, dict(example.facts)
        if messages and messages[-1]["role"] == "assistant":
            facts["reference"], messages = messages[-1]["content"], messages[:-1]
        if self.reward == "exact" and not isinstance(facts.get("reference"), str | int | float):
            raise InputError(
                f"The row in line {example.line} has no `reference`, and rlhf.reward = exact compares with it.",
                "`exact` rewards the answer that a row names.",
                "Give each row a column `reference`, or an answer; or choose another reward.",
            )
        asked = [turn["content"] for turn in messages if turn["role"] == "user"]
        facts["prompt"] = asked[-1] if asked else ""
        return (replace(example, messages=messages, facts=facts),)

    @property
    def reading(self) -> str:
        return "prompts with references" if self.reward == "exact" else "prompts"

    def held(self, tokens: float) -> float:
        """The prompt once for each answer, and the answers at their longest."""
        return (tokens + self.max_tokens) * self.answers

    def located(self, find: Callable[[str], str]) -> Self:
        """The same knobs with the scorer's file where `find` says."""
        return self.model_copy(update={"reward": scorers.located(self.reward, find)})

    @property
    def guide(self) -> str | None:
        """The registered reward model, where it is one."""
        return self.reward if scorers.read(self.reward).kind == "model" else None

    @property
    def program(self) -> str | None:
        """The file of the scorer, where it is the user's own."""
        known = scorers.read(self.reward)
        return known.file if known.kind == "python" else None
