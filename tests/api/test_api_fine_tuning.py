"""A fine-tuning job through the official client, from the upload to an answer, with a real worker."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import openai
import pytest
from botocore.config import Config
from live_server import register, serving
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from pumice.config import Home
from pumice.jobs.queue import Queue
from pumice.records import Base, Event, JobState
from pumice.store.tables import open_database

ROWS = [{"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
        for n in range(12)]  # fmt: skip
DATA = "\n".join(json.dumps(row) for row in ROWS).encode()
QUICK = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 6}}}


@dataclass(frozen=True)
class Side:
    """A server over a home with `small`, a registered tiny model, and its queue."""

    client: OpenAI
    home: Home
    queue: Queue

    def upload(self, content: bytes = DATA, name: str = "numbers.jsonl") -> str:
        return self.client.files.create(file=(name, content), purpose="fine-tune").id

    def until(self, id: str, *statuses: str) -> FineTuningJob:
        """The job as soon as it has one of the statuses; the server's own dispatcher runs it."""
        while (job := self.client.fine_tuning.jobs.retrieve(id)).status not in statuses:
            time.sleep(0.2)
        return job

    def create(self, **more: object) -> FineTuningJob:
        file = more.pop("training_file", None) or self.upload()
        return self.client.fine_tuning.jobs.create(model="small", training_file=file, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory, tiny: Base) -> Iterator[Side]:
    home = Home(tmp_path_factory.mktemp("tuning"))
    register(home, tiny, "small", tiny.folder, "full")
    with serving(home) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield Side(client, home, Queue(open_database(home.database), home))


@pytest.fixture(scope="module")
def made(side: Side) -> tuple[FineTuningJob, FineTuningJob]:
    """A job as it was created, and as it ended."""
    created = side.create(
        validation_file=side.upload(b"\n".join(DATA.replace(b"What is", b"Which is").splitlines()[:2])),
        suffix="my-numbers",
        seed=7,
        method=QUICK,
        metadata={"team": "blue"},
        extra_body={"pumice": {"lora": {"r": 4}}},
    )
    return created, side.until(created.id, "succeeded", "failed")


def test_a_job_is_queued_as_it_was_asked_for(side: Side, made: tuple[FineTuningJob, FineTuningJob]) -> None:
    created, _ = made
    assert (created.model, created.seed) == ("small", 7)
    assert created.status in ("queued", "validating_files")
    assert created.metadata == {"team": "blue"}
    assert created.fine_tuned_model is created.error is created.finished_at is created.trained_tokens is None
    assert (created.hyperparameters.n_epochs, created.hyperparameters.learning_rate_multiplier) == (1, "auto")
    spec = side.queue.get(created.id.removeprefix("ftjob-")).spec
    assert (spec["epochs"], spec["batch_size"], spec["lora"]["r"], spec["name"]) == (1, 6, 4, "my-numbers")
    # Both files have the same name, and each is itself.
    assert b"What is" in Path(spec["data"]).read_bytes()
    assert b"Which is" in Path(spec["validation"]).read_bytes()


def test_a_job_that_succeeded_answers_in_chat(side: Side, made: tuple[FineTuningJob, FineTuningJob]) -> None:
    created, job = made
    assert job.status == "succeeded", job
    assert job.fine_tuned_model == "my-numbers@1"
    assert job.trained_tokens and job.trained_tokens > 50
    assert job.finished_at and job.finished_at >= created.created_at
    assert job.hyperparameters.batch_size == 6
    answer = side.client.chat.completions.create(
        model=job.fine_tuned_model, messages=[{"role": "user", "content": "What is 3?"}], max_tokens=2
    )
    assert answer.model == "my-numbers@1"
    [checkpoint] = side.client.fine_tuning.jobs.checkpoints.list(job.id)
    assert (checkpoint.fine_tuned_model_checkpoint, checkpoint.step_number) == ("my-numbers@1", 2)


def test_the_result_file_holds_the_loss_curve(side: Side, made: tuple[FineTuningJob, FineTuningJob]) -> None:
    _, job = made
    [id] = job.result_files
    file = side.client.files.retrieve(id)
    assert (file.purpose, file.filename) == ("fine-tune-results", "step_metrics.csv")
    rows = list(csv.DictReader(side.client.files.content(id).text.splitlines()))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(0 < float(row["train_loss"]) < 20 for row in rows)
    assert [bool(row["valid_loss"]) for row in rows] == [False, True]
    assert side.client.fine_tuning.jobs.retrieve(job.id).result_files == [id]


