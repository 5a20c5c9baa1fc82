"""What the server counts, in Prometheus' text form. Knows no route and no wire.

A generation is measured once, at its end; what dashboards call it is decided when somebody looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pumice.api import dialects
from pumice.api.exchange import Exchange
from pumice.api.tally import Kind, Tally, kind_of
from pumice.engine.contract import Stats

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Other methods are counted as one: a caller may make up any."""


class Metrics(Collector):
    """The counts of one server; its own registry, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self.interactive = 0
        """Generations under way that somebody waits for."""
        self._running: Counter[str] = Counter()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._tallies: dict[Kind, Tally] = {}
        self._jobs: Mapping[str, int] = {}
        self._waiting = self._dropped = 0
        self._registry = CollectorRegistry()
        self._engine_running = Gauge(
            "pumice_engine_running",
            "Answers under way in an engine process.",
            ["folder", "engine"],
            registry=self._registry,
        )
        self._engine_memory = Gauge(
            "pumice_engine_memory_bytes", "Memory of an engine process.", ["folder", "engine"], registry=self._registry
        )
        self._registry.register(self)

    def engines(self, running: Sequence[tuple[Path, str, Stats]]) -> None:
        """Replace what is known of the engine processes by what they say now."""
        for gauge in (self._engine_running, self._engine_memory):
            gauge.clear()
        for folder, engine, stats in running:
            labels = ("/".join(folder.parts[-2:]), engine)
            self._engine_running.labels(*labels).set(stats.running)
            self._engine_memory.labels(*labels).set(stats.rss_bytes)

    def rooms(self, jobs: Mapping[str, int], waiting: int, dropped: int) -> None:
        """Replace what is known of the jobs, by state, and of the request log."""
        self._jobs, self._waiting, self._dropped = jobs, waiting, dropped

    def answered(self, exchange: Exchange, route: str, method: str, status: int) -> None:
        """Count one request that has ended; `status` is the one that was sent."""
        self._requests[route, method if method in METHODS else "other", status] += 1
        if kind := kind_of(exchange, exchange.outcome(status)):
            tally = self._tallies.get(kind)
            if tally is None:
                tally = self._tallies[kind] = Tally()
            tally.add(exchange)

    @contextmanager
    def generation(self, exchange: Exchange) -> Iterator[None]:
        """Count one generation while it is under way, and note how it ended."""
        model = exchange.model
        self._running[model] += 1
        self.interactive += not exchange.background
        finish = "abort"  # left in the middle: the caller has gone
        try:
            yield
            finish = "stop"
        except Exception:
            exchange.said.finish = "error"
            raise
        finally:
            exchange.said.finish = exchange.said.finish or finish
            self._running[model] -= 1
            self.interactive -= not exchange.background

    def collect(self) -> Iterable[Metric]:
        """Everything that is not kept by prometheus_client itself."""
        requests = CounterMetricFamily("pumice_requests", "Requests answered.", labels=["route", "method", "status"])
        for (route, method, status), count in self._requests.items():
            requests.add_metric([route, method, str(status)], count)
        jobs = GaugeMetricFamily("pumice_jobs", "Jobs.", labels=["state"])
        for state, count in self._jobs.items():
            jobs.add_metric([state], count)
        yield from (requests, jobs)
        yield GaugeMetricFamily("pumice_log_waiting", "Requests that wait to be written to the log.", self._waiting)
        yield CounterMetricFamily("pumice_log_dropped", "Requests that the log has lost.", self._dropped)
        yield from dialects.vllm(self._tallies, self._running)
        yield from dialects.opentelemetry(self._tallies)
        yield from dialects.cloudwatch(self._tallies)

    def text(self) -> bytes:
        """Everything in Prometheus' exposition format."""
        return generate_latest(self._registry)
