"""What a guardrail finds, and that a model neither sees nor says what it blocks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from live_server import Live

from pumice.bases.resolve import DEFAULT
from pumice.store.documents import Documents
from pumice.store.tables import open_database

NUMBERS = itertools.count(1)
KINDS = ("EMAIL", "PHONE", "CREDIT_DEBIT_CARD_NUMBER", "IP_ADDRESS", "URL", "AWS_ACCESS_KEY")


Made = Callable[..., dict[str, str]]


@pytest.fixture
def guardrail(live: Live) -> Made:
    """Keeps a guardrail as CreateGuardrail does; gives what names it in a request."""

    def make(**policies: Any) -> dict[str, str]:
        id = f"guard{next(NUMBERS)}"
        body = {"blockedInputMessaging": "Not asked.", "blockedOutputsMessaging": "Not said.", **policies}
        Documents(open_database(live.home.database)).add(
            "bedrock-guardrail", f"{id}:DRAFT", {"name": id, "id": id, "version": "DRAFT", **body}
        )
        return {"guardrailIdentifier": id, "guardrailVersion": "DRAFT"}

    return make


def ask(content: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": [{"text": content}]}]
    return {"modelId": DEFAULT, "messages": messages, "inferenceConfig": {"temperature": 0, "maxTokens": 24}}


def test_apply_guardrail_masks_and_counts(runtime: Any, guardrail: Made) -> None:
    named = guardrail(
        sensitiveInformationPolicyConfig={
            "piiEntitiesConfig": [{"type": kind, "action": "ANONYMIZE"} for kind in KINDS],
            "regexesConfig": [{"name": "order", "pattern": r"ORD-\d+", "action": "ANONYMIZE"}],
        }
    )
    text = "Mail ann@example.org about ORD-17 or call +49 30 901820; host 10.0.0.1."
    answer = runtime.apply_guardrail(**named, source="INPUT", content=[{"text": {"text": text}}])
    assert answer["action"] == "GUARDRAIL_INTERVENED"
    assert answer["outputs"] == [{"text": "Mail {EMAIL} about {order} or call {PHONE}; host {IP_ADDRESS}."}]
    found = answer["assessments"][0]["sensitiveInformationPolicy"]
    assert {(each["type"], each["match"], each["action"]) for each in found["piiEntities"]} == {
        ("EMAIL", "ann@example.org", "ANONYMIZED"),
        ("PHONE", "+49 30 901820", "ANONYMIZED"),
        ("IP_ADDRESS", "10.0.0.1", "ANONYMIZED"),
    }
    assert [each["match"] for each in found["regexes"]] == ["ORD-17"]
    assert answer["usage"]["sensitiveInformationPolicyUnits"] == 1
    assert answer["usage"]["wordPolicyUnits"] == 0
    assert answer["guardrailCoverage"]["textCharacters"] == {"guarded": len(text), "total": len(text)}


def test_apply_guardrail_blocks_words_and_lets_others_pass(runtime: Any, guardrail: Made) -> None:
    named = guardrail(
        wordPolicyConfig={
            "wordsConfig": [{"text": "Project Falcon"}],
            "managedWordListsConfig": [{"type": "PROFANITY", "inputAction": "NONE"}],
        }
    )

    def apply(source: str, text: str) -> dict[str, Any]:
        answer: dict[str, Any] = runtime.apply_guardrail(**named, source=source, content=[{"text": {"text": text}}])
        return answer

    blocked = apply("OUTPUT", "All about project falcon!")
    assert blocked["outputs"] == [{"text": "Not said."}]
    assert blocked["assessments"][0]["wordPolicy"]["customWords"][0]["match"] == "project falcon"
    assert apply("INPUT", "Project Falconry")["action"] == "NONE"
    assert apply("OUTPUT", "what the fuck")["action"] == "GUARDRAIL_INTERVENED"
    told = apply("INPUT", "what the fuck")
    assert told["action"] == "NONE"
    assert told["assessments"][0]["wordPolicy"]["managedWordLists"][0]["action"] == "NONE"
    with pytest.raises(runtime.exceptions.ResourceNotFoundException, match="no guardrail"):
        runtime.apply_guardrail(
            guardrailIdentifier="nobody", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "x"}}]
        )


def test_a_blocked_question_never_reaches_the_model(runtime: Any, guardrail: Made) -> None:
    named = guardrail(wordPolicyConfig={"wordsConfig": [{"text": "falcon"}]})
    config = {**named, "trace": "enabled"}
    answer = runtime.converse(**ask("What is Falcon?"), guardrailConfig=config)
    assert answer["output"]["message"]["content"] == [{"text": "Not asked."}]
    assert answer["stopReason"] == "guardrail_intervened"
    assert answer["usage"]["outputTokens"] == 0
    trace = answer["trace"]["guardrail"]["inputAssessment"][named["guardrailIdentifier"]]
    assert trace["wordPolicy"]["customWords"][0]["match"] == "Falcon"
    events = list(runtime.converse_stream(**ask("What is Falcon?"), guardrailConfig=named)["stream"])
    assert [next(iter(event)) for event in events][-2:] == ["messageStop", "metadata"]
    assert events[-2]["messageStop"]["stopReason"] == "guardrail_intervened"


def test_the_model_sees_the_masked_question(runtime: Any, guardrail: Made) -> None:
    pii = {"piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE"}]}
    named = guardrail(sensitiveInformationPolicyConfig=pii)
    seen = runtime.converse(**ask("Write to ann.lee.the.third@mail.example.org now."), guardrailConfig=named)
    same = runtime.converse(**ask("Write to {EMAIL} now."))
    assert seen["usage"]["inputTokens"] == same["usage"]["inputTokens"]
    assert seen["output"] == same["output"]


def test_only_what_is_marked_is_looked_at(runtime: Any, guardrail: Made) -> None:
    named = guardrail(wordPolicyConfig={"wordsConfig": [{"text": "falcon", "outputEnabled": False}]})
    asked = ask("A falcon is a bird.")
    asked["messages"][0]["content"].append({"guardContent": {"text": {"text": "Name three colours."}}})
    assert runtime.converse(**asked, guardrailConfig=named)["stopReason"] != "guardrail_intervened"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_answer_is_masked_or_blocked(runtime: Any, guardrail: Made, mode: str) -> None:
    plain = runtime.converse(**ask("Name three colours."))["output"]["message"]["content"][0]["text"]
    word = max(plain.replace(".", " ").replace(",", " ").split(), key=len)
    pattern = {"name": "it", "pattern": word, "action": "ANONYMIZE", "inputEnabled": False}
    masking = guardrail(sensitiveInformationPolicyConfig={"regexesConfig": [pattern]})
    masked = runtime.converse(**ask("Name three colours."), guardrailConfig=masking)
    assert masked["output"]["message"]["content"] == [{"text": plain.replace(word, "{it}")}]
    blocking = guardrail(wordPolicyConfig={"wordsConfig": [{"text": word, "inputEnabled": False}]})
    blocked = runtime.converse(**ask("Name three colours."), guardrailConfig=blocking)
    assert blocked["output"]["message"]["content"] == [{"text": "Not said."}]
    assert blocked["stopReason"] == "guardrail_intervened"
    config = {**blocking, "streamProcessingMode": mode}
    events = list(runtime.converse_stream(**ask("Name three colours."), guardrailConfig=config)["stream"])
    said = "".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e)
    # Asynchronous ones are only told of at their end: that is what the mode is for.
    assert said == ("Not said." if mode == "sync" else plain)
    assert events[-2]["messageStop"]["stopReason"] == "guardrail_intervened"


def test_invoke_model_is_guarded_too(runtime: Any, guardrail: Made) -> None:
    named = guardrail(wordPolicyConfig={"wordsConfig": [{"text": "falcon"}]})
    body = {"prompt": "A falcon", "max_gen_len": 4}
    answer = json.loads(runtime.invoke_model(modelId=DEFAULT, body=json.dumps(body), **named)["body"].read())
    assert answer["generation"] == "Not asked."
    assert answer["amazon-bedrock-guardrailAction"] == "INTERVENED"
    body["prompt"] = "A hawk"
    stream = runtime.invoke_model_with_response_stream(modelId=DEFAULT, body=json.dumps(body), **named)["body"]
    assert json.loads(list(stream)[-1]["chunk"]["bytes"])["amazon-bedrock-guardrailAction"] == "NONE"
