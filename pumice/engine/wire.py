"""Requests and answers in the words of llama-server's `/completion`, ids in, ids out. Knows no process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pumice.engine import constraints
from pumice.engine.contract import Capabilities, Delta, Generate, TokenLogprob
from pumice.errors import InputError


def room_for(request: Generate, context: float, capabilities: Capabilities) -> int:
    """How many tokens the answer may have. Raises InputError for a request that the engine cannot answer as asked."""
    if not request.ids:
        raise InputError("The prompt is empty.", "A model needs at least one token to go on from.")
    if request.sampling.max_tokens < 1:
        raise InputError(f"max_tokens = {request.sampling.max_tokens}; it must be 1 or more.")
    if len(request.ids) >= context:
        raise InputError(
            f"The prompt has {len(request.ids):,} tokens.",
            f"Prompt and answer together may have {context:,}.",
            "Shorten the prompt.",
        )
    if request.constraint is not None:
        constraints.check(request.constraint, capabilities)
    return int(min(request.sampling.max_tokens, context - len(request.ids)))


class Answer:
    """Turns the events of one answer into deltas: without the stop token, with the reason for the end."""

    def __init__(self) -> None:
        self.finished = False
        self._count = 0
        self._held: Delta | None = None

    def read(self, event: Mapping[str, Any]) -> Iterable[Delta]:
        """The deltas that are certain after this event."""
        if event["stop"]:
            stopped = event["stop_type"] == "eos"
            if self._held and not stopped:
                yield self._held
            self.finished = True
            # llama-server must not have kept ids for itself: see `streamable` in gguf.py.
            assert self._count == event["tokens_predicted"], "the engine lost tokens"
            yield Delta((), finish="stop" if stopped else "length")
            return
        ids = tuple(event["tokens"])
        self._count += len(ids)
        if not ids:
            return
        if self._held:
            yield self._held
        delta = Delta(ids, tuple(_logprob(token) for token in event.get("completion_probabilities", ())))
        # The stop token has no text, but neither have some others: only the end tells.
        self._held = delta if event["content"] == "" else None
        if not self._held:
            yield delta


def _logprob(token: Mapping[str, Any]) -> TokenLogprob:
    top = tuple((other["id"], other["logprob"]) for other in token["top_logprobs"])
    return TokenLogprob(token["id"], token["logprob"], top)


def body(request: Generate, ids_allowed: int) -> dict[str, Any]:
    sampling = request.sampling
    greedy = sampling.temperature <= 0
    # In the order of transformers, and none of llama-server's own defaults: no min_p, and top_k only when asked for.
    samplers = ["penalties", "top_k"] if greedy else ["penalties", "temperature", "top_k", "top_p"]
    asked: dict[str, Any] = {
        "prompt": list(request.ids),
        "n_predict": ids_allowed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 1 if greedy else sampling.top_k,
        "samplers": samplers,
        "repeat_last_n": len(request.ids) + ids_allowed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "n_probs": sampling.logprobs,
        "return_tokens": True,
        "stream": True,
    }
    if sampling.seed is not None:
        asked["seed"] = sampling.seed
    if request.constraint is not None:
        asked["grammar"] = constraints.grammar(request.constraint)
    return asked
