"""`/files`: upload, list, read, delete. Knows nothing of what files hold."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel

from pumice.api.openai.paging import Listed, listed
from pumice.api.openai.refusals import Refusal, near
from pumice.api.openai.stored import FileObject, Files
from pumice.api.openai.uploads import Form, read_form
from pumice.api.platform import Platform

Purpose = Literal["fine-tune", "batch", "user_data", "evals", "assistants", "vision"]
MOST = 10_000
LIFE = range(3600, 2_592_000 + 1)
"""Seconds that a caller may let a file live: an hour to thirty days."""


class Deleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


def router(platform: Platform) -> APIRouter:
    """The five routes."""
    routes = APIRouter()
    files = Files(platform.home, platform.documents)

    @routes.post("/files")
    async def upload(http: Request) -> FileObject:
        """Keep a file: a form with `file`, `purpose` and, if it shall not stay, `expires_after`."""
        id, folder = await asyncio.to_thread(files.new)
        try:
            form = await read_form(http, folder / ".part")
            return await asyncio.to_thread(_keep, files, id, folder, form)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise

    @routes.get("/files")
    async def list_files(
        purpose: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
    ) -> Listed[FileObject]:
        """The files, the newest first unless `order` is `asc`."""
        found = [each for each in await asyncio.to_thread(files.list) if purpose in (None, each.purpose)]
        # By the order of the ids, so that a page follows on one whose last file was deleted.
        if order == "asc":
            found = [each for each in reversed(found) if after is None or each.id > after]
        else:
            found = [each for each in found if after is None or each.id < after]
        return listed(found[:limit], len(found) > limit)

    @routes.get("/files/{file_id}")
    async def get_file(file_id: str) -> FileObject:
        """One file's entry."""
        return await asyncio.to_thread(files.get, file_id)

    @routes.get("/files/{file_id}/content")
    async def get_content(file_id: str) -> FileResponse:
        """What is in a file."""
        path = await asyncio.to_thread(files.path, file_id)
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    @routes.delete("/files/{file_id}")
    async def delete_file(file_id: str) -> Deleted:
        """Forget a file. Jobs go on: each has its own copy of what it reads."""
        await asyncio.to_thread(files.delete, file_id)
        return Deleted(id=file_id)

    return routes


def _keep(files: Files, id: str, folder: Path, form: Form) -> FileObject:
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise Refusal(400, "Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter")
    if purpose not in get_args(Purpose):
        known = ", ".join(get_args(Purpose))
        message = f"Invalid 'purpose': {purpose!r} is not one of {known}.{near(purpose, get_args(Purpose))}"
        raise Refusal(400, message, param="purpose", code="invalid_value")
    seconds = _seconds(form)
    file = (folder / ".part").rename(folder / form.filename)
    return files.keep(id, file, purpose, seconds)


def _seconds(form: Form) -> int | None:
    """How long the file shall live; None for ever."""
    anchor, seconds = form.fields.get("expires_after[anchor]"), form.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise Refusal(400, "'expires_after[anchor]' must be 'created_at'.", "expires_after[anchor]", "invalid_value")
    if seconds is None or not seconds.isdecimal() or int(seconds) not in LIFE:
        message = f"'expires_after[seconds]' must be {LIFE[0]} to {LIFE[-1]}, got {seconds!r}."
        raise Refusal(400, message, param="expires_after[seconds]", code="invalid_value")
    return int(seconds)
