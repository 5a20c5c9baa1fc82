"""`POST /completions`: a text, or token ids, goes on. No chat template is involved."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import accumulate

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from pumice.api.exchange import Exchange
from pumice.api.generation import Answering, begin, unless_gone
from pumice.api.openai.events import Wanted, asks, event, new_id, server_sent, usage
from pumice.api.openai.refusals import Refusal
from pumice.api.openai.wire import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
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
    async def complete(request: CompletionRequest, http: Request) -> Completion | StreamingResponse:
        """Go on with one text or several, whole or as server-sent events."""
        exchange = Exchange.of(http.scope)
        exchange.operation, exchange.asked = "text_completion", request.model
        find, ask = partial(platform.names.find, request.model), partial(_ask, request)
        answering = await unless_gone(http, begin(platform, exchange, find, ask, request.n or 1))
        if request.stream:
            return await server_sent(http, _chunks(answering, request))
        choices = await unless_gone(http, answering.whole())
        return Completion(
            id=new_id("cmpl"),
            created=int(time.time()),
            model=answering.served.id,
            choices=[
                CompletionChoice(
                    index=index,
                    text=_echo(answering, request, index) + choice.text,
                    logprobs=_logprobs(choice.logprobs, answering.served.renderer, request, 0),
                    finish_reason=choice.finish,
                )
                for index, choice in enumerate(choices)
            ],
            usage=usage(answering.exchange),
        )

    return routes


def _ask(request: CompletionRequest, served: Served) -> list[Ask]:
    wanted = Wanted(
        "prompt", request.max_tokens or MAX_TOKENS, 0 if request.logprobs is None else max(1, request.logprobs)
    )
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


def _echo(answering: Answering, request: CompletionRequest, index: int) -> str:
    if not request.echo:
        return ""
    prompt = request.prompt[index // (request.n or 1)]
    return prompt if isinstance(prompt, str) else answering.served.renderer.decode(prompt)


async def _chunks(answering: Answering, request: CompletionRequest) -> AsyncGenerator[str, None]:
    frame = Completion(
        id=new_id("cmpl"),
        object="text_completion",
        created=int(time.time()),
        model=answering.served.id,
        choices=[],
    )
    begun: set[int] = set()
    offsets: defaultdict[int, int] = defaultdict(int)
    async with aclosing(answering.pieces()) as pieces:
        async for index, piece in pieces:
            text = piece.text if index in begun else _echo(answering, request, index) + piece.text
            begun.add(index)
            logprobs = _logprobs(piece.logprobs, answering.served.renderer, request, offsets[index])
            offsets[index] += len(piece.text)
            if text or piece.finish or (logprobs and logprobs.tokens):
                choice = CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=piece.finish)
                yield event(frame.model_copy(update={"choices": [choice]}))
    if request.stream_options and request.stream_options.include_usage:
        yield event(frame.model_copy(update={"usage": usage(answering.exchange)}))


def _logprobs(
    chosen: Sequence[TokenLogprob], renderer: Renderer, request: CompletionRequest, offset: int
) -> CompletionLogprobs | None:
    if request.logprobs is None:
        return None
    tokens = renderer.tokens([each.id for each in chosen])
    return CompletionLogprobs(
        tokens=tokens,
        token_logprobs=[each.logprob for each in chosen],
        top_logprobs=[
            dict(zip(renderer.tokens([id for id, _ in each.top]), (logprob for _, logprob in each.top), strict=True))
            for each in chosen
        ],
        text_offset=list(accumulate(map(len, tokens), initial=offset))[:-1],
    )
