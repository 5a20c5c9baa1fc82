"""Generations that have ended, counted and measured. Knows no names of dashboards; `dialects` does."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pumice.api.exchange import Exchange

GENERATIONS: Mapping[str, str] = {
    "chat": "chat",
    "responses": "chat",
    "text_completion": "text_completion",
    "embeddings": "embeddings",
    "classify": "classify",
    "Converse": "chat",
    "ConverseStream": "chat",
    "InvokeModel": "text_completion",
    "InvokeModelWithResponseStream": "text_completion",
    "InvokeEndpoint": "text_completion",
    "InvokeEndpointWithResponseStream": "text_completion",
}
"""The operations that ask a model, each with OpenTelemetry's word for it."""
UNKNOWN = "unknown"
"""In place of a model that does not exist: what a caller makes up never becomes a label."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


class Spread:
    """How values are spread: how many lie at or below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.sum = bounds, 0.0
        self.counts = [0] * (len(bounds) + 1)
        """How many lie between each bound and the one before; the last ones lie above all."""

    def add(self, value: float, times: int = 1) -> None:
        """Count one value, or several that are equal."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def __add__(self, other: Spread) -> Spread:
        both = Spread(self.bounds)
        both.sum = self.sum + other.sum
        both.counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        return both


class Kind(NamedTuple):
    """What one tally is of."""

    model: str
    """What answered, or `UNKNOWN`."""
    operation: str
    """OpenTelemetry's word."""
    error: str
    """The status of what failed, "" for what did not."""


@dataclass
class Tally:
    """The generations of one kind since the server started."""

    finishes: Counter[str] = field(default_factory=Counter)
    seconds: Spread = field(default_factory=lambda: Spread(SECONDS))
    first: Spread = field(default_factory=lambda: Spread(SECONDS))
    per_token: Spread = field(default_factory=lambda: Spread(TOKEN_SECONDS))
    """Seconds between tokens, the mean of each request."""
    gaps: Spread = field(default_factory=lambda: Spread(TOKEN_SECONDS))
    """The same, each request counted as often as it had tokens after the first."""
    input: Spread = field(default_factory=lambda: Spread(TOKENS))
    output: Spread = field(default_factory=lambda: Spread(TOKENS))

    def add(self, exchange: Exchange) -> None:
        """Count one that has ended."""
        seconds, first, gaps = exchange.seconds(), exchange.first_after, exchange.output_tokens - 1
        self.seconds.add(seconds)
        self.input.add(exchange.input_tokens)
        self.output.add(exchange.output_tokens)
        if exchange.said.finish:
            self.finishes[exchange.said.finish] += 1
        if first is not None:
            self.first.add(first)
            if gaps > 0:
                self.per_token.add((seconds - first) / gaps)
                self.gaps.add((seconds - first) / gaps, gaps)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.finishes + other.finishes,
            self.seconds + other.seconds,
            self.first + other.first,
            self.per_token + other.per_token,
            self.gaps + other.gaps,
            self.input + other.input,
            self.output + other.output,
        )


def kind_of(exchange: Exchange, status: int) -> Kind | None:
    """Where an exchange that ended like this is counted; None for one that asked no model."""
    operation = GENERATIONS.get(exchange.operation)
    if operation is None:
        return None
    return Kind(exchange.model or UNKNOWN, operation, str(status) if status >= 400 else "")
