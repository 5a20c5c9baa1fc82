"""SageMaker: the real training container over a laid-out /opt/ml, and the commands over the double."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from cloud import Cloud
from typer.testing import CliRunner

from pumice.cli import app
from pumice.config import Home
from pumice.deploy.aws import bedrock, packages, stacks, training
from pumice.deploy.aws.account import Account
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.prices import MACHINES, find
from pumice.deploy.sagemaker import container, train
from pumice.errors import InputError
from pumice.records import Base, Stage
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train.recipe import Recipe, change

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "support.jsonl"
ENTRY = [sys.executable, "-m", "pumice.deploy.sagemaker", "train"]
SETTINGS = {"epochs": "3", "save_steps": "2", "method": '"lora"', "lora.r": "4", "batch_size": "3"}


def lay_out(root: Path, base: Base, **settings: str) -> dict[str, str]:
    """/opt/ml as SageMaker lays it; the environment that names it."""
    config, data = root / "input" / "config", root / "input" / "data"
    config.mkdir(parents=True)
    (data / "train").mkdir(parents=True)
    shutil.copy(DATA, data / "train" / "rows.jsonl")
    shutil.copytree(base.folder, data / "base")
    given = {**SETTINGS, **settings, "sagemaker_program": "x"}
    (config / "hyperparameters.json").write_text(json.dumps(given))
    (config / "resourceconfig.json").write_text('{"current_host": "algo-1", "hosts": ["algo-1"]}')
    return {**os.environ, "PUMICE_ML_ROOT": str(root), "TMPDIR": str(root)}


def test_training_is_interrupted_resumed_and_imported(tiny: Base, tmp_path: Path, home: Home) -> None:
    root = tmp_path / "ml"
    environment = lay_out(root, tiny)
    with subprocess.Popen(ENTRY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        assert first.stdout
        for line in first.stdout:
            if line.startswith("checkpoint"):
                first.send_signal(signal.SIGTERM)
    assert first.returncode == 0 and not (root / "model").exists()
    second = subprocess.run(ENTRY, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout
    steps = [int(line.split("step=")[1].split()[0]) for line in second.stdout.splitlines() if line.startswith("step ")]
    assert steps[0] > 1 and steps[-1] == 12
    home.root.mkdir(parents=True)
    database = open_database(home.database)
    made = import_model(root / "model", "back", Registry(database, home), home, None, str(tiny.folder))
    database.dispose()
    assert made.adapter and made.id == "back@1"


def test_a_failure_has_its_reason_where_sagemaker_reads_it(tiny: Base, tmp_path: Path) -> None:
    environment = lay_out(tmp_path / "ml", tiny, learning_rat="1")
    ran = subprocess.run(ENTRY, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "learning_rat" in (tmp_path / "ml" / "output" / "failure").read_text()
    assert "Traceback" not in ran.stdout + ran.stderr


def facts() -> Facts:
    return Facts("job", "000000000000", "us-east-1", "real-time", "", "", ())


@pytest.mark.parametrize("how", ["plain", "spot", "fsx", "serverless"])
def test_what_is_asked_of_sagemaker_is_what_its_model_allows(how: str) -> None:
    fsx = "fs-0123456789abcdef0:/mount/data@subnet-1,sg-1" if how == "fsx" else None
    hub = "arn:aws:sagemaker:us-east-1:aws:hub-content/public/Model/llama/1.0.0" if how == "serverless" else None
    options = training.options(find("ml.g5.xlarge", MACHINES), how == "spot", fsx, hub)
    recipe = change(Recipe.from_data(DATA), {"epochs": "2", "lora.r": "8", "fast": "false"})
    arn = "arn:aws:iam::000000000000:role/r"
    asked = training.request("job-1", facts(), arn, recipe, options, ["code", "train", "base"])
    model = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    report = ParamValidator().validate(asked, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert all(isinstance(value, str) for value in asked["HyperParameters"].values())
    back = change(Recipe.from_data(DATA), asked["HyperParameters"])
    assert (back.epochs, back.fast, back.knobs) == (2, False, recipe.knobs)


def test_an_fsx_that_is_half_named_is_refused() -> None:
    with pytest.raises(InputError, match="--fsx fs-1"):
        training.options(MACHINES[0], False, "fs-1", None)


@pytest.fixture
def models(tiny: Base, home: Home, account: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A home with one model, and no waiting."""
    monkeypatch.setattr(stacks, "PAUSE", 0.1)
    monkeypatch.setattr(training, "PAUSE", 0.2)
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    home.root.mkdir(parents=True)
    database = open_database(home.database)
    registry = Registry(database, home)
    import_model(tiny.folder, "faq", registry, home, None)
    yield registry
    database.dispose()


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_there_and_have_it_here(models: Registry, tiny: Base, account: Cloud) -> None:
    settings = [f"--set={key}={value}" for key, value in {"epochs": 1, "batch_size": 6, "model": tiny.folder}.items()]
    words = ["deploy", "aws", "train", str(DATA), "--name", "there", "--instance", "ml.m5.xlarge", "--yes", *settings]
    assert "there@1 is registered" in run(*words)
    job = next(iter(account.double.sagemaker.records["training-job"].values()))
    assert job["TrainingJobStatus"] == "Completed" and job["FinalMetricDataList"]
    assert models.find("there@1").adapter
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert "again@1 is registered" in run("models", "import", uri, "--name", "again", "--base", str(tiny.folder))
    assert "there is gone" in run("deploy", "aws", "destroy", "there", "--yes")


