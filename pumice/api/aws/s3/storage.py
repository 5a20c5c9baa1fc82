"""nanio's folder storage, with listings in key order and metadata that follow the files. Knows no request."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nanio.errors import InvalidArgument, InvalidObjectName
from nanio.storage.backend import ListResult, ObjectInfo
from nanio.storage.filesystem import FilesystemStorage
from nanio.storage.paths import metadata_path

MOST_KEYS = 1000
_HIDDEN = (".nanio", ".tmp.")
"""nanio's own files, and objects that are being written."""


class Buckets(FilesystemStorage):
    """One folder a bucket, one file an object. Files that others put there are objects like any other."""

    async def put_object(self, bucket: str, key: str, body: AsyncIterator[bytes], **about: Any) -> ObjectInfo:
        """See nanio. A key that would be both an object and a folder is refused with a sentence."""
        # What a server left that was killed between an object and its metadata; nanio would refuse the key for ever.
        metadata_path(self.data_dir, bucket, key).with_suffix(".json.tmp").unlink(missing_ok=True)
        try:
            return await super().put_object(bucket, key, body, **about)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InvalidObjectName(
                f"{key!r} cannot lie beside what is in the bucket: a key may not be the folder of another key."
            ) from error

    def list_objects(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str | None = None,
        max_keys: int = MOST_KEYS,
        continuation_token: str | None = None,
        start_after: str | None = None,
    ) -> ListResult:
        """Keys and common prefixes together in key order, as S3 pages them."""
        after = decode_token(continuation_token) if continuation_token else start_after or ""
        most = min(max_keys, MOST_KEYS)
        found: list[str] = []
        more = False
        for entry in _entries(keys(self._require_bucket_dir(bucket), prefix), prefix, delimiter):
            # A prefix that was told on the page before stands for all keys under it.
            if entry <= after or (delimiter and after.startswith(entry)):
                continue
            if len(found) == most:
                more = True
                break
            found.append(entry)
        objects = [entry for entry in found if not (delimiter and entry.endswith(delimiter))]
        prefixes = [entry for entry in found if delimiter and entry.endswith(delimiter)]
        infos = [self._read_or_synthesize_metadata(bucket, key, self.data_dir / bucket / key) for key in objects]
        more = more and most > 0
        return ListResult(infos, prefixes, more, _encode(found[-1]) if more else None)

    def _read_or_synthesize_metadata(self, bucket: str, key: str, opath: Path) -> ObjectInfo:
        """What was recorded, unless the file was written anew behind our back: then what the file says."""
        info = super()._read_or_synthesize_metadata(bucket, key, opath)
        status = opath.stat(follow_symlinks=False)
        if info.etag != '""' and info.size == status.st_size:
            return info
        etag = hashlib.md5(f"{status.st_size} {status.st_mtime_ns}".encode(), usedforsecurity=False).hexdigest()
        # With a dash it is no MD5 of the content, and no client takes it for one.
        changed = datetime.fromtimestamp(status.st_mtime, tz=UTC)
        return replace(info, size=status.st_size, etag=f'"{etag}-1"', last_modified=changed)


def keys(bucket: Path, prefix: str = "") -> list[str]:
    """Every key of a bucket's folder that begins with `prefix`, in the order of their UTF-8 bytes."""
    start = bucket / prefix.rpartition("/")[0]
    found = (str(path.relative_to(bucket)) for path in _files(start)) if start.is_dir() else ()
    return sorted((key for key in found if key.startswith(prefix)), key=str.encode)


def _files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_HIDDEN) or entry.is_symlink():
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                yield Path(entry.path)


def _entries(found: list[str], prefix: str, delimiter: str | None) -> Iterator[str]:
    """The keys, those with the delimiter behind the prefix folded into one common prefix each."""
    last = None
    for key in found:
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = key if at < 0 or delimiter is None else key[: at + len(delimiter)]
        if entry != last:
            yield entry
        last = entry


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def decode_token(token: str) -> str:
    """The entry that a page ended with. Raises nanio's `InvalidArgument`."""
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError as error:
        raise InvalidArgument(f"{token!r} is no continuation token of this server.") from error
