"""The shapes that cross the wire, both ways, as OpenAI's client reads and writes them. Knows no behaviour.

A request field that is not served is refused by name; one that nobody knows, with the nearest known one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pumice.api.openai.refusals import near

ChatFinish = Literal["stop", "length", "tool_calls"]
MOST_ANSWERS = 1_024
"""Of one request: each is a task and a connection to the engine at once."""


class Wire(BaseModel):
    """A request object. Types are taken at their word: `"5"` is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = next((name for name in value if name not in known), None) if isinstance(value, dict) else None
        if unknown is not None:
            raise PydanticCustomError(
                "unknown", "Unrecognized request argument supplied", {"name": unknown, "near": near(unknown, known)}
            )
        return value


def conflict(name: str, rule: str) -> PydanticCustomError:
    """Fields that are right alone and wrong together; `name` is the one to change."""
    return PydanticCustomError("conflict", "{rule}", {"name": name, "rule": rule})


def absent(why: str, *harmless: Any) -> BeforeValidator:
    """A field that may be there only empty, or with a value that asks for nothing."""

    def check(value: Any) -> None:
        if value not in (None, [], {}, *harmless):
            raise PydanticCustomError("unsupported", "{why}", {"why": why})

    return BeforeValidator(check, json_schema_input_type=Any)


def _as_text(value: Any) -> Any:
    """Message content is text, or a list of text parts."""
    if not isinstance(value, list):
        return value
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"a part must be {{'type': 'text', 'text': …}}; this model reads no {kind!r} parts")
    return "".join(part["text"] for part in value)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_prompts(value: Any) -> Any:
    """One prompt or several, each a string or token ids, as a list of prompts."""
    one = isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], int))
    prompts = [value] if one else value
    if not isinstance(prompts, list) or not all(_is_prompt(prompt) for prompt in prompts) or not prompts:
        raise ValueError("a prompt is a string, a list of strings, a list of token ids, or a list of such lists")
    return prompts


def _is_prompt(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(type(token) is int and token >= 0 for token in value)
    )


def _as_choice(value: Any) -> Any:
    """`none`, `auto`, `required`, or the name of one function behind a `=`."""
    match value:
        case None | "none" | "auto" | "required":
            return value
        case {"type": "function", "function": {"name": str(name), **others}} if not others:
            return f"={name}"
    named = {"type": "function", "function": {"name": "…"}}
    raise ValueError(f"it must be 'none', 'auto', 'required' or {named}")


_OLD_TOOLS = absent("it is the older form of 'tools' and 'tool_choice'; send those.", "none", "auto")
_TEXT_ONLY = absent("only text goes in and out.", ["text"])

