"""plan, apply, ask, compare, destroy: with an account on loopback that really denies, trains and serves."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from cloud import Cloud
from lambda_loop import Gateway, Loop, unpack
from typer.testing import CliRunner

from pumice.cli import app
from pumice.config import Home
from pumice.deploy.aws import code, invoke, page, smoke, stacks, training
from pumice.errors import ConflictError
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.tables import open_database

Run = Callable[..., str]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def models(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with two versions of a tiny model."""
    home = Home(tmp_path_factory.mktemp("deploying"))
    database = open_database(home.database)
    for _ in range(2):
        import_model(tiny.folder, "faq", Registry(database, home), home, None)
    database.dispose()
    return home


@pytest.fixture
def run(models: Home, account: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`pumice deploy aws …` in a folder of its own; what it printed."""
    monkeypatch.setenv("PUMICE_HOME", str(models.root))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stacks, "PAUSE", 0.1)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["deploy", "aws", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout if "--json" in words else result.output

    yield run


def ask(url: str, body: Any, key: str = "", raw: bytes | None = None) -> tuple[int, Any]:
    """POST JSON."""
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    request = urllib.request.Request(url, raw if raw is not None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def test_the_whole_way(run: Run, account: Cloud, tools: Path, tmp_path: Path) -> None:
    said = run("plan", "--model", "faq@1", "--image", "pumice:test", "--instance", "ml.c5.xlarge", "--real-time")
    assert "$0.204" in said and "ml.c5.xlarge for endpoint usage" in said and "Nothing was changed" in said
    assert not buckets(account)

    made = json.loads(run("apply", "plan.json", "--json"))
    gateway = account.client("apigateway")
    api = next(each["id"] for each in gateway.get_rest_apis()["items"] if each["name"] == "pumice-faq")
    url = f"{account.url}/restapis/{api}/live/_user_request_/v1"
    question = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}

    assert ask(f"{url}/chat/completions", question)[0] == 403
    status, answer = ask(f"{url}/chat/completions", question, made["key"])
    assert status == 200 and answer["choices"][0]["message"]["content"] and answer["variant"] == "A", answer
    assert ask(f"{url}/chat/completions", {"prompt": "hi", "max_tokens": 4}, made["key"])[1]["completion"]
    assert ask(f"{url}/chat/completions", None, made["key"], b"no json")[0] == 400
    assert ask(f"{url}/feedback", {"request_id": answer["request_id"], "score": 1}, made["key"])[0] == 200
    assert ask(f"{url}/feedback", {"request_id": "unknown", "score": 1}, made["key"])[0] == 404
    rows = account.client("dynamodb").scan(TableName="pumice-faq-requests")["Items"]
    assert {row["status"]["N"] for row in rows} == {"200", "400"}
    assert not any("hi" in str(row.get("request", "")) for row in rows)

    assert run("invoke", "faq", "How are you?").strip()
    assert "InService" in run("status", "faq")
    assert "request_id" in run("logs", "faq")

    streamed(account, tools, tmp_path)
    denied(account, f"{url}/chat/completions", made["key"], question)
    compared(run, account, f"{url}/chat/completions", made["key"], question)

    assert bool(made["page"]) == page.built()
    if made["page"]:
        viewer = {"Host": made["page"].split("//")[1], "X-Forwarded-Proto": "https"}
        console = urllib.request.Request(f"{account.url}/console/", headers=viewer)
        assert page.GATEWAY in urllib.request.urlopen(console, timeout=20).read().decode()

    said = run("destroy", "faq", "--yes")
    assert "faq is gone" in said
    assert not buckets(account)
    assert not account.double.sagemaker.records["endpoint"] and not account.double.sagemaker.records["model"]


def streamed(account: Cloud, tools: Path, folder: Path) -> None:
    """The container's own words through SageMaker, function and gateway to OpenAI's client, as they are made."""
    with zipfile.ZipFile(io.BytesIO(code.packed()[1])) as packed:
        unpack(packed, folder)
    told = {"ENDPOINT_NAME": "pumice-faq", "TABLE_NAME": "pumice-faq-requests"}
    loop = Loop(tools / "python", folder, "app.handler", {**account.environment, **told}, "runtime.sh")
    gateway, before = Gateway(loop), rows(account)
    try:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="-", max_retries=0)
        asked: Any = [{"role": "user", "content": "hi"}]
        whole = client.chat.completions.create(model="deployed", messages=asked, max_tokens=8, temperature=0)
        pieces = list(
            client.chat.completions.create(model="deployed", messages=asked, max_tokens=8, temperature=0, stream=True)
        )
        address = {**os.environ, "URL": f"{gateway.url}/v1", "KEY": "-"}
        example = [sys.executable, str(EXAMPLES / "aws_client.py")]
        assert subprocess.run(example, env=address, capture_output=True, text=True, check=True).stdout.strip()
        smoke.streamed(f"{gateway.url}/v1/chat/completions", "-", "deployed", print)
    finally:
        gateway.close()
        loop.end()
    assert len(pieces) > 2 and pieces[-1].choices[0].finish_reason
    assert "".join(each.choices[0].delta.content or "" for each in pieces) == whole.choices[0].message.content
    assert rows(account) == before + 4


def denied(account: Cloud, url: str, key: str, question: Any) -> None:
    """The role has no more than it needs: one permission less, and the log is denied; the caller is answered."""
    iam = account.client("iam")
    role = next(each["RoleName"] for each in iam.list_roles()["Roles"] if "faq-api-FunctionRole" in each["RoleName"])
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    less = json.loads(json.dumps(policy).replace('"dynamodb:PutItem", ', ""))
    assert less != policy
    count = rows(account)
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(less))
    assert ask(url, question, key)[0] == 200
    assert rows(account) == count
    events = account.client("logs").filter_log_events(logGroupName="/aws/lambda/pumice-faq")["events"]
    assert any("AccessDenied" in each["message"] for each in events)
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    assert ask(url, question, key)[0] == 200
    assert rows(account) == count + 1


def test_an_asynchronous_one_goes_up_in_smoke(
    run: Run, account: Cloud, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made, asked through S3, trained beside, and taken away."""
    monkeypatch.setattr(invoke, "PAUSE", 0.2)
    monkeypatch.setattr(training, "PAUSE", 0.2)
    words = ("--name", "slow", "--image", "pumice:test", "--instance", "ml.c5.xlarge", "--async")
    said = run("plan", "--model", "faq@1", *words)
    assert "asked through S3" in said and "API Gateway" not in said
    recipe = {"data": str(EXAMPLES / "support.jsonl"), "model": str(tiny.folder), "epochs": 1, "batch_size": 6}
    Path("recipe.yaml").write_text(json.dumps(recipe))
    said = run("smoke", "plan.json", "--train", "recipe.yaml")
    assert "API" not in said.splitlines() and "Endpoint (its machine takes 5 to 15 minutes)" in said.splitlines()
    # What a random model says may hold either quote.
    assert re.search(r"""SageMaker answers: (['"]).+\1""", said), said
    assert "Queued" in said and "Every door opens" in said
    assert "slow-smoke@1 is registered" in said and "slow is gone" in said and "slow-smoke is gone" in said
    assert not buckets(account, "slow") and not account.double.sagemaker.records["endpoint"]


def test_the_shapes_exclude_each_other(run: Run) -> None:
    for other in ("--real-time", "--async"):
        result = CliRunner().invoke(app, ["deploy", "aws", "plan", "--model", "faq@1", "--serverless", other])
        assert result.exit_code == 2 and "Choose one" in result.output


def buckets(account: Cloud, name: str = "faq") -> list[str]:
    names = [each["Name"] for each in account.client("s3").list_buckets()["Buckets"]]
    return [each for each in names if each.startswith(f"pumice-{name}-")]


def rows(account: Cloud) -> int:
    return int(account.client("dynamodb").scan(TableName="pumice-faq-requests")["Count"])


def compared(run: Run, account: Cloud, url: str, key: str, question: Any) -> None:
    """A candidate beside the model: both answer, callers say which they like, and the verdict follows."""
    assert "as planned already" in run("apply", "plan.json")
    planned = Path("plan.json").read_text()
    run("ab", "faq", "--candidate", "faq@2", "--weight", "50", "--yes")
    assert Path("plan.json").read_text() == planned
    with pytest.raises(ConflictError, match="moved on"):
        run("apply", "plan.json")
    for variant in ("A", "B"):
        for _ in range(7):
            status, answer = ask(url, {**question, "variant": variant}, key)
            assert (status, answer["variant"]) == (200, variant), answer
            feedback = {"request_id": answer["request_id"], "score": int(variant == "B")}
            assert ask(url.replace("chat/completions", "feedback"), feedback, key)[0] == 200
            time.sleep(0.4)
    result = json.loads(run("ab", "faq", "--json"))
    assert result["comparisons"][0]["verdict"] == "better" and result["comparisons"][0]["count"] >= 7
    assert "B: 100%" in run("ab", "faq", "--weight", "100")
    assert {ask(url, question, key)[1]["variant"] for _ in range(3)} == {"B"}
