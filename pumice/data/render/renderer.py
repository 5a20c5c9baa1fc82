"""Conversations and text to token ids and labels: the one place where ids are made, for training and serving alike.

A conversation is cut at the borders of its assistant turns and each piece is tokenised alone. Serving sends the pieces
up to the last border, training the same pieces with labels, so both see the same ids. Knows no models and no engines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from pumice.bases.describe import read_config, read_template
from pumice.bases.seq2seq import is_seq2seq
from pumice.data.render.decode import Decoder
from pumice.data.render.template import CONTENTS, PLAIN, compile_template
from pumice.data.render.tokenizer import Pieces, encoding, encodings, read_names, read_stops, read_tokenizer
from pumice.data.render.tools import Toolbox
from pumice.errors import InputError
from pumice.records import Example, Tokens, Turn

UNTRAINED = -100
"""The label of a token that the loss leaves out."""


_SHORT = 4

Encoded = tuple[list[list[int]], int]
"""The ids of a text's pieces, and how many at the front the tokenizer put there."""


class Draft(NamedTuple):
    """A row that is rendered but not yet tokenised, so that many rows can be tokenised at once."""

    texts: list[list[str]]
    """Texts, each in pieces."""
    whole: bool
    """Each text is one piece, and gets what the tokenizer puts around a text."""
    finish: Callable[[list[Encoded]], Tokens]
    """Makes the row of what its texts became."""


class _UnstableError(InputError):
    """The template changes what it wrote for earlier turns once later turns are there."""


