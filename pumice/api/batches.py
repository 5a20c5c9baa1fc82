"""Batches: many requests that nobody waits for, answered as single ones are, when there is room. Knows no wire.

A wire says in a `Runner` how its file is read, one record answered and the results written. What is answered lies in
`results.jsonl` of the batch's folder, one line a record, so that after a restart only the others are asked. The key
that made a batch pays for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from pumice.api.background import Part, Tasks
from pumice.api.exchange import Exchange
from pumice.api.identity import Identity
from pumice.api.metrics import Metrics
from pumice.config import Home
from pumice.errors import ConflictError, DeniedError, ExhaustedError, InputError, PumiceError, UnavailableError
from pumice.records import Document, Key
from pumice.store.documents import Documents
from pumice.traffic.meter import Meter

LOGGER = logging.getLogger(__name__)
KIND = "batch"
AT_ONCE = 2
"""Records that are answered at the same time, over all batches."""
GIVE_WAY = 2.0
"""Seconds that a record waits for others to be answered that somebody waits for; then it has its turn."""
LOOK = 0.05
PAUSES = (1.0, 5.0)
"""Seconds before a record is asked again that could not be answered just then."""
PATIENCE = 60
"""Seconds that a batch waits for its key to be admitted: a minute's requests come back, a day's tokens do not."""

State = Literal[
    "submitted", "validating", "running", "finishing", "completed", "expired", "failed", "stopping", "stopped"
]
ENDED = ("completed", "expired", "failed", "stopped")


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
    expires: datetime
    """When it ends, done or not."""
    times: Mapping[str, datetime]
    """When it came into each state that it has been in."""
    key: str | None = None
    """The id of the key that made it, None when none was asked for."""
    error: str = ""

    @property
    def ended(self) -> datetime | None:
        """When it ended, None while it goes on."""
        return self.times.get(self.state) if self.state in ENDED else None

    @property
    def records(self) -> Path:
        """The file that was submitted, as it was then."""
        return self.folder / "records.jsonl"


class Runner(Protocol):
    """What a wire adds to batches. `records` and `write` may block."""

    def records(self, batch: Batch) -> Iterator[Record]:
        """The records of `batch.records`, in order. Raises `InputError` for a file that breaks a rule."""

    async def answer(self, batch: Batch, record: Record, exchange: Exchange) -> Answer:
        """Ask one; it is cancelled when the batch or the server stops. May raise any `PumiceError`.

        The runner fills in the exchange, and has the platform count it at its end.
        """

    def refuse(self, error: PumiceError) -> Any:
        """The body that tells of a failure."""

    def write(self, batch: Batch, results: Results) -> None:
        """Leave the results where the wire promises them; also of a batch that was stopped: its state is `stopping`.

        In any other batch a record without an answer is one that came too late.
        """


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

    @property
    def whole(self) -> bool:
        """Whether every record has its answer."""
        return len(self._places) >= self.counts.total

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

    def __init__(self, home: Home, documents: Documents, metrics: Metrics, meter: Meter, keys: Identity) -> None:
        self._home, self._documents, self._metrics = home, documents, metrics
        self._meter, self._keys = meter, keys
        self._runners: dict[str, Runner] = {}
        self._counts: dict[str, Counts] = {}
        self._tasks = Tasks()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._lock = threading.Lock()

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

    async def submit(
        self, runner: str, records: Path, spec: Mapping[str, Any], *, key: Key | None, within: timedelta
    ) -> Batch:
        """A new batch over a copy of the file `records`, charged to `key`; it expires `within` this time."""
        assert runner in self._runners
        id, expires = secrets.token_hex(6), datetime.now(UTC) + within
        body = {"runner": runner, "state": "submitted", "spec": dict(spec), "error": "", "key": key.id if key else None}

        def keep() -> None:
            folder = self._folder(id)
            folder.mkdir(parents=True)
            shutil.copyfile(records, folder / "records.jsonl")
            self._documents.add(KIND, id, {**body, "expires": expires.isoformat(), "times": {}})

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
            if batch.state == "submitted":
                await asyncio.to_thread(self._set, id, "validating")
            records = await asyncio.to_thread(_read, runner, batch)
            results.counts.total = len(records)
            if batch.state not in ("stopping", "finishing"):
                await asyncio.to_thread(self._set, id, "running")
                await self._answer(runner, batch, records, results)
                await asyncio.to_thread(self._set, id, "finishing")
            batch = await asyncio.to_thread(self.get, id)
            await asyncio.to_thread(runner.write, batch, results)
            done: State = "completed" if results.whole else "expired"
            await asyncio.to_thread(self._end, id, "stopped" if batch.state == "stopping" else done)
        except PumiceError as error:
            await asyncio.to_thread(self._end, id, "failed", " ".join(str(error).split()))
        except Exception:
            LOGGER.exception("batch %s failed", id)
            await asyncio.to_thread(self._end, id, "failed", f"The server failed; its log holds the reason under {id}.")

    async def _answer(self, runner: Runner, batch: Batch, records: Sequence[Record], results: Results) -> None:
        """Ask what has no answer yet until the batch expires; the first that cannot be kept ends it."""
        waiting = iter([record for record in records if record.id not in results])

        async def work() -> None:
            for record in waiting:
                answer = await self._ask(runner, batch, record)
                kept = asyncio.create_task(asyncio.to_thread(results.add, record.id, answer))
                try:
                    await asyncio.shield(kept)
                finally:
                    # Whoever reads the file next finds no write under way.
                    await kept

        left = (batch.expires - datetime.now(UTC)).total_seconds()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left), asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(work())
        except TimeoutError:
            LOGGER.info("batch %s has expired", batch.id)

    async def _ask(self, runner: Runner, batch: Batch, record: Record) -> Answer:
        """The answer to one record, asked again when it could not be had then; others have their turns meanwhile."""
        try:
            key = await self._admitted(batch)
            for pause in PAUSES:
                try:
                    return await self._once(runner, batch, record, key)
                except (UnavailableError, ExhaustedError):
                    await asyncio.sleep(pause)
            return await self._once(runner, batch, record, key)
        except PumiceError as error:
            return Answer(False, runner.refuse(error))

    async def _once(self, runner: Runner, batch: Batch, record: Record, key: Key | None) -> Answer:
        async with self._turns:
            await self._give_way()
            exchange = Exchange(f"req-{uuid.uuid4().hex}", key=key, background=True)
            return await runner.answer(batch, record, exchange)

    async def _admitted(self, batch: Batch) -> Key | None:
        """The batch's key, charged one request more. Raises `DeniedError` or `ExhaustedError` when it may not ask."""
        if batch.key is None:
            return None
        while True:
            key = next((each for each in (await self._keys.current()).keys if each.id == batch.key), None)
            if key is None:
                raise DeniedError("The key that made this batch is revoked.", fix="Submit it with a key in force.")
            try:
                self._meter.admit(key)
                return key
            except ExhaustedError as error:
                if error.seconds > PATIENCE:
                    raise
                await asyncio.sleep(error.seconds)

    async def _give_way(self) -> None:
        """Wait while somebody's own request is being answered, but not for ever."""
        for _ in range(int(GIVE_WAY / LOOK)):
            if not self._metrics.interactive:
                return
            await asyncio.sleep(LOOK)

    def _set(self, id: str, state: State, **more: Any) -> None:
        """Come into a state. What was asked to stop stays so until it ends, and a time that is known stays true."""
        with self._lock:
            known = self._documents.get(KIND, id).body
            if state in ENDED or known["state"] != "stopping":
                times = {state: datetime.now(UTC).isoformat(), **known["times"]}
                self._documents.change(KIND, id, state=state, times=times, **more)

    def _end(self, id: str, state: State, error: str = "") -> None:
        self._set(id, state, error=error, counts=vars(self._counts[id]))
        del self._counts[id]

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
            expires=datetime.fromisoformat(body["expires"]),
            times={state: datetime.fromisoformat(at) for state, at in body["times"].items()},
            key=body["key"],
            error=body["error"],
        )


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
