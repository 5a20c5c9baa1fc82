"""Batches: many requests that nobody waits for, answered as single ones are, when there is room. Knows no wire.

A wire says in a `Runner` how its file is read, one record answered and the results written. What is answered lies in
`results.jsonl` of the batch's folder, one line a record, so that after a restart only the others are asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pumice.api.background import Part, Tasks
from pumice.api.metrics import Metrics
from pumice.config import Home
from pumice.errors import ConflictError, ExhaustedError, InputError, PumiceError, UnavailableError
from pumice.records import Document
from pumice.store.documents import Documents

LOGGER = logging.getLogger(__name__)
KIND = "batch"
AT_ONCE = 2
"""Records that are answered at the same time, over all batches."""
GIVE_WAY = 2.0
"""Seconds that a record waits for others to be answered that somebody waits for; then it has its turn."""
LOOK = 0.05
PAUSES = (1.0, 5.0)
"""Seconds before a record is asked again that could not be answered just then."""

State = Literal["submitted", "validating", "running", "finishing", "completed", "failed", "stopping", "stopped"]
ENDED = ("completed", "failed", "stopped")


@dataclass(frozen=True)
class Record:
    """One request of a batch."""

    id: str
    body: Any


@dataclass(frozen=True)
class Answer:
    """What became of a record: a body in the wire's words, an error if not `ok`."""

    ok: bool
    body: Any


@dataclass
class Counts:
    """How far a batch has come."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0

    def add(self, answer: Answer) -> None:
        self.succeeded += answer.ok
        self.failed += not answer.ok


@dataclass(frozen=True)
class Batch:
    """A batch as it stands now."""

    id: str
    runner: str
    state: State
    spec: Mapping[str, Any]
    """What its wire keeps with it."""
    folder: Path
    created: datetime
    updated: datetime
    counts: Counts
    error: str = ""

    @property
    def records(self) -> Path:
        """The file that was submitted, as it was then."""
        return self.folder / "records.jsonl"


class Runner(Protocol):
    """What a wire adds to batches. `records` and `write` may block."""

    def records(self, batch: Batch) -> Iterator[Record]:
        """The records of `batch.records`, in order. Raises `InputError` for a file that breaks a rule."""

    async def answer(self, batch: Batch, record: Record) -> Answer:
        """Ask one; it is cancelled when the batch or the server stops. May raise any `PumiceError`."""

    def refuse(self, error: PumiceError) -> Any:
        """The body that tells of a failure."""

    def write(self, batch: Batch, results: Results) -> None:
        """Leave the results where the wire promises them; also of a batch that was stopped."""


class Results:
    """The answers of one batch, by record id, in a file that only grows."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self._places: dict[str, int] = {}
        self.counts = Counts()
        file.touch()
        whole = 0
        with file.open("rb") as lines:
            for line in lines:
                # The last line may be torn by a crash: its record is asked again.
                if line.endswith(b"\n"):
                    self._take(whole, line)
                    whole += len(line)
        with file.open("rb+") as torn:
            torn.truncate(whole)

    def __contains__(self, record: str) -> bool:
        return record in self._places

    def get(self, record: str) -> Answer | None:
        """What became of a record, None if it was not asked."""
        if record not in self._places:
            return None
        with self._file.open("rb") as lines:
            lines.seek(self._places[record])
            found = json.loads(lines.readline())
        return Answer(found["ok"], found["body"])

    def add(self, record: str, answer: Answer) -> None:
        """Keep one more."""
        line = json.dumps({"id": record, "ok": answer.ok, "body": answer.body}).encode() + b"\n"
        with self._lock:
            place = self._file.stat().st_size
            with self._file.open("ab") as lines:
                lines.write(line)
            self._take(place, line)

    def _take(self, place: int, line: bytes) -> None:
        found = json.loads(line)
        self._places[found["id"]] = place
        self.counts.add(Answer(found["ok"], None))


