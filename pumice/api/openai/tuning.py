"""Jobs of the queue in OpenAI's words. What the queue has no word for is kept beside it; states are never kept.

Every job that trains is shown, whatever it came over: its id is `ftjob-` and the queue's own.
"""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.api.openai.refusals import Refusal
from pumice.api.openai.stored import Files
from pumice.api.openai.tuning_wire import (
    Checkpoint,
    FineTuningJob,
    JobError,
    JobEvent,
    JobRequest,
    Metrics,
    Shared,
    Status,
)
from pumice.api.platform import Platform
from pumice.api.training import Story, read_story, submit
from pumice.errors import ConflictError, NotFoundError
from pumice.plan import FILE as PLAN
from pumice.records import Event, Job, JobState
from pumice.train.methods import METHODS

KIND = "openai-fine-tuning-job"
PREFIX = "ftjob-"
_OURS = {"dpo": "dpo", "reinforcement": "grpo"}
"""OpenAI's words for the methods that Pumice calls by their own names."""
_STATUSES: Mapping[JobState, Status] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.INTERRUPTED: "queued",
    JobState.STOPPED: "cancelled",
    JobState.FAILED: "failed",
    JobState.SUCCEEDED: "succeeded",
}
_STAGES = {
    "check": "Validating the training file",
    "ask": "Asking the teacher",
    "train": "Training",
    "evaluate": "Comparing with the base",
    "register": "Registering the model",
}


