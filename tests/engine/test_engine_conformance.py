"""Every engine, asked the same: transformers in this process says what is right."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
import torch
from engine_room import check_against, collect, ids_of, vllm_program
from llama_server import LlamaServer
from transformers import AutoModelForCausalLM, LlamaConfig
from vllm_server import VllmServer

from pumice.config import Serving
from pumice.data.render import Renderer
from pumice.engine import gguf
from pumice.engine.contract import Constraint, Engine, Generate, Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError, NotFoundError, UnavailableError

pytestmark = pytest.mark.asyncio(loop_scope="session")

Reference = Callable[..., list[list[float]]]
PROMPTS = [[0, 61, 17, 300, 44], [9, 12, 201], [0, 33, 250, 90, 91, 92, 311, 4, 5]]
KEY = "for the test"
KINDS = ("llama.cpp f32", "llama.cpp q8_0", "transformers", "llama-server", "vllm", "vllm elsewhere")


@dataclass
class Case:
    """One engine with the adapters `left` and `right` under way."""

    name: str
    engine: Engine
    folder: Path
    adapters: dict[str, Path]
    kill: Callable[[], None]
    """End its process as a crash would."""
    revive: Callable[[], None]
    """Start it again, where nobody else does."""
    alone: dict[tuple[int, str | None], list[int]] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether its weights are those of the reference."""
        return self.name != "llama.cpp q8_0"

    async def answer(self, at: int, adapter: str | None = None) -> list[int]:
        """What it says to one prompt while nothing else is asked; asked once."""
        if (at, adapter) not in self.alone:
            self.alone[at, adapter] = ids_of(await collect(self.engine, PROMPTS[at], adapter))
        return self.alone[at, adapter]


