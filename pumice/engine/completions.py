"""A server that speaks OpenAI's `/v1/completions` with ids: prompts as ids, and `return_token_ids` as vLLM has it.

Fields as in vLLM 0.32, `vllm/entrypoints/openai/completion/protocol.py`. Knows no process.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from pumice.engine.contract import Constraint, Delta, Generate, TokenLogprob
from pumice.engine.line import Line
from pumice.errors import InputError, UnavailableError

_ID = "token_id:"
"""What stands before the number where a token is written as its id."""


class Server(Protocol):
    """What answers on a line. Names of adapters are the server's own; None is the base."""

    @property
    def title(self) -> str: ...

    def generate(self, request: Generate, room: int, adapter: str | None) -> AsyncGenerator[Delta, None]: ...

    async def load(self, name: str, folder: Path) -> None: ...

    async def unload(self, name: str) -> None: ...


def as_schema(constraint: Constraint) -> Mapping[str, Any]:
    """A JSON schema in OpenAI's words."""
    form = {"name": "answer", "schema": json.loads(constraint.text), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


@dataclass(frozen=True)
class Completions:
    """One model of such a server."""

    line: Line
    model: str
    """What it calls the base."""
    stops: Sequence[int]
    """The ids that end an answer."""
    extended: bool
    """Whether it knows vLLM's sampling fields beside OpenAI's."""
    form: Callable[[Constraint], Mapping[str, Any]] = as_schema
    """How an answer is held to a form."""

    @property
    def title(self) -> str:
        """For messages."""
        return self.line.title

    async def generate(self, request: Generate, room: int, adapter: str | None) -> AsyncGenerator[Delta, None]:
        """One answer of at most `room` tokens."""
        asked = {**self.body(request, room), "model": adapter or self.model, "stream": True}
        async with aclosing(self.line.events("/v1/completions", asked)) as events:
            async for event in events:
                for delta in self.read(event):
                    yield delta
                    if delta.finish:
                        return
        raise UnavailableError(f"{self.title} left an answer without an end.", "", "Ask again.")

    def body(self, request: Generate, room: int) -> dict[str, Any]:
        """The request without the model. Raises InputError for what the server has no word for."""
        sampling = request.sampling
        asked: dict[str, Any] = {
            "prompt": list(request.ids),
            "max_tokens": room,
            "temperature": max(0.0, sampling.temperature),
            # 0 is refused by some, and the most likely token alone is in the smallest share.
            "top_p": max(sampling.top_p, 1e-6),
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "return_token_ids": True,
        }
        if self.extended:
            # Said even where nothing is wanted: the model's own files may hold other defaults.
            own = {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
            asked |= {**own, "stop_token_ids": list(self.stops)}
        elif sampling.top_k:
            raise InputError(f"{self.title} knows no top_k.", fix="Leave top_k out; top_p does much the same.")
        if sampling.seed is not None:
            asked["seed"] = sampling.seed
        if sampling.logprobs:
            asked |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
        if request.constraint is not None:
            asked |= self.form(request.constraint)
        return asked

    def read(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        """What an event adds to the answer."""
        for choice in event.get("choices") or ():
            ids, logprobs = list(choice.get("token_ids") or ()), list(_logprobs(choice.get("logprobs")))
            finish = choice.get("finish_reason")
            if finish not in (None, "stop", "length"):
                raise UnavailableError(f"{self.title} gave an answer up: {finish}.", "", "Ask again.")
            if finish == "stop" and ids and ids[-1] in self.stops:
                ids, logprobs = ids[:-1], logprobs[: len(ids) - 1]
            if ids or finish:
                yield Delta(tuple(ids), tuple(logprobs), finish)

    async def load(self, name: str, folder: Path) -> None:
        """Have the server read an adapter from its disk. Raises as `Line.ask` does."""
        await self.line.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    async def unload(self, name: str) -> None:
        """Have the server forget an adapter."""
        await self.line.ask("/v1/unload_lora_adapter", {"lora_name": name})


def _logprobs(told: Mapping[str, Any] | None) -> Iterator[TokenLogprob]:
    if not told:
        return
    for token, logprob, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        others = sorted(((_id(each), value) for each, value in (top or {}).items()), key=lambda pair: -pair[1])
        yield TokenLogprob(_id(token), logprob, tuple(others))


def _id(token: str) -> int:
    return int(token.removeprefix(_ID))


class WritesOnly:
    """The questions that an engine behind `Completions` does not answer. `title` is its name."""

    title: str

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        """Always raises (`capabilities.score` is False)."""
        self._refuse("score given text", "scorer")

    async def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Always raises (`capabilities.embed` is False)."""
        self._refuse("make vectors", "embedder")

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Always raises (`capabilities.classify` is False)."""
        self._refuse("name classes", "get")

    def _refuse(self, what: str, way: str) -> NoReturn:
        raise InputError(
            f"{self.title} does not {what}.", "", f"Use the engine that Pool.{way} gives for such a model."
        )