Text = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | list[dict[str, str]])]
Stop = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    Field(max_length=4),
]
Prompts = Annotated[
    list[str | list[int]],
    BeforeValidator(_as_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
]
NoFunctions = Annotated[None, _OLD_TOOLS]
ToolChoice = Annotated[str, BeforeValidator(_as_choice, json_schema_input_type=str | dict[str, Any])]


class StreamOptions(Wire):
    include_usage: bool | None = None
    """End the stream with a chunk that counts the tokens."""
    include_obfuscation: bool | None = None
    """Accepted; nothing is padded."""


class Harmless(Wire):
    """What clients send for OpenAI's own book-keeping. Accepted; nothing here depends on it."""

    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    """Whether a chat answer may call several functions; without effect elsewhere."""
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None


class Sampled(Harmless):
    """What both ways to generate have in common."""

    model: str = Field(min_length=1)
    """A registered name, `name@version`, or the id of a base."""
    n: int | None = Field(None, ge=1, le=128)
    """Answers for each prompt; with a seed, answer i is drawn with seed + i."""
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    """0 is greedy; 1 where nothing is said."""
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    stop: Stop | None = None
    """Up to four strings that end the answer and are not part of it."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: Annotated[None, absent("tokens cannot be favoured one by one.")] = None

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise conflict("stream_options", "'stream_options' is only for `stream: true`")
        return self


class CalledFunction(Wire):
    name: str
    arguments: str
    """JSON text, as the model wrote it."""


class ToolCall(Wire):
    id: str
    type: Literal["function"]
    function: CalledFunction
    index: int | None = None
    """Accepted, as clients that put a stream together leave it in."""


class Message(Wire):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    """`developer` is OpenAI's newer word for `system`."""
    content: Text | None
    name: str | None = None
    """Accepted; templates show no names."""
    refusal: Annotated[None, absent("refusals are not part of the prompt.")] = None
    annotations: Annotated[None, absent("annotations are not part of the prompt.")] = None
    audio: Annotated[None, _TEXT_ONLY] = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    """Accepted; results follow their calls in order."""
    function_call: NoFunctions = None

    @model_validator(mode="before")
    @classmethod
    def _calls_need_no_content(cls, value: Any) -> Any:
        return {"content": None, **value} if isinstance(value, dict) and value.get("tool_calls") else value

    @model_validator(mode="after")
    def _role_and_fields_agree(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise conflict("tool_calls", "'tool_calls' is only for the role 'assistant'")
        if self.content is None and not self.tool_calls:
            raise conflict("content", "'content' may be null only beside 'tool_calls'")
        if self.role == "tool" and self.tool_call_id is None:
            raise conflict("tool_call_id", "'tool_call_id' says which call a message of the role 'tool' answers")
        return self


class FunctionDefinition(Wire):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON Schema of the arguments."""
    strict: bool | None = None
    """Accepted; arguments always follow the schema."""


class ToolDefinition(Wire):
    type: Literal["function"]
    function: FunctionDefinition


class NamedSchema(Wire):
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    """JSON Schema that the answer must follow."""
    description: str | None = None
    strict: bool | None = None
    """Accepted; the answer always follows the schema."""


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _schema_and_type_agree(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise conflict("json_schema", "type 'json_schema' and the field 'json_schema' go together")
        return self


class ChatRequest(Sampled):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """OpenAI's newer word for `max_tokens`."""
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: ToolChoice | None = None
    functions: NoFunctions = None
    function_call: NoFunctions = None
    modalities: Annotated[None, _TEXT_ONLY] = None
    audio: Annotated[None, _TEXT_ONLY] = None
    moderation: Annotated[None, absent("nothing is moderated here.")] = None
    reasoning_effort: Annotated[None, absent("the model answers without a reasoning step.", "none")] = None
    verbosity: Annotated[None, absent("ask for it in the messages.", "medium")] = None
    web_search_options: Annotated[None, absent("the model has no access to the web.")] = None

    @property
    def may_call(self) -> bool:
        """Whether an answer may call functions."""
        return bool(self.tools) and self.tool_choice != "none"

    @model_validator(mode="after")
    def _words_agree(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise conflict("top_logprobs", "'top_logprobs' is only for `logprobs: true`")
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise conflict("tool_choice", "'tool_choice' is only for requests with 'tools'")
        if self.may_call and self.response_format and self.response_format.type != "text":
            raise conflict("response_format", "'response_format' and 'tools' both say what an answer is; send one")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise conflict("max_tokens", "'max_tokens' and 'max_completion_tokens' are the same; send one")
        return self


class CompletionRequest(Sampled):
    """`POST /v1/completions`."""

    max_tokens: int | None = Field(None, ge=0)
    """0 with `echo` reads a prompt and adds nothing to it."""
    prompt: Prompts
    """A string, token ids, or a list of either; every prompt gets `n` choices, in order."""
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=5)
    return_token_ids: bool | None = None
    """Each choice has `token_ids`, as in vLLM: what another Pumice needs to answer from this one."""
    return_tokens_as_token_ids: bool | None = None
    """`logprobs` write a token as `token_id:123`, as in vLLM."""
    suffix: Annotated[None, absent("these models only go on at the end of a text.", "")] = None
    best_of: Annotated[None, absent("every answer that is made is returned; use 'n'.", 1)] = None

    @model_validator(mode="after")
    def _nothing_is_only_echoed(self) -> Self:
        if self.max_tokens == 0 and (self.stream or not self.echo):
            raise conflict("max_tokens", "'max_tokens' 0 is only for `echo: true` without a stream")
        return self

    @model_validator(mode="after")
    def _answers_are_bounded(self) -> Self:
        if (wanted := len(self.prompt) * (self.n or 1)) > MOST_ANSWERS:
            raise conflict(
                "prompt", f"prompts times 'n' may be {MOST_ANSWERS:,} answers, got {wanted:,}; send several requests"
            )
        return self


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class FunctionCall(BaseModel):
    name: str
    arguments: str


class MessageToolCall(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[MessageToolCall] | None = None

    @model_serializer(mode="wrap")
    def _without_empty_calls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = serialize(self)
        return shown if self.tool_calls else {key: value for key, value in shown.items() if key != "tool_calls"}


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinish


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class DeltaToolCall(MessageToolCall):
    index: int


class ChatDelta(TypedDict, total=False):
    """What a chunk of a stream adds to a message."""

    role: Literal["assistant"]
    content: str
    tool_calls: list[dict[str, Any]]
    """Each a `DeltaToolCall`."""


class ChatPart(TypedDict):
    """The choice of a chunk. A dictionary, as one is written for each token."""

    index: int
    delta: ChatDelta
    logprobs: dict[str, Any] | None
    """A `ChatLogprobs`."""
    finish_reason: ChatFinish | None


class CompletionLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    """None for the first token of a prompt, which nothing stands before."""
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    """Where each token starts, in characters of the choice's text."""


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    """None in all chunks of a stream but the last."""


class CompletionChoiceIds(CompletionChoice):
    token_ids: list[int]
    """Of what was generated; of a chunk those that are new."""


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoiceIds | CompletionChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds; 0 for a base, whose age nobody recorded."""
    owned_by: Literal["pumice"] = "pumice"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
