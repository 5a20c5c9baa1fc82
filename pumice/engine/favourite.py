"""Which adapter most requests are for: the one that is worth a process of its own. Knows no process and no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

RECENT = 64
"""Requests that are looked at."""
MOST, FEW = 48, 32
"""Of them: with so many for one adapter it becomes the favourite, with fewer than so many it is none any more."""


class Favourite:
    """Counts the requests of one engine; None stands for the base, which is never chosen."""

    def __init__(self) -> None:
        self.chosen: Hashable | None = None
        self._recent: deque[Hashable | None] = deque(maxlen=RECENT)

    def count(self, adapter: Hashable | None) -> None:
        """One more request."""
        self._recent.append(adapter)
        if self.chosen is not None and self._recent.count(self.chosen) < FEW:
            self.chosen = None
        if adapter is not None and self._recent.count(adapter) >= MOST:
            self.chosen = adapter

    def forget(self) -> None:
        """Begin anew, as after a time without requests."""
        self.chosen = None
        self._recent.clear()
