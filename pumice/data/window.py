"""Rows become tokens that fit the model's window; what is too long is treated once, the same for check and training.

Knows no files and no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from pumice.data.borders import edges
from pumice.data.render import Renderer
from pumice.data.render.renderer import UNTRAINED
from pumice.data.rows import Log
from pumice.errors import Finding, InputError
from pumice.records import Example, Tokens

TooLong = Literal["error", "drop", "truncate", "split"]

_SHOWN = 5
_SHORTEST = 8


@dataclass(frozen=True)
class Treated:
    """What a window did to some rows, and what it found wrong with them; another window adds it to its own."""

    findings: tuple[Finding, ...]
    """The first of them, by line and column alone."""
    total: int
    too_long: tuple[int, ...]
    untrained: tuple[int, ...]
    pieces: int
    bound: int | None


class Window:
    """Applies one policy to rows that have more than `limit` tokens; what may not be goes to `log`.

    `policy` None is the kind's own: `split` for text, where nothing is lost by it, and `error` for all others.
    """

    def __init__(self, renderer: Renderer, max_length: int | None, policy: TooLong | None, log: Log) -> None:
        if max_length is not None and not _SHORTEST <= max_length <= renderer.window:
            raise InputError(
                f"max_length = {max_length}; it must be from {_SHORTEST} to {renderer.window}.",
                f"The base sees {renderer.window} tokens at once.",
                "Choose less, or leave it out.",
            )
        self.limit = max_length or renderer.window
        self.too_long: list[int] = []
        self.untrained: list[int] = []
        self._renderer, self._policy, self._log = renderer, policy, log
        self._pieces, self._bound = 0, self.limit

    def fit(self, examples: Sequence[Example]) -> list[Tokens]:
        """What of the rows is trained on, in their order."""
        found = zip(examples, self._renderer.train_all(examples), strict=True)
        return [each for example, made in found for each in self._fitted(example, made)]

    def render(self, example: Example) -> Tokens | None:
        """The row's tokens at full length; None, and a finding, where the chat template refuses it."""
        try:
            return self._renderer.train(example)
        except InputError as error:
            self._refuse(example, error)
            return None

    def _fitted(self, example: Example, made: Tokens | InputError) -> tuple[Tokens, ...]:
        if isinstance(made, InputError):
            self._refuse(example, made)
            return ()
        return self.take(example, made)

    def _refuse(self, example: Example, error: InputError) -> None:
        self._log.add((example.line, 1), "", f"{error.what} {error.why}".strip(), error.fix)

    def treated(self) -> Treated:
        """What was done so far, to be added to another window with `add`."""
        log, bound = self._log, self._bound if self.too_long else None
        lines = tuple(self.too_long), tuple(self.untrained)
        return Treated(tuple(log.findings), log.total, *lines, self._pieces, bound)

    def add(self, other: Treated) -> None:
        """Add what was done to later rows."""
        for each in other.findings:
            self._log.add((each.line, each.column), each.field, each.rule, each.fix)
        self._log.total += other.total - len(other.findings)
        self.too_long += other.too_long
        self.untrained += other.untrained
        self._pieces += other.pieces
        self._bound = self._bound if other.bound is None else other.bound

    def take(self, example: Example, tokens: Tokens) -> tuple[Tokens, ...]:
        """What of the row is trained on: mostly `tokens` itself, nothing where it is dropped or at fault."""
        taken = self._cut(example, tokens) if size(tokens) > self._most(tokens) else (tokens,)
        if taken and not any(map(_teaches, taken)):
            self.untrained.append(example.line)
            left = "nothing that tells the answers apart" if example.rejected else "no answer"
            rule = f"Nothing of this row is trained: {left} is left within {self.limit:,} tokens."
            self._log.add((example.line, 1), "", rule, "Shorten its prompt, or delete the row.")
            return ()
        return taken

    def note(self) -> str:
        """What was done to rows that are too long, as a sentence."""
        count = len(self.too_long)
        if not count:
            return ""
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        done = {
            "drop": "dropped",
            "truncate": f"cut to their first {self._bound:,} tokens",
            "split": f"split into {self._pieces:,} windows",
        }.get(self._policy or ("split" if self._pieces else "error"), "not accepted")
        return f"{rows} more than {self._bound:,} tokens and {'was' if count == 1 else 'were'} {done}: {self._lines()}."

    def _most(self, tokens: Tokens) -> int:
        """Tokens that the row may have: behind a prompt an answer must have room."""
        return self.limit - _is_prompt(tokens)

    def _lines(self) -> str:
        more = ", …" if len(self.too_long) > _SHOWN else ""
        return self._log.rows(self.too_long[:_SHOWN]) + more

    def _cut(self, example: Example, tokens: Tokens) -> tuple[Tokens, ...]:
        self.too_long.append(example.line)
        self._bound = self._most(tokens)
        is_text, is_prompt = example.text is not None and example.label is None, _is_prompt(tokens)
        match self._policy or ("split" if is_text else "error"):
            case "drop":
                return ()
            case "truncate" if not is_prompt:
                return (_first(tokens, self.limit),)
            case "split" if is_text:
                pieces = _split(tokens, self.limit, self._renderer)
                self._pieces += len(pieces)
                return pieces
            case policy:
                rule = f"The row has {size(tokens):,} tokens; at most {self._bound:,} fit."
                if policy == "split":
                    rule += " too_long: split is for text; an answer without its question would teach nothing."
                if policy == "truncate":
                    rule += " too_long: truncate is not for prompts; without its end it would be another question."
                ways = f"{'split, ' if is_text else ''}drop{'' if is_prompt else ' or truncate'}"
                fix = f"Shorten it, or choose too_long: {ways}."
                self._log.add((example.line, 1), "", rule, fix)
                return ()


