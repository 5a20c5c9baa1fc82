"""CloudFormation's own words as Python, and a template as bytes. Knows no resource."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

Template = dict[str, Any]
ACCOUNT = "${AWS::Partition}:{service}:${AWS::Region}:${AWS::AccountId}"


def ref(name: str) -> dict[str, str]:
    """A resource, or a fact about the stack."""
    return {"Ref": name}


def att(name: str, attribute: str) -> dict[str, list[str]]:
    """An attribute of a resource."""
    return {"Fn::GetAtt": [name, attribute]}


def sub(text: str) -> dict[str, str]:
    """A text with `${…}` in it."""
    return {"Fn::Sub": text}


def arn(service: str, rest: str) -> dict[str, str]:
    """Something of this account in this region."""
    return sub("arn:" + ACCOUNT.replace("{service}", service) + ":" + rest)


def allow(actions: str | Sequence[str], resources: Any, condition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One statement of a policy."""
    actions = [actions] if isinstance(actions, str) else list(actions)
    statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": dict(condition)} if condition else {})


def deny_without_tls(resources: Any) -> dict[str, Any]:
    """The statement that refuses plain HTTP to anybody."""
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def role(service: str, name: str, statements: Sequence[Mapping[str, Any]], ours: bool = False) -> dict[str, Any]:
    """A role that only `service` may take, with one policy. `ours`: on behalf of this account alone."""
    trust: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if ours:
        trust["Condition"] = {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}}
    policy = {"PolicyName": name, "PolicyDocument": {"Version": "2012-10-17", "Statement": list(statements)}}
    trusted = {"Version": "2012-10-17", "Statement": [trust]}
    return resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted, Policies=[policy])


def resource(type_: str, *, after: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    """A resource; `after` names those that it must wait for without referring to them."""
    made: dict[str, Any] = {"Type": type_, "Properties": properties}
    return made | ({"DependsOn": list(after)} if after else {})


def log_group(name: str) -> dict[str, Any]:
    """Kept a month, and gone with the stack."""
    made = resource("AWS::Logs::LogGroup", LogGroupName=name, RetentionInDays=30)
    return made | {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}


def writes_to(log: str) -> dict[str, Any]:
    """Leave to write to one log group."""
    return allow(["logs:CreateLogStream", "logs:PutLogEvents"], arn("logs", f"log-group:{log}:*"))


def template(description: str, resources: Mapping[str, Any], outputs: Mapping[str, Any]) -> Template:
    """A whole template."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": description,
        "Resources": dict(resources),
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }


def body(made: Template) -> str:
    """What is sent: the same for the same template."""
    return json.dumps(made, indent=1, sort_keys=True)


def short_hash(value: Any) -> str:
    """For names that must change with what they stand for."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
