"""The console on CloudFront, with the API under the same address: an emulator enforces who may read what."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from cloud import KEYS, Cloud
from listening import Listening

from pumice.api.console.bundle import FOR_EVER, NONCE, STATIC
from pumice.deploy.aws import bucket, code, page, stacks
from pumice.deploy.aws.api import api_stack
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.template import body

sys.path.append(str(Path(__file__).parents[1] / "console"))

import browsing

KEY, PACKED = code.packed()
FACTS = Facts("seen", "000000000000", "us-east-1", "real-time", "ml.c5.xlarge", "", (), code=KEY, page=True)
QUESTION = {"messages": [{"role": "user", "content": "What is pumice?"}], "max_tokens": 8}
SECURE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    "cross-origin-opener-policy": "same-origin",
}


WHOLE = """
import app

def handler(event, context):
    answer = app.handler(event, context)
    body = answer["body"]
    return {**answer, "body": body if isinstance(body, str) else b"".join(body).decode()}
"""
"""The emulator starts functions by AWS's own loop, which cannot stream: it gets all events of an answer at once."""


class Model(Listening):
    """What runs behind the endpoint."""

    weight = 1.0

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        words, usage = ["A light ", "stone."], {"prompt_tokens": 5, "completion_tokens": 3}
        if not json.loads(body).get("stream"):
            whole = {"choices": [{"message": {"content": "".join(words)}, "finish_reason": "stop"}], "usage": usage}
            return 200, {"content-type": "application/json"}, json.dumps(whole).encode()
        pieces: list[dict[str, Any]] = [{"choices": [{"delta": {"content": each}}]} for each in words]
        lines = [json.dumps(each) for each in [*pieces, {"choices": [], "usage": usage}]]
        text = "".join(f"data: {each}\n\n" for each in [*lines, "[DONE]"])
        return 200, {"content-type": "text/event-stream"}, text.encode()

    def end(self) -> None:
        self.close()


@dataclass(frozen=True)
class Deployed:
    """The API's stack, with the console in its bucket."""

    page: str
    key: str
    bucket: str

    @property
    def viewer(self) -> dict[str, str]:
        """By what CloudFront knows whose page is wanted, and that it is asked over TLS."""
        return {"Host": self.page.removeprefix("https://"), "X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def deployed(cloud: Cloud) -> Iterator[Deployed]:
    """As `apply` makes it, in front of an endpoint that answers at once."""
    if not browsing.ready():
        pytest.skip("the console is not built: make install builds it where Node is")
    s3, model = cloud.client("s3"), Model()
    model.listen()
    cloud.double.sagemaker.variants[FACTS.endpoint] = {"A": model}  # type: ignore[dict-item]
    s3.create_bucket(Bucket=FACTS.bucket)
    held = io.BytesIO(PACKED)
    with zipfile.ZipFile(held, "a") as archive:
        archive.writestr("whole.py", WHOLE)
    s3.put_object(Bucket=FACTS.bucket, Key=KEY, Body=held.getvalue())
    template = api_stack(FACTS)
    template["Resources"]["Function"]["Properties"]["Handler"] = "whole.handler"
    stack = stacks.Stack(boto3.client("cloudformation", endpoint_url=cloud.stacks.url, **KEYS), FACTS.api_stack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "PAUSE", 0.1)
        made = stack.apply(body(template), FACTS.tags, "seen", lambda _: None)
        page.put(s3, made["PageBucket"])
        key = cloud.client("apigateway").get_api_key(apiKey=made["KeyId"], includeValue=True)["value"]
        yield Deployed(made["PageUrl"], key, made["PageBucket"])
        bucket.empty(s3, made["PageBucket"])
        stack.delete(lambda _: None)
    bucket.remove(s3, FACTS.bucket)
    cloud.double.sagemaker.variants.pop(FACTS.endpoint)["A"].end()


@pytest.fixture
def viewer(cloud: Cloud, deployed: Deployed) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, headers=deployed.viewer, timeout=60) as made:
        yield made


def test_every_path_is_the_console_that_names_the_gateway_and_is_never_kept(viewer: httpx.Client) -> None:
    for path in ("/", "/console", "/somewhere", "/api/session"):
        assert viewer.get(path).headers["location"] == "/console/"
    for path in ("/console/", "/console/playground", "/console/models/faq@3"):
        index = viewer.get(path)
        assert index.status_code == 200 and page.GATEWAY in index.text and NONCE not in index.text
        assert index.headers["content-type"].startswith("text/html")
        assert index.headers["cache-control"] == "no-cache"


def test_what_the_page_names_is_there_to_be_kept_for_ever(viewer: httpx.Client) -> None:
    links = re.findall(r'(?:src|href)="([^"]+)"', viewer.get("/console/").text)
    assert len(links) > 2
    for link in links:
        found = viewer.get(link)
        assert found.content == (STATIC / link.removeprefix("/console/")).read_bytes(), link
        assert found.headers["cache-control"] == FOR_EVER
    kinds = {Path(link).suffix: viewer.get(link).headers["content-type"] for link in links}
    assert "javascript" in kinds[".js"] and kinds[".css"] == "text/css" and kinds[".svg"] == "image/svg+xml"


def test_the_page_names_the_versions_that_can_be_asked(cloud: Cloud, viewer: httpx.Client, deployed: Deployed) -> None:
    assert page.MODELS.format("") in viewer.get("/console/").text
    page.put(cloud.client("s3"), deployed.bucket, ["faq@3", "faq@4"])
    assert page.MODELS.format("faq@3 faq@4") in viewer.get("/console/").text
    page.put(cloud.client("s3"), deployed.bucket)


def test_everything_comes_under_the_policy(viewer: httpx.Client) -> None:
    for answer in (viewer.get("/console/"), viewer.post("/v1/feedback", json={})):
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        assert {name: answer.headers[name] for name in SECURE} == SECURE


def test_nobody_comes_without_tls_or_around_cloudfront(cloud: Cloud, deployed: Deployed) -> None:
    host = {"Host": deployed.viewer["Host"]}
    assert httpx.get(f"{cloud.url}/console/", headers=host).headers["location"] == f"{deployed.page}/console/"
    sent = {**host, "x-api-key": deployed.key}
    assert httpx.post(f"{cloud.url}/v1/chat/completions", headers=sent, json=QUESTION).status_code == 403
    assert httpx.get(f"{cloud.url}/{deployed.bucket}/console/index.html").status_code == 403


def test_the_api_answers_under_the_same_address_to_its_key_alone(viewer: httpx.Client, deployed: Deployed) -> None:
    asked = viewer.post("/v1/chat/completions", json=QUESTION, headers={"x-api-key": deployed.key})
    assert asked.json()["choices"][0]["message"]["content"] == "A light stone."
    assert asked.headers["x-request-id"] == asked.json()["request_id"]
    for headers in ({}, {"x-api-key": "wrong"}):
        refused = viewer.post("/v1/chat/completions", json=QUESTION, headers=headers)
        assert (refused.status_code, refused.json()["message"]) == (403, "Forbidden")


def test_a_person_signs_in_asks_and_says_whether_it_was_good(cloud: Cloud, deployed: Deployed, chromium: str) -> None:
    url, at = deployed.page.replace("https:", "http:"), cloud.url.removeprefix("http://")
    browsing.browse("gateway", url=url, at=at, key=deployed.key, chromium=chromium)
    rows = cloud.client("dynamodb").scan(TableName=f"{FACTS.endpoint}-requests")["Items"]
    assert [row["score"]["N"] for row in rows if "score" in row] == ["1"]
