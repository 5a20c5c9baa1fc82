"""InvokeModel with the body of each family, whole and in chunks, on the real default base."""

from __future__ import annotations

import json
from typing import Any

import pytest
from live_server import Live

from pumice.api.aws.names import arn, custom_arn, find_version, foundation_id
from pumice.bases.catalogue import CATALOGUE
from pumice.bases.resolve import DEFAULT, EMBEDDER
from pumice.data.render import Renderer
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.store.tables import open_database

USER = [{"role": "user", "content": "Count from 1 to 12."}]
BLOCKS = [{"role": "user", "content": [{"text": "Count from 1 to 12."}]}]
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 12, "temperature": 0, "messages": USER}
METRICS = "amazon-bedrock-invocationMetrics"
# Every body asks the same: the chat forms one way, the raw prompts with the template written out.
BODIES: dict[str, dict[str, Any]] = {
    "llama": {"prompt": "", "max_gen_len": 12, "temperature": 0},
    "mistral": {"prompt": "", "max_tokens": 12, "temperature": 0},
    "titan": {"inputText": USER[0]["content"], "textGenerationConfig": {"maxTokenCount": 12, "temperature": 0}},
    "nova": {"messages": BLOCKS, "inferenceConfig": {"maxTokens": 12, "temperature": 0}},
    "claude": CLAUDE,
    "openai": {"messages": USER, "max_tokens": 12, "temperature": 0},
}


@pytest.fixture(scope="module")
def greedy(runtime: Any) -> dict[str, Any]:
    """What Converse says to the same question."""
    inference = {"maxTokens": 12, "temperature": 0}
    answer: dict[str, Any] = runtime.converse(modelId=DEFAULT, messages=BLOCKS, inferenceConfig=inference)
    return answer


def body(live: Live, family: str) -> dict[str, Any]:
    found = dict(BODIES[family])
    if "prompt" in found:
        # The template's own special tokens, written as text, count as such.
        renderer = Renderer(live.base.folder)
        found["prompt"] = "".join(renderer.tokens(renderer.prompt(USER)))
    return found


def said(family: str, answer: dict[str, Any]) -> tuple[str, str, int | None, int | None]:
    """Text, reason, and the tokens of prompt and answer where the body counts them."""
    match family:
        case "llama":
            counts = answer["prompt_token_count"], answer["generation_token_count"]
            return answer["generation"], answer["stop_reason"], *counts
        case "mistral":
            return answer["outputs"][0]["text"], answer["outputs"][0]["stop_reason"], None, None
        case "titan":
            result = answer["results"][0]
            counts = answer["inputTextTokenCount"], result["tokenCount"]
            return result["outputText"], result["completionReason"], *counts
        case "nova":
            usage = answer["usage"]
            text = answer["output"]["message"]["content"][0]["text"]
            return text, answer["stopReason"], usage["inputTokens"], usage["outputTokens"]
        case "claude":
            usage = answer["usage"]
            text = answer["content"][0]["text"]
            return text, answer["stop_reason"], usage["input_tokens"], usage["output_tokens"]
    usage = answer["usage"]
    choice = answer["choices"][0]
    text = choice["message"]["content"]
    return text, choice["finish_reason"], usage["prompt_tokens"], usage["completion_tokens"]


def streamed(family: str, chunks: list[dict[str, Any]]) -> str:
    match family:
        case "llama":
            return "".join(chunk["generation"] for chunk in chunks)
        case "mistral":
            return "".join(chunk["outputs"][0]["text"] for chunk in chunks)
        case "titan":
            return "".join(chunk["outputText"] for chunk in chunks)
        case "nova":
            return "".join(c["contentBlockDelta"]["delta"]["text"] for c in chunks if "contentBlockDelta" in c)
        case "claude":
            return "".join(c["delta"]["text"] for c in chunks if c["type"] == "content_block_delta")
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


REASONS = {"llama": "length", "mistral": "length", "titan": "LENGTH", "nova": "max_tokens", "claude": "max_tokens"}


