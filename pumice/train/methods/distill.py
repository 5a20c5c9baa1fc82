"""Distillation's knobs. Does not know how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pumice.records import Example, Kind
from pumice.train.methods.method import Objective
from pumice.train.rules import Count, Rate, Text, placed


class Distill(Objective):
    """A student learns from a larger model: from its answers, or from how likely it finds each token."""

    kinds: ClassVar = frozenset({Kind.INSTRUCTION, Kind.CHAT, Kind.PROMPTS})
    trains: ClassVar = "Learns a teacher's answers, or how likely it finds each token."
    paper: ClassVar = (
        "Hinton et al. 2015, Distilling the Knowledge in a Neural Network, arXiv:1503.02531; Kim and Rush 2016, "
        "Sequence-Level Knowledge Distillation, arXiv:1606.07947"
    )

    teacher: Text
    """The model to learn from: a base or a registered `name@version`."""
    source: Literal["answers", "logits"] = "answers"
    """`answers`: the teacher answers every prompt first. `logits`: it reads along; both must have one tokenizer."""
    temperature: Rate = 1.0
    """With `logits`: how much of the unlikely tokens is learned too."""
    max_tokens: Count = 256
    """With `answers`: longest answer of the teacher, in tokens."""

    def reads(self, example: Example) -> tuple[Example, ...]:
        """With `answers` the prompt alone: the teacher's answer takes the place of the row's own."""
        if self.source == "logits" or example.messages[-1]["role"] != "assistant":
            return (example,)
        return (replace(example, messages=example.messages[:-1]),)

    @property
    def reading(self) -> str:
        return "prompts alone" if self.source == "answers" else ""

    def located(self, find: Callable[[str], str]) -> Self:
        """The same knobs with a teacher's folder or file where `find` says."""
        return self.model_copy(update={"teacher": placed(self.teacher, find)})

    @property
    def guide(self) -> str | None:
        """The teacher."""
        return self.teacher

    @property
    def unseen(self) -> int:
        """The teacher's answer: half of the longest is a fair guess."""
        return self.max_tokens // 2 if self.source == "answers" else 0
