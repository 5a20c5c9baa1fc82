"""One request under way: who asked for what, and what it took. Wires fill it in; at its end it is logged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from starlette.types import Scope

from pumice import records
from pumice.records import Key

_STATUS = {"error": 500, "abort": 499}


@dataclass
class Said:
    """What has come of an answer."""

    text: str | None = None
    """Its words, where a wire may have nothing but a stream's events."""
    finish: str = ""
    """`stop`, `length`, `error`, or `abort` when the caller left; "" for what generates nothing."""


@dataclass
class Exchange:
    """Made by `app.Edge` for every request; `of(scope)` finds it again."""

    id: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    key: Key | None = None
    """Of the caller; None while no key is asked for."""
    operation: str = ""
    """The wire's own word: `chat`, `Converse`. Requests without one are not logged."""
    asked: str = ""
    """The model as the caller named it."""
    model: str = ""
    """The model that answers."""
    variant: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    first_after: float | None = None
    """Seconds from the request to its first token."""
    request: Any = None
    response: Any = None
    """The bodies as the wire has them, plain JSON."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the caller wants to find it by later."""
    said: Said = field(default_factory=Said)
    background: bool = False
    """One of a batch: nobody waits for it."""
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """The exchange of an ASGI request."""
        found: Self = scope["exchange"]
        return found

    def tokens(self, count: int) -> None:
        """Count generated tokens as they come."""
        if self.first_after is None and count:
            self.first_after = self.seconds()
        self.output_tokens += count

    def seconds(self) -> float:
        """Since the request began."""
        return time.monotonic() - self.started

    def outcome(self, status: int) -> int:
        """How it ended: the status that was sent, unless a stream broke after it, or its caller left."""
        if not 0 < status < 400:
            return status or 499
        return _STATUS.get(self.said.finish, status)

    def record(self, status: int, bodies: bool) -> records.Request:
        """What the log keeps of it; its bodies only when asked for."""
        response = self.response
        if self.said.text is not None and isinstance(response, list):
            response = {"text": self.said.text, "events": response}
        return records.Request(
            id=self.id,
            at=self.at,
            key=self.key.id if self.key else None,
            operation=self.operation,
            asked=self.asked,
            model=self.model,
            variant=self.variant,
            status=status,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            first_token_seconds=self.first_after,
            seconds=self.seconds(),
            request=self.request if bodies else None,
            response=response if bodies else None,
        )