class Tuning:
    """The jobs of one home as this wire sees them. All of it blocks."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._files = platform, Files(platform.home, platform.documents)
        self._lock = threading.Lock()

    def create(self, request: JobRequest) -> FineTuningJob:
        """Queue a job. Raises `Refusal` or an `InputError` for what cannot be trained."""
        data = self._data(request.training_file, "training_file")
        validation = self._data(request.validation_file, "validation_file") if request.validation_file else None
        values = recipe_values(request, data)
        job = submit(self._platform, values, data, validation)
        shared = Shared(
            training_file=request.training_file, validation_file=request.validation_file, metadata=request.metadata
        )
        self._keep(job, **shared.model_dump(exclude={"seed"}), method=_method(request))
        return self.show(job)

    def list(self) -> Sequence[Job]:
        """Every job that trains, the newest first."""
        return [job for job in self._platform.queue.list() if job.task in ("run", "train")]

    def has(self, job: Job, metadata: Mapping[str, str]) -> bool:
        """Whether a job was made with all of this metadata."""
        return not metadata or metadata.items() <= (self._kept(job).get("metadata") or {}).items()

    def get(self, id: str) -> Job:
        """The queue's job. Raises `Refusal` when there is none that trains."""
        try:
            job = self._platform.queue.get(id.removeprefix(PREFIX))
        except NotFoundError:
            job = None
        if job is None or job.task not in ("run", "train") or not id.startswith(PREFIX):
            message = f"Could not find fine tune: {id}"
            raise Refusal(404, message, param="fine_tuning_job_id", code="fine_tune_not_found")
        return job

    def show(self, job: Job) -> FineTuningJob:
        """A job as it stands now."""
        kept, story = self._kept(job), read_story(self._platform, job)
        if job.state is JobState.SUCCEEDED and not kept.get("result_files"):
            kept = self._write_results(job, story)
        hyperparameters = self._hyperparameters(job)
        method: dict[str, Any] = dict(kept.get("method") or {"type": "supervised"})
        method[method["type"]] = {"hyperparameters": hyperparameters}
        status = _status(job, story, kept)
        over = status in ("succeeded", "failed", "cancelled")
        shared = Shared.model_validate({"training_file": Path(job.spec["data"]).name, **kept})
        return FineTuningJob(
            **shared.model_dump(exclude={"seed"}),
            seed=job.spec.get("seed") or 0,
            id=PREFIX + job.id,
            created_at=int(job.created.timestamp()),
            finished_at=int(job.ended.timestamp()) if job.ended and over else None,
            estimated_finish=_estimate(story) if status == "running" else None,
            model=job.spec["model"],
            fine_tuned_model=job.model,
            status=status,
            error=_error(job, story) if status == "failed" else None,
            trained_tokens=story.trained_tokens if over else None,
            hyperparameters=hyperparameters,
            method=method,
        )

    def cancel(self, job: Job) -> FineTuningJob:
        """End a job for good; its worker, if it has one, hears of it within a second. Raises `InputError` if it ended.

        A paused job is cancelled too.
        """
        self._platform.queue.stop(job.id)
        self._keep(job, wish="cancel")
        return self.show(self._platform.queue.get(job.id))

    def pause(self, job: Job) -> FineTuningJob:
        """Have a job write a checkpoint and wait. It is `paused` when its worker has ended."""
        if self._kept(job).get("wish") == "cancel":
            raise Refusal(400, f"Job {PREFIX}{job.id} is cancelled; it cannot be paused.", code="cancelled")
        self._platform.queue.stop(job.id)
        self._keep(job, wish="pause")
        return self.show(self._platform.queue.get(job.id))

    def resume(self, job: Job) -> FineTuningJob:
        """Queue a paused job once more. Raises `Refusal` for any other."""
        shown = self.show(job)
        if shown.status != "paused":
            raise Refusal(
                400, f"Job {shown.id} is {shown.status}; only a paused job can be resumed.", code="not_paused"
            )
        resumed = self._platform.queue.resume(job.id)
        self._keep(job, wish=None)
        self._platform.nudge()
        return self.show(resumed)

    def checkpoints(self, job: Job) -> Sequence[Checkpoint]:
        """The weights that answer: those at the end. What a running job keeps to be resumed from is nobody's model."""
        story = read_story(self._platform, job)
        if job.model is None or not story.steps:
            return []
        last = story.steps[-1]
        return [
            Checkpoint(
                id=f"ftckpt-{job.id}-{last.step}",
                created_at=int((job.ended or job.created).timestamp()),
                fine_tuned_model_checkpoint=job.model,
                fine_tuning_job_id=PREFIX + job.id,
                metrics=Metrics(
                    step=last.step,
                    train_loss=last.loss,
                    valid_loss=last.validation_loss,
                    full_valid_loss=_valid_loss(story),
                ),
                step_number=last.step,
            )
        ]

    def events(self, job: Job) -> Sequence[JobEvent]:
        """What a job has told, the newest first."""
        story = read_story(self._platform, job)
        return [event_of(job.id, number, event) for number, event in enumerate(story.events)][::-1]

    def _data(self, id: str, param: str) -> Path:
        purpose = self._files.get(id, param).purpose
        if purpose != "fine-tune":
            message = f"Invalid '{param}': {id} was uploaded for {purpose!r}; upload it with the purpose 'fine-tune'."
            raise Refusal(400, message, param=param, code="invalid_value")
        return self._files.path(id, param)

    def _hyperparameters(self, job: Job) -> dict[str, Any]:
        plan = self._platform.queue.folder(job.id) / PLAN
        decided = json.loads(plan.read_bytes())["recipe"] if plan.exists() else job.spec
        epochs, rows = decided.get("epochs"), decided.get("batch_size")
        if epochs is not None and float(epochs).is_integer():
            epochs = int(epochs)
        if rows is not None:
            rows *= decided.get("gradient_accumulation") or 1
        multiplier = job.spec.get("learning_rate_multiplier")
        return {
            "n_epochs": epochs or "auto",
            "batch_size": rows or "auto",
            "learning_rate_multiplier": multiplier or "auto",
        }

    def _write_results(self, job: Job, story: Story) -> Mapping[str, Any]:
        with self._lock:
            kept = self._kept(job)
            if not kept.get("result_files"):
                made = self._files.write("step_metrics.csv", "fine-tune-results", metrics_csv(story))
                kept = self._keep(job, result_files=[made.id])
            return kept

    def _kept(self, job: Job) -> Mapping[str, Any]:
        found = self._platform.documents.find(KIND, PREFIX + job.id)
        return found.body if found else {}

    def _keep(self, job: Job, **changes: Any) -> Mapping[str, Any]:
        try:
            return self._platform.documents.add(KIND, PREFIX + job.id, changes).body
        except ConflictError:
            return self._platform.documents.change(KIND, PREFIX + job.id, **changes).body


def recipe_values(request: JobRequest, data: Path) -> dict[str, Any]:
    """The recipe that a request asks for, but for its files. Raises `Refusal` for a method that is not there."""
    extra = dict(request.pumice or {})
    said = {"data", "validation", "model"} & extra.keys()
    if said:
        name = min(said)
        message = f"'pumice.{name}' is not supported: OpenAI's own fields say it."
        raise Refusal(400, message, param=f"pumice.{name}", code="unsupported_parameter")
    values = {**extra, "model": request.model}
    if request.suffix:
        values["name"] = request.suffix
    if request.seed is not None:
        values["seed"] = request.seed
    method = _method(request)
    if method["type"] != "supervised":
        ours = _OURS[method["type"]]
        if ours not in METHODS:
            message = (
                f"'method.type' is not supported: {method['type']!r} has no grader here; 'supervised' and 'dpo' are. "
                'Rewards are learned with the extra field pumice: {"method": "rlhf", "rlhf": {"reward": …}}.'
            )
            raise Refusal(400, message, param="method.type", code="unsupported_parameter")
        values["method"] = ours
    asked = method[method["type"]].get("hyperparameters", {})
    names = {"n_epochs": "epochs", "batch_size": "batch_size", "learning_rate_multiplier": "learning_rate_multiplier"}
    values |= {names[key]: value for key, value in asked.items() if key in names}
    if "beta" in asked:
        values["dpo"] = {**values.get("dpo", {}), "beta": asked["beta"]}
    return values


