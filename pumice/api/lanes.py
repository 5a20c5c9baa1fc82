"""Capacity that is kept for one model: a lane is an engine of its own, with decode slots that nobody else uses.

Knows no wire. Lanes are documents, so that they are there again after a restart.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pumice.api.background import Part, Tasks
from pumice.api.served import Names, Served
from pumice.bases.classifiers import check_writes
from pumice.engine.contract import Engine
from pumice.engine.pool import Pool
from pumice.engine.reserve import Reservation
from pumice.errors import NotFoundError, PumiceError, UnavailableError
from pumice.store.documents import Documents

LOGGER = logging.getLogger(__name__)
KIND = "lane"
LOOK = 0.05
"""Seconds between two looks at whether an engine's last answer is out."""

State = Literal["opening", "ready", "changing", "failed"]


@dataclass
class Lane:
    """What is kept for whom, and how far it is."""

    model: str
    """`name@version`, or a base's id."""
    slots: int
    state: State = "opening"
    failure: str = ""
    """Why it could not be opened, or not be changed."""


class Lanes(Part):
    """The lanes of one server, by ids that their wire chooses."""

    def __init__(self, pool: Pool, names: Names, documents: Documents) -> None:
        self._pool, self._names, self._documents = pool, names, documents
        self._lanes: dict[str, Lane] = {}
        self._reservations: dict[str, Reservation] = {}
        self._tasks, self._releases = Tasks(), itertools.count()

    async def start(self) -> None:
        """Open again what was open when the server ended."""
        for document in reversed(await asyncio.to_thread(self._documents.list, KIND)):
            lane = self._lanes[document.name] = Lane(document.body["model"], document.body["slots"])
            self._tasks.start(document.name, self._open(document.name, lane))

    async def stop(self) -> None:
        """Stop what is being opened; the engines end with their pool."""
        await self._tasks.stop()

    async def open(self, id: str, model: str, slots: int) -> None:
        """Keep a lane for a model from now on; its engine starts meanwhile. Raises `ExhaustedError` without room."""
        served = await asyncio.to_thread(self._names.find, model)
        check_writes(served.base, served.id)
        self._pool.check(served.base.folder, slots, served.adapter.folder if served.adapter else None)
        await asyncio.to_thread(self._documents.add, KIND, id, {"model": served.id, "slots": slots})
        lane = self._lanes[id] = Lane(served.id, slots)
        self._tasks.start(id, self._open(id, lane))

    def ids(self) -> tuple[str, ...]:
        """Of all lanes, failed ones too."""
        return tuple(self._lanes)

    def get(self, id: str) -> Lane:
        """One, as it stands now. Raises `NotFoundError`."""
        if id not in self._lanes:
            raise NotFoundError(f"There is no lane {id!r}.")
        return self._lanes[id]

    async def engine(self, id: str, served: Served) -> Engine:
        """The engine that is kept for `served`. Raises `UnavailableError` while there is none."""
        lane = self.get(id)
        if id in self._reservations and lane.model == served.id:
            return await self._reservations[id].engine()
        if lane.model == served.id:
            why = lane.failure or "Its engine is starting."
            raise UnavailableError(f"The capacity kept for {served.id} is not there.", why, "Ask again later.")
        # The lane has gone over to another model since its name was looked up.
        return await served.ready(self._pool)

    async def resize(self, id: str, slots: int) -> None:
        """Keep more or fewer slots. When there is no room, or it is not open, it raises and the lane stays as it is."""
        lane = self.get(id)
        if id not in self._reservations:
            raise UnavailableError(f"The lane {id} is {lane.state} and cannot be resized.", "", "Ask again later.")
        await self._reservations[id].resize(slots)
        lane.slots = slots
        await asyncio.to_thread(self._documents.change, KIND, id, slots=slots)

    async def switch(self, id: str, model: str, then: Callable[[], None]) -> None:
        """Give the lane to another model, which answers from `then` on; until then the old one does.

        Both engines are there for a moment. Raises `ExhaustedError` without room for that.
        """
        lane, served = self.get(id), await asyncio.to_thread(self._names.find, model)
        check_writes(served.base, served.id)
        self._pool.check(served.base.folder, lane.slots, served.adapter.folder if served.adapter else None)
        lane.state, lane.failure = "changing", ""
        self._tasks.start(id, self._switch(id, lane, served, then))

    async def close(self, id: str) -> None:
        """Give the capacity back; what is under way is answered first."""
        await self._tasks.cancel(id)
        self._lanes.pop(id, None)
        await asyncio.to_thread(self._documents.delete, KIND, id)
        if reservation := self._reservations.pop(id, None):
            await self._release(id, reservation)

    async def _open(self, id: str, lane: Lane) -> None:
        try:
            served = await asyncio.to_thread(self._names.find, lane.model)
            self._reservations[id] = await self._reserve(served, lane.slots)
            lane.state = "ready"
        except PumiceError as error:
            LOGGER.warning("the lane %s for %s cannot be opened: %s", id, lane.model, error.what)
            lane.state, lane.failure = "failed", " ".join(str(error).split())
        except Exception:
            # Nobody must wait for it for ever.
            lane.state, lane.failure = "failed", "The server failed; its log holds the reason."
            raise

    async def _switch(self, id: str, lane: Lane, served: Served, then: Callable[[], None]) -> None:
        try:
            reservation = await self._reserve(served, lane.slots)
        except PumiceError as error:
            lane.state, lane.failure = "ready", " ".join(str(error).split())
            return
        old = self._reservations.get(id)
        self._reservations[id], lane.model = reservation, served.id
        await asyncio.to_thread(self._documents.change, KIND, id, model=served.id)
        await asyncio.to_thread(then)
        lane.state = "ready"
        if old:
            await self._release(id, old)

    async def _reserve(self, served: Served, slots: int) -> Reservation:
        adapter = served.adapter.folder if served.adapter else None
        return await self._pool.reserve(served.base.folder, adapter, slots, served.id)

    async def _release(self, id: str, reservation: Reservation) -> None:
        """Give it back now, or when its last answer is out."""
        if await _answers(reservation):
            self._tasks.start(f"release of {id} {next(self._releases)}", _after_its_answers(reservation))
        else:
            await reservation.release()


async def _after_its_answers(reservation: Reservation) -> None:
    while await _answers(reservation):
        await asyncio.sleep(LOOK)
    await reservation.release()


async def _answers(reservation: Reservation) -> int:
    """How many answers are under way; none on an engine that is gone."""
    try:
        return (await (await reservation.engine()).stats()).running
    except UnavailableError:
        return 0
