"""Curves of jobs as a picture. Knows a job's steps, not how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from pumice.errors import InputError
from pumice.records import Event

ENDINGS = (".svg", ".png", ".pdf")
WIDTH, HEIGHT = 3.6, 2.6
"""Inches of one panel."""
INK = "#6b7280"
"""Grey that can be read on white and on black."""
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "font.size": 9,
    "svg.fonttype": "none",
    # Names inside the file that do not change from run to run.
    "svg.hashsalt": "pumice",
}
LINES = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
UNSEEN = "unseen rows"
"""What the loss of rows that are not trained on is called; it is drawn over the loss."""
MOST = 4
"""Panels: the loss, and the first other numbers that the method tells."""


def curves(jobs: Mapping[str, Sequence[Event]], out: Path) -> Path:
    """Draw the loss and the method's other numbers over the steps of every job, by its title, and write `out`.

    Raises `InputError` for a file of another ending and for jobs that have no step yet.
    """
    if out.suffix not in ENDINGS:
        raise InputError(f"{out} is no picture's name.", f"Pictures end in {', '.join(ENDINGS)}.", "Rename it.")
    steps = {title: told(events) for title, events in jobs.items()}
    if empty := [title for title, found in steps.items() if not any("loss" in step for step in found.values())]:
        raise InputError(f"{', '.join(empty)} has not made a step yet.", fix="Wait for it, or name another job.")
    told_of = dict.fromkeys(name for found in steps.values() for step in found.values() for name in step)
    names = ["loss", *(name for name in told_of if name not in ("loss", UNSEEN))][:MOST]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * len(names), HEIGHT), layout="constrained")
        for place, name in enumerate(names):
            axes = figure.add_subplot(1, len(names), place + 1)
            for line, (title, found) in zip(LINES * len(steps), steps.items(), strict=False):
                axes.plot(*points(found, name), color=line, linewidth=1.5, label=title)
                if name == "loss" and UNSEEN in told_of:
                    label = f"{title}, {UNSEEN}"
                    axes.plot(*points(found, UNSEEN), color=line, linewidth=1.5, linestyle="--", label=label)
            axes.set_title(name, fontsize=10)
            axes.set_xlabel("step")
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        if len(steps) > 1 or UNSEEN in told_of:
            figure.axes[0].legend(frameon=False, fontsize=8)
        out.parent.mkdir(parents=True, exist_ok=True)
        # Without a date, so that the same curve is the same file.
        dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(out.suffix)
        figure.savefig(out, transparent=True, metadata=dated)
    return out


def told(events: Sequence[Event]) -> dict[int, dict[str, float]]:
    """Loss and other numbers by step; a step that was repeated after a crash is there once, as it was the last time."""
    found: dict[int, dict[str, float]] = {}
    for event in events:
        if event.kind == "step":
            numbers = {"loss": event.data["loss"], **event.data.get("metrics", {})}
        elif event.kind == "validation":
            numbers = {UNSEEN: event.data["validation_loss"]}
        else:
            continue
        found.setdefault(int(event.data["step"]), {}).update(numbers)
    return dict(sorted(found.items()))


def points(found: dict[int, dict[str, float]], name: str) -> tuple[list[int], list[float]]:
    """The steps that told this number, and the numbers."""
    steps = [step for step, values in found.items() if name in values]
    return steps, [found[step][name] for step in steps]
