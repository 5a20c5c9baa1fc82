"""Several versions over one base on one machine: each answers to its own name, in the container as on SageMaker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from cloud import Cloud
from peft import LoraConfig, get_peft_model
from test_deploy_whole_way import ask, buckets
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from pumice.cli import app
from pumice.config import Home
from pumice.deploy.aws import artifacts, plan, stacks
from pumice.deploy.aws.account import Account
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.records import Base
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.tables import open_database

WORDS = ("--image", "pumice:test", "--instance", "ml.c5.xlarge")


@pytest.fixture(scope="module")
def registry(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Three adapters that pull answers far apart, and a whole model."""
    home = Home(tmp_path_factory.mktemp("sharing"))
    database = open_database(home.database)
    made = Registry(database, home)
    for seed in (1, 2, 3):
        folder = tmp_path_factory.mktemp("adapter")
        torch.manual_seed(seed)
        config = LoraConfig(
            r=8, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
        )
        get_peft_model(LlamaForCausalLM.from_pretrained(tiny.folder), config).save_pretrained(folder)
        import_model(folder, "taught", made, home, None, str(tiny.folder))
    import_model(tiny.folder, "whole", made, home, None)
    yield made
    database.dispose()


def test_every_version_answers_to_its_name(
    registry: Registry, account: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(registry.home.root))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stacks, "PAUSE", 0.1)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["deploy", "aws", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout if "--json" in words else result.output

    said = run("plan", "--model", "taught@1,taught@2", *WORDS)
    assert said.count("Inference component") == 2 and "$0.204 or $149 a month" in said
    key = json.loads(run("apply", "plan.json", "--json"))["key"]
    try:
        gateway = account.client("apigateway")
        api = next(each["id"] for each in gateway.get_rest_apis()["items"] if each["name"] == "pumice-taught")
        url = f"{account.url}/restapis/{api}/live/_user_request_/v1/chat/completions"
        question = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "temperature": 0}
        answers = {}
        for name in ("taught@1", "taught@2"):
            status, answer = ask(url, {**question, "model": name}, key)
            assert (status, answer["variant"]) == (200, name), answer
            answers[name] = answer["choices"][0]["message"]["content"]
        assert answers["taught@1"] != answers["taught@2"]
        for name in ("taught@4", "deployed"):
            status, answer = ask(url, {**question, "model": name}, key)
            assert status == 404 and "taught@1, taught@2" in answer["error"]["message"]
        rows = account.client("dynamodb").scan(TableName="pumice-taught-requests")["Items"]
        assert {row["variant"]["S"] for row in rows if "variant" in row} == set(answers)
        assert run("invoke", "taught", "hi", "--version", "taught@2").strip()
        with pytest.raises(NotFoundError, match="taught@9"):
            run("invoke", "taught", "hi", "--version", "taught@9")
        with pytest.raises(ConflictError, match="the version that a request names"):
            run("ab", "taught")
        assert "taught@1, taught@2" in run("status", "taught")
        (base,) = account.double.sagemaker.variants["pumice-taught"].values()
        run("plan", "--model", "taught@2,taught@3", *WORDS)
        run("apply", "plan.json")
        assert ask(url, {**question, "model": "taught@1"}, key)[0] == 404
        for name, known in (("taught@2", True), ("taught@3", False)):
            said = ask(url, {**question, "model": name}, key)[1]["choices"][0]["message"]["content"]
            assert (said in answers.values()) == known
        assert list(account.double.sagemaker.variants["pumice-taught"].values()) == [base]
        swept(account, monkeypatch)
    finally:
        assert "taught is gone" in run("destroy", "taught", "--yes")
    assert not buckets(account, "taught") and not account.double.sagemaker.records["component"]


def swept(account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle, it goes whole: adapters, base, endpoint."""
    monkeypatch.setenv("ENDPOINT_NAME", "pumice-taught")
    monkeypatch.setenv("IDLE_MINUTES", "60")
    from pumice.deploy.aws.functions import idle

    monkeypatch.setattr(idle, "ENDPOINT", "pumice-taught")
    component = next(name for name in account.double.sagemaker.records["component"] if not name.endswith("-base"))
    metric = {"MetricName": "Invocations", "Dimensions": [{"Name": "InferenceComponentName", "Value": component}]}
    account.double.sagemaker.records["endpoint"]["pumice-taught"]["LastModifiedTime"] -= 7200
    cloudwatch = account.client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=[{**metric, "Value": 1.0}])
    assert idle.handler({}, None)["did"] == "kept"
    monkeypatch.setattr(idle, "IDLE", timedelta(seconds=0))
    assert idle.handler({}, None)["did"] == "deleted"
    records = account.double.sagemaker.records
    assert not records["component"] and "pumice-taught" not in records["endpoint"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "taught@1,whole"}, "whole@1 cannot share"),
        ({"model": "taught@1, taught@1"}, "1 of them different"),
        ({"mode": "async"}, "share a machine in a real-time"),
        ({"candidate": "taught@2"}, "share a machine in a real-time"),
        ({"instance": "ml.g5.12xlarge"}, "does not hold several"),
        ({"image": None}, "does not hold several"),
    ],
)
def test_what_cannot_share_a_machine_is_said(
    registry: Registry, account: Cloud, changes: dict[str, Any], sentence: str
) -> None:
    wanted = {"model": "taught@1,taught@2", "name": "sad", "image": "pumice:test", "instance": "ml.c5.xlarge"}
    with pytest.raises(InputError, match=sentence):
        plan.make(plan.Wanted(**{**wanted, **changes}), Account(None, None), registry, registry.home)


def test_vllm_is_told_a_rank_that_it_takes(registry: Registry) -> None:
    _, versions = artifacts.several(["taught@1", "taught@2"], registry, registry.home)
    assert [artifacts.rank(each) for each in versions] == [8, 8]
