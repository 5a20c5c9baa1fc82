"""Text arrives whole: stop strings and characters across borders, stop tokens, and JSON that a schema asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.data.render import Renderer
from pumice.engine.answer import Ask, Piece, answer, stream
from pumice.engine.contract import Capabilities, Constraint, Delta, Generate, Sampling, Stats, TokenLogprob
from pumice.engine.llamacpp import LlamaCpp
from pumice.errors import InputError
from pumice.records import Base

ANY_JSON = Constraint("json_schema", "{}")


class Recital:
    """An engine that says what it was told to: the only way to put a border exactly where a test wants it."""

    capabilities = Capabilities("recital", score=False, constraints=frozenset({"json_schema"}))

    def __init__(self, deltas: Sequence[Delta]) -> None:
        self.deltas = deltas
        self.said = 0
        self.closed = False

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        try:
            for delta in self.deltas:
                self.said += 1
                yield delta
        finally:
            self.closed = True

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        raise NotImplementedError

    async def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        raise NotImplementedError

    async def load_adapter(self, name: str, folder: Path) -> None:
        raise NotImplementedError

    async def unload_adapter(self, name: str) -> None:
        raise NotImplementedError

    async def stats(self) -> Stats:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def renderer(tiny: Base) -> Renderer:
    return Renderer(tiny.folder)


def reciting(ids: Sequence[int], finish: bool = True) -> Recital:
    """One token a delta, as engines do, and the end."""
    said = [Delta((id_,), (TokenLogprob(id_, -1.0),)) for id_ in ids]
    return Recital([*said, Delta((), finish="length" if finish else None)])


async def pieces_of(engine: Recital, renderer: Renderer, stop: Sequence[str] = ()) -> list[Piece]:
    return [piece async for piece in stream(engine, renderer, Ask([1], stop=tuple(stop)))]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_character_is_shown_when_it_is_whole(renderer: Renderer, size: int) -> None:
    text = "naïve 😀🚀 漢字 – “ok”"
    ids = renderer.encode(text)
    assert any("\ufffd" in renderer.decode([id_]) for id_ in ids)
    parts = [Delta(tuple(ids[at : at + size])) for at in range(0, len(ids), size)]
    pieces = await pieces_of(Recital([*parts, Delta((), finish="length")]), renderer)
    assert "".join(piece.text for piece in pieces) == text
    assert not any("\ufffd" in piece.text for piece in pieces)
    assert [id_ for piece in pieces for id_ in piece.ids] == ids
    assert sum(1 for piece in pieces if piece.text) > 1


async def test_a_character_cut_off_by_the_limit_shows_as_broken(renderer: Renderer) -> None:
    pieces = await pieces_of(reciting(renderer.encode("ok 😀")[:-1]), renderer)
    assert "".join(piece.text for piece in pieces) == "ok \ufffd"


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (["Observation:"], "Look it up.\n"),
        (["up.\nObs"], "Look it "),
        (["up", "Look it"], ""),
        (["zzz", "rain"], "Look it up.\nObservation: "),
        (["rain."], "Look it up.\nObservation: rain"),
        (["\n"], "Look it up."),
        ([""], "Look it up.\nObservation: rain"),
    ],
)
async def test_a_stop_string_cuts_wherever_tokens_end(renderer: Renderer, stop: list[str], text: str) -> None:
    ids = renderer.encode("Look it up.\nObservation: rain")
    engine = reciting(ids)
    pieces = await pieces_of(engine, renderer, stop)
    assert "".join(piece.text for piece in pieces) == text
    cut = text != "Look it up.\nObservation: rain"
    assert pieces[-1].finish == ("stop" if cut else "length")
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert engine.closed
    assert engine.said < len(ids) or not cut or stop == ["zzz", "rain"]
    kept = [id_ for piece in pieces for id_ in piece.ids]
    assert renderer.decode(kept).startswith(text)
    assert [logprob.id for piece in pieces for logprob in piece.logprobs] == kept == ids[: len(kept)]


@given(text=st.text("ab é😀", max_size=24), stops=st.lists(st.text("ab é", min_size=1, max_size=3), max_size=3))
async def test_streaming_with_stop_strings_equals_cutting_the_whole(
    renderer: Renderer, text: str, stops: list[str]
) -> None:
    # The stop string that is complete first ends the answer, and of two that end together the longer one.
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    pieces = await pieces_of(reciting(renderer.encode(text)), renderer, stops)
    assert "".join(piece.text for piece in pieces) == (text[: min(found)[1]] if found else text)
    assert pieces[-1].finish == ("stop" if found else "length")


async def test_text_is_held_back_only_while_it_may_become_a_stop_string(renderer: Renderer) -> None:
    ids = renderer.encode("one two three")
    free = await pieces_of(reciting(ids), renderer, ["###"])
    assert [piece.text for piece in free[:-1]] == ["one", " two", " three"]
    held = await pieces_of(reciting(ids), renderer, [" two four"])
    assert [piece.text for piece in held if piece.text] == ["one", " two", " three"]
    early = stream(reciting(ids, finish=False), renderer, Ask([1], stop=(" two four",)))
    assert (await anext(early)).text == "one"
    await early.aclose()


async def test_a_stop_token_that_the_engine_did_not_know_ends_the_answer(renderer: Renderer) -> None:
    ids = renderer.encode("yes")
    engine = reciting([*ids, renderer.stop_ids[0], *ids])
    whole = await answer(engine, renderer, Ask([1, 2, 3]))
    assert (whole.text, whole.ids, whole.finish) == ("yes", tuple(ids), "stop")
    assert (whole.prompt_tokens, whole.completion_tokens) == (3, len(ids))
    assert engine.closed


async def test_leaving_the_stream_closes_the_engine(renderer: Renderer) -> None:
    engine = reciting(renderer.encode("one two three"))
    pieces = stream(engine, renderer, Ask([1]))
    await anext(pieces)
    await pieces.aclose()
    assert (engine.said, engine.closed) == (1, True)


async def test_an_answer_that_broke_its_schema_is_an_error(renderer: Renderer) -> None:
    said = [Delta(tuple(renderer.encode('{"a": '))), Delta((), finish="stop")]
    with pytest.raises(InputError, match="does not follow the JSON schema"):
        await answer(Recital(said), renderer, Ask([1], constraint=ANY_JSON))
    cut = [*said[:1], Delta((), finish="length")]
    assert (await answer(Recital(cut), renderer, Ask([1], constraint=ANY_JSON))).finish == "length"


@pytest.mark.asyncio(loop_scope="session")
async def test_a_stop_string_frees_the_real_engine(exact: LlamaCpp, renderer: Renderer) -> None:
    prompt = renderer.encode("The capital of France is")
    free = await answer(exact, renderer, Ask(prompt, Sampling(max_tokens=16, logprobs=1), "left"))
    assert len(free.logprobs) == len(free.ids) == free.completion_tokens > 4
    stop = free.text[len(free.text) // 2 :][:4]
    cut = await answer(exact, renderer, Ask(prompt, Sampling(max_tokens=16), "left", (stop,)))
    assert (cut.text, cut.finish) == (free.text[: free.text.index(stop)], "stop")
    assert (await exact.stats()).running == 0
