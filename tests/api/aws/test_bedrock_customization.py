"""Customization jobs over boto3: words in, a real job, metrics in S3, a custom model out."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import register, serving

from pumice.api.aws.bedrock import custom_models
from pumice.api.aws.services import BEDROCK
from pumice.bases import resolve
from pumice.config import Home
from pumice.jobs.queue import Queue
from pumice.records import Base, Job, Model, Report, Scores, Stage
from pumice.registry.models import Registry
from pumice.store.tables import open_database

ROLE = "arn:aws:iam::000000000000:role/any"
ROWS = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(8)]
FAST = {"epochCount": "2", "batchSize": "4", "learningRate": "0.001", "pumice.lora.r": "2", "pumice.max_length": "128"}


@dataclass(frozen=True)
class Cloud:
    """A server with a tiny model to train, and the two clients that a user has."""

    home: Home
    bedrock: Any
    s3: Any

    def upload(self, key: str, rows: list[Any]) -> str:
        self.s3.put_object(Bucket="data", Key=key, Body="".join(json.dumps(row) + "\n" for row in rows).encode())
        return f"s3://data/{key}"

    def create(self, name: str, uri: str, **more: Any) -> str:
        wanted: dict[str, Any] = {
            "jobName": name,
            "customModelName": f"model-{name}",
            "roleArn": ROLE,
            "baseModelIdentifier": "tiny",
            "trainingDataConfig": {"s3Uri": uri},
            "outputDataConfig": {"s3Uri": "s3://data/out/"},
            "hyperParameters": FAST,
        }
        return str(self.bedrock.create_model_customization_job(**{**wanted, **more})["jobArn"])

    def show(self, job: str) -> dict[str, Any]:
        return dict(self.bedrock.get_model_customization_job(jobIdentifier=job))

    @property
    def queue(self) -> Queue:
        return Queue(open_database(self.home.database), self.home)

    def newest(self) -> Job:
        return self.queue.list()[0]

    def work(self) -> Job:
        """The newest job, when the server has done it."""
        job = self.newest()
        list(self.queue.follow(job.id))
        return self.queue.get(job.id)

    def stop(self, name: str) -> None:
        """Stop the newest job, and wait until it has ended."""
        self.bedrock.stop_model_customization_job(jobIdentifier=name)
        assert self.work().state == "stopped"

    def objects(self, prefix: str) -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket="data", Prefix=prefix).get("Contents", ())]

    def read(self, key: str) -> str:
        return str(self.s3.get_object(Bucket="data", Key=key)["Body"].read().decode())


@pytest.fixture(scope="module")
def cloud(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = Home(tmp_path_factory.mktemp("cloud"))
    small = resolve.resolve(str(tiny.folder), home)
    artifact = tmp_path_factory.mktemp("artifact") / "tiny"
    shutil.copytree(small.folder, artifact)
    register(home, small, "tiny", artifact, method="full")
    with serving(home) as url:
        config = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
        known = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "passes"}
        bedrock, s3 = (boto3.client(name, endpoint_url=url, config=config, **known) for name in ("bedrock", "s3"))
        s3.create_bucket(Bucket="data")
        yield Cloud(home, bedrock, s3)


@pytest.fixture(scope="module")
def trained(cloud: Cloud) -> dict[str, Any]:
    """A job from its request to its end, as a user sees it on the way."""
    uri = cloud.upload("train.jsonl", ROWS)
    asked = cloud.upload("validation.jsonl", ROWS[:3])
    tags = [{"key": "team", "value": "lab"}]
    arn = cloud.create(
        "first",
        uri,
        validationDataConfig={"validators": [{"s3Uri": asked}]},
        jobTags=tags,
        customModelTags=tags,
        customizationType="FINE_TUNING",
    )
    before = cloud.show("first")
    # What is uploaded later changes nothing.
    cloud.upload("train.jsonl", [{"nothing": "known"}])
    job = cloud.work()
    # Nobody asks for the job's status: its end alone brings the metrics.
    until = time.monotonic() + 60
    while not cloud.objects(f"out/model-customization-job-{arn.rpartition('/')[2]}/training_artifacts/"):
        assert time.monotonic() < until, "nothing was written at the job's end"
        time.sleep(0.1)
    return {"arn": arn, "before": before, "after": cloud.show(arn), "job": job}


def refusal(code: str, act: Any, *given: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as caught:
        act(*given, **named)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return str(caught.value.response["Error"]["Message"])


def test_a_job_goes_from_in_progress_to_completed(trained: dict[str, Any], cloud: Cloud) -> None:
    before, after = trained["before"], trained["after"]
    assert before["status"] == "InProgress"
    assert before["statusDetails"]["trainingDetails"] == {"status": "NotStarted"}
    assert after["status"] == "Completed" and after["endTime"] >= after["creationTime"]
    assert after["jobArn"] == trained["arn"] and after["hyperParameters"] == FAST and after["roleArn"] == ROLE
    phases = [after["statusDetails"][f"{name}Details"] for name in ("validation", "dataProcessing", "training")]
    assert [phase["status"] for phase in phases] == ["Completed"] * 3
    times = [phase[key] for phase in phases for key in ("creationTime", "lastModifiedTime")]
    assert times == sorted(times)
    spec = trained["job"].spec
    assert (spec["epochs"], spec["batch_size"], spec["learning_rate"], spec["lora"]["r"]) == (2, 4, 1e-3, 2)
    assert cloud.bedrock.list_tags_for_resource(resourceARN=trained["arn"])["tags"] == [{"key": "team", "value": "lab"}]


def test_the_metrics_lie_in_s3(trained: dict[str, Any], cloud: Cloud) -> None:
    top = f"out/model-customization-job-{trained['arn'].rpartition('/')[2]}"
    steps = list(csv.DictReader(io.StringIO(cloud.read(f"{top}/training_artifacts/step_wise_training_metrics.csv"))))
    assert [(row["step_number"], row["epoch_number"]) for row in steps] == [
        ("1", "0"),
        ("2", "0"),
        ("3", "1"),
        ("4", "1"),
    ]
    assert float(steps[-1]["training_loss"]) == pytest.approx(trained["after"]["trainingMetrics"]["trainingLoss"])
    assert float(steps[0]["perplexity"]) > float(steps[0]["training_loss"])
    folder = f"{top}/validation_artifacts/post_fine_tuning_validation/validation"
    (row,) = csv.DictReader(io.StringIO(cloud.read(f"{folder}/validation_metrics.csv")))
    (metric,) = trained["after"]["validationMetrics"]
    assert float(row["validation_loss"]) == pytest.approx(metric["validationLoss"])
    assert json.loads(cloud.read(f"{folder}/report.json"))["set"] == "validation file"


def test_the_model_is_a_custom_model(trained: dict[str, Any], cloud: Cloud) -> None:
    arn = trained["after"]["outputModelArn"]
    model = cloud.bedrock.get_custom_model(modelIdentifier=arn)
    assert (model["modelName"], model["jobName"], model["modelStatus"]) == ("model-first", "first", "Active")
    assert model["trainingMetrics"] == trained["after"]["trainingMetrics"]
    for other in ("model-first", "model-first@1"):
        assert cloud.bedrock.get_custom_model(modelIdentifier=other)["modelArn"] == arn
    listed = cloud.bedrock.list_custom_models(nameContains="model-first")["modelSummaries"]
    assert [each["modelArn"] for each in listed] == [arn] and listed[0]["customizationType"] == "FINE_TUNING"
    # Versions that came another way are there too.
    assert "tiny" in {each["modelName"] for each in cloud.bedrock.list_custom_models()["modelSummaries"]}
    tags = cloud.bedrock.list_tags_for_resource(resourceARN=arn)["tags"]
    assert tags == [{"key": "team", "value": "lab"}]


@pytest.mark.parametrize(
    ("method", "exact_match", "type"),
    [
        ("import", None, "IMPORTED"),
        ("lora", 0.5, "FINE_TUNING"),
        ("full", None, "CONTINUED_PRE_TRAINING"),
        ("cpt", None, "CONTINUED_PRE_TRAINING"),
        ("pretrain", None, "CONTINUED_PRE_TRAINING"),
        ("distill", 0.5, "DISTILLATION"),
        ("rlhf", None, "REINFORCEMENT_FINE_TUNING"),
        ("dpo", None, "FINE_TUNING"),
        ("kto", None, "FINE_TUNING"),
        ("orpo", None, "FINE_TUNING"),
        ("reward", None, "FINE_TUNING"),
        ("head", None, "FINE_TUNING"),
    ],
)
def test_a_version_that_came_another_way_has_the_type_of_its_method(
    home: Home, method: str, exact_match: float | None, type: str
) -> None:
    scores = Scores(
        loss=1.0, perplexity=2.0, exact_match=exact_match, token_f1=None, rouge_l=None, stopped=None, general_loss=1.0
    )
    report = Report("held-out rows", 3, scores, scores, {}, "undecided", None)
    model = Model(
        name="came",
        version=1,
        stage=Stage.CANDIDATE,
        folder=home.models,
        method=method,
        adapter=False,
        base="any",
        base_sha256="",
        base_source="folder:any",
        template_sha256="",
        data_sha256="",
        job=None,
        created=datetime.now(UTC),
        recipe={},
        report=report,
    )
    shown = custom_models.summary(model, Registry(open_database(home.database), home), {})
    assert shown["customizationType"] == type


def test_a_deleted_model_is_gone_and_its_number_with_it(cloud: Cloud, tiny: Base, tmp_path: Path) -> None:
    small = resolve.resolve(str(tiny.folder), cloud.home)
    shutil.copytree(small.folder, tmp_path / "again")
    register(cloud.home, small, "brief", tmp_path / "again", method="full")
    arn = cloud.bedrock.get_custom_model(modelIdentifier="brief")["modelArn"]
    cloud.bedrock.delete_custom_model(modelIdentifier=arn)
    sentence = refusal("ResourceNotFoundException", cloud.bedrock.get_custom_model, modelIdentifier=arn)
    assert arn in sentence
    assert register(cloud.home, small, "brief", tmp_path / "again", method="full") == "brief@2"
    assert refusal("NotImplementedException", cloud.bedrock.create_custom_model, modelName="x") == (
        "CreateCustomModel of bedrock is not served by Pumice."
    )


def test_a_token_makes_one_job(cloud: Cloud) -> None:
    uri = cloud.upload("token.jsonl", ROWS)
    token = {"clientRequestToken": "once-and-only-once"}
    first = cloud.create("token", uri, **token)
    count = len(cloud.queue.list())
    assert cloud.create("token", uri, **token) == first and len(cloud.queue.list()) == count
    assert "came with another request" in refusal("ConflictException", cloud.create, "other", uri, **token)
    assert "'token'" in refusal("ConflictException", cloud.create, "token", uri)
    assert cloud.show("token")["clientRequestToken"] == token["clientRequestToken"]
    cloud.stop("token")


def test_a_job_can_be_stopped_once(cloud: Cloud) -> None:
    arn = cloud.create("stopped", cloud.upload("stop.jsonl", ROWS))
    cloud.stop(arn)
    assert cloud.show("stopped")["status"] == "Stopped"
    sentence = refusal("ConflictException", cloud.bedrock.stop_model_customization_job, jobIdentifier=arn)
    assert "stopped is Stopped" in sentence


def test_a_mistake_in_the_data_is_told_with_its_line(cloud: Cloud) -> None:
    rows: list[Any] = [*ROWS]
    rows[4] = {"prompt": "no answer", "completion": ""}
    cloud.create("broken", cloud.upload("broken.jsonl", rows))
    cloud.work()
    found = cloud.show("broken")
    assert found["status"] == "Failed" and "s3://data/broken.jsonl:5:" in found["failureMessage"]
    assert str(cloud.home.root) not in found["failureMessage"]
    assert found["statusDetails"]["validationDetails"]["status"] == "Failed"
    assert found["statusDetails"]["trainingDetails"] == {"status": "NotStarted"}


def test_every_form_of_bedrocks_rows_is_read(cloud: Cloud) -> None:
    said = [{"text": "It is blue."}]
    turns = [{"role": "user", "content": [{"text": "The sky?"}]}, {"role": "assistant", "content": said}]
    chat = [{"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "Be brief."}], "messages": turns}] * 4
    text = [{"input": f"The sky was blue on day {n}."} for n in range(4)]
    for name, rows, type in (("chat", chat, "FINE_TUNING"), ("text", text, "CONTINUED_PRE_TRAINING")):
        cloud.create(name, cloud.upload(f"{name}.jsonl", rows), customizationType=type)
        other = {"FINE_TUNING": "CONTINUED_PRE_TRAINING", "CONTINUED_PRE_TRAINING": "FINE_TUNING"}[type]
        sentence = refusal(
            "ValidationException", cloud.create, f"{name}2", f"s3://data/{name}.jsonl", customizationType=other
        )
        assert f"its rows are {name} data" in sentence
        cloud.stop(name)


PAIRS = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "Who knows?"} for n in range(4)]
VOTES = [{"prompt": f"What is {n}?", "completion": f"It is {n}.", "label": n % 2 == 0} for n in range(4)]
CLASSES = [{"text": f"It is {n}.", "label": "even" if n % 2 == 0 else "odd"} for n in range(4)]
PROMPTS = [{"prompt": f"What is {n}?"} for n in range(4)]


@pytest.mark.parametrize(
    ("method", "rows", "kind"),
    [
        ("dpo", PAIRS, "preference"),
        ("kto", VOTES, "unpaired preference"),
        ("head", CLASSES, "labelled"),
        ("lora", PROMPTS, "prompts"),
    ],
)
def test_rows_of_every_method_but_texts_are_for_fine_tuning(
    cloud: Cloud, method: str, rows: list[Any], kind: str
) -> None:
    """Which of them a method reads, its job says."""
    uri = cloud.upload(f"{method}.jsonl", rows)
    given = {"hyperParameters": {"pumice.method": method}}
    other = {**given, "customizationType": "CONTINUED_PRE_TRAINING"}
    sentence = refusal("ValidationException", cloud.create, f"{method}2", uri, **other)
    assert f"its rows are {kind} data, which is for FINE_TUNING" in sentence
    cloud.create(method, uri, **given)
    assert cloud.newest().spec["method"] == method
    # It may have ended by itself.
    with suppress(ClientError):
        cloud.bedrock.stop_model_customization_job(jobIdentifier=method)


def test_a_handler_that_asks_for_one_too_many_is_a_failure_and_no_silence(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_foundation_models(call: Any, request: Any) -> Any:
        return next(iter(()))

    monkeypatch.setitem(BEDROCK.handlers, "ListFoundationModels", list_foundation_models)
    sentence = refusal("InternalServerException", cloud.bedrock.list_foundation_models)
    assert "ListFoundationModels failed" in sentence


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("epochCount", "0", "epochCount = '0'; it must be a whole number, 1 or more"),
        ("learningRate", "fast", "learningRate = 'fast'; it must be a number above 0, at most 1"),
        ("learningRateWarmupSteps", "-1", "it must be a whole number, 0 or more"),
        ("epochsCount", "1", "Did you mean epochCount?"),
        ("pumice.lora.rank", "1", "Did you mean pumice.lora.r?"),
        ("pumice.data", "/etc/passwd", "Say it in trainingDataConfig"),
        ("pumice.method", "telepathy", "'telepathy' is no method"),
        ("pumice.epochs", "3", "said twice"),
        ("earlyStoppingPatience", "3", "earlyStoppingPatience is not served here"),
        ("pumice.seed", "[", "pumice.seed = '[' cannot be read"),
        ("pumice.seed", "x", "it must be a whole number, 0 or more"),
    ],
)
def test_a_hyperparameter_that_is_wrong_is_named(cloud: Cloud, key: str, value: str, sentence: str) -> None:
    uri = cloud.upload("rows.jsonl", ROWS)
    count = len(cloud.queue.list())
    given = {"epochCount": "1", key: value}
    assert sentence in refusal("ValidationException", cloud.create, "wrong", uri, hyperParameters=given)
    assert len(cloud.queue.list()) == count
    refusal("ResourceNotFoundException", cloud.show, "wrong")


def test_a_program_of_the_callers_is_not_run(cloud: Cloud) -> None:
    """A scorer is Python: whoever may upload a file could run it here."""
    uri, count = cloud.upload("rows.jsonl", ROWS), len(cloud.queue.list())
    program = cloud.home.s3 / "data" / "rows.py"
    for reward, sentence in ((f"{program}:score", "Python file"), ("/etc", "'/etc' is not one that can be")):
        given = {"pumice.method": "rlhf", "pumice.rlhf.reward": reward}
        assert sentence in refusal("ValidationException", cloud.create, "program", uri, hyperParameters=given)
    assert len(cloud.queue.list()) == count


def test_what_is_not_there_is_said(cloud: Cloud) -> None:
    uri = cloud.upload("rows.jsonl", ROWS)
    sentence = refusal("ValidationException", cloud.create, "later", uri, customizationType="IMPORTED")
    assert "customizationType: IMPORTED is not served here" in sentence
    sentence = refusal("ValidationException", cloud.create, "later", uri, customizationType="DISTILLATION")
    assert "customizationConfig: DISTILLATION needs distillationConfig" in sentence
    grader = {"rftConfig": {"graderConfig": {"lambdaGrader": {"lambdaArn": "arn:aws:lambda:us-east-1:1:function:g"}}}}
    rewarded = {"customizationType": "REINFORCEMENT_FINE_TUNING", "customizationConfig": grader}
    assert "no Lambda function runs here" in refusal("ValidationException", cloud.create, "later", uri, **rewarded)
    missing = refusal("ResourceNotFoundException", cloud.create, "later", "s3://data/row.jsonl")
    assert "s3://data/rows.jsonl" in missing
    unknown = refusal("ResourceNotFoundException", cloud.create, "later", uri, baseModelIdentifier="/etc")
    assert "'/etc' is no model that can be trained here" in unknown
    named = refusal("ValidationException", cloud.create, "no good", uri)
    assert "jobName: 'no good' cannot be a name" in named
    assert "customModelName" in refusal("ValidationException", cloud.create, "x", uri, customModelName="a b")


def test_a_teacher_and_rewards_reach_the_recipe(cloud: Cloud) -> None:
    uri = cloud.upload("rows.jsonl", ROWS)
    teacher = {"teacherModelIdentifier": "tiny", "maxResponseLengthForInference": 12}
    distilled = {"distillationConfig": {"teacherModelConfig": teacher}}
    cloud.create("taught", uri, customizationType="DISTILLATION", customizationConfig=distilled)
    rewarded = {"rftConfig": {"hyperParameters": {"trainingSamplePerPrompt": 3, "epochCount": 1}}}
    given = {"pumice.rlhf.reward": "length:5"}
    asked = {"customizationConfig": rewarded, "hyperParameters": given}
    cloud.create("rewarded", uri, customizationType="REINFORCEMENT_FINE_TUNING", **asked)
    specs = {job.spec["name"]: job.spec for job in cloud.queue.list()}
    taught, prized = specs["model-taught"], specs["model-rewarded"]
    assert taught["method"] == "distill" and taught["distill"]["teacher"].startswith("tiny@")
    assert taught["distill"]["max_tokens"] == 12
    assert prized["method"] == "rlhf" and (prized["rlhf"]["answers"], prized["rlhf"]["reward"]) == (3, "length:5")
    assert prized["epochs"] == 1
    # They may have ended by themselves.
    for name in ("taught", "rewarded"):
        with suppress(ClientError):
            cloud.bedrock.stop_model_customization_job(jobIdentifier=name)


def test_jobs_come_in_pages(cloud: Cloud) -> None:
    uri = cloud.upload("rows.jsonl", ROWS)
    names = [f"page-{n}" for n in range(5)]
    for name in names:
        cloud.create(name, uri)
        cloud.stop(name)
    pages = cloud.bedrock.get_paginator("list_model_customization_jobs").paginate(
        nameContains="page-", statusEquals="Stopped", sortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    found = [[each["jobName"] for each in page["modelCustomizationJobSummaries"]] for page in pages]
    assert found == [names[:2], names[2:4], names[4:]]
    assert (
        cloud.bedrock.list_model_customization_jobs(nameContains="page-", statusEquals="Failed")[
            "modelCustomizationJobSummaries"
        ]
        == []
    )


def test_weights_in_s3_are_imported(cloud: Cloud, tiny: Base) -> None:
    for file in tiny.folder.iterdir():
        if file.is_file():
            cloud.s3.upload_file(str(file), "data", f"weights/{file.name}")
    source = {"s3DataSource": {"s3Uri": "s3://data/weights/"}}
    wanted = {"importedModelName": "brought", "roleArn": ROLE, "modelDataSource": source}
    arn = cloud.bedrock.create_model_import_job(jobName="bring", **wanted)["jobArn"]
    assert cloud.bedrock.get_model_import_job(jobIdentifier=arn)["status"] == "InProgress"
    cloud.work()
    job = cloud.bedrock.get_model_import_job(jobIdentifier="bring")
    assert job["status"] == "Completed", job
    model = cloud.bedrock.get_imported_model(modelIdentifier=job["importedModelArn"])
    assert (model["modelName"], model["modelArchitecture"], model["jobName"]) == (
        "brought",
        "LlamaForCausalLM",
        "bring",
    )
    assert model["instructSupported"] and model["modelDataSource"] == source
    assert [each["modelName"] for each in cloud.bedrock.list_imported_models()["modelSummaries"]] == ["brought"]
    assert [each["jobName"] for each in cloud.bedrock.list_model_import_jobs()["modelImportJobSummaries"]] == ["bring"]
    refusal("ResourceNotFoundException", cloud.bedrock.get_imported_model, modelIdentifier="tiny")
    cloud.bedrock.delete_imported_model(modelIdentifier="brought")
    assert not Registry(open_database(cloud.home.database), cloud.home).list("brought")


def test_the_catalogue_is_bedrocks_foundation_models(cloud: Cloud) -> None:
    every = cloud.bedrock.list_foundation_models()["modelSummaries"]
    assert len({each["modelId"] for each in every}) == len(every)
    qwen = cloud.bedrock.get_foundation_model(modelIdentifier="Qwen/Qwen3-0.6B")["modelDetails"]
    assert (qwen["modelId"], qwen["providerName"]) == ("qwen.qwen3-0-6b", "Qwen")
    for other in (qwen["modelId"], qwen["modelArn"]):
        assert cloud.bedrock.get_foundation_model(modelIdentifier=other)["modelDetails"] == qwen
    assert cloud.bedrock.get_foundation_model_availability(modelId=qwen["modelId"])["regionAvailability"] == "AVAILABLE"
    embedders = cloud.bedrock.list_foundation_models(byOutputModality="EMBEDDING")["modelSummaries"]
    assert embedders and all(not each["customizationsSupported"] for each in embedders)
    tuned = cloud.bedrock.list_foundation_models(byCustomizationType="FINE_TUNING", byProvider="qwen")["modelSummaries"]
    assert qwen["modelId"] in {each["modelId"] for each in tuned} < {each["modelId"] for each in every}
    assert cloud.bedrock.list_foundation_models(byCustomizationType="DISTILLATION")["modelSummaries"] == []
    sentence = refusal("ResourceNotFoundException", cloud.bedrock.get_foundation_model, modelIdentifier="qwen.qwen3-1b")
    assert "qwen.qwen3-" in sentence


def evaluation(cloud: Cloud, name: str, uri: str, model: str, **more: Any) -> str:
    dataset = {"name": "mine", "datasetLocation": {"s3Uri": uri}}
    config = {"taskType": "QuestionAndAnswer", "dataset": dataset, "metricNames": ["Builtin.Accuracy"], **more}
    answer = cloud.bedrock.create_evaluation_job(
        jobName=name,
        roleArn=ROLE,
        evaluationConfig={"automated": {"datasetMetricConfigs": [config]}},
        inferenceConfig={"models": [{"bedrockModel": {"modelIdentifier": model}}]},
        outputDataConfig={"s3Uri": "s3://data/judged"},
    )
    return str(answer["jobArn"])


def test_a_custom_model_is_evaluated_on_prompts_in_s3(trained: dict[str, Any], cloud: Cloud) -> None:
    rows = [{"prompt": f"How much is {n}?", "referenceResponse": f"It is {n}.", "category": f"c{n}"} for n in range(7)]
    model = trained["after"]["outputModelArn"]
    arn = evaluation(cloud, "judge", cloud.upload("prompts.jsonl", rows), model)
    assert cloud.bedrock.get_evaluation_job(jobIdentifier=arn)["status"] == "InProgress"
    kept = cloud.bedrock.batch_delete_evaluation_job(jobIdentifiers=[arn])
    assert [error["code"] for error in kept["errors"]] == ["409"] and not kept["evaluationJobs"]
    cloud.work()
    found = cloud.bedrock.get_evaluation_job(jobIdentifier=arn)
    assert found["status"] == "Completed", found
    (job,) = cloud.bedrock.list_evaluation_jobs(statusEquals="Completed")["jobSummaries"]
    assert (job["jobName"], job["modelIdentifiers"]) == ("judge", [model])
    where = "models/model-first-1/taskTypes/QuestionAndAnswer/datasets/mine"
    id = arn.rpartition("/")[2]
    lines = [json.loads(line) for line in cloud.read(f"judged/judge/{id}/{where}/{id}_output.jsonl").splitlines()]
    assert sorted((line["inputRecord"] for line in lines), key=lambda row: row["category"]) == rows
    for line in lines:
        (score,) = line["automatedEvaluationResult"]["scores"]
        (said,) = line["modelResponses"]
        assert score["metricName"] == "Accuracy" and 0 <= score["result"] <= 1
        assert said["modelIdentifier"] == model and isinstance(said["response"], str)
    assert json.loads(cloud.read(f"judged/judge/{id}/report.json"))["count"] == len(rows)
    deleted = cloud.bedrock.batch_delete_evaluation_job(jobIdentifiers=[arn])["evaluationJobs"]
    assert deleted == [{"jobIdentifier": arn, "jobStatus": "Deleting"}]
    refusal("ResourceNotFoundException", cloud.bedrock.get_evaluation_job, jobIdentifier=arn)


def test_an_evaluation_that_cannot_be_is_refused(cloud: Cloud) -> None:
    bad = cloud.upload("bad.jsonl", [{"prompt": "a", "referenceResponse": "b"}, {"prompt": "a"}])
    sentence = refusal("ValidationException", evaluation, cloud, "bad", bad, "tiny")
    assert 's3://data/bad.jsonl:2: "referenceResponse" must be text' in sentence
    good = cloud.upload("good.jsonl", [{"prompt": "a", "referenceResponse": "b"}])
    sentence = refusal("ValidationException", evaluation, cloud, "bad", good, "tiny", metricNames=["Builtin.Toxicity"])
    assert "Builtin.Toxicity is not measured here" in sentence
    assert "'tin'" in refusal("ResourceNotFoundException", evaluation, cloud, "bad", good, "tin")
    arn = evaluation(cloud, "halted", good, "tiny")
    cloud.bedrock.stop_evaluation_job(jobIdentifier=arn)
    cloud.work()
    assert cloud.bedrock.get_evaluation_job(jobIdentifier=arn)["status"] == "Stopped"
    refusal("ConflictException", cloud.bedrock.stop_evaluation_job, jobIdentifier=arn)
