"""What `s3://bucket/key` means on this machine: one folder a bucket, one file an object, as nanio serves them.

Does not know HTTP, nor what the objects hold.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from nanio.errors import S3Error
from nanio.keys import validate_bucket_name, validate_object_key
from nanio.storage.backend import ObjectInfo
from nanio.storage.metadata import write_metadata
from nanio.storage.paths import (
    MULTIPART_ROOT_NAME,
    assert_inside_data_dir,
    is_internal_name,
    metadata_path,
)

from pumice.errors import ConflictError, InputError, NotFoundError

SCHEME = "s3://"
FORM = "Write s3://bucket/key, such as s3://data/faq.jsonl."
LOOKED_AT = 10_000
"""Keys that are compared with one that does not exist."""
CHUNK = 2**20
LONGEST_PART = 240
"""Of a key, in bytes: a file's name has 255, and nanio adds an ending."""
STAGED = ".tmp."
"""How names of files begin that nanio has not received whole."""


def is_uri(text: str) -> bool:
    """Whether this is meant as an address in S3, and not as a file's name."""
    return text.startswith(SCHEME)


class Objects:
    """The buckets of one home. Raises `InputError` for an address that S3 would not take."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def locate(self, word: str) -> Path:
        """The file that a user's word means: an object in S3, or a file as it is."""
        return self.path(word) if is_uri(word) else Path(word)

    def path(self, uri: str) -> Path:
        """The file of an object. Raises `NotFoundError` with the nearest buckets or keys."""
        bucket, key = split(uri)
        path = self._bucket(bucket) / key
        if path.is_file() and not path.is_symlink() and self._inside(path):
            return path
        if path.is_dir():
            inside = ", ".join(islice((f"{SCHEME}{bucket}/{each}" for each in self._keys(bucket, f"{key}/")), 3))
            fix = f"Name one: {inside}." if inside else "Upload one: aws s3 cp FILE s3://bucket/key"
            raise NotFoundError(f"{uri} is a prefix, not an object.", "Data is read from one object.", fix)
        near = get_close_matches(key, islice(self._keys(bucket), LOOKED_AT), cutoff=0.5)
        why = f"Near to it: {', '.join(f'{SCHEME}{bucket}/{each}' for each in near)}." if near else ""
        raise NotFoundError(
            f"{uri} does not exist.", why, f"See what is there: aws s3 ls --recursive {SCHEME}{bucket}/"
        )

    def folder(self, prefix: str) -> Path:
        """The folder of a prefix, for what is read as a folder. Raises `NotFoundError` when nothing lies under it."""
        bucket, _, start = prefix.removeprefix(SCHEME).rstrip("/").partition("/")
        inside = f"{start}/" if start else ""
        _check(prefix, bucket, f"{inside}x")
        path = self._bucket(bucket) / start
        if path.is_dir() and self._inside(path) and next(self._keys(bucket, inside), None):
            return path
        if path.is_file():
            raise NotFoundError(f"{prefix} is an object, not a prefix.", fix="Name what lies above it, ending with /.")
        raise NotFoundError(f"There is nothing under {prefix}.", fix=f"See what is there: aws s3 ls {SCHEME}{bucket}/")

    def list(self, prefix: str) -> tuple[str, ...]:
        """The addresses that begin with `prefix`, in order. Raises `NotFoundError` only for a bucket."""
        bucket, _, start = prefix.removeprefix(SCHEME).partition("/")
        _check(prefix, bucket, f"{start}x")
        self._bucket(bucket)
        return tuple(sorted(f"{SCHEME}{bucket}/{key}" for key in self._keys(bucket, start)))

    def put(self, uri: str, content: bytes | Path) -> str:
        """Keep an object, whole or not at all, and make its bucket if there is none; returns `uri`."""
        bucket, key = split(uri)
        path = self.root / bucket / key
        staging = self.root / MULTIPART_ROOT_NAME / "put"
        staging.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=staging)
        try:
            with os.fdopen(handle, "wb") as target:
                digest, size = hashlib.md5(usedforsecurity=False), 0
                with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
                target.flush()
                os.fsync(target.fileno())
            # As readable as what nanio writes.
            Path(part).chmod(0o644)
            self._place(Path(part), path, uri)
            info = ObjectInfo(key=key, size=size, etag=f'"{digest.hexdigest()}"', last_modified=datetime.now(UTC))
            self._describe(Path(part), metadata_path(self.root, bucket, key), info)
        finally:
            Path(part).unlink(missing_ok=True)
        return uri

    def _describe(self, part: Path, path: Path, info: ObjectInfo) -> None:
        """Write nanio's metadata by way of `part`: its own way is one file a key, which two writers cannot share."""
        write_metadata(part, info)
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)

    def _place(self, part: Path, path: Path, uri: str) -> None:
        if not self._inside(path):
            raise InputError(f"{uri} lies outside of {self.root}.", "A link in the bucket leads there.", "Remove it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.replace(path)
        except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
            why = "On this machine a key is a file and its parts are folders, so no key can begin with another and a /."
            raise ConflictError(f"{uri} cannot be written.", why, "Choose another key.") from error

    def _bucket(self, bucket: str) -> Path:
        path = self.root / bucket
        if path.is_dir() and not path.is_symlink():
            return path
        known = [each.name for each in self.root.iterdir()] if self.root.is_dir() else []
        near = get_close_matches(bucket, [name for name in known if not is_internal_name(name)], cutoff=0.5)
        why = f"Near to it: {', '.join(near)}." if near else ""
        raise NotFoundError(f"There is no bucket {bucket!r}.", why, f"Make it: aws s3 mb {SCHEME}{bucket}")

    def _keys(self, bucket: str, start: str = "") -> Iterator[str]:
        """The keys that begin with `start`, folder by folder."""
        top = self.root / bucket
        first = top / start.rpartition("/")[0]
        for folder, folders, files in os.walk(first) if self._inside(first) else ():
            folders[:] = sorted(name for name in folders if not is_internal_name(name))
            for name in sorted(files):
                key = (Path(folder) / name).relative_to(top).as_posix()
                if key.startswith(start) and not is_internal_name(name) and not name.startswith(STAGED):
                    yield key

    def _inside(self, path: Path) -> bool:
        """Whether no link on the way leads out of the root."""
        try:
            assert_inside_data_dir(self.root, path)
        except PermissionError:
            return False
        return True


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an object's address. Raises `InputError`."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    _check(uri, bucket, key)
    return bucket, key


def _check(uri: str, bucket: str, key: str) -> None:
    """Raises `InputError` for an address that S3, or the disk, would not take."""
    try:
        if not is_uri(uri):
            raise S3Error("an address begins with s3://")
        validate_bucket_name(bucket)
        validate_object_key(key)
        if any(len(part.encode()) > LONGEST_PART for part in key.split("/")):
            raise S3Error(f"what is between two slashes has at most {LONGEST_PART} bytes")
    except S3Error as error:
        raise InputError(f"{uri} is no address in S3.", f"The rule: {error.message_text}.", FORM) from None
