"""The shapes of `/responses`, both ways. Knows no behaviour; a request says of itself what it is as a chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from pumice.api.openai.wire import (
    ChatRequest,
    FunctionDefinition,
    Harmless,
    NamedSchema,
    ResponseFormat,
    StreamOptions,
    ToolDefinition,
    Wire,
    absent,
    conflict,
)

_KEPT = absent("responses are not kept; send the whole conversation as 'input', and `store: false`.", False)
_PARTS = ("input_text", "output_text")
_NEEDS = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
Status = Literal["in_progress", "completed", "incomplete"]


def _as_text(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    for part in value:
        if not isinstance(part, dict) or part.get("type") not in _PARTS or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"a part must be {{'type': 'input_text', 'text': …}}; this model reads no {kind!r} parts")
    return "".join(part["text"] for part in value)


def _as_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def _as_choice(value: Any) -> Any:
    """As chat has it, where the name lies one level deeper."""
    match value:
        case {"type": "function", "name": str(name), **others} if not others:
            return {"type": "function", "function": {"name": name}}
        case None | "none" | "auto" | "required":
            return value
    raise ValueError("it must be 'none', 'auto', 'required' or {'type': 'function', 'name': '…'}")


Text = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | list[dict[str, Any]])]


class Item(Wire):
    """One of the input: a message, a call that the model made, or what came of it."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Text | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Text | None = None
    id: str | None = None
    """Accepted, as it comes back with what a response held."""
    status: str | None = None
    """Accepted likewise."""

    @model_validator(mode="after")
    def _type_and_fields_agree(self) -> Self:
        given = self.model_dump(exclude_none=True)
        needed = _NEEDS[self.type]
        if missing := next((name for name in needed if name not in given), None):
            raise conflict(missing, f"an item of the type {self.type!r} needs {missing!r}")
        if spare := next((name for name in given if name not in (*needed, "type", "id", "status")), None):
            raise conflict(spare, f"an item of the type {self.type!r} has no {spare!r}")
        return self


class Tool(FunctionDefinition):
    type: Literal["function"]


class Form(Wire):
    """What an answer must look like: chat's `response_format`, one level flatter."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _schema_and_type_agree(self) -> Self:
        if (self.type == "json_schema") != (self.schema_ is not None):
            raise conflict("schema", "type 'json_schema' and the field 'schema' go together")
        return self


class TextOptions(Wire):
    format: Form | None = None
    verbosity: Annotated[None, absent("ask for it in the input.", "medium")] = None


class Remembered(Harmless):
    """What would need a server that remembers, or models of another kind."""

    store: Annotated[None, _KEPT] = None
    previous_response_id: Annotated[None, _KEPT] = None
    conversation: Annotated[None, _KEPT] = None
    background: Annotated[None, absent("a response is answered at once; /batches holds what may wait.", False)] = None
    prompt: Annotated[None, absent("no prompts are kept here; write it into 'input'.")] = None
    include: Annotated[None, absent("a response has nothing more to show.")] = None
    reasoning: Annotated[None, absent("the model answers without a reasoning step.", {"effort": "none"})] = None
    truncation: Annotated[None, absent("an input that is too long is refused.", "disabled")] = None
    top_logprobs: Annotated[None, absent("chat/completions reports them.", 0)] = None
    max_tool_calls: Annotated[None, absent("the caller makes the calls, and counts them.")] = None


class ResponseRequest(Remembered):
    """`POST /v1/responses`."""

    model: str = Field(min_length=1)
    input: Annotated[
        list[Item],
        BeforeValidator(_as_items, json_schema_input_type=str | list[Item]),
        Field(min_length=1),
    ]
    instructions: str | None = None
    """A system message before the input."""
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    text: TextOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[Any, BeforeValidator(_as_choice)] = None

    @property
    def n(self) -> int:
        """One request, one answer."""
        return 1

    @property
    def chat(self) -> ChatRequest:
        """The same as a chat."""
        form = self.text.format if self.text else None
        return ChatRequest.model_validate(
            {
                "model": self.model,
                "messages": _messages(self.instructions, self.input),
                "max_completion_tokens": self.max_output_tokens,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "tools": [_tool(each) for each in self.tools] if self.tools else None,
                "tool_choice": self.tool_choice,
                "parallel_tool_calls": self.parallel_tool_calls,
                "response_format": _response_format(form) if form else None,
            }
        )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise conflict("tool_choice", "'tool_choice' is only for requests with 'tools'")
        if (
            self.tools
            and self.tool_choice != "none"
            and self.text
            and self.text.format
            and self.text.format.type != "text"
        ):
            raise conflict("text", "'text.format' and 'tools' both say what an answer is; send one")
        return self


def _messages(instructions: str | None, items: Sequence[Item]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        match item.type:
            case "message":
                messages.append({"role": item.role, "content": item.content})
            case "function_call_output":
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
            case "function_call":
                # What one turn of the model said and called is one message of a chat.
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": None})
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                messages[-1]["tool_calls"] = [*messages[-1].get("tool_calls", []), call]
    return messages


def _tool(tool: Tool) -> ToolDefinition:
    return ToolDefinition(type="function", function=FunctionDefinition(**tool.model_dump(exclude={"type"})))


def _response_format(form: Form) -> ResponseFormat:
    if form.schema_ is None:
        return ResponseFormat(type=form.type)
    return ResponseFormat(type=form.type, json_schema=NamedSchema(name=form.name or "answer", schema=form.schema_))


class OutputText(BaseModel):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class OutputMessage(BaseModel):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Status
    content: list[OutputText]


class OutputCall(BaseModel):
    id: str
    type: Literal["function_call"] = "function_call"
    call_id: str
    name: str
    arguments: str
    status: Status


class InputDetails(BaseModel):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(BaseModel):
    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class Incomplete(BaseModel):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Echo(BaseModel):
    """What was asked for, with the defaults."""

    instructions: str | None
    max_output_tokens: int | None
    temperature: float
    top_p: float
    parallel_tool_calls: bool
    tool_choice: Any
    tools: list[dict[str, Any]]
    metadata: dict[str, Any]
    store: Literal[False] = False


class ResponseObject(Echo):
    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    model: str
    output: list[OutputMessage | OutputCall]
    usage: ResponseUsage | None
    error: None = None
    incomplete_details: Incomplete | None = None
