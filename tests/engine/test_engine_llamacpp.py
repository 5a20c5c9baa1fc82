"""llama.cpp answers as transformers does, keeps adapters apart, and dies as it should."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio
from engine_room import collect, copy_of, ids_of

from pumice.data.render import Renderer
from pumice.engine import llamacpp
from pumice.engine.contract import Constraint, Generate, Sampling
from pumice.engine.llamacpp import LlamaCpp
from pumice.errors import InputError, UnavailableError
from pumice.records import Base

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPTS = [[1, 520, 9531, 198], [504, 3575, 282, 4649, 314], [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]]
Reference = Callable[..., list[list[float]]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def real(base: Base, cache: Path) -> AsyncIterator[LlamaCpp]:
    engine = await llamacpp.start(base.folder, cache=cache, context=512, slots=2, threads=1)
    yield engine
    await engine.stop()


async def test_an_answer_under_way_ends_before_an_adapter_comes_in(
    tiny: Base, tiny_adapters: dict[str, Path], cache: Path
) -> None:
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=2, threads=1)
    first = (await engine.stats()).pid
    async with aclosing(engine.generate(Generate(PROMPTS[0], Sampling(max_tokens=400)))) as deltas:
        got = ids_of([await anext(deltas)])
        await engine.load_adapter("left", tiny_adapters["left"])
        other = asyncio.create_task(collect(engine, PROMPTS[0], "left"))
        got += ids_of([delta async for delta in deltas])
        assert (await engine.stats()).pid == first
    await other
    assert not psutil.pid_exists(first)
    assert got == ids_of(await collect(engine, PROMPTS[0], max_tokens=400))
    await engine.stop()


async def test_adapters_that_were_not_asked_for_make_room(
    tiny: Base, make_adapter: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {f"a{seed}": make_adapter(tiny.folder, seed, 0.3) for seed in range(5)}
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=2, threads=1)
    for name, folder in folders.items():
        await engine.load_adapter(name, folder)
    size = max(path.stat().st_size for path in engine._adapters.values())
    monkeypatch.setattr(llamacpp, "_SHARE", psutil.virtual_memory().total // (3 * size + size // 2))
    alone = {name: ids_of(await collect(engine, PROMPTS[0], name)) for name in folders}
    assert len({tuple(ids) for ids in alone.values()}) == 5
    held = {name for name, path in engine._adapters.items() if path in engine._served}
    assert len(held) == 3 and {"a3", "a4"} <= held
    pid = (await engine.stats()).pid
    assert ids_of(await collect(engine, PROMPTS[0], "a3")) == alone["a3"]
    assert (await engine.stats()).pid == pid
    for name in reversed(folders):
        assert ids_of(await collect(engine, PROMPTS[0], name)) == alone[name]
    await engine.stop()


async def test_an_adapter_that_does_not_start_keeps_no_other_from_answering(
    tiny: Base, tiny_adapters: dict[str, Path], cache: Path, tmp_path: Path
) -> None:
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=2, threads=1)
    for name, folder in tiny_adapters.items():
        await engine.load_adapter(name, folder)
    engine._adapters["junk"] = tmp_path / "junk.gguf"
    engine._adapters["junk"].write_bytes(b"GGUF junk")
    left = ids_of(await collect(engine, PROMPTS[0], "left"))
    with pytest.raises(UnavailableError, match="did not start"):
        await collect(engine, PROMPTS[0], "junk")
    assert ids_of(await collect(engine, PROMPTS[0], "left")) == left
    assert ids_of(await collect(engine, PROMPTS[0], "right")) != left
    await engine.stop()


async def test_an_idle_process_ends_and_comes_back(tiny: Base, tiny_adapters: dict[str, Path], cache: Path) -> None:
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=2, threads=1, idle=0.2)
    await engine.load_adapter("left", tiny_adapters["left"])
    left = ids_of(await collect(engine, PROMPTS[0], "left"))
    pid = (await engine.stats()).pid
    while psutil.pid_exists(pid):
        await asyncio.sleep(0.05)
    assert not engine.alive
    assert ids_of(await collect(engine, PROMPTS[0], "left")) == left
    await engine.stop()


async def test_leaving_an_answer_frees_its_slot(tiny: Base, cache: Path) -> None:
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=1, threads=1)
    for _ in range(3):
        async with aclosing(engine.generate(Generate(PROMPTS[0], Sampling(max_tokens=500)))) as deltas:
            await anext(deltas)
    assert (await engine.stats()).running == 0
    child = engine._keeper.child
    assert child is not None
    transport = httpx.AsyncHTTPTransport(uds=str(child.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        slots = (await http.get("/slots")).json()
        while any(slot["is_processing"] for slot in slots):
            assert all(slot["next_token"][0]["n_decoded"] < 400 for slot in slots if slot["is_processing"])
            slots = (await http.get("/slots")).json()
    await engine.stop()


async def test_no_token_inside_a_character_is_lost(real: LlamaCpp, base: Base) -> None:
    renderer = Renderer(base.folder)
    prompt = renderer.encode("😀🚀🎉 漢字 😀🚀🎉 漢字 😀🚀🎉 漢字 😀🚀")
    ids = ids_of(await collect(real, prompt, max_tokens=24))
    assert len(ids) == 24
    assert any(renderer.decode([id_]) == "\ufffd" for id_ in ids)
    assert "🎉" in renderer.decode(ids)


async def test_sampling_reaches_beyond_the_servers_own_limits(
    exact: LlamaCpp, tiny: Base, reference: Reference
) -> None:
    """llama-server keeps the 40 most likely tokens by default; a request without limits must reach the others."""
    best = sorted(range(tiny.vocabulary), key=reference(tiny.folder, PROMPTS[0])[-1].__getitem__, reverse=True)
    drawn = [ids_of(await collect(exact, PROMPTS[0], temperature=1.0, seed=s, max_tokens=1)) for s in range(12)]
    assert {id_ for ids in drawn for id_ in ids} - set(best[:40])
    narrow = [
        ids_of(await collect(exact, PROMPTS[0], temperature=1.0, top_p=1e-6, seed=s, max_tokens=1)) for s in (1, 2)
    ]
    assert narrow == [[best[0]], [best[0]]]


async def test_a_killed_process_fails_the_answer_at_once(tiny: Base, cache: Path) -> None:
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=1, threads=1)
    pid = (await engine.stats()).pid
    with pytest.raises(UnavailableError, match="ended during the answer"):
        async for _ in engine.generate(Generate(PROMPTS[0], Sampling(max_tokens=500))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not engine.alive
    assert ids_of(await collect(engine, PROMPTS[0]))
    pid = (await engine.stats()).pid
    await engine.stop()
    await engine.stop()
    assert not psutil.pid_exists(pid)
    with pytest.raises(UnavailableError, match="was stopped"):
        await collect(engine, PROMPTS[0])


async def test_a_start_that_fails_quotes_the_last_line_of_the_log(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp.gguf, "write_model", lambda folder, out, quant, streamable: write_junk(out))
    with pytest.raises(UnavailableError, match="did not start") as caught:
        await llamacpp.start(tiny.folder, cache=tmp_path)
    # Which line is the last one varies: llama.cpp writes its log in a thread that may not come to its end.
    (log,) = (tmp_path / "logs").iterdir()
    assert caught.value.why == [line.strip() for line in log.read_text().splitlines() if line.strip()][-1]
    assert str(log) in caught.value.fix


def write_junk(out: Path) -> None:
    out.parent.mkdir(parents=True)
    out.write_bytes(b"GGUF junk")


async def test_two_starts_at_once_share_one_cache(tiny: Base, tmp_path: Path, exact: LlamaCpp) -> None:
    engines = await asyncio.gather(
        *(llamacpp.start(tiny.folder, cache=tmp_path, quant="f32", slots=1, threads=1) for _ in "ab")
    )
    for engine in engines:
        assert ids_of(await collect(engine, PROMPTS[0])) == ids_of(await collect(exact, PROMPTS[0]))
        await engine.stop()
    assert [path.suffix for path in (tmp_path / "gguf").iterdir()] == [".gguf"]
    assert list((tmp_path / "logs").iterdir()) == []


async def test_changed_weights_are_converted_again(tiny: Base, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "model")
    for _ in range(2):
        await (await llamacpp.start(folder, cache=tmp_path, quant="q8_0", slots=1, threads=1)).stop()
    assert len(list((tmp_path / "gguf").iterdir())) == 1
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    await (await llamacpp.start(folder, cache=tmp_path, quant="q8_0", slots=1, threads=1)).stop()
    assert len(list((tmp_path / "gguf").iterdir())) == 2


async def test_a_killed_parent_takes_its_engine_with_it(tiny: Base, cache: Path) -> None:
    code = (
        "import asyncio, sys, time\nfrom pathlib import Path\nfrom pumice.engine import llamacpp\n"
        "async def main():\n"
        f"    folder, cache = Path({str(tiny.folder)!r}), Path({str(cache)!r})\n"
        "    engine = await llamacpp.start(folder, cache=cache, quant='f32', threads=1)\n"
        "    print((await engine.stats()).pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        engine = psutil.Process(pid)
        parent.kill()
    await asyncio.to_thread(engine.wait, 30)
    assert not engine.is_running()


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "object", "properties": {"a": {"not": {"type": "integer"}}}}, '"not"'),
        ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
        ({"type": "string", "pattern": "^(?=a)b$"}, "look-ahead"),
        ({"type": "wizard"}, "wizard"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ],
)
async def test_a_schema_that_cannot_be_kept_is_refused_before_an_answer(
    real: LlamaCpp, schema: dict[str, Any], named: str
) -> None:
    """llama.cpp itself would answer freely and say nothing."""
    with pytest.raises(InputError, match=r"cannot be enforced|is no JSON schema") as caught:
        await anext(real.generate(Generate([1, 2], constraint=Constraint("json_schema", json.dumps(schema)))))
    assert named in caught.value.what and "\n" not in caught.value.what
    assert (await real.stats()).running == 0


async def test_a_grammar_is_kept(real: LlamaCpp, base: Base) -> None:
    renderer = Renderer(base.folder)
    prompt = renderer.prompt([{"role": "user", "content": "Is the sky blue?"}])
    lark = Constraint("lark", 'start: ("no" | "never") "!"')
    ids = ids_of([delta async for delta in real.generate(Generate(prompt, constraint=lark))])
    assert renderer.decode(ids) in ("no!", "never!")
    with pytest.raises(InputError, match="grammar cannot be enforced"):
        await anext(real.generate(Generate(prompt, constraint=Constraint("lark", "start: ((("))))