def size(tokens: Tokens) -> int:
    """Tokens of the row; of a pair, those of its longer conversation."""
    return max(len(tokens.ids), len(tokens.rejected.ids)) if tokens.rejected else len(tokens.ids)


def trained(tokens: Tokens) -> int:
    """How many tokens the loss counts, of both endings. The first of a row is never predicted, whatever its label."""
    other = trained(tokens.rejected) if tokens.rejected else 0
    return max(0, len(tokens.labels) - 1) - tokens.labels[1:].count(UNTRAINED) + other


def _teaches(tokens: Tokens) -> bool:
    """Whether anything is learned from the row: a class and a prompt have no labels, and two like answers no use."""
    if tokens.rejected:
        # Both begin with the same prompt and are cut at the same place: where one has no answer left, neither has.
        return tokens.ids != tokens.rejected.ids
    # From the end, where the answer is.
    trains = any(tokens.labels[at] != UNTRAINED for at in range(len(tokens.labels) - 1, 0, -1))
    return trains if tokens.labels else bool(tokens.ids)


def _is_prompt(tokens: Tokens) -> bool:
    return not tokens.labels and tokens.label is None


def _first(tokens: Tokens, limit: int) -> Tokens:
    """The row's first tokens, of both conversations of a pair."""
    rejected = _first(tokens.rejected, limit) if tokens.rejected else None
    return replace(tokens, ids=tokens.ids[:limit], labels=tokens.labels[:limit], rejected=rejected)


def _split(tokens: Tokens, limit: int, renderer: Renderer) -> tuple[Tokens, ...]:
    """Consecutive windows, cut where a paragraph or a sentence ends if one does nearby."""
    places = pairwise(edges(renderer.tokens(tokens.ids), limit))
    return tuple(Tokens(tokens.ids[start:stop], tokens.labels[start:stop]) for start, stop in places)


class Bound:
    """The most tokens that a row can have, from its length alone: what is below the window need not be tokenised."""

    _EXPANDING = ("\ufdfa", "\U0001d160", "\u0344", "\u33a2", "\ufb03", "\uff21")
    """Characters that Unicode normalisation makes longer, each in the worst case of its form."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._frames: dict[tuple[str, ...], int | None] = {}
        self._text_frame = len(renderer.train(Example(1, text="x")).ids) + 1
        grows = any(len(renderer.encode(each * 8)) > 8 * len(each.encode()) + 2 for each in self._EXPANDING)
        # A token covers at least one byte, unless the tokenizer normalises: then a character grows at most elevenfold.
        self._factor = 11 if grows else 1

    def of(self, example: Example) -> int | None:
        """At most so many tokens; None where only rendering can tell."""
        if example.text is not None:
            return self._text_frame + self._size(example.text)
        if example.tools or any("tool_calls" in turn for turn in example.messages):
            return None
        frame = self._frame(tuple(turn["role"] for turn in example.messages))
        if frame is None:
            return None
        most = frame + sum(self._size(turn["content"]) for turn in example.messages)
        if not example.rejected:
            return most
        # Both endings stand in one frame, so only the longer one counts.
        chosen, rejected = example.messages[-1], example.rejected[-1]
        if "tool_calls" in rejected:
            return None
        return most + max(0, self._size(rejected["content"]) - self._size(chosen["content"]))

    def _size(self, text: str) -> int:
        return len(text) if text.isascii() else self._factor * len(text.encode())

    def _frame(self, roles: tuple[str, ...]) -> int | None:
        """Tokens of everything but the contents, and one for each turn that a tokenizer may put in front of it.

        None where the chat template refuses such a conversation.
        """
        if roles not in self._frames:
            row = Example(1, tuple({"role": role, "content": "x"} for role in roles))  # type: ignore[typeddict-item]
            try:
                self._frames[roles] = len(self._renderer.train(row).ids) + len(roles)
            except InputError:
                self._frames[roles] = None
        return self._frames[roles]
