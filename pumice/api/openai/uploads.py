"""A multipart form as it arrives: its one file goes to disk, whatever its size. Knows no purpose of files."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath, PureWindowsPath

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pumice.api.openai.refusals import Refusal

MAX_FILE = 512_000_000
"""Bytes; OpenAI's own limit."""
MAX_FIELDS = 64_000
"""Bytes of everything in the form that is not the file."""
LONGEST_NAME = 60
"""Characters before the ending; no disk takes a name of more than 255 bytes."""


class Form:
    """The form so far. The file is at `part`, whole once `read` has returned."""

    def __init__(self, content_type: str, part: Path) -> None:
        """Raises `Refusal` for what is no multipart form."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise Refusal(400, "The body is not a form. Send `multipart/form-data` with the fields file and purpose.")
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.size = 0
        self._part, self._file = part, part.open("wb")
        self._header, self._value = bytearray(), bytearray()
        self._name, self._is_file = "", False
        self._kept, self._field = 0, bytearray()
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._on_part,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Raises `Refusal` for a broken form or one that is too large."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Refusal(400, f"The form is broken: {error}.") from error

    def close(self) -> None:
        """No more bytes are coming, or wanted."""
        self._file.close()

    def _on_part(self) -> None:
        self._name, self._is_file = "", False
        self._field = bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value).decode("latin-1"))
            self._name = options.get(b"name", b"").decode("latin-1")
            self._is_file = self._name == "file"
            if self._is_file and self.filename:
                raise Refusal(400, "The form has more than one file.", param="file", code="invalid_value")
            if self._is_file:
                self.filename = _plain(options.get(b"filename", b""))
        self._header, self._value = bytearray(), bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.size += end - start
            if self.size > MAX_FILE:
                raise Refusal(413, f"The file is larger than {MAX_FILE // 1_000_000} MB.", param="file")
            self._file.write(memoryview(data)[start:end])
            return
        self._kept += end - start
        if self._kept > MAX_FIELDS:
            raise Refusal(413, f"The fields beside the file are larger than {MAX_FIELDS // 1000} kB.")
        self._field += data[start:end]

    def _on_part_end(self) -> None:
        if not self._is_file:
            # Names count too, or a form of empty fields could fill the memory.
            self._kept += len(self._name) + 100
            self.fields[self._name] = self._field.decode("utf-8", "replace")


async def read_form(request: Request, part: Path) -> Form:
    """Stream the request's form, its file to `part`. Raises `Refusal`, also when there is no file in it."""
    form = Form(request.headers.get("content-type", ""), part)
    try:
        async for chunk in request.stream():
            await asyncio.to_thread(form.write, chunk)
    finally:
        form.close()
    if not form.filename:
        raise Refusal(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    return form


def _plain(name: bytes) -> str:
    """The last part of what a caller names a file, without what no disk takes; `file` for nothing."""
    # A client's name is UTF-8, but the parser went through latin-1.
    text = name.decode("utf-8", "replace")
    last = PureWindowsPath(PurePosixPath(text).name).name
    kept = "".join(each for each in last if each.isprintable() and each not in '/\\:*?"<>|').strip(". ")
    stem, dot, ending = kept.rpartition(".")
    return (f"{stem[:LONGEST_NAME]}{dot}{ending[:20]}" if dot else kept[:LONGEST_NAME]) or "file"