class Renderer:
    """What turns text into a base's ids and back. Safe to share between threads; `folder` is a base's."""

    def __init__(self, folder: Path) -> None:
        """Read tokenizer, template and stop tokens. Raises `InputError` for a folder that lacks them."""
        self.folder = folder
        self._tokenizer = read_tokenizer(folder)
        self._pieces = Pieces(self._tokenizer)
        self._special = frozenset(
            each for each, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        )
        names = read_names(folder)
        self.seq2seq = is_seq2seq(folder)
        """Whether the base reads the prompt with one half and writes the answer with the other."""
        text = read_template(folder) or (CONTENTS if self.seq2seq else PLAIN)
        self._render = compile_template(text, names)
        self._tools = Toolbox(self._render)
        self.template_sha256 = hashlib.sha256(text.encode()).hexdigest()
        """Hash of the template in use, which is `template.PLAIN` for a base without one."""
        self.window: int = read_config(folder)["max_position_embeddings"]
        """Tokens the base can see at once."""
        self.stop_ids = read_stops(folder, self._tokenizer, names)
        """Ids that end an answer; the first is the one that Pumice adds where a template leaves it out."""
        self._spaces: dict[tuple[int, ...], bool] = {}
        made_of = (self._pieces.sha256, text, sorted(names.items()), self.stop_ids, self.seq2seq)
        self.sha256 = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        """Hash of all that decides which ids a row becomes."""

    def prompt(self, messages: Sequence[Turn], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """The ids up to where the assistant starts. Raises `InputError` when the template refuses the conversation.

        Tools are described, and calls and results of earlier turns written, also where the template knows of none.
        """
        return list(self._only(self._draft_prompt(messages, tools, {})).ids)

    def train(self, example: Example) -> Tokens:
        """All ids of one row; labels on the assistant's turns up to and including the stop token, or on all of a text.

        Of answers that were judged only the last turn has labels: it is the one that the judgement is about. A labelled
        text and a prompt have none. Raises `InputError` when the template refuses the conversation, or rewrites earlier
        turns as it goes on.
        """
        return self._only(self._draft(example))

    def train_all(self, examples: Sequence[Example]) -> list[Tokens | InputError]:
        """What `train` gives, or raises, for each row: the texts of all are tokenised at once, on every core."""
        drafts: list[Draft | InputError] = []
        for example in examples:
            try:
                drafts.append(self._draft(example))
            except InputError as error:
                drafts.append(error)
        good = [draft for draft in drafts if isinstance(draft, Draft)]
        pieces = iter(self._pieces.encode([each for draft in good if not draft.whole for each in draft.texts]))
        wholes = iter(encodings(self._tokenizer, [each[0] for draft in good if draft.whole for each in draft.texts]))
        return [
            draft
            if isinstance(draft, InputError)
            else draft.finish([self._bare(next(wholes)) if draft.whole else (next(pieces), 0) for _ in draft.texts])
            for draft in drafts
        ]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, with what the tokenizer puts in front (a bos token) and nothing behind."""
        ((ids,), _) = self._bare(encoding(self._tokenizer, text))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each id as it reads by itself, special tokens too; a part of a character shows as U+FFFD."""
        # Behind another token, because some decoders strip a space from whatever stands first.
        front = self._tokenizer.encode("a", add_special_tokens=False).ids
        known = len(self._tokenizer.decode(front))
        return [self._tokenizer.decode([*front, each], skip_special_tokens=False)[known:] for each in ids]

    def stream(self) -> Decoder:
        """A decoder for one answer."""
        return Decoder(self._tokenizer, self._special)

    def _only(self, draft: Draft) -> Tokens:
        """The tokens of one draft."""
        if draft.whole:
            return draft.finish([self._bare(encoding(self._tokenizer, each[0])) for each in draft.texts])
        return draft.finish([(pieces, 0) for pieces in self._pieces.encode(draft.texts)])

    def _draft(self, example: Example) -> Draft:
        """What is to be tokenised of a row, and what becomes of it."""
        if example.label is not None:
            # No stop token behind it: many bases pad with theirs, and a head reads the last token that is no padding.
            finish = partial(_flat, label=example.label, facts={})
            return Draft([[example.text or ""]], True, finish)
        if self.seq2seq:
            return self._draft_answer(example)
        if example.text is not None:
            return Draft([[example.text]], True, self._train_text)
        if example.messages[-1]["role"] != "assistant":
            return self._draft_prompt(example.messages, example.tools, example.facts)
        pieces = self._cut(*self._tools.arrange(example.messages, example.tools))
        if example.rejected:
            return self._draft_pair(pieces, self._cut(*self._tools.arrange(example.rejected, example.tools)))
        if example.wanted is not None:
            return Draft([pieces], False, partial(self._train_judged, wanted=example.wanted))
        return Draft([pieces], False, self._train_pieces)

    def _draft_prompt(
        self, messages: Sequence[Turn], tools: Sequence[dict[str, Any]], facts: Mapping[str, Any]
    ) -> Draft:
        messages, tools = self._tools.arrange(messages, tools)
        whole = self._render(messages, tools, True)
        if self.seq2seq:
            # The half that reads was trained on texts that end so.
            return Draft([[whole]], True, partial(_flat, label=None, facts=facts, behind=self.stop_ids[:1]))
        answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        try:
            pieces = self._cut(messages[: answers[-1] + 1], tools) if answers else []
        except _UnstableError:
            # The template rewrites earlier turns: there are no borders, and `train` refuses all that would share this.
            pieces = []
        done = "".join(pieces)
        if not whole.startswith(done):
            pieces, done = [], ""
        return Draft([[*pieces, whole[len(done) :]]], False, partial(_flat, label=None, facts=facts))

    def _draft_answer(self, example: Example) -> Draft:
        """Of a base that reads with one half and writes with the other: what it reads, then the last answer."""
        turns = example.messages
        if not turns or turns[-1]["role"] != "assistant" or example.rejected or example.wanted is not None:
            raise InputError(
                "A seq2seq base learns answers to questions only.",
                "It has no continuation of a text that could be compared or rewarded.",
                "Give rows with a prompt and a completion.",
            )
        read = self._draft_prompt(turns[:-1], example.tools, {})
        return Draft([*read.texts, [turns[-1]["content"]]], True, self._train_answer)

    def _draft_pair(self, chosen: list[str], rejected: list[str]) -> Draft:
        """Both endings behind the same ids: their pieces are the same up to the last border, so their ids are."""
        if chosen[:-1] != rejected[:-1]:
            raise InputError(
                "What stands before the two answers is not the same once it is rendered.",
                "One of them calls a tool, and the base's chat template then writes earlier turns in another way.",
                "Let both answers call a tool or neither, or take another base.",
            )
        return Draft([chosen, rejected], False, self._train_pair)

    def _train_answer(self, found: list[Encoded]) -> Tokens:
        ((asked,), _), ((answer,), _) = found
        asked, answer = [*asked, self.stop_ids[0]], [*answer, self.stop_ids[0]]
        return Tokens((*asked, *answer), (*[UNTRAINED] * len(asked), *answer))

    def _train_pieces(self, found: list[Encoded]) -> Tokens:
        """Ids and labels of a conversation's pieces."""
        ((pieces, _),) = found
        ids: list[int] = []
        labels: list[int] = []
        for index, piece in enumerate(pieces):
            trained = self._trained_length(piece) if index % 2 else 0
            if trained is None:
                if index == len(pieces) - 1:
                    piece = [*piece, *self.stop_ids[:1]]
                trained = len(piece)
            ids += piece
            labels += piece[:trained] + [UNTRAINED] * (len(piece) - trained)
        return Tokens(tuple(ids), tuple(labels))

    def _train_last(self, found: Encoded) -> Tokens:
        """The same with labels on the last answer only, and nothing behind its stop token."""
        *opening, answer = found[0]
        trained = self._trained_length(answer)
        answer = [*answer, *self.stop_ids[:1]] if trained is None else answer[:trained]
        asked = [each for piece in opening for each in piece]
        return Tokens((*asked, *answer), (*[UNTRAINED] * len(asked), *answer))

    def _train_judged(self, found: list[Encoded], wanted: bool) -> Tokens:
        return replace(self._train_last(found[0]), label=wanted)

    def _train_pair(self, found: list[Encoded]) -> Tokens:
        chosen, rejected = found
        return replace(self._train_last(chosen), rejected=self._train_last(rejected))

    def _train_text(self, found: list[Encoded]) -> Tokens:
        (((front,), lead),) = found
        ids = front + list(self.stop_ids[:1])
        return Tokens(tuple(ids), tuple([UNTRAINED] * lead + ids[lead:]))

    def _bare(self, found: tokenizers.Encoding) -> Encoded:
        """The ids without what the tokenizer puts behind, as one piece, and how many at their front are its own."""
        # 1 where the tokenizer added the token; a special token that the text itself spells out is 0.
        own: list[int] = found.special_tokens_mask
        lead = own.index(0) if 0 in own else sum(own)
        behind = own[::-1].index(0) if 0 in own else 0
        return [found.ids[: len(own) - behind]], lead

    def _cut(self, messages: Sequence[Turn], tools: Sequence[dict[str, Any]]) -> list[str]:
        """Text pieces, in turn not the assistant's and the assistant's, up to the end of the last assistant turn."""
        # The whole first, so that what the template has against it is said of the whole and not of a part.
        whole = self._render(messages, tools, False)
        pieces: list[str] = []
        done = ""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = self._render(messages[:index], tools, True)
            answered = whole if index == len(messages) - 1 else self._render(messages[: index + 1], tools, False)
            if not asked.startswith(done) or not answered.startswith(asked):
                raise _UnstableError(
                    f"The base's chat template cannot be trained on turn {index + 1} of this conversation.",
                    "It writes earlier turns differently once later turns are there, "
                    "so what would be trained is not what would be served.",
                    "End the conversation before that turn, or take another base.",
                )
            pieces += [asked[len(done) :], answered[len(asked) :]]
            done = answered
        return pieces

    def _trained_length(self, piece: Sequence[int]) -> int | None:
        """How much of an answer is trained: up to the stop token at its end; None when the template put none there."""
        for at in range(len(piece) - 1, -1, -1):
            if piece[at] in self.stop_ids:
                return at + 1 if self._is_space(tuple(piece[at + 1 :])) else None
        return None

    def _is_space(self, ids: tuple[int, ...]) -> bool:
        """Whether ids read as nothing but white space. What templates put behind an answer is mostly the same."""
        known = self._spaces.get(ids)
        if known is None:
            known = not self._tokenizer.decode(ids, skip_special_tokens=False).strip()
            if len(ids) <= _SHORT:
                self._spaces[ids] = known
        return known


def _flat(found: list[Encoded], label: str | None, facts: Mapping[str, Any], behind: tuple[int, ...] = ()) -> Tokens:
    """The pieces' ids one behind the other, with no labels."""
    ((pieces, _),) = found
    return Tokens((*[each for piece in pieces for each in piece], *behind), (), label=label, facts=facts)
