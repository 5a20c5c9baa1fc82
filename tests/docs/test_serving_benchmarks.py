"""The benchmarks of serving ask what they say, and claim under the names that are read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import adapters, serving
from benchmarks.pairs import Figure
from benchmarks.performance import KEYS
from benchmarks.streams import Server, prompt
from pumice.data.render import Renderer
from pumice.engine import lora
from pumice.records import Base

HEADINGS = ("tokens/s", "tokens/s, 8 at once", "tokens/s, 8 at once, short", "first token s", "again s")


def test_every_key_of_serving_is_claimed_once() -> None:
    told = {heading: [2.0, 2.0] for heading in HEADINGS}
    found = dict.fromkeys((serving.PUMICE, serving.SAME, serving.DEFAULTS), told)
    made = serving.claims(found, [4.0, 4.0], Figure(0.9, 0.8, 1.0), 2)
    assert [claim.key for claim in made if claim.key] == [key for key in KEYS if key.startswith("serving.")]
    assert len({claim.what for claim in made}) == len(made)


def test_prompts_have_their_length_and_differ(tiny: Base) -> None:
    renderer = Renderer(tiny.folder)
    asked = [prompt(renderer, 16, seed) for seed in "ab"]
    assert [len(ids) for ids in asked] == [16, 16] and asked[0] != asked[1]
    assert prompt(renderer, 16, "a") == asked[0]


def test_adapters_are_plain_and_belong_to_the_base(tiny: Base, tmp_path: Path) -> None:
    made = adapters.adapter(tiny.folder, tmp_path / "a", 0)
    pairs = lora.fitting_pairs(made, tiny.folder)
    assert len(pairs) == 2 * 7 and {pair.scale for pair in pairs} == {1.0}


async def test_an_answer_is_timed_and_its_tokens_counted() -> None:
    events = [{"choices": [{"text": "a"}]}, {"choices": [], "usage": {"completion_tokens": 3}}]
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.index(b"Content-Length: ") + 16
        asked.append(await reader.readexactly(int(head[at : head.index(b"\r\n", at)])))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for event in events:
            await asyncio.sleep(0.02)
            writer.write(f"data: {json.dumps(event)}\n\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as here:
        server = Server("it", here.sockets[0].getsockname()[1], "a model")
        [told] = await asyncio.to_thread(server.stream, [[1, 2]], 3)
        assert told.tokens == 3 and told.began < told.first < told.ended and told.rate > 0
        assert json.loads(asked[0])["prompt"] == [1, 2]
        events.clear()
        with pytest.raises(SystemExit, match="it answered"):
            await asyncio.to_thread(server.stream, [[1]], 3)
