"""What the server counts, in Prometheus' text form, with OpenTelemetry's names for generation. Knows no route."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pumice.api.exchange import Exchange
from pumice.engine.contract import Stats

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one server; its own registry, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self.interactive = 0
        """Generations under way that somebody waits for."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "pumice_requests", "Requests answered.", ["route", "method", "status"], registry=self._registry
        )
        self._running = Gauge(
            "pumice_generations_running", "Generations under way.", ["model"], registry=self._registry
        )
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From a generation's request to the end of its answer.",
            ["operation", "model"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From a generation's request to its first token.",
            ["operation", "model"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._engine_running = Gauge(
            "pumice_engine_running",
            "Answers under way in an engine process.",
            ["folder", "engine"],
            registry=self._registry,
        )
        self._engine_memory = Gauge(
            "pumice_engine_memory_bytes", "Memory of an engine process.", ["folder", "engine"], registry=self._registry
        )
        self._tokens = Counter(
            "gen_ai_client_token_usage",
            "Tokens, by model and type (input, output).",
            ["model", "type"],
            registry=self._registry,
        )

    def engines(self, running: Sequence[tuple[Path, str, Stats]]) -> None:
        """Replace what is known of the engine processes by what they say now."""
        for gauge in (self._engine_running, self._engine_memory):
            gauge.clear()
        for folder, engine, stats in running:
            labels = ("/".join(folder.parts[-2:]), engine)
            self._engine_running.labels(*labels).set(stats.running)
            self._engine_memory.labels(*labels).set(stats.rss_bytes)

    def answered(self, route: str, method: str, status: int) -> None:
        """Count one request."""
        self._requests.labels(route, method, str(status)).inc()

    @contextmanager
    def generation(self, exchange: Exchange) -> Iterator[None]:
        """Measure one generation, whether it ends, fails or is cancelled."""
        operation, model = exchange.operation, exchange.model
        self._running.labels(model).inc()
        self.interactive += not exchange.background
        try:
            yield
        finally:
            self._running.labels(model).dec()
            self.interactive -= not exchange.background
            self._duration.labels(operation, model).observe(exchange.seconds())
            if exchange.first_after is not None:
                self._first.labels(operation, model).observe(exchange.first_after)
            self._tokens.labels(model, "input").inc(exchange.input_tokens)
            self._tokens.labels(model, "output").inc(exchange.output_tokens)

    def text(self) -> bytes:
        """Everything in Prometheus' exposition format."""
        return generate_latest(self._registry)