def test_the_events_tell_the_story_whole_and_as_a_stream(side: Side, made: tuple[FineTuningJob, FineTuningJob]) -> None:
    _, job = made
    events = list(side.client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert len({event.id for event in events}) == len(events) > 10
    assert events[0].message == "New fine-tuned model created: my-numbers@1"
    metrics = [event.data for event in events if event.type == "metrics"]
    assert [each["step"] for each in metrics if "train_loss" in each] == [2, 1]
    assert [each["step"] for each in metrics if 0 < each.get("valid_loss", 0) < 20] == [2, 0]
    assert all(job.created_at <= event.created_at <= (job.finished_at or 0) for event in events)
    with side.client.fine_tuning.jobs.with_streaming_response.list_events(
        job.id, extra_query={"stream": "true"}
    ) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    assert [json.loads(line)["id"] for line in lines[:-1]] == [event.id for event in events][::-1]


def test_bad_rows_fail_the_job_with_their_lines(side: Side) -> None:
    job = side.create(training_file=side.upload(DATA + b'\n{"messages": []}\n'))
    failed = side.until(job.id, "succeeded", "failed")
    assert failed.status == "failed"
    assert failed.error
    assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")
    assert "line 13" in failed.error.message
    assert str(side.home.root) not in failed.error.message
    assert next(each.level for each in side.client.fine_tuning.jobs.list_events(job.id, limit=1)) == "error"


def test_cancel_pause_and_resume(side: Side) -> None:
    job = side.create()
    side.client.fine_tuning.jobs.pause(job.id)
    side.until(job.id, "paused")
    assert side.client.fine_tuning.jobs.resume(job.id).status in ("queued", "validating_files")
    with pytest.raises(openai.BadRequestError, match="only a paused job"):
        side.client.fine_tuning.jobs.resume(job.id)
    cancelled = side.client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    while side.queue.get(job.id.removeprefix("ftjob-")).state is not JobState.STOPPED:
        time.sleep(0.2)
    assert side.client.fine_tuning.jobs.retrieve(job.id).finished_at
    with pytest.raises(openai.BadRequestError):
        side.client.fine_tuning.jobs.pause(job.id)
    with pytest.raises(openai.BadRequestError):
        side.client.fine_tuning.jobs.resume(job.id)


def test_jobs_that_came_another_way_are_listed_too_in_pages(side: Side, tmp_path: Path) -> None:
    data = tmp_path / "terminal.jsonl"
    data.write_bytes(DATA)
    theirs = side.queue.submit("train", {"model": "small", "data": str(data)})
    side.queue.submit("evaluate", {"model": "small@1", "data": None})
    ours = side.create(metadata={"team": "green"})
    side.client.fine_tuning.jobs.cancel(ours.id)
    jobs = list(side.client.fine_tuning.jobs.list(limit=1))
    assert [job.id for job in jobs[:2]] == [ours.id, f"ftjob-{theirs.id}"]
    assert jobs[1].training_file == "terminal.jsonl"
    assert [job.id for job in side.client.fine_tuning.jobs.list(metadata={"team": "green"})] == [ours.id]
    with pytest.raises(openai.NotFoundError) as caught:
        side.client.fine_tuning.jobs.retrieve("ftjob-unknown")
    assert caught.value.code == "fine_tune_not_found"
    with pytest.raises(openai.BadRequestError, match="'after'"):
        side.client.fine_tuning.jobs.list(after="ftjob-unknown")


def test_a_job_of_bedrocks_is_listed_too(side: Side) -> None:
    url = str(side.client.base_url.join("/"))
    config = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
    bedrock, s3 = (
        boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="anything",
            aws_secret_access_key="passes",
            config=config,
        )
        for service in ("bedrock", "s3")
    )
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="words.jsonl", Body=b'{"prompt": "What is 1?", "completion": "It is 1."}\n' * 4)
    bedrock.create_model_customization_job(
        jobName="theirs",
        customModelName="their-model",
        roleArn="arn:aws:iam::000000000000:role/any",
        baseModelIdentifier="small",
        trainingDataConfig={"s3Uri": "s3://data/words.jsonl"},
        outputDataConfig={"s3Uri": "s3://data/out/"},
        hyperParameters={"epochCount": "1"},
    )
    bedrock.stop_model_customization_job(jobIdentifier="theirs")
    newest = next(iter(side.client.fine_tuning.jobs.list(limit=1)))
    assert (newest.training_file, newest.hyperparameters.n_epochs) == ("words.jsonl", 1)
    assert side.until(newest.id, "cancelled").model == "small@1"
    for client in (bedrock, s3):
        client.close()


