"""The deployment's bucket: private, encrypted, TLS only. It is no part of a stack, as stacks need what is in it."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from pumice.deploy.aws.account import missing
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.template import deny_without_tls
from pumice.errors import ConflictError


def ensure(s3: Any, facts: Facts) -> bool:
    """Make it unless it is there; whether it was made now. Raises `ConflictError` where somebody else has it."""
    if exists(s3, facts.bucket):
        return False
    # us-east-1 is S3's own default, which it does not take as a word.
    place = {"CreateBucketConfiguration": {"LocationConstraint": facts.region}} if facts.region != "us-east-1" else {}
    s3.create_bucket(Bucket=facts.bucket, **place)
    block = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=facts.bucket, PublicAccessBlockConfiguration=dict.fromkeys(block, True))
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=facts.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    everything = [f"arn:aws:s3:::{facts.bucket}", f"arn:aws:s3:::{facts.bucket}/*"]
    policy = {"Version": "2012-10-17", "Statement": [deny_without_tls(everything)]}
    s3.put_bucket_policy(Bucket=facts.bucket, Policy=json.dumps(policy))
    s3.put_bucket_tagging(Bucket=facts.bucket, Tagging={"TagSet": facts.tags})
    return True


def exists(s3: Any, name: str) -> bool:
    """Whether it is there and ours. Raises `ConflictError` where it is somebody else's."""
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if missing(error):
            return False
        if error.response["Error"]["Code"] in ("403", "AccessDenied"):
            raise ConflictError(
                f"The bucket {name} exists, and these credentials may not look into it.",
                "Somebody else may have taken the name, or the permission s3:ListBucket is missing.",
                "Choose another --name, or ask for the permission.",
            ) from error
        raise
    return True


def empty(s3: Any, name: str) -> None:
    """Delete all that is in it."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        if keys := [{"Key": each["Key"]} for each in page.get("Contents", [])]:
            s3.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})


def remove(s3: Any, name: str) -> None:
    """Delete it with all that is in it; idempotent."""
    if exists(s3, name):
        empty(s3, name)
        s3.delete_bucket(Bucket=name)