class Batches(Part):
    """The batches of one server. `submit`, `get` and `list` block for a moment."""

    def __init__(self, home: Home, documents: Documents, metrics: Metrics) -> None:
        self._home, self._documents, self._metrics = home, documents, metrics
        self._runners: dict[str, Runner] = {}
        self._counts: dict[str, Counts] = {}
        self._tasks = Tasks()
        self._turns = asyncio.Semaphore(AT_ONCE)

    def register(self, name: str, runner: Runner) -> None:
        """Have `runner` do the batches that are submitted under its name; before the server starts."""
        self._runners[name] = runner

    async def start(self) -> None:
        """Go on with what a stop or a crash left."""
        for document in await asyncio.to_thread(self._documents.list, KIND):
            if document.body["state"] not in ENDED:
                self._begin(document.name)

    async def stop(self) -> None:
        """Leave everything as it is; the next start goes on there."""
        await self._tasks.stop()

    async def submit(self, runner: str, records: Path, spec: Mapping[str, Any], id: str = "") -> Batch:
        """A new batch over a copy of the file `records`; `id` is letters and digits, chosen when left out."""
        assert runner in self._runners
        id = id or secrets.token_hex(6)

        def keep() -> None:
            folder = self._folder(id)
            folder.mkdir(parents=True)
            shutil.copyfile(records, folder / "records.jsonl")
            self._documents.add(KIND, id, {"runner": runner, "state": "submitted", "spec": dict(spec), "error": ""})

        await asyncio.to_thread(keep)
        self._begin(id)
        return await asyncio.to_thread(self.get, id)

    def get(self, id: str) -> Batch:
        """One by its id. Raises `NotFoundError`."""
        return self._batch(self._documents.get(KIND, id))

    def list(self, runner: str) -> list[Batch]:
        """All of one runner, the newest first."""
        return [self._batch(each) for each in self._documents.list(KIND) if each.body["runner"] == runner]

    async def cancel(self, id: str) -> None:
        """Stop one: what is answered is written, the rest is not asked. Raises `ConflictError` when it has ended."""
        batch = await asyncio.to_thread(self.get, id)
        if batch.state in (*ENDED, "finishing"):
            raise ConflictError(f"The batch {id} is {batch.state} and cannot be stopped any more.")
        await asyncio.to_thread(self._set, id, "stopping")
        await self._tasks.cancel(id)
        self._begin(id)

    def _begin(self, id: str) -> None:
        self._counts[id] = Counts()
        self._tasks.start(id, self._run(id))

    async def _run(self, id: str) -> None:
        """A batch's life, from wherever it was."""
        try:
            batch = await asyncio.to_thread(self.get, id)
            runner = self._runners[batch.runner]
            results = await asyncio.to_thread(Results, batch.folder / "results.jsonl")
            self._counts[id] = results.counts
            if batch.state in ("submitted", "validating"):
                await asyncio.to_thread(self._set, id, "validating")
            records = await asyncio.to_thread(_read, runner, batch)
            results.counts.total = len(records)
            if batch.state not in ("stopping", "finishing"):
                await asyncio.to_thread(self._set, id, "running")
                await self._answer(runner, batch, records, results)
                await asyncio.to_thread(self._set, id, "finishing")
            batch = await asyncio.to_thread(self.get, id)
            await asyncio.to_thread(runner.write, batch, results)
            await asyncio.to_thread(self._end, id, "stopped" if batch.state == "stopping" else "completed")
        except PumiceError as error:
            await asyncio.to_thread(self._end, id, "failed", " ".join(str(error).split()))
        except Exception:
            LOGGER.exception("batch %s failed", id)
            await asyncio.to_thread(self._end, id, "failed", f"The server failed; its log holds the reason under {id}.")

    async def _answer(self, runner: Runner, batch: Batch, records: Sequence[Record], results: Results) -> None:
        """Ask what has no answer yet; the first that cannot be kept ends it."""
        waiting = iter([record for record in records if record.id not in results])

        async def work() -> None:
            for record in waiting:
                async with self._turns:
                    await self._give_way()
                    answer = await _ask(runner, batch, record)
                await asyncio.to_thread(results.add, record.id, answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _give_way(self) -> None:
        """Wait while somebody's own request is being answered, but not for ever."""
        for _ in range(int(GIVE_WAY / LOOK)):
            if not self._metrics.interactive:
                return
            await asyncio.sleep(LOOK)

    def _set(self, id: str, state: State) -> None:
        self._documents.change(KIND, id, state=state)

    def _end(self, id: str, state: State, error: str = "") -> None:
        counts = self._counts.pop(id)
        self._documents.change(KIND, id, state=state, error=error, counts=vars(counts))

    def _folder(self, id: str) -> Path:
        return self._home.files / f"batch-{id}"

    def _batch(self, document: Document) -> Batch:
        body, counts = document.body, self._counts.get(document.name)
        return Batch(
            id=document.name,
            runner=body["runner"],
            state=body["state"],
            spec=body["spec"],
            folder=self._folder(document.name),
            created=document.created,
            updated=document.updated,
            counts=replace(counts) if counts else Counts(**body.get("counts", {})),
            error=body["error"],
        )


async def _ask(runner: Runner, batch: Batch, record: Record) -> Answer:
    """The answer to one record, asked again when the engine was just then not there."""
    for pause in PAUSES:
        try:
            return await runner.answer(batch, record)
        except (UnavailableError, ExhaustedError):
            await asyncio.sleep(pause)
        except PumiceError as error:
            return Answer(False, runner.refuse(error))
    try:
        return await runner.answer(batch, record)
    except PumiceError as error:
        return Answer(False, runner.refuse(error))


def _read(runner: Runner, batch: Batch) -> list[Record]:
    records = list(runner.records(batch))
    if not records:
        raise InputError("The file has no records.", fix="Put one JSON object a line into it.")
    known: set[str] = set()
    for number, record in enumerate(records, 1):
        if record.id in known:
            raise InputError(f"Line {number}: the id {record.id!r} is there twice.", fix="Give every record its own.")
        known.add(record.id)
    return records


def ended(batch: Batch) -> datetime | None:
    """When it ended, None while it goes on."""
    return batch.updated.astimezone(UTC) if batch.state in ENDED else None
