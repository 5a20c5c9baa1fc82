"""Models that name classes or give scores instead of writing, as their config.json tells. Knows no weights."""

from __future__ import annotations

from pathlib import Path

from pumice.bases.describe import read_config
from pumice.errors import RequestError
from pumice.records import Base

SUFFIX = "ForSequenceClassification"


def classifies(architecture: str | None) -> bool:
    """Whether a model of this architecture is a classifier: `LlamaForSequenceClassification` is one."""
    return (architecture or "").endswith(SUFFIX)


def find_labels(folder: Path) -> tuple[str, ...] | None:
    """As `read_labels`; None where the folder holds no whole weights of a classifier."""
    named = read_config(folder)["architectures"] if (folder / "config.json").exists() else None
    return read_labels(folder) if classifies(next(iter(named or ()), None)) else None


def read_labels(folder: Path) -> tuple[str, ...]:
    """The classes of the classifier in `folder`, in the order of its outputs; () for one that gives a single score."""
    names = read_config(folder).get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    return ordered if len(ordered) > 1 else ()


def check_writes(base: Base, name: str) -> None:
    """Raise `RequestError` for a classifier, where a model is needed that writes; `name` is what the user calls it."""
    if classifies(base.architecture):
        raise RequestError(
            f"{name} is a classifier: it names classes or gives scores, and writes no text.",
            fix="Ask it at POST /v1/classify, or name a model that writes.",
            field="model",
            code="unsupported_model",
        )
