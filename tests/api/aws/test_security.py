"""A hostile caller on AWS's wires: what it sends is refused by name, and nothing that is in use goes away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest
from bedrock_server import Models, make_models
from live_server import Live

from pumice.agents import guardrails
from pumice.api.aws.bedrock import custom_models
from pumice.api.aws.bedrock.users import users_of
from pumice.api.aws.names import custom_arn
from pumice.api.aws.runtime.question import MOST_STOPS
from pumice.api.platform import Platform, open_platform
from pumice.config import Home
from pumice.errors import ConflictError, NotFoundError
from pumice.records import Base
from pumice.store.tables import open_database

DEEP = "[" * 100_000


@pytest.fixture
def models(home: Home, tiny: Base, tmp_path: Path) -> Models:
    return make_models(home, tiny, tmp_path)


@pytest.fixture
def platform(models: Models) -> Iterator[Platform]:
    """The rooms of the home with the two models; nothing runs."""
    opened = open_platform(models.home, open_database(models.home.database))
    yield opened
    opened.log.close()


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/model/red/converse", f'{{"messages": {DEEP}', "SerializationException"),
        ("/model/red/invoke", f'{{"messages": {DEEP}', "ValidationException"),
        ("/model/red/converse", '{"messages": [], "inferenceConfig": {"temperature": NaN}}', "SerializationException"),
        ("/model/red/converse", '{"messages": [{"role": "user", "content": [{"text": "\\ud800"}]}]}',
         "SerializationException"),
        ("/model/red/invoke", '{"prompt": "\\ud800"}', "ValidationException"),
    ],
    ids=["deep", "deep body", "not a number", "half a character", "half a character in a body"],
)  # fmt: skip
def test_json_that_python_would_take_is_refused(live: Live, path: str, body: str, code: str) -> None:
    answer = httpx.post(live.url + path, content=body, headers={"Content-Type": "application/json"}, timeout=30)
    assert (answer.status_code, answer.json()["__type"]) == (400, code)


def test_stop_sequences_are_counted(live: Live) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    body |= {"inferenceConfig": {"stopSequences": ["x"] * (MOST_STOPS + 1)}}  # type: ignore[dict-item]
    answer = httpx.post(f"{live.url}/model/red/converse", content=json.dumps(body), timeout=30)
    assert answer.status_code == 400 and "stop sequences" in answer.json()["message"]


def test_a_pattern_of_a_guardrail_cannot_run_for_ever() -> None:
    rule = guardrails.regex("loop", r"(a+)+$", "block")
    began = monotonic()
    assert not guardrails.check([rule], "a" * 50_000 + "!").findings
    # With an engine that backtracks this would end long after the machine.
    assert monotonic() - began < 30
    with pytest.raises(re.error, match="escape"):
        guardrails.regex("back", r"(a)\1", "block")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("sagemaker-endpoint", {"variants": {"AllTraffic": {"served": "blue@1", "weight": 1.0}}}),
        ("sagemaker-inference-component", {"served": "blue@1"}),
        ("sagemaker-model", {"served": "blue@1"}),
        ("bedrock-deployment", {"modelArn": "", "arn": "arn:aws:bedrock:us-east-1:000000000000:deployment"}),
        ("bedrock-provisioned", {"modelArn": "", "desiredModelArn": "", "arn": "arn:aws:bedrock:provisioned"}),
    ],
)
def test_what_answers_is_not_deleted(platform: Platform, kind: str, body: dict[str, object]) -> None:
    blue = platform.registry.find("blue")
    arns = {key: custom_arn(blue) for key in ("modelArn", "desiredModelArn") if key in body}
    platform.documents.add(kind, "user", body | arns)
    (user,) = users_of(platform, "blue@1")
    with pytest.raises(ConflictError, match=user):
        custom_models.remove(platform, blue)
    assert users_of(platform, "red@1") == []
    platform.documents.delete(kind, "user")
    custom_models.remove(platform, blue)
    with pytest.raises(NotFoundError):
        platform.registry.find("blue@1")


def test_what_a_job_starts_from_is_not_deleted(platform: Platform) -> None:
    job = platform.queue.submit("run", {"model": "blue@1", "name": "next", "data": "rows.jsonl"}, background=True)
    with pytest.raises(ConflictError, match=job.id):
        custom_models.remove(platform, platform.registry.find("blue"))
    platform.queue.stop(job.id)
    custom_models.remove(platform, platform.registry.find("blue"))
