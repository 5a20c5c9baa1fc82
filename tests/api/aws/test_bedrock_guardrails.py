"""Guardrails and tags through boto3, as records; what they do is tested with the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bedrock_server import Aws, aws
from botocore.exceptions import ClientError

from pumice.config import Home

WORDS: dict[str, Any] = {"wordsConfig": [{"text": "lava"}]}
BLOCKED = {"blockedInputMessaging": "Not that.", "blockedOutputsMessaging": "Not so."}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with aws(Home(tmp_path_factory.mktemp("guardrails"))) as clients:
        yield clients


def make(server: Aws, name: str, **more: Any) -> str:
    made = server.bedrock.create_guardrail(name=name, wordPolicyConfig=WORDS, **BLOCKED, **more)
    assert made["version"] == "DRAFT"
    return str(made["guardrailId"])


def test_versions_keep_what_the_draft_was(server: Aws) -> None:
    id = make(server, "versions", description="first")
    assert server.bedrock.create_guardrail_version(guardrailIdentifier=id)["version"] == "1"
    other = {"wordsConfig": [{"text": "basalt"}]}
    server.bedrock.update_guardrail(guardrailIdentifier=id, name="versions", wordPolicyConfig=other, **BLOCKED)
    draft = server.bedrock.get_guardrail(guardrailIdentifier=id)
    kept = server.bedrock.get_guardrail(guardrailIdentifier=draft["guardrailArn"], guardrailVersion="1")
    assert draft["wordPolicy"]["words"][0]["text"] == "basalt"
    assert "description" not in draft
    assert kept["wordPolicy"]["words"][0]["text"] == "lava"
    assert (kept["version"], kept["description"], kept["status"]) == ("1", "first", "READY")


def test_the_number_of_a_deleted_version_does_not_come_again(server: Aws) -> None:
    id = make(server, "numbers")
    for _ in range(2):
        server.bedrock.create_guardrail_version(guardrailIdentifier=id)
    server.bedrock.delete_guardrail(guardrailIdentifier=id, guardrailVersion="2")
    assert server.bedrock.create_guardrail_version(guardrailIdentifier=id)["version"] == "3"
    listed = server.bedrock.list_guardrails(guardrailIdentifier=id)["guardrails"]
    assert [each["version"] for each in listed] == ["3", "1", "DRAFT"]


def test_a_deleted_guardrail_is_gone_with_its_versions_and_tags(server: Aws) -> None:
    id = make(server, "gone", tags=[{"key": "team", "value": "rocks"}])
    arn = server.bedrock.get_guardrail(guardrailIdentifier=id)["guardrailArn"]
    server.bedrock.create_guardrail_version(guardrailIdentifier=id)
    server.bedrock.delete_guardrail(guardrailIdentifier=id)
    for version in ("DRAFT", "1"):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            server.bedrock.get_guardrail(guardrailIdentifier=id, guardrailVersion=version)
    assert server.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == []


def test_pages_show_everything_once_while_guardrails_are_made(server: Aws) -> None:
    made = {make(server, f"page-{number}") for number in range(5)}
    seen, token = [], {}
    while True:
        found = server.bedrock.list_guardrails(maxResults=2, **token)
        seen += [each["id"] for each in found["guardrails"]]
        if "nextToken" not in found:
            break
        token = {"nextToken": found["nextToken"]}
        make(server, f"between-{len(seen)}")
    assert len(seen) == len(set(seen))
    assert made <= set(seen)
    with pytest.raises(ClientError, match="nextToken"):
        server.bedrock.list_guardrails(nextToken="bm9uc2Vuc2U")


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (
            {"topicPolicyConfig": {"topicsConfig": [{"name": "money", "definition": "advice", "type": "DENY"}]}},
            "topicPolicyConfig",
        ),
        (
            {"sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "NAME", "action": "BLOCK"}]}},
            "NAME",
        ),
        (
            {
                "sensitiveInformationPolicyConfig": {
                    "regexesConfig": [{"name": "half", "pattern": "(open", "action": "BLOCK"}]
                }
            },
            "half",
        ),
        ({}, "wordPolicyConfig"),
    ],
)
def test_what_could_only_be_pretended_is_refused(server: Aws, policy: dict[str, Any], named: str) -> None:
    with pytest.raises(ClientError, match=named) as refused:
        server.bedrock.create_guardrail(name="pretended", **policy, **BLOCKED)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert "pretended" not in [each["name"] for each in server.bedrock.list_guardrails()["guardrails"]]


def test_tags_are_added_changed_and_taken_away(server: Aws) -> None:
    id = make(server, "tagged", tags=[{"key": "team", "value": "rocks"}])
    arn = server.bedrock.get_guardrail(guardrailIdentifier=id)["guardrailArn"]
    added = [{"key": "team", "value": "lava"}, {"key": "stage", "value": "test"}]
    server.bedrock.tag_resource(resourceARN=arn, tags=added)
    server.bedrock.untag_resource(resourceARN=arn, tagKeys=["stage", "never"])
    assert server.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "team", "value": "lava"}]
    many = [{"key": f"key-{number}", "value": "x"} for number in range(51)]
    with pytest.raises(ClientError, match="TooManyTagsException"):
        server.bedrock.tag_resource(resourceARN=arn, tags=many)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        server.bedrock.tag_resource(resourceARN="arn:aws:bedrock:eu-west-1:111111111111:guardrail/x", tags=added)
