"""A conversation in the terminal. Knows models by name and text; ids and engines are other rooms' matter."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass, field

from pumice.api.served import Names, Served
from pumice.bases import resolve
from pumice.bases.classifiers import check_writes
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.answer import Ask, stream
from pumice.engine.contract import Sampling
from pumice.engine.pool import Pool
from pumice.errors import NotFoundError
from pumice.records import Turn
from pumice.registry.models import Registry
from pumice.show import console, say


@dataclass
class Conversation:
    """A model by name, what was said so far, and how to choose the next token."""

    model: str
    registry: Registry
    home: Home
    system: str | None
    sampling: Sampling
    turns: list[Turn] = field(default_factory=list)


async def talk(conversation: Conversation, prompt: str | None) -> None:
    """Answer one prompt on stdout, or prompts typed by a person until /exit, ctrl-D or ctrl-C."""
    async with Pool(conversation.home.cache, serving=conversation.home.serving) as pool:
        with console.status("Loading the model …"):
            served = find(conversation)
            check_writes(served.base, served.id)
            await served.ready(pool)
        if conversation.system:
            conversation.turns.append({"role": "system", "content": conversation.system})
        if prompt is not None:
            await reply(conversation, served, pool, prompt)
            return
        say(f"Talking to {served.id}. /new starts afresh, /exit ends.")
        await converse(conversation, served, pool)


def find(conversation: Conversation) -> Served:
    """A registered model, or any base: the person at the terminal may name what lies on this machine."""
    if conversation.registry.has(conversation.model):
        return Names(conversation.registry, conversation.home).find(conversation.model)
    try:
        base = resolve.resolve(conversation.model, conversation.home)
    except NotFoundError:
        # Most who come here misspelt a model of theirs: its error names the nearest.
        conversation.registry.find(conversation.model)
        raise
    return Served(base.name, base, Renderer(base.folder), None)


async def converse(conversation: Conversation, served: Served, pool: Pool) -> None:
    """Read lines and answer them until the person has had enough."""
    while True:
        line = await typed("\n> ")
        if line is None or line == "/exit":
            return
        if line == "/new":
            conversation.turns[:] = [turn for turn in conversation.turns if turn["role"] == "system"]
        elif line:
            await reply(conversation, served, pool, line)


async def typed(prompt: str) -> str | None:
    """The next line of the person, None at ctrl-D."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str | None] = loop.create_future()

    def read() -> None:
        try:
            said = input(prompt).strip()
        except EOFError:
            said = None
        loop.call_soon_threadsafe(line.set_result, said)

    # A daemon: asyncio's own threads are waited for at ctrl-C, and this one waits for a line.
    threading.Thread(target=read, daemon=True).start()
    return await line


async def reply(conversation: Conversation, served: Served, pool: Pool, line: str) -> None:
    """Stream the answer to `line` to stdout and remember both."""
    conversation.turns.append({"role": "user", "content": line})
    engine = await served.ready(pool)
    ids = served.renderer.prompt(conversation.turns)
    adapter = served.adapter.id if served.adapter else None
    said: list[str] = []
    async for piece in stream(engine, served.renderer, Ask(ids, conversation.sampling, adapter)):
        said.append(piece.text)
        sys.stdout.write(piece.text)
        sys.stdout.flush()
    sys.stdout.write("\n")
    conversation.turns.append({"role": "assistant", "content": "".join(said)})