def test_the_registry_there_and_here(models: Registry, account: Cloud) -> None:
    account.client("s3").create_bucket(Bucket="packages-bucket")
    run("models", "push", "faq@1", "--bucket", "packages-bucket")
    ((arn, package),) = account.double.sagemaker.records["package"].items()
    assert package["CustomerMetadataProperties"]["pumice"] == "faq@1"
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    package["ModelApprovalStatus"] = "Approved"
    assert "faq@1 is production now" in run("models", "pull", "faq")
    models.set_stage("faq@1", Stage.ARCHIVED)
    run("models", "push", "faq@1", "--bucket", "packages-bucket")
    assert account.double.sagemaker.records["package"][arn]["ModelApprovalStatus"] == "Rejected"
    assert packages.group("my_model.v2") == "pumice-my-model-v2"


def test_bedrock_is_asked_only_for_what_it_imports(models: Registry) -> None:
    from pumice.deploy.aws import artifacts

    subject = artifacts.find("faq", models, models.home)
    bedrock.check(subject)
    strange = replace(subject, base=replace(subject.base, architecture="Gemma3ForCausalLM"))
    with pytest.raises(InputError, match="Gemma3"):
        bedrock.check(strange)
    assert Account(None, None).region == "us-east-1"


class Bedrock:
    """The five calls that are made; the emulator's imports never end."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.there = False

    def create_model_import_job(self, **asked: Any) -> dict[str, Any]:
        self.asked, self.there = asked, True
        return {"jobArn": "arn:job"}

    def get_model_import_job(self, jobIdentifier: str) -> dict[str, Any]:
        return {"status": "Completed", "importedModelArn": "arn:model"}

    def get_imported_model(self, modelIdentifier: str) -> dict[str, Any]:
        return {}

    def delete_imported_model(self, modelIdentifier: str) -> None:
        self.there = False


def test_merged_weights_go_to_bedrock_and_come_away_again(
    models: Registry, account: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, real = Bedrock(), Account.client
    monkeypatch.setattr(Account, "client", lambda self, name: fake if name == "bedrock" else real(self, name))
    assert "arn:model" in run("deploy", "aws", "bedrock-import", "faq", "--name", "rock")
    model = botocore.session.get_session().get_service_model("bedrock").operation_model("CreateModelImportJob")
    report = ParamValidator().validate(fake.asked, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    bucket, _, prefix = fake.asked["modelDataSource"]["s3DataSource"]["s3Uri"].removeprefix("s3://").partition("/")
    keys = [each["Key"] for each in account.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
    assert {f"{prefix}config.json", f"{prefix}model.safetensors", f"{prefix}tokenizer.json"} <= set(keys)
    assert "rock is gone" in run("deploy", "aws", "destroy", "rock", "--yes")
    assert not fake.there