@pytest.fixture(scope="module")
def folder(make_model: Callable[..., Path]) -> Path:
    """A random model whose tokens are mostly parts of characters, and some of whose answers end by themselves."""
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "max_position_embeddings": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    made = make_model(
        LlamaConfig(vocab_size=320, bos_token_id=0, eos_token_id=1, initializer_range=0.1, **sizes, **heads)
    )
    (made / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return made


@pytest.fixture(scope="module")
def stopping(folder: Path) -> tuple[list[int], int]:
    """A prompt to which the answer ends by itself, and after how many tokens."""
    prompts = torch.tensor([[start, start] for start in range(2, 320)])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    mask = torch.ones_like(prompts)
    written = model.generate(input_ids=prompts, attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=2)
    counts = [row.index(1) if 1 in row else 0 for row in written[:, 2:].tolist()]
    at = next(at for at, count in enumerate(counts) if count > 1)
    return prompts[at].tolist(), counts[at]


@pytest.fixture(scope="module")
def adapters(folder: Path, make_adapter: Callable[..., Path]) -> dict[str, Path]:
    """Of different ranks, and of both ways to scale: alpha/r and alpha/√r."""
    right = make_adapter(folder, 2, 0.2, r=8, lora_alpha=4, use_rslora=True)
    return {"left": make_adapter(folder, 1, 0.2), "right": right}


@pytest.fixture(scope="module")
def server(folder: Path, adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> LlamaServer:
    """Not started, on an ordinary GGUF: one whose half characters are not streamed."""
    out = tmp_path_factory.mktemp("gguf")
    gguf.write_model(folder, out / "model.gguf", "f32")
    for name, path in adapters.items():
        gguf.write_adapter(path, folder, out / f"{name}.gguf")
    return LlamaServer(out / "model.gguf", {name: out / f"{name}.gguf" for name in adapters}, folder.name, KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=KINDS)
async def case(
    request: pytest.FixtureRequest, folder: Path, adapters: dict[str, Path], cache: Path
) -> AsyncIterator[Case]:
    """Each engine in turn, as a setting chooses it."""
    name = request.param
    with ExitStack() as stack:
        server = elsewhere(name, request)
        serving = Serving(name.partition(" ")[0], "f32" if name == "llama.cpp f32" else "q8_0")
        if server:
            stack.callback(server.kill)
            server.start()
            serving = Serving(server.url, key=KEY)
        elif name == "vllm":
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("PATH", f"{vllm_program().parent}{os.pathsep}{os.environ['PATH']}")
        async with Pool(cache, threads=1, serving=serving) as pool:
            engine = await pool.get(folder)
            for adapter, path in adapters.items():
                assert await pool.ensure(folder, adapter, path) is engine
            kill, revive = (server.kill, server.start) if server else (lambda: crash(pool), lambda: None)
            yield Case(name, engine, folder, adapters, kill, revive)


def elsewhere(name: str, request: pytest.FixtureRequest) -> LlamaServer | VllmServer | None:
    """The server that is none of Pumice's processes."""
    if name == "vllm elsewhere":
        return VllmServer(vllm_program(), request.getfixturevalue("folder"))
    return request.getfixturevalue("server") if name == "llama-server" else None


def crash(pool: Pool) -> None:
    """Kill what computes, as the kernel does when memory is short."""
    [place] = [place for place in pool._places.values() if place.engine]
    child = place.engine._keeper.child
    below = psutil.Process(child.pid).children(recursive=True)
    os.kill(max(below, key=lambda each: each.memory_info().rss).pid if below else child.pid, signal.SIGKILL)


@pytest.mark.parametrize("adapter", [None, "left", "right"])
async def test_answers_are_those_of_transformers(case: Case, reference: Reference, adapter: str | None) -> None:
    agreed = total = 0
    # Whose log-probabilities of half characters are missing.
    asked = 0 if case.name == "llama-server" else 3
    if not asked:
        with pytest.raises(InputError, match="no log-probabilities"):
            await collect(case.engine, PROMPTS[0], adapter, logprobs=1)
    for prompt in PROMPTS:
        deltas = await collect(case.engine, prompt, adapter, logprobs=asked, max_tokens=24)
        ids = ids_of(deltas)
        rows = reference(case.folder, prompt + ids, case.adapters.get(adapter or ""))
        if case.exact:
            assert all(row[id_] > max(row) - 1e-3 for row, id_ in zip(rows[len(prompt) - 1 :], ids, strict=False))
        if case.exact and asked:
            check_against(rows, prompt, deltas)
            assert all(len(token.top) == 3 for delta in deltas for token in delta.logprobs)
        agreed += sum(row[id_] == max(row) for row, id_ in zip(rows[len(prompt) - 1 :], ids, strict=False))
        total += len(ids)
    assert agreed / total > 0.9


async def test_no_adapter_means_the_base_whoever_asked_before(case: Case) -> None:
    """What is kept of a prompt belongs to the adapter that read it (ggml-org/llama.cpp#26207)."""
    expected = {adapter: await case.answer(0, adapter) for adapter in (None, "left", "right")}
    assert len({tuple(ids) for ids in expected.values()}) == 3
    for adapter in ("left", None, "right", "left", None, None, "right"):
        assert ids_of(await collect(case.engine, PROMPTS[0], adapter)) == expected[adapter]


async def test_each_request_in_a_crowd_gets_its_own_adapter(case: Case) -> None:
    asked = [(at, adapter) for at in range(len(PROMPTS)) for adapter in (None, "left", "right")]
    alone = [await case.answer(*each) for each in asked]
    crowd = await asyncio.gather(*(collect(case.engine, PROMPTS[at], adapter) for at, adapter in asked * 2))
    assert [ids_of(deltas) for deltas in crowd] == alone * 2


async def test_an_adapter_comes_and_goes_under_traffic_without_a_failed_or_wrong_answer(case: Case) -> None:
    if case.name == "llama-server":
        with pytest.raises(UnavailableError, match="does not have the adapter more"):
            await case.engine.load_adapter("more", case.adapters["left"])
        return
    expected = {adapter: await case.answer(1, adapter) for adapter in (None, "left", "right")}
    done = asyncio.Event()

    async def ask(adapter: str | None) -> int:
        count = 0
        while not done.is_set():
            assert ids_of(await collect(case.engine, PROMPTS[1], adapter)) == expected[adapter]
            count += 1
        return count

    traffic = [asyncio.create_task(ask(adapter)) for adapter in (None, None, "left")]
    for name in ("left", "right"):
        await case.engine.load_adapter("more", case.adapters[name])
        assert ids_of(await collect(case.engine, PROMPTS[1], "more")) == expected[name]
    await case.engine.unload_adapter("more")
    done.set()
    assert all(count > 0 for count in await asyncio.gather(*traffic))
    with pytest.raises(NotFoundError, match="more is not loaded"):
        await collect(case.engine, PROMPTS[1], "more")
    assert set((await case.engine.stats()).adapters) == set(case.adapters)


async def test_the_stop_token_ends_an_answer_and_is_not_part_of_it(case: Case, stopping: tuple[list[int], int]) -> None:
    prompt, before = stopping
    deltas = await collect(case.engine, prompt, max_tokens=before + 5)
    assert deltas[-1].finish == "stop"
    assert len(ids_of(deltas)) == before and 1 not in ids_of(deltas)
    cut = await collect(case.engine, prompt, max_tokens=before)
    assert (ids_of(cut), cut[-1].finish) == (ids_of(deltas), "length")


async def test_an_answer_has_a_form_or_is_refused(case: Case) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Paris"]}}, "required": ["city"]}
    held = Generate(PROMPTS[0], Sampling(max_tokens=60), "left", Constraint("json_schema", json.dumps(schema)))
    if "json_schema" not in case.engine.capabilities.constraints:
        with pytest.raises(InputError, match="cannot hold an answer to a JSON schema"):
            await anext(case.engine.generate(held))
        return
    ids = [id_ async for delta in case.engine.generate(held) for id_ in delta.ids]
    assert json.loads(Renderer(case.folder).decode(ids))["city"] in ("Oslo", "Paris")


async def test_a_seed_repeats_an_answer_and_no_seed_does_not(case: Case) -> None:
    hot = {"temperature": 1.0, "max_tokens": 20}
    first, again, other = [ids_of(await collect(case.engine, PROMPTS[0], **hot, seed=seed)) for seed in (5, 5, 6)]
    assert first == again != other
    free = {tuple(ids_of(await collect(case.engine, PROMPTS[0], **hot))) for _ in range(3)}
    assert len(free) == 3


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Generate([]), "The prompt is empty"),
        (Generate([5] * 512), "The prompt has 512 tokens"),
        (Generate([5], Sampling(max_tokens=0)), "max_tokens = 0"),
        (Generate([5], adapter="nobody"), "nobody is not loaded"),
    ],
)
async def test_what_cannot_be_answered_is_refused(case: Case, request_: Generate, message: str) -> None:
    with pytest.raises(InputError, match=message):
        await anext(case.engine.generate(request_))


async def test_an_answer_ends_where_the_window_does(case: Case) -> None:
    deltas = await collect(case.engine, [5] * 509, max_tokens=50)
    assert (len(ids_of(deltas)), deltas[-1].finish) == (3, "length")


async def test_a_crash_fails_what_is_under_way_and_the_next_request_is_answered(case: Case) -> None:
    expected = {adapter: await case.answer(2, adapter) for adapter in (None, "right")}
    under_way = asyncio.create_task(collect(case.engine, PROMPTS[0], max_tokens=500, temperature=2.0))
    while not (await case.engine.stats()).running:
        await asyncio.sleep(0.001)
    case.kill()
    with pytest.raises(UnavailableError, match=r"ended during the answer|does not answer"):
        await under_way
    case.revive()
    for adapter, ids in expected.items():
        assert ids_of(await collect(case.engine, PROMPTS[2], adapter)) == ids