@pytest.mark.parametrize("family", BODIES)
def test_every_family_whole_and_in_chunks(live: Live, runtime: Any, greedy: dict[str, Any], family: str) -> None:
    asked = json.dumps(body(live, family))
    whole = runtime.invoke_model(modelId=DEFAULT, body=asked)
    assert whole["contentType"] == "application/json"
    text, reason, prompt, made = said(family, json.loads(whole["body"].read()))
    usage = greedy["usage"]
    assert text == greedy["output"]["message"]["content"][0]["text"]
    assert reason == REASONS.get(family, "length")
    assert prompt in (None, usage["inputTokens"])
    assert made in (None, usage["outputTokens"])
    headers = whole["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == str(usage["inputTokens"])
    assert headers["x-amzn-bedrock-output-token-count"] == str(usage["outputTokens"])
    assert int(headers["x-amzn-bedrock-invocation-latency"]) > 0

    events = list(runtime.invoke_model_with_response_stream(modelId=DEFAULT, body=asked)["body"])
    chunks = [json.loads(event["chunk"]["bytes"]) for event in events]
    assert streamed(family, chunks) == text
    assert len(chunks) > 5
    if family == "llama":
        counts = [chunk["prompt_token_count"] for chunk in chunks]
        assert counts == [usage["inputTokens"]] + [None] * (len(chunks) - 1)
    assert [METRICS in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    metrics = chunks[-1][METRICS]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (usage["inputTokens"], usage["outputTokens"])
    assert 0 < metrics["firstByteLatency"] <= metrics["invocationLatency"]

    counted = runtime.count_tokens(modelId=DEFAULT, input={"invokeModel": {"body": asked.encode()}})
    assert counted["inputTokens"] == usage["inputTokens"]


def test_claudes_events_are_in_anthropics_order(runtime: Any) -> None:
    events = list(runtime.invoke_model_with_response_stream(modelId=DEFAULT, body=json.dumps(CLAUDE))["body"])
    kinds = [json.loads(event["chunk"]["bytes"])["type"] for event in events]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * kinds.count("content_block_delta"),
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_claude_tells_which_stop_sequence_it_was(runtime: Any) -> None:
    asked = {**CLAUDE, "max_tokens": 60, "stop_sequences": ["never said", "4"], "system": "You are brief."}
    answer = json.loads(runtime.invoke_model(modelId=DEFAULT, body=json.dumps(asked))["body"].read())
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "4")


def test_titan_embeddings(runtime: Any) -> None:
    whole = runtime.invoke_model(modelId=EMBEDDER, body=json.dumps({"inputText": "a small red fox"}))
    answer = json.loads(whole["body"].read())
    assert len(answer["embedding"]) == 384
    assert sum(each * each for each in answer["embedding"]) == pytest.approx(1, abs=1e-4)
    assert whole["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == str(
        answer["inputTextTokenCount"]
    )
    with pytest.raises(runtime.exceptions.ValidationException, match=r"dimensions: the vectors .* have 384"):
        runtime.invoke_model(modelId=EMBEDDER, body=json.dumps({"inputText": "a", "dimensions": 256}))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"prompt": "x", "max_gen_len": 3, "colour": 1}, "colour: a body of Llama has no such key; it has prompt"),
        ({"inputText": "x", "textGenerationConfig": {"topK": 1}}, "textGenerationConfig.topK: a body of Titan text"),
        ({**CLAUDE, "max_tokens": "5"}, "max_tokens: .*integer, in a body of Claude"),
        ({"messages": BLOCKS, "inferenceConfig": {"colour": 1}}, "colour"),
        ({"colour": 1}, "no key that tells its family. Llama: prompt, max_gen_len"),
        ([], "no JSON object"),
    ],
)  # fmt: skip
def test_a_body_is_refused_by_its_key(runtime: Any, asked: Any, sentence: str) -> None:
    for operation in (runtime.invoke_model, runtime.invoke_model_with_response_stream):
        with pytest.raises(runtime.exceptions.ValidationException, match=sentence):
            operation(modelId=DEFAULT, body=json.dumps(asked))


def test_everything_that_names_a_model_answers_as_it(live: Live, runtime: Any) -> None:
    database = open_database(live.home.database)
    version = find_version("red@1", Registry(database, live.home))
    deployment = {"name": "red-one", "modelArn": custom_arn(version), "status": "Active", "failure": ""}
    Documents(database).add("bedrock-deployment", "deployed0001", deployment)
    Documents(database).add("bedrock-deployment", "deployed0002", {**deployment, "status": "Creating"})
    asked = json.dumps({"prompt": "Once", "max_gen_len": 2, "temperature": 0})

    def generation(model: str) -> str:
        answer = json.loads(runtime.invoke_model(modelId=model, body=asked)["body"].read())
        return str(answer["generation"])

    red = generation("red")
    named = [
        "red@1",
        custom_arn(version),
        custom_arn(version).replace("custom-model", "imported-model"),
        arn("bedrock", "custom-model-deployment/deployed0001"),
    ]
    assert {generation(each) for each in named} == {red}
    assert generation("blue") != red
    entry = next(each for each in CATALOGUE if each.id == DEFAULT)
    bases = [foundation_id(entry), f"arn:aws:bedrock:us-east-1::foundation-model/{foundation_id(entry)}"]
    assert {generation(each) for each in bases} == {generation(DEFAULT)}
    with pytest.raises(runtime.exceptions.ModelNotReadyException, match="is Creating"):
        generation(arn("bedrock", "custom-model-deployment/deployed0002"))
