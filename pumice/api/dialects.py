"""The same tallies in three vocabularies: vLLM's, OpenTelemetry's and CloudWatch's. Counts nothing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from pumice.api.tally import Kind, Spread, Tally

Tallies = Mapping[Kind, Tally]
_VLLM: tuple[tuple[str, str, Callable[[Tally], Spread]], ...] = (
    ("time_to_first_token", "From a request to its first token.", lambda tally: tally.first),
    ("inter_token_latency", "Between two tokens, each as the mean of its request.", lambda tally: tally.gaps),
    ("request_time_per_output_token", "Between two tokens, the mean of a request.", lambda tally: tally.per_token),
    ("e2e_request_latency", "From a request to the end of its answer.", lambda tally: tally.seconds),
)
_CLOUDWATCH: tuple[tuple[str, str, Callable[[int], bool]], ...] = (
    ("invocations", "Invocations that were answered.", lambda error: not error),
    (
        "invocation_client_errors",
        "Invocations that the caller got wrong.",
        lambda error: 400 <= error < 500 and error != 429,
    ),
    ("invocation_server_errors", "Invocations that failed here.", lambda error: error >= 500),
    ("invocation_throttles", "Invocations beyond a budget.", lambda error: error == 429),
)


def vllm(tallies: Tallies, running: Mapping[str, int]) -> Iterator[Metric]:
    """As vLLM names it, by model."""
    label = ["model_name"]
    under_way = GaugeMetricFamily("vllm:num_requests_running", "Generations under way.", labels=label)
    for model, count in running.items():
        under_way.add_metric([model], count)
    prompt = CounterMetricFamily("vllm:prompt_tokens", "Tokens of prompts.", labels=label)
    made = CounterMetricFamily("vllm:generation_tokens", "Tokens of answers.", labels=label)
    ended = CounterMetricFamily(
        "vllm:request_success", "Generations by how they ended.", labels=[*label, "finished_reason"]
    )
    models = _by_model(tallies)
    for model, tally in models.items():
        prompt.add_metric([model], tally.input.sum)
        made.add_metric([model], tally.output.sum)
        for reason, count in tally.finishes.items():
            ended.add_metric([model, reason], count)
    yield from (under_way, prompt, made, ended)
    for name, help, spread in _VLLM:
        rows = (([model], spread(tally)) for model, tally in models.items())
        yield _histogram(f"vllm:{name}_seconds", help, label, rows)


def opentelemetry(tallies: Tallies) -> Iterator[Metric]:
    """As the semantic conventions for generative AI name it, written as Prometheus exporters write it."""
    labels = ["gen_ai_provider_name", "gen_ai_operation_name", "gen_ai_request_model", "gen_ai_response_model"]

    def values(kind: Kind) -> list[str]:
        return ["pumice", kind.operation, kind.model, kind.model]

    yield _histogram(
        "gen_ai_client_token_usage",
        "Tokens of a request, by type.",
        [*labels, "gen_ai_token_type"],
        (
            ([*values(kind), type], spread)
            for kind, tally in _without_error(tallies).items()
            for type, spread in (("input", tally.input), ("output", tally.output))
        ),
    )
    yield _histogram(
        "gen_ai_server_request_duration_seconds",
        "From a request to the end of its answer.",
        [*labels, "error_type"],
        (([*values(kind), kind.error], tally.seconds) for kind, tally in tallies.items()),
    )
    yield _histogram(
        "gen_ai_server_time_to_first_token_seconds",
        "From a request to its first token.",
        labels,
        ((values(kind), tally.first) for kind, tally in _without_error(tallies).items()),
    )
    yield _histogram(
        "gen_ai_server_time_per_output_token_seconds",
        "Between two tokens, the mean of a request.",
        labels,
        ((values(kind), tally.per_token) for kind, tally in _without_error(tallies).items()),
    )


def cloudwatch(tallies: Tallies) -> Iterator[Metric]:
    """As CloudWatch names it for Bedrock, by model; times are in seconds, as Prometheus has them."""
    label = ["ModelId"]
    for name, help, counts in _CLOUDWATCH:
        family = CounterMetricFamily(f"aws_bedrock_{name}", help, labels=label)
        found: dict[str, int] = defaultdict(int)
        for kind, tally in tallies.items():
            found[kind.model] += sum(tally.seconds.counts) if counts(int(kind.error or 0)) else 0
        for model, count in found.items():
            family.add_metric([model], count)
        yield family
    models = _by_model({kind: tally for kind, tally in tallies.items() if not kind.error})
    for side in ("input", "output"):
        tokens = CounterMetricFamily(f"aws_bedrock_{side}_token_count", f"Tokens, {side}.", labels=label)
        for model, tally in models.items():
            tokens.add_metric([model], (tally.input if side == "input" else tally.output).sum)
        yield tokens
    latency = (([model], tally.seconds) for model, tally in models.items())
    yield _histogram("aws_bedrock_invocation_latency_seconds", "Of invocations that were answered.", label, latency)
    first = (([model], tally.first) for model, tally in models.items())
    yield _histogram("aws_bedrock_time_to_first_token_seconds", "Of invocations that were answered.", label, first)


def _by_model(tallies: Tallies) -> dict[str, Tally]:
    found: dict[str, Tally] = defaultdict(Tally)
    for kind, tally in tallies.items():
        found[kind.model] += tally
    return found


def _without_error(tallies: Tallies) -> Tallies:
    """The same, kinds that differ only in how they ended put together."""
    found: dict[Kind, Tally] = defaultdict(Tally)
    for kind, tally in tallies.items():
        found[kind._replace(error="")] += tally
    return found


def _histogram(
    name: str, help: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Spread]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, help, labels=labels)
    for values, spread in rows:
        bounds = (*map(floatToGoString, spread.bounds), "+Inf")
        family.add_metric(values, list(zip(bounds, accumulate(spread.counts), strict=True)), spread.sum)
    return family