def test_a_running_job_says_when_it_will_end(side: Side) -> None:
    job = side.queue.submit("run", {"model": "small", "data": "terminal.jsonl"})
    id, wire = job.id, f"ftjob-{job.id}"
    side.queue.claim(id, os.getpid())
    assert side.client.fine_tuning.jobs.retrieve(wire).status == "validating_files"
    side.queue.append(id, Event("stage", {"name": "train"}))
    step = {"step": 1, "steps": 9, "epoch": 0.1, "loss": 2.0, "learning_rate": 1e-3, "tokens": 9, "seconds_left": 80}
    side.queue.append(id, Event("step", step))
    running = side.client.fine_tuning.jobs.retrieve(wire)
    assert running.status == "running"
    assert running.estimated_finish and 70 <= running.estimated_finish - running.created_at <= 120
    assert side.client.fine_tuning.jobs.cancel(wire).status == "cancelled"
    assert side.queue.is_to_stop(id)
    side.queue.finish(id, os.getpid(), JobState.STOPPED)


def test_a_job_whose_comparison_has_no_loss_is_shown_without_one(side: Side) -> None:
    """A head, a reward model and rlhf have scores of their own; one such job must not hide all others."""
    job = side.queue.submit("run", {"model": "small", "data": "terminal.jsonl"})
    side.queue.claim(job.id, os.getpid())
    step = {"step": 1, "steps": 1, "epoch": 1.0, "loss": 2.0, "learning_rate": 1e-3, "tokens": 9, "seconds_left": 0}
    side.queue.append(job.id, Event("step", step))
    report = {"set": "held-out rows", "verdict": "better", "tuned": {"loss": None, "accuracy": 1.0}}
    side.queue.append(job.id, Event("report", report))
    side.queue.finish(job.id, os.getpid(), JobState.SUCCEEDED, model="small@1")
    shown = next(each for each in side.client.fine_tuning.jobs.list() if each.id == f"ftjob-{job.id}")
    assert shown.status == "succeeded"
    [checkpoint] = side.client.fine_tuning.jobs.checkpoints.list(shown.id)
    assert (checkpoint.metrics.train_loss, checkpoint.metrics.full_valid_loss) == (2.0, None)
    [id] = shown.result_files
    assert side.client.files.content(id).text.splitlines()[0] == "step,epoch,learning_rate,train_loss"


@pytest.mark.parametrize(
    ("more", "param", "match"),
    [
        ({"model": "/etc"}, "model", "cannot|not one that"),
        ({"training_file": "file-none"}, "training_file", "No such File"),
        ({"suffix": "two words"}, None, "name"),
        ({"method": {"type": "reinforcement"}}, "method.type", "'reinforcement' has no grader here"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo", "the type here is 'supervised'"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "not supported"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "greater than or equal to 1"),
        ({"extra_body": {"pumice": {"data": "/etc/passwd"}}}, "pumice.data", "not supported"),
        ({"extra_body": {"pumice": {"epochz": 2}}}, None, "did you mean epochs"),
        ({"extra_body": {"pumice": {"method": "rlhf", "rlhf": {"reward": "a.py:f"}}}}, "rlhf", "Python file"),
        ({"extra_body": {"pumice": {"method": "rlhf", "rlhf": {"reward": "/etc"}}}}, "model", "not one that"),
    ],
)
def test_mistakes_are_named_and_queue_nothing(
    side: Side, more: dict[str, object], param: str | None, match: str
) -> None:
    before = len(side.queue.list())
    asked = {"model": "small", "training_file": side.upload(), **more}
    with pytest.raises(openai.APIStatusError, match=match) as caught:
        side.client.fine_tuning.jobs.create(**asked)  # type: ignore[arg-type]
    assert caught.value.param == param
    assert caught.value.status_code in (400, 404)
    assert len(side.queue.list()) == before
