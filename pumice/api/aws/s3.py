"""S3: nanio over the folder that `s3://` means on this machine. Knows no signature: the gate has checked it."""

from __future__ import annotations

from pathlib import Path

from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from starlette.types import ASGIApp


def s3_app(root: Path) -> ASGIApp:
    """The S3 API over `root`: one folder a bucket, one file an object."""
    root.mkdir(parents=True, exist_ok=True)
    nobody = StaticCredentialResolver({"none": "none"})
    return build_app(Settings(data_dir=root, credentials=nobody, auth_disabled=True))
