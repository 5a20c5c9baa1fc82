"""A server that runs already, behind a URL: one that takes token ids and gives token ids back, and no other.

vLLM and Pumice do so in OpenAI's words, llama-server in its own. What it can do is tried when it is first used. This
module starts no process and knows no text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx

from pumice.engine import apart, constraints, hf, vocabulary
from pumice.engine.adapter import fingerprint
from pumice.engine.completions import Completions, Server, WritesOnly
from pumice.engine.contract import (
    CONTEXT,
    Capabilities,
    Constraint,
    Delta,
    Generate,
    Sampling,
    Setup,
    Stats,
)
from pumice.engine.line import NEVER, Line
from pumice.engine.turns import Turns
from pumice.engine.wire import body as llama_body
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError, UnavailableError

SEATS = 64
"""Answers at once; the server has a queue of its own."""
_IN_A_STEP = 16
"""Different adapters, or fewer: a server does not tell."""
_PROBE = Generate((3, 5, 7), Sampling(max_tokens=1))
_FORM = Constraint("json_schema", json.dumps({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}))


def label(setup: Setup) -> str:
    """The URL without what may be secret in it."""
    url = httpx.URL(setup.url or "")
    return str(url.copy_with(userinfo=b"", query=None)).rstrip("/").removesuffix("/v1")


def memory(folder: Path, slots: int, setup: Setup) -> int:
    """Always raises InputError: what a server elsewhere has left cannot be promised here."""
    raise InputError(
        f"Capacity cannot be reserved on {label(setup)}.",
        "Pumice does not run that server, and cannot keep a part of it for anybody.",
        "Give it more memory or cores there, or unset PUMICE_ENGINE to answer from this machine.",
    )


async def start(folder: Path, setup: Setup) -> Remote:
    """Connect to the server at `setup.url` for the model in `folder`.

    Raises UnavailableError when it is not there, InputError when it does not have the model or gives no ids.
    """
    where = label(setup)
    headers = {"Authorization": f"Bearer {setup.key}"} if setup.key else {}
    # Most servers drop a connection after 5 idle seconds; a request that is sent at that moment would be lost.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=3.0)
    url = str(setup.url).rstrip("/").removesuffix("/v1")
    http = httpx.AsyncClient(base_url=url, headers=headers, timeout=NEVER, limits=limits)

    def gone(why: str) -> UnavailableError:
        return UnavailableError(f"The server at {where} does not answer.", why, "Start it, or unset PUMICE_ENGINE.")

    line = Line(http, f"The server at {where}", gone)
    try:
        return await _connect(folder, line, where)
    except BaseException:
        await line.close()
        raise


async def _connect(folder: Path, line: Line, where: str) -> Remote:
    cards = (await line.ask("/v1/models")).get("data") or []
    card = _card_of(folder, cards, where)
    stops = vocabulary.stop_ids(folder, json.loads((folder / "config.json").read_bytes()))
    server, window = await _spoken(line, card, stops, where)
    forms = frozenset({"json_schema"}) if await _holds(server) else frozenset[str]()
    capabilities = Capabilities("remote", score=False, constraints=forms)
    known = {str(each["id"]) for each in cards if each is not card}
    if isinstance(server, LlamaServer):
        known = set(server.places)
    context = min(CONTEXT, hf.window(folder), window)
    return Remote(line, server, capabilities, context, known, folder)


def _card_of(folder: Path, cards: Sequence[Mapping[str, Any]], where: str) -> Mapping[str, Any]:
    """What the server says of the model. Raises InputError when it has it under none of its names."""
    described = folder / "base.json"
    source = str(json.loads(described.read_bytes()).get("source", "")) if described.is_file() else ""
    names = (
        folder.name,
        str(folder),
        f"{folder.parent.name}@{folder.name}",
        source.partition(":")[2].partition("@")[0],
    )
    card = next((each for each in cards if each["id"] in names), None)
    if card is None:
        has = ", ".join(str(each["id"]) for each in cards) or "none"
        raise InputError(
            f"The server at {where} does not have the model {names[0]}; it has {has}.",
            "Another model's answers must not be taken for this one's.",
            f"Start it with the name: vllm serve … --served-model-name {names[0]}, llama-server … --alias {names[0]}",
        )
    return card


async def _spoken(line: Line, card: Mapping[str, Any], stops: Sequence[int], where: str) -> tuple[Server, float]:
    """The server in the words in which it gives ids, and its window. Raises InputError when there are none."""
    model, window = str(card["id"]), float(card.get("max_model_len") or CONTEXT)
    for extended in (True, False):
        server = Completions(line, model, stops, extended)
        try:
            answer = await line.ask("/v1/completions", {**server.body(_PROBE, 1), "model": model})
        except InputError:
            continue
        if any(choice.get("token_ids") for choice in answer["choices"]):
            return server, window
    try:
        adapters = await line.ask("/lora-adapters")
        found = LlamaServer(line, stops, {Path(each["path"]).stem: int(each["id"]) for each in adapters})
        if [delta async for delta in found.generate(_PROBE, 1, None)]:
            props = await line.ask("/props")
            return found, float(props["default_generation_settings"]["n_ctx"])
    except InputError:
        pass
    raise InputError(
        f"The server at {where} gives no token ids back.",
        "Prompts are made as ids here, and answers read as ids, so that every engine sees the same ones; any other "
        "OpenAI URL is a chat peer only: it can be compared with, not run on.",
        "Name a vLLM (0.10.2 or newer), llama-server or Pumice server, or unset PUMICE_ENGINE.",
    )


async def _holds(server: Server) -> bool:
    """Whether an answer keeps to a form: otherwise a server that ignores the field would answer freely."""
    request = Generate((3, 5, 7), Sampling(max_tokens=4), constraint=_FORM)
    free = Generate((3, 5, 7), Sampling(max_tokens=4))
    try:
        answers = [
            [id_ async for delta in server.generate(each, 4, None) for id_ in delta.ids] for each in (request, free)
        ]
    except InputError:
        return False
    return answers[0] != answers[1]


class LlamaServer:
    """llama-server, which streams no ids of half characters: each answer comes whole."""

    def __init__(self, line: Line, stops: Sequence[int], places: Mapping[str, int]) -> None:
        """`places` are the numbers of its adapters by the names of their files."""
        self.places = places
        self.title, self._line, self._stops = line.title, line, stops

    async def generate(self, request: Generate, room: int, adapter: str | None) -> AsyncGenerator[Delta, None]:
        """One answer of at most `room` tokens, in one piece. Raises InputError for log-probabilities."""
        if request.sampling.logprobs:
            raise InputError(
                f"{self.title} gives no log-probabilities.",
                "llama-server leaves out those of half characters.",
                "Leave logprobs out, or unset PUMICE_ENGINE.",
            )
        # Always the whole list: what is left out would keep the server's own scale.
        scales = [{"id": place, "scale": float(name == adapter)} for name, place in self.places.items()]
        asked = {**llama_body(Generate(request.ids, request.sampling), room), "stream": False, "lora": scales}
        if request.constraint is not None:
            asked["json_schema"] = json.loads(request.constraint.text) | constraints.TIGHT
        self._line.running += 1
        try:
            answer = await self._line.ask("/completion", asked)
        finally:
            self._line.running -= 1
        if not isinstance(answer, dict) or "tokens" not in answer:
            raise InputError(f"{self._line.title} gives no token ids back.")
        ids, stopped = list(answer["tokens"]), answer["stop_type"] == "eos"
        if stopped and ids and ids[-1] in self._stops:
            del ids[-1]
        yield Delta(tuple(ids), finish="stop" if stopped else "length")

    async def load(self, name: str, folder: Path) -> None:
        """Always raises: it loads adapters when it starts."""
        raise InputError("llama-server loads adapters only when it starts: --lora FILE.")

    async def unload(self, name: str) -> None:
        """Nothing to do: what is not asked for has no effect."""


class Remote(WritesOnly):
    """One model of a server elsewhere. Made by `start`."""

    def __init__(
        self, line: Line, server: Server, capabilities: Capabilities, context: float, known: set[str], base: Path
    ) -> None:
        """`known` are the adapters that the server has under names of its own."""
        self.title, self.capabilities = line.title, capabilities
        self.alive = True
        self._line, self._server, self._context, self._base = line, server, context, base
        self._known = known
        self._loaded: dict[str, Path] = {}
        """Those that were loaded from here, by the server's names."""
        self._adapters: dict[str, str] = {}
        """The server's name of each."""
        self._turns = Turns(SEATS)
        self._tried = False

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract."""
        room = room_for(request, self._context, self.capabilities)
        adapter = None if request.adapter is None else self._name_of(request.adapter)
        while True:
            kind = None if self.capabilities.mixed else adapter
            try:
                async with self._turns.seat(kind), aclosing(self._server.generate(request, room, adapter)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except InputError:
                # A server that was started again has lost what it had loaded, and says so before the first token.
                if adapter not in self._loaded or await self._has(adapter):
                    raise
            await self._bring(adapter, self._loaded.pop(adapter))

    async def load_adapter(self, name: str, folder: Path) -> None:
        """See the contract. Where the server has none of that name it must be able to read `folder`.

        Raises UnavailableError when it cannot.
        """
        if name in self._known:
            self._adapters[name] = name
            return
        # Its content is in the name, so that no other adapter of that name can answer.
        theirs = f"{name}-{fingerprint(folder)}"
        await self._bring(theirs, folder.resolve())
        self._adapters[name] = theirs

    async def _bring(self, theirs: str, folder: Path) -> None:
        # Nothing runs meanwhile: vLLM may answer a request under way with what comes in (vllm#47724).
        async with self._turns.seat(object()):
            if theirs in self._loaded:
                return
            try:
                if not self._tried:
                    self.capabilities = await apart.tried(self._server, self._base, self.capabilities, _IN_A_STEP)
                    self._tried = True
                if not await self._has(theirs):
                    await self._server.load(theirs, folder)
            except InputError as error:
                raise UnavailableError(
                    f"{self.title} does not have the adapter {theirs.rpartition('-')[0]}.",
                    f"It cannot load {folder}: {error.why or error.what}",
                    "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 where it can read that "
                    "folder, or let the server have the adapter under that name.",
                ) from error
            self._loaded[theirs] = folder

    async def _has(self, name: str) -> bool:
        return any(card["id"] == name for card in (await self._line.ask("/v1/models")).get("data") or ())

    async def unload_adapter(self, name: str) -> None:
        """See the contract."""
        theirs = self._name_of(name)
        del self._adapters[name]
        if theirs in self._loaded and theirs not in self._adapters.values():
            async with self._turns.seat(object()):
                del self._loaded[theirs]
                if await self._has(theirs):
                    await self._server.unload(theirs)

    async def stats(self) -> Stats:
        """See the contract; of its process nothing is known."""
        return Stats(0, 0, self._line.running, tuple(self._adapters))

    async def stop(self) -> None:
        """See the contract: the connection ends, the server stays."""
        self.alive = False
        await self._line.close()

    def _name_of(self, name: str) -> str:
        if name not in self._adapters:
            raise NotFoundError(f"The adapter {name} is not loaded.")
        return self._adapters[name]
