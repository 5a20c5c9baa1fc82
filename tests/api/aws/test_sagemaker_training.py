"""Training jobs over boto3: hyper-parameters and channels in, a real job, an artifact in S3 and its statuses out."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_server import ENDLESS, FAST, ROLE, ROWS, Sage, channel, make_home, refusal, sagemaker

from pumice.bases.resolve import DEFAULT
from pumice.jobs.queue import Queue
from pumice.records import Base
from pumice.store.tables import open_database

PAGE = Path(__file__).parents[3] / "docs" / "sagemaker.md"
HUB = "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/{}/1.0.0"


@pytest.fixture(scope="module")
def sage(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sage]:
    with sagemaker(make_home(tmp_path_factory.mktemp("sage"), tiny)) as made:
        yield made


@pytest.fixture(scope="module")
def trained(sage: Sage) -> dict[str, Any]:
    """A job from its request to its end, with every pair of statuses that was seen on the way."""
    sage.upload("first/train.jsonl", ROWS)
    asked = sage.upload("first-validation.jsonl", ROWS[:3])
    arn = sage.train("first", "s3://data/first/", InputDataConfig=[channel("train", "s3://data/first/"),
                     channel("validation", asked)], Tags=[{"Key": "team", "Value": "lab"}])  # fmt: skip
    seen = []
    while not seen or seen[-1][0] == "InProgress":
        told = sage.show("first")
        pair = (told["TrainingJobStatus"], told["SecondaryStatus"])
        seen += [] if seen and seen[-1] == pair else [pair]
        time.sleep(0.01)
    sage.wait("training_job_completed_or_stopped", TrainingJobName="first")
    return {"arn": arn, "seen": seen, "told": sage.show("first")}


@pytest.fixture(scope="module")
def stopped(sage: Sage) -> list[str]:
    """The statuses of a job that was stopped once it trained."""
    sage.train("endless", sage.upload("endless.jsonl", ROWS), HyperParameters=ENDLESS)
    while sage.show("endless")["SecondaryStatus"] != "Training":
        time.sleep(0.05)
    sage.sm.stop_training_job(TrainingJobName="endless")
    seen = [sage.show("endless")["TrainingJobStatus"]]
    sage.wait("training_job_completed_or_stopped", TrainingJobName="endless")
    told = sage.show("endless")
    return [*seen, told["TrainingJobStatus"], told["SecondaryStatus"]]


def test_statuses_pass_through_what_really_happens(trained: dict[str, Any]) -> None:
    seen, told = trained["seen"], trained["told"]
    assert [status for status, _ in seen] == ["InProgress"] * (len(seen) - 1) + ["Completed"]
    # Which of the short ones were seen depends on the machine; the transitions have them all.
    assert ("InProgress", "Training") in seen
    went = [each["Status"] for each in told["SecondaryStatusTransitions"]]
    assert went == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    steps = told["SecondaryStatusTransitions"]
    assert [each["EndTime"] for each in steps[:-1]] == [each["StartTime"] for each in steps[1:]]
    assert told["CreationTime"] <= told["TrainingStartTime"] <= told["TrainingEndTime"]
    assert told["TrainingTimeInSeconds"] >= 1


def test_the_recipe_comes_from_the_hyper_parameters(trained: dict[str, Any], sage: Sage) -> None:
    told = trained["told"]
    assert told["HyperParameters"] == FAST and told["TrainingJobArn"] == trained["arn"]
    (job,) = [
        each for each in Queue(open_database(sage.home.database), sage.home).list() if each.spec["name"] == "first"
    ]
    spec = job.spec
    assert (spec["model"], spec["epochs"], spec["learning_rate"], spec["lora"]["r"]) == ("tiny", 2, 1e-3, 2)
    assert sage.sm.list_tags(ResourceArn=trained["arn"])["Tags"] == [{"Key": "team", "Value": "lab"}]


def test_the_artifact_in_s3_holds_the_adapter(trained: dict[str, Any], sage: Sage) -> None:
    assert trained["told"]["ModelArtifacts"] == {"S3ModelArtifacts": "s3://data/out/first/output/model.tar.gz"}
    content = sage.s3.get_object(Bucket="data", Key="out/first/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= set(archive.getnames())


def test_the_metrics_are_those_of_the_job(trained: dict[str, Any], sage: Sage) -> None:
    metrics = {each["MetricName"]: each["Value"] for each in trained["told"]["FinalMetricDataList"]}
    queue = Queue(open_database(sage.home.database), sage.home)
    (job,) = [each for each in queue.list() if each.spec["name"] == "first"]
    last = {event.kind: event.data for event in queue.read_events(job.id)[0]}
    assert metrics["train:loss"] == pytest.approx(last["step"]["loss"], rel=1e-6)
    assert metrics["validation:loss"] == pytest.approx(last["report"]["tuned"]["loss"], rel=1e-6)


def test_a_name_is_taken_once(trained: dict[str, Any], sage: Sage) -> None:
    told = refusal("ResourceInUse", sage.train, "first", "s3://data/first/")
    assert told == "There is a training job 'first' already; choose another name."


def test_a_broken_file_fails_with_its_place(sage: Sage) -> None:
    uri = sage.upload("broken.jsonl", [*ROWS[:2], {"nothing": "known"}])
    sage.train("broken", uri)
    while (told := sage.show("broken"))["TrainingJobStatus"] == "InProgress":
        time.sleep(0.05)
    assert told["TrainingJobStatus"] == "Failed" and told["SecondaryStatus"] == "Failed"
    assert "s3://data/broken.jsonl:3:" in told["FailureReason"]
    assert str(sage.home.root) not in told["FailureReason"]
    assert told["SecondaryStatusTransitions"][-1]["StatusMessage"] == told["FailureReason"]


def test_a_stopped_job_is_stopping_then_stopped(stopped: list[str], sage: Sage) -> None:
    assert stopped == ["Stopping", "Stopped", "Stopped"]
    told = refusal("ValidationException", sage.sm.stop_training_job, TrainingJobName="endless")
    assert told == "Training job endless is Stopped already."


def test_time_is_up_after_max_runtime(sage: Sage) -> None:
    limit = {"MaxRuntimeInSeconds": 2}
    sage.train("overdue", sage.upload("overdue.jsonl", ROWS), HyperParameters=ENDLESS, StoppingCondition=limit)
    sage.wait("training_job_completed_or_stopped", TrainingJobName="overdue")
    told = sage.show("overdue")
    assert (told["TrainingJobStatus"], told["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert told["StoppingCondition"] == limit and told["TrainingTimeInSeconds"] >= 2


def test_lists_are_filtered_before_they_are_cut(trained: dict[str, Any], stopped: list[str], sage: Sage) -> None:
    pages = list(sage.sm.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": 1}))
    listed = [each for page in pages for each in page["TrainingJobSummaries"]]
    assert {"first", "endless"} <= {each["TrainingJobName"] for each in listed}
    assert [each["CreationTime"] for each in listed] == sorted(each["CreationTime"] for each in listed)
    assert all(len(page["TrainingJobSummaries"]) == 1 for page in pages)
    done = sage.sm.list_training_jobs(StatusEquals="Completed", NameContains="FIRS", MaxResults=1)
    assert [each["TrainingJobName"] for each in done["TrainingJobSummaries"]] == ["first"] and "NextToken" not in done
    ended = trained["told"]["TrainingEndTime"]
    assert done["TrainingJobSummaries"][0]["TrainingEndTime"] == ended
    # Not a value of the summary that happens to read the same.
    assert sage.sm.list_training_jobs(StatusEquals="Deleting")["TrainingJobSummaries"] == []
    named = sage.sm.list_training_jobs(SortBy="Name", SortOrder="Descending")["TrainingJobSummaries"]
    names = [each["TrainingJobName"] for each in named]
    assert names == sorted(names, reverse=True)
    assert "NextToken" in refusal("ValidationException", sage.sm.list_training_jobs, NextToken="made-up")


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"HyperParameters": {**FAST, "epoch": "1"}}, "'epoch' is no key of a recipe. Did you mean 'epochs'"),
        ({"HyperParameters": {**FAST, "data": "/etc/passwd"}}, "data is said by channel `train`"),
        ({"HyperParameters": {**FAST, "batch_size": "0"}}, "batch_size = 0"),
        ({"HyperParameters": {"lora": "2", "lora.r": "2"}}, "lora.r: lora has a value of its own"),
        ({"HyperParameters": {**FAST, "epochs": "{"}}, "epochs = '{' cannot be read"),
        ({"HyperParameters": {**FAST, "model": "/etc"}}, "'/etc' is not one that can be trained here"),
        ({"HyperParameters": {"method": "rlhf", "rlhf.reward": "/tmp/a.py:score"}}, "Python file"),
        ({"HyperParameters": {"method": "rlhf", "rlhf.reward": "/etc"}}, "'/etc' is not one that can be trained here"),
        ({"AlgorithmSpecification": {"TrainingImage": "other", "TrainingInputMode": "File"}}, "TrainingImage 'other'"),
        ({"InputDataConfig": [channel("test", "s3://data/none")]}, "channel 'test' is not train or validation"),
        ({"InputDataConfig": [channel("train", "s3://data/none")]}, "s3://data/none has 0 objects"),
        ({"InputDataConfig": [channel("validation", "s3://data/good.jsonl")]}, "no channel `train`"),
        ({"OutputDataConfig": {"S3OutputPath": "/out"}}, "/out/wrong is no address in S3"),
    ],
)
def test_a_mistake_is_named_at_once(sage: Sage, wrong: dict[str, Any], names: str) -> None:
    uri = sage.upload("good.jsonl", ROWS)
    assert names in refusal("ValidationException", sage.train, "wrong", uri, **wrong)
    # The name is still free.
    assert "Could not find training job" in refusal("ValidationException", sage.show, "wrong")


def test_a_serverless_job_ends_in_its_package_group(sage: Sage) -> None:
    uri = sage.upload("serverless.jsonl", ROWS)
    group = sage.sm.create_model_package_group(ModelPackageGroupName="Colours")["ModelPackageGroupArn"]
    few = {key: value for key, value in FAST.items() if key != "model"}
    serverless = {"BaseModelArn": HUB.format("tiny"), "JobType": "FineTuning", "CustomizationTechnique": "SFT",
                  "Peft": "LORA", "SequenceLength": "1K"}  # fmt: skip
    with_package = {"HyperParameters": few, "ModelPackageConfig": {"ModelPackageGroupArn": group}}
    sage.train("serverless", uri, ServerlessJobConfig=serverless, **with_package)
    sage.wait("training_job_completed_or_stopped", TrainingJobName="serverless")
    done = sage.show("serverless")
    (package,) = sage.sm.list_model_packages(ModelPackageGroupName="Colours")["ModelPackageSummaryList"]
    assert done["OutputModelPackageArn"] == package["ModelPackageArn"]
    assert package["ModelApprovalStatus"] == "PendingManualApproval" and package["ModelPackageVersion"] == 1
    queue = Queue(open_database(sage.home.database), sage.home)
    (spec,) = [job.spec for job in queue.list() if job.spec["name"] == "serverless"]
    # A hyper-parameter goes before what the technique and the length say.
    assert (spec["model"], spec["method"], spec["max_length"]) == ("tiny@1", "lora", 128)
    few.pop("max_length")
    sage.train("long", uri, ServerlessJobConfig=serverless, **with_package)
    sage.sm.stop_training_job(TrainingJobName="long")
    (spec,) = [job.spec for job in queue.list() if job.spec["name"] == "long"]
    assert spec["max_length"] == 1024


@pytest.mark.parametrize(
    ("technique", "more", "reward", "names"),
    [
        ("RLVR", {"EvaluatorArn": "arn:aws:lambda:us-east-1:1:function:g"}, None, "no reward function or prompt"),
        ("RLAIF", {"EvaluatorArn": "arn:any"}, "tiny", "no reward function or prompt"),
        ("RLAIF", {}, None, "RLAIF is judged by a model, and HyperParameters names none"),
        ("RLAIF", {}, "exact", "RLAIF is judged by a model, and HyperParameters names none"),
        ("RLAIF", {}, "length:soon", 'rlhf.reward = "length:soon"; it must be exact'),
    ],
)
def test_a_judge_of_another_sort_is_no_string_comparison(
    sage: Sage, technique: str, more: dict[str, str], reward: str | None, names: str
) -> None:
    uri = sage.upload("judged.jsonl", ROWS)
    serverless = {"BaseModelArn": HUB.format("tiny"), "JobType": "FineTuning", "CustomizationTechnique": technique}
    given = {"HyperParameters": {"rlhf.reward": reward} if reward else {}, "ServerlessJobConfig": serverless | more}
    assert names in refusal("ValidationException", sage.train, "wrong", uri, **given)


@pytest.mark.parametrize(("technique", "reward"), [("RLVR", "exact"), ("RLAIF", "tiny")])
def test_rewards_by_rule_and_by_model_reach_the_recipe(sage: Sage, technique: str, reward: str) -> None:
    uri, name = sage.upload("judged.jsonl", ROWS), technique.lower()
    serverless = {"BaseModelArn": HUB.format("tiny"), "JobType": "FineTuning", "CustomizationTechnique": technique}
    given = {"rlhf.reward": reward} if technique == "RLAIF" else {}
    sage.train(name, uri, ServerlessJobConfig=serverless, HyperParameters=given)
    # It may have ended by itself.
    with suppress(ClientError):
        sage.sm.stop_training_job(TrainingJobName=name)
    queue = Queue(open_database(sage.home.database), sage.home)
    (spec,) = [job.spec for job in queue.list() if job.spec["name"] == name]
    assert (spec["method"], (spec["rlhf"] or {"reward": "exact"})["reward"]) == ("rlhf", reward)


def test_the_pages_example_trains_serves_and_answers(sage: Sage, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    # The tiny model in the place of the real one.
    for words, mine in (("http://127.0.0.1:8000", sage.url), (f'"{DEFAULT}", "epochs"', '"tiny", "epochs"')):
        assert words in example
        example = example.replace(words, mine)
    exec(compile(example, PAGE.name, "exec"), {})
    told, _ = capsys.readouterr().out.split("\n", 1)
    assert told.startswith("Completed {'S3ModelArtifacts': 's3://squares/out/squares/output/model.tar.gz'}")
    shown = sage.sm.describe_endpoint(EndpointName="squares")
    assert shown["EndpointStatus"] == "InService"
    elsewhere = {"Image": "pumice", "ModelDataUrl": "s3://squares/train.jsonl"}
    assert "is not what a training job made here" in refusal(
        "ValidationException", sage.sm.create_model, ModelName="no", ExecutionRoleArn=ROLE, PrimaryContainer=elsewhere
    )
