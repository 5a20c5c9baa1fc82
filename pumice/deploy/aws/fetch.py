"""Weights out of S3 as a folder: what a SageMaker job or Bedrock left there. Does not know what becomes of them."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

from pumice.deploy.aws.account import Account, heard
from pumice.errors import InputError, NotFoundError

MARKS = ("adapter_config.json", "config.json")


def fetch(uri: str, account: Account, target: Path) -> Path:
    """Download a prefix, or a `model.tar.gz`, into `target`; the folder in it that holds the model."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    s3 = account.client("s3")
    # Of jobs/4, not what lies under jobs/42.
    inside = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    count = 0
    with heard():
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", []):
                if each["Key"] != prefix and not each["Key"].startswith(inside):
                    continue
                rest = each["Key"].removeprefix(prefix).lstrip("/") or each["Key"].rpartition("/")[2]
                path = (target / rest).resolve()
                if rest.endswith("/") or not path.is_relative_to(target.resolve()):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, each["Key"], str(path))
                count += 1
    if not count:
        raise NotFoundError(f"There is nothing under {uri}.", fix=f"See what is there: aws s3 ls {uri}")
    for archive in sorted(target.rglob("*.tar.gz")):
        try:
            with tarfile.open(archive) as packed:
                packed.extractall(archive.parent, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InputError(f"{archive.name} under {uri} cannot be unpacked: {error}.") from error
        archive.unlink()
    for mark in MARKS:
        if found := sorted(target.rglob(mark), key=lambda path: len(path.parts)):
            return found[0].parent
    raise InputError(
        f"Under {uri} there is no model.",
        f"One of {' and '.join(MARKS)} must be there, as transformers and peft save them.",
        "Name the prefix that holds them, or the job's model.tar.gz.",
    )
