"""What Prometheus reads: three vocabularies of the same requests, counted once each at their end."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import Live, serving
from prometheus_client.parser import text_string_to_metric_families

from pumice.api.exchange import Exchange
from pumice.api.metrics import Metrics
from pumice.config import Home
from pumice.jobs.queue import Queue
from pumice.store.tables import open_database

ASK = [{"role": "user", "content": "Hello"}]
VLLM = {
    "vllm:num_requests_running": "gauge",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:request_success": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:request_time_per_output_token_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
}
GEN_AI = {
    "gen_ai_client_token_usage": "histogram",
    "gen_ai_server_request_duration_seconds": "histogram",
    "gen_ai_server_time_to_first_token_seconds": "histogram",
    "gen_ai_server_time_per_output_token_seconds": "histogram",
}
BEDROCK = {
    "aws_bedrock_invocations": "counter",
    "aws_bedrock_invocation_client_errors": "counter",
    "aws_bedrock_invocation_server_errors": "counter",
    "aws_bedrock_invocation_throttles": "counter",
    "aws_bedrock_input_token_count": "counter",
    "aws_bedrock_output_token_count": "counter",
    "aws_bedrock_invocation_latency_seconds": "histogram",
    "aws_bedrock_time_to_first_token_seconds": "histogram",
}


class Reading:
    """Everything that /metrics says at one moment."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.types = {family.name: family.type for family in families}
        self.samples = [sample for family in families for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Of every sample of this name that has these labels."""
        return math.fsum(
            each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items()
        )


def read(url: str) -> Reading:
    return Reading(httpx.get(f"{url}/metrics").text)


class Change:
    """What two readings differ by."""

    before: Reading
    after: Reading

    def __call__(self, name: str, **labels: str) -> float:
        return self.after.sum(name, **labels) - self.before.sum(name, **labels)


@contextmanager
def change(live: Live) -> Iterator[Change]:
    found = Change()
    found.before = read(live.url)
    yield found
    found.after = read(live.url)


def test_every_name_is_there_with_its_type(live: Live) -> None:
    live.client.chat.completions.create(model="red", messages=ASK, max_tokens=2)
    types = read(live.url).types
    wanted = {**VLLM, **GEN_AI, **BEDROCK}
    assert {name: types.get(name) for name in wanted} == wanted


def test_three_vocabularies_say_the_same(live: Live) -> None:
    with change(live) as by:
        usages = [
            live.client.chat.completions.create(model="red", messages=ASK, max_tokens=most, temperature=0).usage
            for most in (2, 5)
        ]
    asked, made = sum(each.prompt_tokens for each in usages), sum(each.completion_tokens for each in usages)
    assert (by("vllm:prompt_tokens_total", model_name="red@1"), by("vllm:generation_tokens_total")) == (asked, made)
    usage = {"gen_ai_response_model": "red@1", "gen_ai_operation_name": "chat"}
    assert by("gen_ai_client_token_usage_sum", gen_ai_token_type="input", **usage) == asked
    assert by("gen_ai_client_token_usage_sum", gen_ai_token_type="output", **usage) == made
    assert by("aws_bedrock_input_token_count_total", ModelId="red@1") == asked
    assert by("aws_bedrock_output_token_count_total", ModelId="red@1") == made
    counts = [
        by("vllm:request_success_total", model_name="red@1", finished_reason="length"),
        by("vllm:e2e_request_latency_seconds_count", model_name="red@1"),
        by("vllm:time_to_first_token_seconds_count", model_name="red@1"),
        by("vllm:request_time_per_output_token_seconds_count", model_name="red@1"),
        by("gen_ai_server_request_duration_seconds_count", **usage),
        by("gen_ai_server_time_to_first_token_seconds_count", **usage),
        by("gen_ai_server_time_per_output_token_seconds_count", **usage),
        by("aws_bedrock_invocations_total", ModelId="red@1"),
        by("aws_bedrock_invocation_latency_seconds_count", ModelId="red@1"),
        by("aws_bedrock_time_to_first_token_seconds_count", ModelId="red@1"),
    ]
    assert counts == [2] * len(counts)
    assert by("vllm:inter_token_latency_seconds_count", model_name="red@1") == made - 2
    first, whole = by("vllm:time_to_first_token_seconds_sum"), by("vllm:e2e_request_latency_seconds_sum")
    assert 0 < first <= whole
    assert by("vllm:inter_token_latency_seconds_sum") == pytest.approx(whole - first)
    assert by("vllm:e2e_request_latency_seconds_bucket", le="+Inf", model_name="red@1") == 2


def test_a_stream_counts_once_when_it_has_ended(live: Live) -> None:
    with change(live) as by:
        pieces = list(live.client.chat.completions.create(model="blue", messages=ASK, max_tokens=3, stream=True))
    assert pieces[-1].choices[0].finish_reason == "length"
    assert by("vllm:request_success_total", model_name="blue@1", finished_reason="length") == 1
    assert by("vllm:generation_tokens_total", model_name="blue@1") == 3


def test_both_wires_count_as_one(live: Live) -> None:
    runtime = boto3.client(
        "bedrock-runtime",
        endpoint_url=live.url,
        region_name="us-east-1",
        aws_access_key_id="anything",
        aws_secret_access_key="passes",
        config=Config(retries={"max_attempts": 0}),
    )
    asked = [{"role": "user", "content": [{"text": "Hello"}]}]
    with change(live) as by:
        runtime.converse(modelId="red", messages=asked, inferenceConfig={"maxTokens": 2})
        runtime.invoke_model(modelId="red", body='{"prompt": "Once", "max_gen_len": 2}')
        with pytest.raises(ClientError):
            runtime.converse(modelId="nobody", messages=asked)
    runtime.close()
    assert by("aws_bedrock_invocations_total", ModelId="red@1") == 2
    assert by("gen_ai_server_request_duration_seconds_count", gen_ai_operation_name="text_completion") == 1
    assert by("gen_ai_server_request_duration_seconds_count", gen_ai_operation_name="chat", error_type="") == 1
    assert by("gen_ai_server_request_duration_seconds_count", error_type="404") == 1
    assert by("aws_bedrock_invocation_client_errors_total", ModelId="unknown") == 1


def test_what_a_caller_makes_up_is_no_label(live: Live) -> None:
    word = uuid.uuid4().hex
    with change(live) as by:
        with pytest.raises(openai.NotFoundError):
            live.client.chat.completions.create(model=f"model-{word}", messages=ASK)
        httpx.get(f"{live.url}/path-{word}")
        httpx.request(word.upper(), f"{live.url}/v1/models")
    assert word not in httpx.get(f"{live.url}/metrics").text.lower()
    assert by("aws_bedrock_invocation_client_errors_total", ModelId="unknown") == 1
    assert by("aws_bedrock_invocations_total") == 0


def test_a_caller_who_leaves_a_stream_is_an_abort(live: Live) -> None:
    with change(live) as by:
        with live.client.chat.completions.create(
            model=live.base.name, messages=ASK, max_tokens=400, stream=True, temperature=1.5
        ) as stream:
            next(iter(stream))
        for _ in range(1000):
            left = read(live.url).sum("vllm:request_success_total", finished_reason="abort")
            if left > by.before.sum("vllm:request_success_total", finished_reason="abort"):
                break
    assert by("vllm:request_success_total", finished_reason="abort") == 1
    assert by("gen_ai_server_request_duration_seconds_count", error_type="499") == 1
    assert by("aws_bedrock_invocations_total") == 0
    assert by("vllm:num_requests_running") == 0


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, "invocations"),
        (404, "invocation_client_errors"),
        (429, "invocation_throttles"),
        (503, "invocation_server_errors"),
    ],
)
def test_a_status_is_counted_where_cloudwatch_counts_it(status: int, name: str) -> None:
    metrics = Metrics()
    metrics.answered(Exchange("req-1", operation="Converse", model="red@1"), "Converse", "POST", status)
    told = Reading(metrics.text().decode())
    names = ("invocations", "invocation_client_errors", "invocation_throttles", "invocation_server_errors")
    assert {each: told.sum(f"aws_bedrock_{each}_total") for each in names} == {each: each == name for each in names}


def test_a_stream_that_breaks_is_an_error_of_the_server() -> None:
    metrics, exchange = Metrics(), Exchange("req-1", operation="chat", model="red@1")
    with pytest.raises(OSError, match="gone"), metrics.generation(exchange):
        raise OSError("gone")
    metrics.answered(exchange, "/chat/completions", "POST", 200)
    told = Reading(metrics.text().decode())
    assert told.sum("vllm:request_success_total", finished_reason="error", model_name="red@1") == 1
    assert told.sum("aws_bedrock_invocation_server_errors_total", ModelId="red@1") == 1


def test_jobs_and_the_log_are_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("counted"))
    queue = Queue(open_database(home.database), home)
    queue.submit("run", {"name": "one"})
    queue.stop(queue.submit("run", {"name": "two"}).id)
    with serving(home) as url:
        told = read(url)
    assert told.sum("pumice_jobs", state="queued") == 1
    assert told.sum("pumice_jobs", state="stopped") == 1
    assert told.sum("pumice_jobs", state="running") == 0
    assert told.types["pumice_log_dropped"] == "counter"
    assert told.types["pumice_log_waiting"] == "gauge"
