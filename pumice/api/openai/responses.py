"""`POST /responses`: a chat in OpenAI's newer words. Nothing is kept: the caller sends the conversation each time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import count
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from pumice.api.generation import Answering
from pumice.api.openai import chat
from pumice.api.openai.events import Operation, new_id
from pumice.api.openai.responses_wire import (
    Incomplete,
    OutputCall,
    OutputMessage,
    OutputText,
    ResponseObject,
    ResponseRequest,
    ResponseUsage,
    Status,
)
from pumice.api.openai.wire import DeltaToolCall
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.engine.answer import Ask, Finish

Event = tuple[str, dict[str, Any]]
"""What happened, and what it says of it."""


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter()

    @routes.post("/responses", response_model=ResponseObject)
    async def respond(request: ResponseRequest, http: Request) -> Any:
        """Answer an input, whole or as server-sent events."""
        return await RESPONSES.respond(platform, request, http)

    return routes


class _Writer:
    """One response as it is written."""

    def __init__(self, answering: Answering, request: ResponseRequest) -> None:
        self._answering, self._request = answering, request
        self._reader = chat.reader(request.chat)
        self._message: OutputMessage | None = None
        self._output: list[OutputMessage | OutputCall] = []
        self._finish: Finish | None = None
        self._id, self._created = new_id("resp"), int(time.time())

    @property
    def response(self) -> ResponseObject:
        """As it is now."""
        request, exchange, cut = self._request, self._answering.exchange, self._finish == "length"
        asked, made = exchange.input_tokens, exchange.output_tokens
        return ResponseObject(
            id=self._id,
            created_at=self._created,
            status=self._status,
            model=self._answering.served.id,
            output=self._output,
            usage=ResponseUsage(input_tokens=asked, output_tokens=made, total_tokens=asked + made)
            if self._finish
            else None,
            incomplete_details=Incomplete() if cut else None,
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            tool_choice=_shown(request.tool_choice),
            tools=[tool.model_dump() for tool in request.tools or ()],
            metadata=request.metadata or {},
        )

    @property
    def _status(self) -> Status:
        return "in_progress" if self._finish is None else "incomplete" if self._finish == "length" else "completed"

    def begin(self) -> Iterator[Event]:
        """Before the first word."""
        yield "created", {"response": self.response}
        yield "in_progress", {"response": self.response}

    def write(self, piece: str, finish: Finish | None) -> Iterator[Event]:
        """Take the next piece of the answer, which is the last when it has a `finish`."""
        text, calls = self._reader.read(piece, finish)
        # An answer that says nothing is an empty message.
        if text or (finish and not calls and not self._output):
            yield from self._say(text)
        for call in calls:
            yield from self._call(call)
        if finish:
            self._finish = finish
            yield from self._end()

    def _say(self, text: str) -> Iterator[Event]:
        if self._message is None:
            self._message = OutputMessage(id=new_id("msg"), status="in_progress", content=[])
            self._output.append(self._message)
            yield "output_item.added", {"output_index": self._place, "item": self._message}
            self._message.content.append(OutputText(text=""))
            yield "content_part.added", {**self._part, "part": self._message.content[0]}
        self._message.content[0].text += text
        yield "output_text.delta", {**self._part, "delta": text, "logprobs": []}

    def _call(self, said: DeltaToolCall) -> Iterator[Event]:
        name, arguments = said.function.name, said.function.arguments
        call = OutputCall(id=new_id("fc"), call_id=said.id, name=name, arguments="", status="in_progress")
        place = {"output_index": len(self._output)}
        self._output.append(call)
        yield "output_item.added", {**place, "item": call}
        yield "function_call_arguments.delta", {**place, "item_id": call.id, "delta": arguments}
        call.arguments, call.status = arguments, "completed"
        yield "function_call_arguments.done", {**place, "item_id": call.id, "name": name, "arguments": arguments}
        yield "output_item.done", {**place, "item": call}

    def _end(self) -> Iterator[Event]:
        if self._message:
            text = self._message.content[0]
            yield "output_text.done", {**self._part, "text": text.text, "logprobs": []}
            yield "content_part.done", {**self._part, "part": text}
            self._message.status = self._status
            yield "output_item.done", {"output_index": self._place, "item": self._message}
        yield self._status, {"response": self.response}

    @property
    def _place(self) -> int:
        assert self._message
        return self._output.index(self._message)

    @property
    def _part(self) -> dict[str, Any]:
        assert self._message
        return {"item_id": self._message.id, "output_index": self._place, "content_index": 0}


def _shown(choice: Any) -> Any:
    """A choice of a tool as it was sent."""
    return {"type": "function", **choice["function"]} if isinstance(choice, dict) else choice or "auto"


def _ask(request: ResponseRequest, served: Served) -> list[Ask]:
    return chat.ask(request.chat, served, "input")


async def _whole(answering: Answering, request: ResponseRequest) -> ResponseObject:
    await answering.whole()
    return _body(answering, request)


def _body(answering: Answering, request: ResponseRequest) -> ResponseObject:
    writer, choice = _Writer(answering, request), answering.choices[0]
    # Only a caller who went away leaves an answer without an end: it was cut off.
    for _ in writer.write(choice.text, choice.finish or "length"):
        pass
    return writer.response


async def _chunks(answering: Answering, request: ResponseRequest) -> AsyncGenerator[str, None]:
    writer, numbers = _Writer(answering, request), count()
    for event in writer.begin():
        yield _sent(event, next(numbers))
    async with aclosing(answering.pieces()) as pieces:
        async for _, piece in pieces:
            for event in writer.write(piece.text, piece.finish):
                yield _sent(event, next(numbers))


class _Sent(BaseModel):
    type: str
    sequence_number: int
    model_config = {"extra": "allow"}


def _sent(event: Event, number: int) -> str:
    kind, data = event
    shown = _Sent(type=f"response.{kind}", sequence_number=number, **data).model_dump_json()
    return f"event: response.{kind}\ndata: {shown}\n\n"


RESPONSES = Operation("responses", ResponseRequest, _ask, _whole, _chunks, _body, end="")
