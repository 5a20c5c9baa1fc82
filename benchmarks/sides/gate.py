"""A child's end of taking turns: it tells each step and waits for the parent before the next. Knows no trainer."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Gate:
    """Between the steps of a trainer. What the trainer prints goes to stderr: stdout is the parent's."""

    def __init__(self) -> None:
        self._parent = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._began = time.perf_counter()

    def step(self, **told: float) -> None:
        """Call when a step is done: its seconds and the peak of memory are told; returns when more may be done.

        After the last step, too: what a trainer does at its end would fall on the others' last steps.
        """
        self.tell(seconds=time.perf_counter() - self._began, peak=peak(), **told)
        self.wait()

    def wait(self) -> None:
        """Sleep until the parent writes a line; without a parent, end."""
        if not sys.stdin.readline():
            raise SystemExit("the parent is gone")
        self._began = time.perf_counter()

    def tell(self, **told: Any) -> None:
        """One line of JSON to the parent."""
        print(json.dumps(told), file=self._parent, flush=True)


def peak() -> float:
    """Bytes of memory that this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: Linux lets a child inherit that of its parent.
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
