"""What every comparison starts from: two models and the rows that both are asked. Knows no score."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pumice.data.sets import SetName
from pumice.errors import StoppedError
from pumice.records import Base, Event, Example, Tell
from pumice.store.files import sha256_folder_weights
from pumice.train.methods import Lora, Method

MOST = 500
"""Questions asked; of more, a seeded sample is taken."""
AT_ONCE = 4
"""Questions under way at a time: as many as an engine has slots."""
SAMPLES = 5


@dataclass(frozen=True)
class Side:
    """One of the two models: a folder with whole weights, and the adapter over it."""

    name: str
    """`base` or `tuned`, for messages."""
    folder: Path
    adapter: Path | None = None

    @property
    def adapter_name(self) -> str | None:
        """From the adapter's content, so that no engine can answer with an older adapter of the same name."""
        return f"evaluate-{sha256_folder_weights(self.adapter)[:16]}" if self.adapter else None


@dataclass(frozen=True)
class Trial:
    """A base, what was made of it, and the rows that both are asked."""

    base: Base
    whole: Path
    """Folder of the tuned model's whole weights; not looked at where there is an adapter."""
    adapter: Path | None
    """Folder of the adapter over the base."""
    examples: Sequence[Example]
    set: SetName
    seed: int = 0
    samples: int = SAMPLES
    """Answers that the report shows."""
    method: Method = field(default_factory=Lora)
    """How it was trained, with its knobs: it says what is compared."""
    guide: Path | None = None
    """Folder of the other model that the method asks."""

    @property
    def sides(self) -> tuple[Side, Side]:
        """Base and tuned."""
        tuned = Side("tuned", self.base.folder if self.adapter else self.whole, self.adapter)
        return Side("base", self.base.folder), tuned


def choose(examples: Sequence[Example], seed: int, tell: Tell) -> list[Example]:
    """All rows, or a seeded sample of `MOST` in file order."""
    if len(examples) <= MOST:
        return list(examples)
    tell(Event("note", {"text": f"{MOST} of {len(examples):,} rows are evaluated, drawn with seed {seed}."}))
    return [examples[i] for i in sorted(random.Random(seed).sample(range(len(examples)), MOST))]


def stopping(tell: Tell, should_stop: Callable[[], bool], sentence: str) -> Tell:
    """`tell`, which also ends the work with `sentence` as soon as somebody wants that."""

    def heard(event: Event) -> None:
        tell(event)
        if should_stop():
            raise StoppedError(sentence)

    return heard


def counter(tell: Tell, what: str, total: int) -> Callable[[], None]:
    """Tells of nothing done now, and of one more at each call."""
    done = 0
    tell(Event("score", {"done": 0, "total": total, "what": what}))

    def step() -> None:
        nonlocal done
        done += 1
        tell(Event("score", {"done": done, "total": total, "what": what}))

    return step


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
