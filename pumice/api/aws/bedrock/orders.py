"""Jobs that came over Bedrock's wire: what AWS has words for and Pumice has not is kept by the job's name.

How a job stands is read from the job itself whenever somebody asks. Does not know what a job does.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pumice.api.aws.bedrock import tags
from pumice.api.aws.names import arn, tail
from pumice.api.openai.refusals import near
from pumice.api.platform import Platform
from pumice.errors import ConflictError, InputError, NotFoundError, RequestError
from pumice.jobs.queue import ENDED
from pumice.records import Document, Event, Job, JobState
from pumice.registry import imports

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+.-]{0,62}")
TOKEN = "clientRequestToken"
SUBMITTING = timedelta(minutes=1)
"""An order that has no job after so long lost its server while it was being submitted."""
LOST = "It was never begun: the server ended while the job was being submitted. Create it again."
Submit = Callable[[], tuple[Job, dict[str, str]]]
"""Queues a job, and says which of the files that it reads stands for which address of the caller's."""
LONGEST = 2048
"""Characters of a failure message."""
_STATUS: Mapping[JobState, str] = {
    JobState.SUCCEEDED: "Completed",
    JobState.FAILED: "Failed",
    JobState.STOPPED: "Stopped",
}


@dataclass(frozen=True)
class Order:
    """One job as the wire sees it."""

    document: Document
    job: Job | None
    """None while it is being submitted, and when that was cut short."""
    stopping: bool

    @property
    def name(self) -> str:
        """As the caller chose it."""
        return self.document.name

    @property
    def arn(self) -> str:
        """Its last part is the order's own id."""
        return str(self.document.body["arn"])

    @property
    def id(self) -> str:
        """The twelve characters at the end of the ARN."""
        return tail(self.arn)

    @property
    def request(self) -> Mapping[str, Any]:
        """What was asked for, but for the token."""
        found: Mapping[str, Any] = self.document.body["request"]
        return found

    @property
    def status(self) -> str:
        """Bedrock's word for how it stands now. An interrupted job goes on by itself."""
        if self.job is None:
            return "InProgress" if datetime.now(UTC) - self.document.created < SUBMITTING else "Failed"
        return _STATUS.get(self.job.state) or ("Stopping" if self.stopping else "InProgress")

    @property
    def changed(self) -> datetime:
        """When something was last heard of it."""
        job = self.job
        known = (job.created, job.started, job.heartbeat, job.ended) if job else ()
        return max([self.document.created, *(each for each in known if each)])

    @property
    def times(self) -> dict[str, datetime]:
        """`creationTime`, `lastModifiedTime` and, for a job that has ended, `endTime`."""
        ended = {"endTime": self.job.ended} if self.job and self.job.ended and self.status in _STATUS.values() else {}
        return {"creationTime": self.document.created, "lastModifiedTime": self.changed, **ended}

    def failure(self, events: Iterable[Event]) -> str:
        """Why it failed, with the caller's own names for the files that were read."""
        told = [event.data for event in events if event.kind == "error"]
        if self.job is None:
            return LOST
        text = "\n".join(str(told[-1][key]) for key in ("what", "why", "fix") if told[-1].get(key)) if told else ""
        text = text or self.job.error or f"The job was {self.job.state}."
        for path, uri in self.document.body["files"].items():
            text = text.replace(path, uri)
        return text[:LONGEST]


