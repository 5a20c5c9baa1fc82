"""`POST /completions`: a text, or token ids, goes on. No chat template is involved."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import accumulate
from typing import Any

from fastapi import APIRouter, Request

from pumice.api.generation import Answering, Choice
from pumice.api.openai.events import Frame, Operation, Wanted, asks, new_id, usage
from pumice.api.openai.refusals import Refusal
from pumice.api.openai.wire import (
    Completion,
    CompletionChoice,
    CompletionChoiceIds,
    CompletionLogprobs,
    CompletionRequest,
)
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.data.render import Renderer
from pumice.engine.answer import Ask
from pumice.engine.contract import TokenLogprob

MAX_TOKENS = 16
"""What OpenAI generates where nothing is said."""


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter()

    @routes.post("/completions", response_model=Completion)
    async def complete(request: CompletionRequest, http: Request) -> Any:
        """Go on with one text or several, whole or as server-sent events."""
        return await COMPLETIONS.respond(platform, request, http)

    return routes


def _ask(request: CompletionRequest, served: Served) -> list[Ask]:
    most = MAX_TOKENS if request.max_tokens is None else request.max_tokens
    wanted = Wanted("prompt", most, 0 if request.logprobs is None else max(1, request.logprobs))
    prompts = [_ids(prompt, served) for prompt in request.prompt]
    return [ask for ids in prompts for ask in asks(request, served, ids, wanted)]


def _ids(prompt: str | list[int], served: Served) -> list[int]:
    if isinstance(prompt, str):
        # Without a bos token there is nothing to go on from in an empty text.
        ids = served.renderer.encode(prompt) or list(served.renderer.stop_ids[:1])
    else:
        ids = prompt
    if max(ids) >= served.base.vocabulary:
        message = (
            f"Invalid 'prompt': token id {max(ids)} is outside the model's vocabulary of {served.base.vocabulary:,}."
        )
        raise Refusal(400, message, param="prompt", code="invalid_value")
    return ids


async def _whole(answering: Answering, request: CompletionRequest) -> Completion:
    if request.max_tokens != 0:
        await answering.whole()
    return _body(answering, request, await _read(answering, request))


def _body(answering: Answering, request: CompletionRequest, read: Sequence[Sequence[TokenLogprob]] = ()) -> Completion:
    return Completion(
        id=new_id("cmpl"),
        created=int(time.time()),
        model=answering.served.id,
        choices=[
            # What was cut off, or not asked for, ends here.
            _choice(answering, request, read, index, replace(choice, finish=choice.finish or "length"))
            for index, choice in enumerate(answering.choices)
        ],
        usage=usage(answering.exchange),
    )


def _choice(
    answering: Answering,
    request: CompletionRequest,
    read: Sequence[Sequence[TokenLogprob]],
    index: int,
    choice: Choice,
) -> CompletionChoice:
    echo = _echo(answering, request, index)
    logprobs = _join(
        _prompt_logprobs(answering, request, read, index),
        _logprobs(choice.logprobs, answering.served.renderer, request, len(echo)),
    )
    said = CompletionChoice(index=index, text=echo + choice.text, logprobs=logprobs, finish_reason=choice.finish)
    return _with_ids(said, choice.ids, request)


def _with_ids(choice: CompletionChoice, ids: Sequence[int], request: CompletionRequest) -> CompletionChoice:
    if not request.return_token_ids:
        return choice
    return CompletionChoiceIds(**dict(choice), token_ids=list(ids))


async def _read(answering: Answering, request: CompletionRequest) -> list[list[TokenLogprob]]:
    """What the prompts' own tokens were given, a list a prompt; empty where nobody asked."""
    if not request.echo or request.logprobs is None:
        return []
    prompts = answering.asked[:: request.n or 1]
    return [await answering.score(ask.ids, request.logprobs) for ask in prompts]


def _prompt_logprobs(
    answering: Answering, request: CompletionRequest, read: Sequence[Sequence[TokenLogprob]], index: int
) -> CompletionLogprobs | None:
    if not read:
        return None
    renderer, ids = answering.served.renderer, answering.asked[index].ids
    found = _logprobs(read[index // (request.n or 1)], renderer, request, 0)
    assert found
    [first] = renderer.tokens(ids[:1])
    # What the tokenizer puts in front of a text is a token, and no part of the text.
    front = len(first) if _echo(answering, request, index).startswith(first) else 0
    return CompletionLogprobs(
        tokens=[first, *found.tokens],
        token_logprobs=[None, *found.token_logprobs],
        top_logprobs=[None, *found.top_logprobs],
        text_offset=[0, *(offset + front for offset in found.text_offset)],
    )


def _join(front: CompletionLogprobs | None, behind: CompletionLogprobs | None) -> CompletionLogprobs | None:
    if front is None or behind is None:
        return behind
    return CompletionLogprobs(
        tokens=front.tokens + behind.tokens,
        token_logprobs=front.token_logprobs + behind.token_logprobs,
        top_logprobs=front.top_logprobs + behind.top_logprobs,
        text_offset=front.text_offset + behind.text_offset,
    )


def _echo(answering: Answering, request: CompletionRequest, index: int) -> str:
    if not request.echo:
        return ""
    prompt = request.prompt[index // (request.n or 1)]
    return prompt if isinstance(prompt, str) else answering.served.renderer.decode(prompt)


async def _chunks(answering: Answering, request: CompletionRequest) -> AsyncGenerator[str, None]:
    frame = Frame(new_id("cmpl"), "text_completion", answering.served.id)
    read = await _read(answering, request)
    for index in range(len(answering.asked) if request.echo else 0):
        yield frame.event(_choice(answering, request, read, index, Choice()).model_dump())
    offsets = {index: len(_echo(answering, request, index)) for index in range(len(answering.asked))}
    async with aclosing(answering.pieces()) as pieces:
        async for index, piece in pieces:
            logprobs = _logprobs(piece.logprobs, answering.served.renderer, request, offsets[index])
            offsets[index] += len(piece.text)
            if piece.text or piece.finish or (logprobs and logprobs.tokens) or (request.return_token_ids and piece.ids):
                choice = CompletionChoice(index=index, text=piece.text, logprobs=logprobs, finish_reason=piece.finish)
                yield frame.event(_with_ids(choice, piece.ids, request).model_dump())
    if request.stream_options and request.stream_options.include_usage:
        yield frame.usage(usage(answering.exchange))


def _as_ids(ids: Sequence[int]) -> list[str]:
    return [f"token_id:{each}" for each in ids]


def _logprobs(
    chosen: Sequence[TokenLogprob], renderer: Renderer, request: CompletionRequest, offset: int
) -> CompletionLogprobs | None:
    if request.logprobs is None:
        return None
    written = _as_ids if request.return_tokens_as_token_ids else renderer.tokens
    tokens = written([each.id for each in chosen])
    return CompletionLogprobs(
        tokens=tokens,
        token_logprobs=[each.logprob for each in chosen],
        top_logprobs=[
            dict(zip(written([id for id, _ in each.top]), (logprob for _, logprob in each.top), strict=True))
            for each in chosen
        ],
        text_offset=list(accumulate(map(len, tokens), initial=offset))[:-1],
    )


COMPLETIONS = Operation("text_completion", CompletionRequest, _ask, _whole, _chunks, _body)
