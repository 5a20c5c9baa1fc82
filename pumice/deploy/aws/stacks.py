"""One CloudFormation stack: what state it is in, how it is changed, and how it goes. Knows no template."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from pumice.deploy.aws.account import missing
from pumice.errors import ConflictError, UnavailableError

PAUSE = 2.0
"""Seconds between two looks."""
GONE = ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS")
STUCK = ("ROLLBACK_FAILED", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED", "CREATE_FAILED")
UNCHANGED = ("didn't contain changes", "No updates are to be performed")


class Stack:
    """One of them, by its name."""

    def __init__(self, cloudformation: Any, name: str) -> None:
        self._client, self.name = cloudformation, name

    def describe(self) -> Mapping[str, Any] | None:
        """None where there is none."""
        try:
            found: list[Mapping[str, Any]] = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if missing(error):
                return None
            raise
        return next((each for each in found if each["StackStatus"] not in GONE), None)

    def outputs(self) -> dict[str, str]:
        """By name; empty where there is no stack."""
        found = self.describe() or {}
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}

    def resources(self) -> dict[str, str]:
        """What it made: logical id to the name that AWS gave it."""
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
        return {
            each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
            for page in pages
            for each in page["StackResourceSummaries"]
        }

    def apply(
        self, body: str, tags: Sequence[Mapping[str, str]], plan: str, tell: Callable[[str], None]
    ) -> dict[str, str]:
        """Make or change it by a change set, told resource by resource; what it puts out.

        Raises `UnavailableError` with CloudFormation's reason once it has rolled back.
        """
        found = self.describe()
        if found and found["StackStatus"].endswith("_IN_PROGRESS"):
            # An apply was interrupted here; AWS went on.
            self._follow(tell, set())
            found = self.describe()
        if found and found["StackStatus"] == "ROLLBACK_COMPLETE":
            self.delete(tell)
            found = None
        known = {event["EventId"] for event in self._events()} if found else set()
        kind = "UPDATE" if found else "CREATE"
        if not self._change_set(kind, body, tags, plan):
            tell(f"  {self.name} is as planned already")
            return self.outputs()
        self._client.execute_change_set(StackName=self.name, ChangeSetName=f"plan-{plan}")
        status = self._follow(tell, known)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise UnavailableError(
                f"The stack {self.name} could not be made; it ended as {status}.",
                self._reason(known),
                "What was made is taken back. Put the reason right, then plan and apply again.",
            )
        return self.outputs()

    def _change_set(self, kind: str, body: str, tags: Sequence[Mapping[str, str]], plan: str) -> bool:
        """Whether there is anything to change."""
        name = f"plan-{plan}"
        try:
            self._client.delete_change_set(StackName=self.name, ChangeSetName=name)
        except ClientError as error:
            if not missing(error) and error.response["Error"]["Code"] != "ChangeSetNotFound":
                raise
        made = self._client.create_change_set(
            StackName=self.name,
            ChangeSetName=name,
            ChangeSetType=kind,
            TemplateBody=body,
            Capabilities=["CAPABILITY_IAM"],
            Tags=list(tags),
        )
        try:
            self._client.get_waiter("change_set_create_complete").wait(
                ChangeSetName=made["Id"], WaiterConfig={"Delay": PAUSE, "MaxAttempts": 300}
            )
        except WaiterError as error:
            told = self._client.describe_change_set(ChangeSetName=made["Id"]).get("StatusReason", "")
            if any(each in told for each in UNCHANGED):
                return False
            raise UnavailableError(
                f"CloudFormation does not take the change of {self.name}.", told, "Nothing was changed."
            ) from error
        return True

    def _follow(self, tell: Callable[[str], None], known: set[str]) -> str:
        """Tell every event until the stack rests; its last status."""
        while True:
            status = str((self.describe() or {"StackStatus": "DELETE_COMPLETE"})["StackStatus"])
            for event in self._events():
                if event["EventId"] not in known and event["LogicalResourceId"] != self.name:
                    known.add(event["EventId"])
                    tell(f"  {event['ResourceStatus']:<20} {event['LogicalResourceId']}")
            if not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS":
                return status
            time.sleep(PAUSE)

    def _events(self) -> Iterator[Mapping[str, Any]]:
        """The oldest first."""
        try:
            pages = self._client.get_paginator("describe_stack_events").paginate(StackName=self.name)
            yield from reversed([each for page in pages for each in page["StackEvents"]])
        except ClientError as error:
            if not missing(error):
                raise

    def _reason(self, known: set[str]) -> str:
        """The first failure: those after it follow from it."""
        failed = (each for each in self._events() if each["ResourceStatus"].endswith("_FAILED"))
        first = next((each for each in failed if "cancelled" not in each.get("ResourceStatusReason", "")), None)
        if first is None:
            return "CloudFormation gives no reason."
        return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', 'no reason given')}"

    def delete(self, tell: Callable[[str], None]) -> None:
        """Delete it and wait. Raises `ConflictError` with what stayed."""
        if self.describe() is None:
            return
        self._client.delete_stack(StackName=self.name)
        status = self._follow(tell, {event["EventId"] for event in self._events()})
        if status != "DELETE_COMPLETE":
            raise ConflictError(
                f"The stack {self.name} could not be deleted; it is {status}.",
                self._reason(set()),
                "Put the reason right, then run the same command again.",
            )


def check_whole(stack: Stack) -> None:
    """Raise `ConflictError` for a stack that is being changed, or is half made."""
    found = stack.describe()
    status = found["StackStatus"] if found else ""
    if status in STUCK:
        raise ConflictError(
            f"The stack {stack.name} is half made: {status}.",
            "CloudFormation changes only what is whole.",
            "Remove it and begin again: pumice deploy aws destroy NAME",
        )
    if status.endswith("_IN_PROGRESS"):
        raise ConflictError(
            f"The stack {stack.name} is being changed now: {status}.",
            fix="Wait until it rests, or run the interrupted `pumice deploy aws apply` again.",
        )
