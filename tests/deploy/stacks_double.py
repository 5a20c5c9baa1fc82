"""CloudFormation in front of the emulator's: it makes SageMaker's resources and the budget in our double, which the
emulator refuses to know, and leaves the rest of a template to the emulator. Streamed answers are tested elsewhere. Its
CloudFront calls no API Gateway by the name that it has on AWS, so a distribution is told where the emulator has it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError
from listening import Listening
from sagemaker_double import Refusal, SageMaker

OURS = ("AWS::SageMaker::", "AWS::Budgets::", "AWS::ApplicationAutoScaling::")
"""Scaling and the budget are kept in mind, and do nothing."""
ORDER = (
    "::Model",
    "::EndpointConfig",
    "::Endpoint",
    "::InferenceComponent",
    "::Budget",
    "::ScalableTarget",
    "::ScalingPolicy",
    "::Alarm",
)
NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"


class Stacks(Listening):
    """One port that speaks CloudFormation."""

    def __init__(self, emulator: Any, iam: Any, sagemaker: SageMaker) -> None:
        self.emulator, self.iam, self.sagemaker = emulator, iam, sagemaker
        self.templates: dict[str, dict[str, Any]] = {}
        self.made: dict[str, dict[str, tuple[str, str, str]]] = {}
        """By stack and logical id: type, name, and what it was made from."""
        self.status: dict[str, str] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.listen()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        status, told = self.told(dict(parse_qsl(body.decode())))
        return status, {"content-type": "text/xml"}, told

    def told(self, asked: dict[str, str]) -> tuple[int, bytes]:
        action = asked["Action"]
        try:
            result = getattr(self, action)(asked)
        except ClientError as error:
            told = error.response["Error"]
            return 400, self.xml(
                "ErrorResponse", {"Error": {"Code": told["Code"], "Message": told["Message"]}}
            ).encode()
        inner = {f"{action}Result": result or {}}
        return 200, self.xml(f"{action}Response", inner).replace(">", f' xmlns="{NAMESPACE}">', 1).encode()

    def xml(self, tag: str, value: Any) -> str:
        if isinstance(value, dict):
            inside = "".join(self.xml(key, each) for key, each in value.items() if each is not None)
        elif isinstance(value, list):
            inside = "".join(self.xml("member", each) for each in value)
        elif isinstance(value, datetime):
            inside = value.isoformat()
        elif isinstance(value, bool):
            inside = str(value).lower()
        else:
            inside = escape(str(value))
        return f"<{tag}>{inside}</{tag}>"

    # Change sets

    def CreateChangeSet(self, asked: dict[str, str]) -> dict[str, Any]:
        stack, whole = asked["StackName"], json.loads(asked["TemplateBody"])
        ours = {name: each for name, each in whole["Resources"].items() if each["Type"].startswith(OURS)}
        # What speaks of ours cannot be made without it.
        ours |= {name: each for name, each in whole["Resources"].items() if speaks_of(each, ours)}
        rest = {name: buffered(each) for name, each in whole["Resources"].items() if name not in ours}
        for each in rest.values():
            if each["Type"] == "AWS::CloudFront::Distribution":
                self.redirect(each["Properties"]["DistributionConfig"]["Origins"])
        if ours:
            # A change of ours alone must be a change to the emulator too.
            mark = hashlib.sha256(json.dumps(ours, sort_keys=True).encode()).hexdigest()[:8]
            rest[f"Mark{mark}"] = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
        outputs = {name: each for name, each in whole["Outputs"].items() if not speaks_of(each, ours)}
        self.templates[stack] = ours
        tags = [
            {"Key": asked[f"Tags.member.{at}.Key"], "Value": asked[f"Tags.member.{at}.Value"]}
            for at in range(1, 10)
            if f"Tags.member.{at}.Key" in asked
        ]
        if self.status.get(stack) in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE"):
            del self.status[stack]
        made = self.emulator.create_change_set(
            StackName=stack,
            ChangeSetName=asked["ChangeSetName"],
            ChangeSetType=asked["ChangeSetType"],
            TemplateBody=json.dumps({**whole, "Resources": rest, "Outputs": outputs}),
            Capabilities=["CAPABILITY_IAM"],
            Tags=tags,
        )
        return {"Id": made["Id"], "StackId": made["StackId"]}

    def redirect(self, origins: list[dict[str, Any]]) -> None:
        there = urlsplit(self.emulator.meta.endpoint_url)
        for origin in origins:
            if "execute-api" in str(origin["DomainName"]):
                origin["DomainName"] = there.hostname
                origin["OriginPath"] = {"Fn::Sub": f"/restapis/${{Api}}{origin['OriginPath']}/_user_request_"}
                origin["CustomOriginConfig"] = {"HTTPPort": there.port, "OriginProtocolPolicy": "http-only"}

    def DescribeChangeSet(self, asked: dict[str, str]) -> dict[str, Any]:
        found = self.emulator.describe_change_set(**_names(asked))
        return {key: found.get(key) for key in ("ChangeSetName", "Status", "StatusReason")}

    def DeleteChangeSet(self, asked: dict[str, str]) -> None:
        self.emulator.delete_change_set(**_names(asked))

    def ExecuteChangeSet(self, asked: dict[str, str]) -> None:
        stack = asked["StackName"]
        kind = "UPDATE" if self.made.get(stack) else "CREATE"
        self.emulator.execute_change_set(**_names(asked))
        if self.templates.get(stack):
            self.status[stack] = f"{kind}_IN_PROGRESS"
            threading.Thread(target=self.build, args=(stack, kind), daemon=True).start()

    def build(self, stack: str, kind: str) -> None:
        """Ours, once the emulator has made its own."""
        try:
            self.make_ours(stack, kind)
        except Exception:
            self.status[stack] = "ROLLBACK_FAILED"
            raise

    def make_ours(self, stack: str, kind: str) -> None:
        while self.emulator.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"].endswith("IN_PROGRESS"):
            time.sleep(0.1)
        names = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in self.emulator.list_stack_resources(StackName=stack)["StackResourceSummaries"]
        }
        had, new = dict(self.made.get(stack, {})), dict(self.made.get(stack, {}))
        ours = sorted(
            self.templates[stack].items(), key=lambda item: ORDER.index("::" + item[1]["Type"].rpartition("::")[2])
        )
        try:
            for logical, each in ours:
                properties = self.resolved(each["Properties"], {**names, **{key: made[1] for key, made in new.items()}})
                text = json.dumps(properties, sort_keys=True)
                if logical in had and had[logical][2] == text:
                    continue
                new[logical] = (
                    each["Type"],
                    self.make(each["Type"], stack, logical, properties, had.get(logical)),
                    text,
                )
                self.tell(stack, logical, f"{kind}_COMPLETE")
        except Refusal as refusal:
            self.tell(stack, logical, f"{kind}_FAILED", refusal.message)
            for key, (type_, name, _) in reversed(new.items()):
                if had.get(key, ("", ""))[1] != name:
                    self.unmake(type_, name)
            if kind == "CREATE":
                self.emulator.delete_stack(StackName=stack)
            self.status[stack] = "ROLLBACK_COMPLETE" if kind == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"
            return
        self.made[stack] = {key: made for key, made in new.items() if key in self.templates[stack]}
        for key, (type_, name, _) in had.items():
            if self.made[stack].get(key, ("", ""))[1] != name:
                self.unmake(type_, name)
        del self.status[stack]

    def resolved(self, value: Any, names: dict[str, str]) -> Any:
        """References as names."""
        if isinstance(value, list):
            return [self.resolved(each, names) for each in value]
        if not isinstance(value, dict):
            return value
        if "Ref" in value:
            return names[value["Ref"]]
        if "Fn::GetAtt" in value:
            logical, attribute = value["Fn::GetAtt"]
            if attribute == "Arn":
                return self.iam.get_role(RoleName=names[logical])["Role"]["Arn"]
            return names[logical]
        return {key: self.resolved(each, names) for key, each in value.items()}

    def make(self, type_: str, stack: str, logical: str, properties: dict[str, Any], had: Any) -> str:
        name = f"{stack}-{logical}-{uuid.uuid4().hex[:8]}"
        match type_.rpartition("::")[2]:
            case "Model":
                self.sagemaker.CreateModel({"ModelName": name, **properties})
            case "EndpointConfig":
                self.sagemaker.CreateEndpointConfig({"EndpointConfigName": name, **properties})
            case "Endpoint":
                name = properties["EndpointName"]
                (self.sagemaker.UpdateEndpoint if had else self.sagemaker.CreateEndpoint)(properties)
            case "InferenceComponent":
                name = properties["InferenceComponentName"]
                self.sagemaker.CreateInferenceComponent(properties)
        return name

    def unmake(self, type_: str, name: str) -> None:
        match type_.rpartition("::")[2]:
            case "Model":
                self.sagemaker.DeleteModel({"ModelName": name})
            case "EndpointConfig":
                self.sagemaker.DeleteEndpointConfig({"EndpointConfigName": name})
            case "InferenceComponent" if name in self.sagemaker.records["component"]:
                self.sagemaker.DeleteInferenceComponent({"InferenceComponentName": name})
            case "Endpoint" if name in self.sagemaker.records["endpoint"]:
                self.sagemaker.DeleteEndpoint({"EndpointName": name})

    def tell(self, stack: str, logical: str, status: str, reason: str = "") -> None:
        event = {"EventId": uuid.uuid4().hex, "StackId": stack, "StackName": stack, "LogicalResourceId": logical}
        event |= {"ResourceStatus": status, "ResourceStatusReason": reason, "Timestamp": datetime.now(UTC)}
        self.events.setdefault(stack, []).insert(0, event)

    # Stacks

    def DescribeStacks(self, asked: dict[str, str]) -> dict[str, Any]:
        stack = asked["StackName"]
        status = self.status.get(stack)
        if status == "ROLLBACK_COMPLETE":
            now = datetime.now(UTC)
            return {"Stacks": [{"StackName": stack, "StackStatus": status, "CreationTime": now}]}
        found = self.emulator.describe_stacks(StackName=stack)["Stacks"]
        keys = ("StackName", "StackId", "StackStatus", "CreationTime", "LastUpdatedTime", "Outputs", "Tags")
        stacks = [{key: each.get(key) for key in keys} for each in found]
        return {"Stacks": [{**each, "StackStatus": status or each["StackStatus"]} for each in stacks]}

    def DescribeStackEvents(self, asked: dict[str, str]) -> dict[str, Any]:
        stack = asked["StackName"]
        try:
            theirs = self.emulator.describe_stack_events(StackName=stack)["StackEvents"]
        except ClientError:
            theirs = []
        keys = (
            "EventId",
            "StackId",
            "StackName",
            "LogicalResourceId",
            "ResourceStatus",
            "ResourceStatusReason",
            "Timestamp",
        )
        return {
            "StackEvents": [*self.events.get(stack, []), *({key: each.get(key) for key in keys} for each in theirs)]
        }

    def ListStackResources(self, asked: dict[str, str]) -> dict[str, Any]:
        theirs = self.emulator.list_stack_resources(StackName=asked["StackName"])["StackResourceSummaries"]
        keys = ("LogicalResourceId", "PhysicalResourceId", "ResourceType", "ResourceStatus", "LastUpdatedTimestamp")
        return {"StackResourceSummaries": [{key: each.get(key) for key in keys} for each in theirs]}

    def DeleteStack(self, asked: dict[str, str]) -> None:
        stack = re.sub(r"^arn:.*:stack/([^/]+)/.*", r"\1", asked["StackName"])
        for type_, name, _ in reversed(self.made.pop(stack, {}).values()):
            self.unmake(type_, name)
        if self.status.pop(stack, "") != "ROLLBACK_COMPLETE":
            self.emulator.delete_stack(StackName=stack)


def speaks_of(each: Any, ours: Iterable[str]) -> bool:
    """Whether a part of a template refers to one of `ours`."""
    return any(f'"{logical}"' in json.dumps(each) for logical in ours)


def buffered(resource: dict[str, Any]) -> dict[str, Any]:
    """A method whose integration streams, as the emulator knows it: it asks the same function in one piece."""
    if resource["Properties"].get("Integration", {}).get("ResponseTransferMode") != "STREAM":
        return resource
    text = json.dumps(resource).replace("2021-11-15", "2015-03-31").replace("response-streaming-", "")
    found: dict[str, Any] = json.loads(text)
    return found


def _names(asked: dict[str, str]) -> dict[str, str]:
    return {key: asked[key] for key in ("StackName", "ChangeSetName") if key in asked}
