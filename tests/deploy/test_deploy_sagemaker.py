"""SageMaker: the real training container over a laid-out /opt/ml, and the commands over the double."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
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
from pumice.deploy.aws import bedrock, packages, stacks, training, training_plan
from pumice.deploy.aws.account import Account
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.prices import MACHINES, find
from pumice.deploy.sagemaker import container, launch, train
from pumice.errors import InputError, PumiceError
from pumice.records import Base, Stage
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train import sizes
from pumice.train.recipe import Recipe, change

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "support.jsonl"
ENTRY = [sys.executable, "-m", "pumice.deploy.sagemaker", "train"]
SETTINGS = {"epochs": "3", "save_steps": "2", "method": '"lora"', "lora.r": "4", "batch_size": "3"}


def lay_out(
    root: Path, base: Base, at: int = 0, hosts: tuple[str, ...] = ("algo-1",), rows: int = 12, **settings: str
) -> dict[str, str]:
    """/opt/ml as SageMaker lays it on the host `at`; the environment that names it."""
    config, data = root / "input" / "config", root / "input" / "data"
    config.mkdir(parents=True)
    (data / "train").mkdir(parents=True)
    (data / "train" / "rows.jsonl").write_text("".join(DATA.read_text().splitlines(keepends=True)[:rows]))
    (data / "base").symlink_to(base.folder, target_is_directory=True)
    given = {**SETTINGS, **settings, "sagemaker_program": "x"}
    (config / "hyperparameters.json").write_text(json.dumps(given))
    resources = {"current_host": hosts[at], "hosts": hosts, "network_interface_name": "lo"}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    return {**os.environ, "PUMICE_ML_ROOT": str(root), "TMPDIR": str(root)}


def stepped(said: str) -> list[int]:
    return [int(line.split("step=")[1].split()[0]) for line in said.splitlines() if line.startswith("step ")]


def test_the_default_model_is_trained_interrupted_resumed_and_imported(base: Base, tmp_path: Path, home: Home) -> None:
    root = tmp_path / "ml"
    environment = lay_out(root, base, rows=3, save_steps="1")
    first = start(environment)
    before_training(first)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=300)[0]
    assert first.returncode == 0 and stepped(said) == [1] and not (root / "model").exists(), said
    second = subprocess.run(ENTRY, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout
    assert stepped(second.stdout) == [2, 3]
    assert brought(root / "model", home, base) == "back@1"


def brought(artifact: Path, home: Home, base: Base) -> str:
    """The version that an artifact becomes here."""
    home.root.mkdir(parents=True)
    database = open_database(home.database)
    made = import_model(artifact, "back", Registry(database, home), home, None, str(base.folder))
    database.dispose()
    assert made.adapter
    return made.id


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(ENTRY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def before_training(process: subprocess.Popen[str]) -> None:
    """Wait until it says that it trains; a wish to stop is then heard after the first step."""
    assert process.stdout
    assert any(line.startswith("stage") for line in process.stdout)


def test_two_machines_stop_together_go_on_and_leave_one_artifact(tiny: Base, tmp_path: Path, home: Home) -> None:
    # Both names are of this machine; the first in order is where they meet.
    hosts = ("127.0.0.1", "localhost")
    roots = [tmp_path / "one", tmp_path / "two"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"PET_MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    settings = {"batch_size": "2", "gradient_accumulation": "2", "save_steps": "4"}
    environments = [lay_out(root, tiny, at, hosts, **settings) | told for at, root in enumerate(roots)]
    running = [start(each) for each in environments]
    before_training(running[0])
    # One machine alone is told that it will be taken away.
    running[1].send_signal(signal.SIGTERM)
    said = [each.communicate(timeout=300)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0], said
    assert "goes on from its checkpoint" in said[0] and not (roots[0] / "model").exists()
    assert (roots[0] / "checkpoints" / "training" / "checkpoints" / "checkpoint-1").exists()
    assert stepped(said[0]) == [1] and not (roots[1] / "checkpoints").exists()
    running = [start(each) for each in environments]
    said = [each.communicate(timeout=300)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0], said
    assert stepped(said[0]) == list(range(2, 10)) and not stepped(said[1])
    assert not (roots[1] / "model").exists()
    assert brought(roots[0] / "model", home, tiny) == "back@1"


def test_a_failure_has_its_reason_where_sagemaker_reads_it(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = lay_out(tmp_path / "ml", tiny, learning_rat="1")
    for name in ("PUMICE_ML_ROOT", "TMPDIR"):
        monkeypatch.setenv(name, environment[name])
    heard = signal.getsignal(signal.SIGTERM)
    assert train.main(container.read()) == 1
    signal.signal(signal.SIGTERM, heard)
    assert "learning_rat" in (tmp_path / "ml" / "output" / "failure").read_text()
    assert "Traceback" not in capsys.readouterr().out
    container.read().fail("what follows from it")
    assert "learning_rat" in (tmp_path / "ml" / "output" / "failure").read_text()


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_a_process_for_each_gpu(gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = container.Container(tmp_path, {}, ("algo-1",), "algo-1", "eth0")
    monkeypatch.setattr(launch.sizes, "gpus", lambda: (sizes.Gpu("A10G", 1, 1),) * gpus)
    assert launch.here() == max(1, gpus)
    two = replace(found, hosts=("algo-1", "algo-2"), host="algo-2")
    words = launch.command(two, launch.here())
    options = {f"--nproc-per-node={max(1, gpus)}", "--nnodes=2", "--node-rank=1", "--master-addr=algo-1"}
    assert options <= set(words) and words[-2:] == ["pumice.deploy.sagemaker", "share"]
    assert launch.environment(two)["NCCL_SOCKET_IFNAME"] == "eth0"


def facts() -> Facts:
    return Facts("job", "000000000000", "us-east-1", "real-time", "", "", ())


@pytest.mark.parametrize("how", ["plain", "spot", "fsx", "serverless"])
def test_what_is_asked_of_sagemaker_is_what_its_model_allows(how: str) -> None:
    fsx = "fs-0123456789abcdef0:/mount/data@subnet-1,sg-1" if how == "fsx" else None
    hub = "arn:aws:sagemaker:us-east-1:aws:hub-content/public/Model/llama/1.0.0" if how == "serverless" else None
    options = training.options(find("ml.g5.xlarge", MACHINES), 2, how == "spot", fsx, hub)
    recipe = change(Recipe.from_data(DATA), {"epochs": "2", "lora.r": "8", "fast": "false"})
    arn = "arn:aws:iam::000000000000:role/r"
    asked = training.request("job-1", facts(), arn, recipe, options, ["code", "train", "base"])
    model = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    report = ParamValidator().validate(asked, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert all(isinstance(value, str) for value in asked["HyperParameters"].values())
    assert how == "serverless" or asked["ResourceConfig"]["InstanceCount"] == 2
    modes = {each["ChannelName"]: each["InputMode"] for each in asked["InputDataConfig"]}
    assert modes["train"] == ("File" if how == "fsx" else "FastFile")
    back = change(Recipe.from_data(DATA), asked["HyperParameters"])
    assert (back.epochs, back.fast, back.knobs) == (2, False, recipe.knobs)


def test_an_fsx_that_is_half_named_is_refused() -> None:
    with pytest.raises(InputError, match="--fsx fs-1"):
        training.options(MACHINES[0], 1, False, "fs-1", None)


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


def test_train_there_and_have_it_here(models: Registry, tiny: Base, account: Cloud, tmp_path: Path) -> None:
    settings = [f"--set={key}={value}" for key, value in {"epochs": 1, "batch_size": 6, "model": tiny.folder}.items()]
    words = ["deploy", "aws", "train", str(DATA), "--set=name=there", "--instance", "ml.m5.xlarge", *settings]
    plan = str(tmp_path / "plan.json")
    run(*words, "--out", plan)
    assert "there@1 is registered" in run("deploy", "aws", "apply", plan)
    # The same job: asked for again, it is followed to the end that it has had.
    again = CliRunner().invoke(app, words, input="y\n", catch_exceptions=False)
    assert "Train there?" in again.output and "there@2 is registered" in again.output
    job = next(iter(account.double.sagemaker.records["training-job"].values()))
    assert job["TrainingJobStatus"] == "Completed" and job["FinalMetricDataList"]
    assert models.find("there@1").adapter
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert "again@1 is registered" in run("models", "import", uri, "--name", "again", "--base", str(tiny.folder))
    assert "there is gone" in run("deploy", "aws", "destroy", "there", "--yes")


def test_a_plan_says_what_a_training_costs_before_it_starts(
    models: Registry, tiny: Base, account: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    shutil.copy(DATA, rows)
    jobs = account.double.sagemaker.records["training-job"]
    before = set(jobs)
    settings = [f"--set={key}={value}" for key, value in {"batch_size": 6, "model": tiny.folder}.items()]
    words = ["deploy", "aws", "train", str(rows), "--set=name=later", "--instance", "ml.m5.xlarge", *settings]
    told = run(*words, "--instances", "3", "--out", "plan.json")
    assert "$0.690 an hour" in told and "3 x ml.m5.xlarge" in told and "needs 3, the account has 4" in told
    assert "pumice deploy aws apply plan.json" in told and set(jobs) == before
    assert isinstance(training_plan.load(Path("plan.json")), training_plan.TrainingPlan)
    refused(["deploy", "aws", "smoke", "plan.json"], "plan.json is no plan")
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[1:]))
    refused(["deploy", "aws", "apply", "plan.json"], "has changed since the plan was made")
    refused([*words, "--instances", "6"], "is 4, and this needs 6")
    refused([*words, "--instances", "4"], "A step has 6 rows, and 4 processes cannot share them evenly")
    rows.write_text("{}\n")
    refused(words, "rows.jsonl")
    refused([*words, "--set=method=qlora"], "qlora needs an NVIDIA GPU, and ml.m5.xlarge has none")
    answer = CliRunner().invoke(app, ["deploy", "aws", "train", str(DATA), *words[4:]], input="n\n")
    assert answer.exit_code == 1 and "Train there?" in answer.output
    assert set(jobs) == before


def test_a_new_model_is_planned_and_sent_without_a_base(models: Registry, account: Cloud, tmp_path: Path) -> None:
    data = tmp_path / "input" / "data" / "train"
    data.mkdir(parents=True)
    (data / "texts.txt").write_text("".join(f"The answer to question {at} is {at * at}.\n\n" for at in range(60)))
    recipe = change(Recipe.from_data(data / "texts.txt"), {"method": "pretrain", "pretrain.size": "1M"})
    options = training.options(find("ml.m5.xlarge", MACHINES), 1, False, None, None)
    made = training_plan.make(recipe, "new", options, Account(None, None), models, models.home)
    assert any(each.why == "pretrain on a new model" for each in made.resources) and 0 < made.needs < made.has
    account.client("s3").create_bucket(Bucket=made.facts.bucket)
    assert training.send(recipe, made.facts, "new", models.home, account.client("s3")) == ["code", "train"]
    there = container.Container(tmp_path, training.settings(recipe), ("algo-1",), "algo-1")
    assert train.recipe_of(there).knobs == recipe.knobs


def refused(words: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, PumiceError), result.output
    assert sentence in " ".join(str(result.exception).split())


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
