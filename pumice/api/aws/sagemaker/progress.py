"""How far a training job is, in SageMaker's words. Computed from the queue's job and its story, never stored."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

from pumice.api.platform import Platform
from pumice.api.training import Story
from pumice.records import Document, Job, JobState

SECONDARY = {
    "": "Starting",
    "check": "Downloading",
    "ask": "Training",
    "train": "Training",
    "evaluate": "Training",
    "register": "Uploading",
}
"""What SageMaker calls the stage that a job is in."""
_WAITING = {JobState.QUEUED: "Pending", JobState.INTERRUPTED: "Restarting"}


def statuses(platform: Platform, found: Document, job: Job, story: Story) -> tuple[str, str]:
    """`TrainingJobStatus` and `SecondaryStatus`."""
    if job.state is JobState.STOPPED:
        return "Stopped", "MaxRuntimeExceeded" if found.body.get("overdue") else "Stopped"
    if job.state is JobState.FAILED or "failure" in found.body:
        return "Failed", "Failed"
    if job.state is JobState.SUCCEEDED:
        # It is done once the artifact lies where the caller wants it.
        return ("Completed", "Completed") if "artifact" in found.body else ("InProgress", "Uploading")
    if platform.queue.is_to_stop(job.id):
        return "Stopping", "Stopping"
    return "InProgress", _WAITING.get(job.state, SECONDARY[story.stage])


def failure(found: Document, job: Job, story: Story) -> str:
    """`FailureReason`: what, why and the way out; data is named by its address in S3, with line and column."""
    told = [event.data for event in story.events if event.kind == "error"]
    reason = "\n".join(told[-1][key] for key in ("what", "why", "fix") if told[-1].get(key)) if told else job.error
    reason = found.body.get("failure") or reason or ""
    for key, uri in found.body["sources"].items():
        reason = reason.replace(str(job.spec[key]), uri)
    return reason[:1024]


def transitions(found: Document, job: Job, story: Story, secondary: str) -> list[dict[str, Any]]:
    """What the job went through, each with its begin and, but for the last, its end."""
    told: list[tuple[str, datetime]] = [("Starting", found.created)]
    for event in story.events:
        assert event.at, "an event that is read back has its time"
        if event.kind == "stage":
            told.append((SECONDARY[event.data["name"]], event.at))
        elif "again" in event.data:
            told.append(("Restarting", event.at))
    if job.ended and job.state is not JobState.INTERRUPTED:
        told.append((secondary, job.ended))
    changes = [each for number, each in enumerate(told) if number == 0 or each[0] != told[number - 1][0]]
    shown: list[dict[str, Any]] = [{"Status": status, "StartTime": at} for status, at in changes]
    for each, after in pairwise(shown):
        each["EndTime"] = after["StartTime"]
    if secondary == "Failed":
        shown[-1]["StatusMessage"] = failure(found, job, story)
    return shown


def metrics(story: Story) -> list[dict[str, Any]]:
    """`FinalMetricDataList`: the last step's loss, that of unseen rows, and the scores of the comparison."""
    last = {event.kind: event for event in story.events if event.kind in ("step", "validation", "report")}
    shown = []
    if step := last.get("step"):
        shown.append({"MetricName": "train:loss", "Value": step.data["loss"], "Timestamp": step.at})
    if report := last.get("report"):
        scores = {key: value for key, value in report.data["tuned"].items() if value is not None}
        shown += [
            {"MetricName": f"validation:{key}", "Value": value, "Timestamp": report.at} for key, value in scores.items()
        ]
    elif look := last.get("validation"):
        shown.append({"MetricName": "validation:loss", "Value": look.data["validation_loss"], "Timestamp": look.at})
    return shown