@dataclass(frozen=True)
class Orders:
    """The orders of one kind."""

    kind: str
    """Of their documents: `bedrock-customization-job`."""
    noun: str
    """What a person calls one: `customization job`."""

    def place(
        self,
        platform: Platform,
        request: Mapping[str, Any],
        resource: str,
        submit: Callable[[], tuple[Job, dict[str, str]]],
    ) -> str:
        """Have a job made for a new order, and give the order's ARN; the same request once more makes no second job.

        `submit` checks the request, queues the job, and says which files stand for which addresses of the caller's.
        Raises `ConflictError` for a name that is taken and for a token that came with another request.
        """
        name, documents = request["jobName"], platform.documents
        check_name("jobName", name)
        tags.check(request.get("jobTags"))
        token = request.get(TOKEN)
        wanted = {key: value for key, value in request.items() if key != TOKEN}
        if earlier := self._earlier(platform, token, wanted):
            return earlier
        body = {"request": wanted, "token": token, "job": None, "files": {}, "settled": False}
        found = arn("bedrock", f"{resource}/{secrets.token_hex(6)}")
        try:
            # Before the job: two requests at once never make two jobs.
            documents.add(self.kind, name, {**body, "arn": found})
        except ConflictError as error:
            if earlier := self._earlier(platform, token, wanted):
                return earlier
            sentence = f"jobName: there is a {self.noun} named {name!r} already."
            raise ConflictError(sentence, fix="Choose another jobName.") from error
        try:
            job, files = submit()
        except BaseException:
            documents.delete(self.kind, name)
            raise
        documents.change(self.kind, name, job=job.id, files=files)
        tags.put(platform, found, request.get("jobTags"))
        return found

    def find(self, platform: Platform, identifier: str) -> Order:
        """The order with this name or ARN. Raises `NotFoundError` with the nearest names."""
        found = platform.documents.find(self.kind, identifier)
        if found is None:
            every = platform.documents.list(self.kind)
            found = next((each for each in every if each.body["arn"] == identifier), None)
            if found is None:
                hint = near(identifier, [each.name for each in every])
                raise NotFoundError(f"jobIdentifier: there is no {self.noun} {identifier!r}.{hint}")
        id = found.body["job"]
        return _order(platform, found, platform.queue.get(id) if id else None)

    def list(self, platform: Platform) -> list[Order]:
        """All of them, the newest first."""
        jobs = {job.id: job for job in platform.queue.list()}
        return [_order(platform, each, jobs.get(each.body["job"])) for each in platform.documents.list(self.kind)]

    def of_job(self, platform: Platform, job_id: str | None) -> Order | None:
        """The order that a job was made for; None for a job that came another way."""
        every = platform.documents.list(self.kind) if job_id else ()
        found = next((each for each in every if each.body["job"] == job_id), None)
        return self.find(platform, found.name) if found else None

    def stop(self, platform: Platform, identifier: str) -> None:
        """Ask for the end of a job. Raises `ConflictError` for one that has ended."""
        order = self.find(platform, identifier)
        if order.job is None or order.job.state in ENDED - {JobState.INTERRUPTED}:
            raise ConflictError(
                f"jobIdentifier: {order.name} is {order.status}.", "Only a job that is under way can be stopped."
            )
        platform.queue.stop(order.job.id)
        platform.nudge()

    def settled(self, platform: Platform, order: Order) -> None:
        """Remember that nothing has to be written for this order any more."""
        platform.documents.change(self.kind, order.name, settled=True)

    def _earlier(self, platform: Platform, token: str | None, wanted: Mapping[str, Any]) -> str | None:
        """The ARN that this request got before; an order whose submission was cut short makes room for a new one."""
        for each in platform.documents.list(self.kind):
            same = token is not None and each.body["token"] == token
            if each.body["job"] is None and datetime.now(UTC) - each.created > SUBMITTING:
                if same or each.name == wanted["jobName"]:
                    platform.documents.delete(self.kind, each.name)
            elif same and each.body["request"] == wanted:
                return str(each.body["arn"])
            elif same:
                raise ConflictError(
                    f"{TOKEN}: {token!r} came with another request, for {each.name}.",
                    fix="A token belongs to one request: choose a new one.",
                )
        return None


def check_name(field: str, name: str) -> None:
    """Raise `RequestError` for a name that Bedrock would not take."""
    if not NAME.fullmatch(name):
        rule = "It must be letters, digits, dots, dashes and plus signs, 63 at most, a letter or digit first."
        raise RequestError(f"{field}: {name!r} cannot be a name.", rule, field=field)


def check_model_name(field: str, name: str) -> None:
    """Raise `RequestError` for a name that no model could have."""
    try:
        imports.check_name(name)
    except InputError as error:
        raise RequestError(f"{field}: {name!r} cannot be a model's name.", error.why, field=field) from error


def _order(platform: Platform, document: Document, job: Job | None) -> Order:
    return Order(document, job, bool(job and platform.queue.is_to_stop(job.id)))
