"""The child's end of the leash: it says where it listens, ends with its parent, and stands back. Knows no engine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Leash:
    """Stdin is held open by the parent, even one that is killed; stdout carries one line and then joins stderr."""

    def __init__(self, last: Callable[[], None] = lambda: None) -> None:
        """`last` is called when the parent has ended."""
        self._answer, self._last = os.dup(1), last
        # Ctrl-C is the parent's to answer. A group is enough for that: between sessions Linux shares the cores evenly,
        # whatever their niceness (sched_autogroup).
        os.setpgid(0, 0)
        # Before any thread of a library starts: each keeps the niceness that it was born with.
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), read_orders()["nice"]))
        os.dup2(2, 1)  # What a library prints must not look like the announcement.
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def announce(self) -> None:
        """Tell the parent that the engine listens."""
        try:
            os.write(self._answer, b"ready\n")
        except BrokenPipeError:
            # The parent died while the model was loading. A farewell would wait for the library's threads for ever.
            os._exit(1)
        os.close(self._answer)

    def hold(self, *_: object) -> None:
        """Stay, and hold what is given, until the parent ends this process."""
        threading.Event().wait()

    def _end_with_parent(self) -> None:
        while os.read(0, 4096):
            pass
        shutil.rmtree(Path(read_orders()["socket"]).parent, ignore_errors=True)
        self._last()
        # Without farewell: threads of a native library may be in the middle of something.
        os._exit(0)


def stand_back() -> None:
    """Take what others leave over; threads and children that come later do, too."""
    os.nice(19)
    if sys.platform == "linux":
        # Even at nice 19 one thread takes a core from an engine's now and then, and all of the engine's wait for that.
        with contextlib.suppress(OSError):  # musl and some sandboxes have none.
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def read_orders() -> Mapping[str, Any]:
    """What the parent asked for, on the command line."""
    return dict(json.loads(sys.argv[1]))