def _method(request: JobRequest) -> dict[str, Any]:
    """The method as it was sent, `auto` left out."""
    if request.method is None:
        numbers = request.hyperparameters.model_dump(exclude_none=True) if request.hyperparameters else {}
        return {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    sent = request.method.model_dump(exclude_none=True)
    return {**sent, request.method.type: sent.get(request.method.type, {})}


def event_of(job_id: str, number: int, event: Event) -> JobEvent:
    """One line of a job's story; the step events are the metrics."""
    created = int(event.at.timestamp()) if event.at else int(time.time())
    data = dict(event.data)
    if event.kind == "step":
        data = {"step": data["step"], "train_loss": data["loss"], "total_steps": data["steps"], **data}
    elif event.kind == "validation":
        data = {"step": data["step"], "valid_loss": data["validation_loss"], "total_steps": data["steps"], **data}
    return JobEvent(
        id=f"ftevent-{job_id}-{number}",
        created_at=created,
        level="error" if event.kind == "error" else "info",
        message=_message(event),
        type="metrics" if event.kind in ("step", "validation") else "message",
        data={"kind": event.kind, **data},
    )


def _message(event: Event) -> str:
    data = event.data
    match event.kind:
        case "stage":
            return _STAGES.get(data["name"], str(data["name"]))
        case "step":
            return f"Step {data['step']}/{data['steps']}: training loss={data['loss']:.4f}"
        case "validation":
            return f"Step {data['step']}/{data['steps']}: validation loss={data['validation_loss']:.4f}"
        case "checkpoint":
            return f"Checkpoint written at step {data['step']}"
        case "model":
            return f"New fine-tuned model created: {data['id']}"
        case "report":
            return f"Compared with the base: {data['verdict']}"
        case "error":
            return " ".join(str(data[key]) for key in ("what", "why", "fix") if data.get(key))
        case "data":
            return f"{data['rows']:,} rows to train on, {data['questions']:,} questions to compare with"
        case "score":
            return f"{data['what']}: {data['done']} of {data['total']}"
    return str(data.get("text", event.kind))


def metrics_csv(story: Story) -> bytes:
    """The loss curve; `valid_loss` where rows were set apart: of some now and then, of all at the end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    valid = {step.step: step.validation_loss for step in story.steps if step.validation_loss is not None}
    if story.steps and (whole := _valid_loss(story)) is not None:
        valid[story.steps[-1].step] = whole
    writer.writerow(["step", "epoch", "learning_rate", "train_loss", *(["valid_loss"] if valid else [])])
    for step in story.steps:
        beside = [valid.get(step.step, "")] if valid else []
        writer.writerow([step.step, step.epoch, step.learning_rate, step.loss, *beside])
    return text.getvalue().encode()


def _valid_loss(story: Story) -> float | None:
    report = story.report
    # Of rows that were trained on the loss would say nothing about new ones.
    if report is None or report["set"] == "recall of trained rows":
        return None
    # A classifier has none, nor has what learned from rewards: their own scores are in the report.
    loss: float | None = report["tuned"]["loss"]
    return loss


def _status(job: Job, story: Story, kept: Mapping[str, Any]) -> Status:
    wish = kept.get("wish")
    if wish == "cancel" and job.state in (JobState.RUNNING, JobState.INTERRUPTED):
        # Its worker has been told, and nothing goes on from here.
        return "cancelled"
    match job.state:
        case JobState.RUNNING if story.stage in ("", "check"):
            return "validating_files"
        case JobState.INTERRUPTED if not job.background:
            # No server goes on with what a terminal began.
            return "failed"
        case JobState.STOPPED if wish == "pause":
            return "paused"
    return _STATUSES[job.state]


def _estimate(story: Story) -> int | None:
    last = next((event for event in reversed(story.events) if event.kind == "step"), None)
    if last is None or last.at is None:
        return None
    return int(last.at.timestamp() + last.data["seconds_left"])


def _error(job: Job, story: Story) -> JobError:
    told = next((event.data for event in reversed(story.events) if event.kind == "error"), {})
    findings = told.get("findings")
    if not findings:
        text = " ".join(str(told[key]) for key in ("what", "why", "fix") if told.get(key))
        return JobError(code=job.state.value, message=text or job.error or "The job failed.", param=None)
    param = "validation_file" if findings[0]["path"] == job.spec.get("validation") else "training_file"
    places = [f"line {each['line']}: {each['rule']} {each['fix']}" for each in findings]
    more = told["total"] - len(findings)
    message = " ".join([f"The {param.replace('_', ' ')} has {told['total']:,} errors.", *places])
    return JobError(code=f"invalid_{param}", message=message + (f" And {more:,} more." if more else ""), param=param)
