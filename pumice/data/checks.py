"""A file is judged before anything is paid for: `check` tells all there is to tell, `load` takes a file or refuses it.

Both read rows through `formats.examples`, and both treat long rows through `window`. Knows no models beyond a renderer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pumice.data import documents, formats, read
from pumice.data.kept import Kept, key_of
from pumice.data.labels import Count, note_unseen
from pumice.data.render import Renderer
from pumice.data.render.renderer import UNTRAINED
from pumice.data.repeats import Hashes, Repeats
from pumice.data.rows import FIRST, Log
from pumice.data.sensitive import Search, Sensitive
from pumice.data.split import Openings
from pumice.data.window import Bound, TooLong, Window, size, trained
from pumice.errors import Finding, InputError
from pumice.records import Dataset, Example, Kind, Tokens

EXACT = 20_000
"""Up to so many rows, every row is tokenised; above, evenly spaced ones, at least half as many."""

_LINES = 20
_SAMPLE_TOKENS = 200


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram: rows of more than `over` and at most `upto` tokens."""

    over: int
    upto: int
    rows: int


@dataclass(frozen=True)
class Lengths:
    """How long the rows are, in tokens."""

    limit: int
    """The most that a row may have."""
    window: int
    """Tokens that the base sees at once."""
    exact: bool
    """True: every row was tokenised. False: `measured` rows were, and totals and histogram are estimates from them."""
    measured: int
    longest: int
    total: int
    """Tokens that will be read, after `too_long` was applied."""
    trained: int
    """Those of them that the loss counts."""
    histogram: tuple[Bar, ...]
    too_long: int
    """Rows above `limit`; exact in any case."""
    too_long_lines: tuple[int, ...]
    untrained: int
    """Rows of which nothing would be trained."""
    note: str
    """What is done to the rows above `limit`."""


@dataclass(frozen=True)
class Check:
    """Everything that `pumice check` found out about a file."""

    path: str
    kind: str | None
    """None where no kind fits."""
    rows: int
    """Good rows."""
    errors: int
    """How many findings there are in all."""
    findings: tuple[Finding, ...]
    """The first of them, in file order (the validation file's last)."""
    notes: tuple[str, ...]
    """What was accepted and should be known."""
    warnings: tuple[str, ...]
    """What is not wrong but should be looked at; each is spelt out in the fields below."""
    duplicates: Repeats
    conflicts: Repeats
    """The same prompt with another answer; the same text or answer judged otherwise."""
    leaks: Repeats | None
    """Rows whose prompt is in the validation file too; None without one."""
    sensitive: tuple[Sensitive, ...]
    lengths: Lengths | None
    """None without a renderer."""
    sample: tuple[tuple[str, bool], ...]
    """One row as the model reads it: each token's text, and whether it is trained."""
    sample_rejected: tuple[tuple[str, bool], ...] = ()
    """The same row with its other ending, if it is a pair."""
    sample_label: str | bool | None = None
    """Its class, or whether its answer is wanted."""

    @property
    def ok(self) -> bool:
        """True when the file can be trained on as it is."""
        return self.errors == 0

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, for `pumice check --json`."""
        return {"ok": self.ok, **asdict(self)}


def check(
    path: Path,
    renderer: Renderer | None,
    max_length: int | None = None,
    too_long: TooLong | None = None,
    validation: Path | None = None,
    name: str = "",
    validation_name: str = "",
) -> Check:
    """Judge a file, in constant memory. Bad data is reported, never raised; by the files' names, if they have any.

    Raises InputError where there is nothing to judge: no such file, no rows that could be read, a bad `max_length`.
    """
    log = Log(name or str(path))
    count = Count()
    hashes = structure(path, log, count.add)
    count.tell(log)
    other = Log(validation_name or str(validation))
    leaks = hashes.leaks(_asked(validation, count.classes(), other)) if validation is not None else None
    search = Search()
    measure = _Measure(renderer, len(hashes), max_length, too_long, log) if renderer else None
    # The good rows once more; what is wrong with the others has been said.
    for example in formats.examples(path, Log(log.path)):
        _look(example, search)
        if measure:
            measure.add(example)
    duplicates, conflicts = hashes.duplicates(), hashes.conflicts()
    shown = measure.shown() if measure else _Shown()
    return Check(
        path=log.path,
        kind=log.kind,
        rows=len(hashes),
        errors=log.total + other.total,
        findings=tuple((log.findings + other.findings)[:FIRST]),
        notes=tuple(log.notes),
        warnings=tuple(_warnings(log, other, duplicates, conflicts, leaks, search.found())),
        duplicates=duplicates,
        conflicts=conflicts,
        leaks=leaks,
        sensitive=search.found(),
        lengths=measure.lengths() if measure else None,
        sample=shown.tokens,
        sample_rejected=shown.rejected,
        sample_label=shown.label,
    )


def structure(path: Path, log: Log, *watchers: Callable[[Example], None]) -> Hashes:
    """The part of a check that needs no tokenizer: every row read, held to its kind's rules and shown to `watchers`."""
    hashes = Hashes()
    for example in formats.examples(path, log):
        hashes.add(example)
        for watch in watchers:
            watch(example)
    return hashes


def _asked(validation: Path, known: Sequence[str], log: Log) -> Hashes:
    """The rows of a validation file, whose classes must be among those that are trained on."""
    count = Count()
    watchers = (count.add, partial(note_unseen, known=known, log=log)) if known else (count.add,)
    hashes = structure(validation, log, *watchers)
    count.tell(log)
    return hashes


def load(path: Path, name: str = "", kept: Kept | None = None) -> Dataset:
    """A file that may be trained on; `name` is the user's word for it, if it is not its path. Its rows stay there.

    What was found out about the same content before is taken from `kept`. DataError with the findings if a row is bad,
    InputError if none can be read.
    """
    name = name or str(path)
    read.openable(path, name)
    try:
        sha256 = documents.sha256(path)
    except OSError:
        # One of a folder's documents: the reader says which, and why.
        sha256 = ""
    key = key_of("file", sha256, "/" if path.is_dir() else path.suffix.lower())
    facts = kept.facts(key) if kept else None
    if facts is None:
        facts = _judged(path, name)
        check_unchanged(path, name, sha256)
        if kept:
            kept.keep_facts(key, facts)
    examples = FileRows(path, name, facts["rows"])
    held_out, classes = tuple(facts["held_out"]), tuple(facts["classes"])
    return Dataset(name, Kind(facts["kind"]), sha256, examples, held_out, classes, documents.names_of(path, name))


def _judged(path: Path, name: str) -> dict[str, Any]:
    log, count, openings = Log(name), Count(), Openings()
    for example in formats.examples(path, log):
        count.add(example)
        openings.add(example)
    count.tell(log)
    log.raise_errors()
    assert log.kind is not None, "a file without a kind has findings"
    return {"kind": log.kind, "rows": len(openings), "held_out": openings.held_out(), "classes": count.classes()}


def check_unchanged(path: Path, name: str, sha256: str) -> None:
    """Raise InputError unless the file at `path` still has that hash."""
    if documents.sha256(path) != sha256:
        raise _changed(name)


class FileRows:
    """A judged file's examples, read from it each time anew."""

    def __init__(self, path: Path, name: str, rows: int) -> None:
        self._path, self._name, self._rows = path, name, rows

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Example]:
        """Raises InputError where the file is not the one that was judged any more."""
        log, rows = Log(self._name), 0
        for example in formats.examples(self._path, log):
            rows += 1
            yield example
        if log.total or rows != self._rows:
            raise _changed(self._name)


def _changed(name: str) -> InputError:
    return InputError(f"{name} has changed while it was read.", "", "Wait until it is written, and start again.")


def _look(example: Example, search: Search) -> None:
    facts = [fact for fact in example.facts.values() if type(fact) is str]
    for text in (example.text, example.label, *facts):
        if text is not None:
            search.look(text, example.line)
    # What stands before a pair's answers is in both conversations; it is searched once.
    for turn in (*example.messages, *example.rejected[-1:]):
        search.look(turn["content"], example.line)


class _Shown(NamedTuple):
    """The row that a check shows, each token with whether it is trained."""

    tokens: tuple[tuple[str, bool], ...] = ()
    rejected: tuple[tuple[str, bool], ...] = ()
    label: str | bool | None = None


class _Measure:
    """Token lengths of a file's rows, as they come by."""

    def __init__(self, renderer: Renderer, rows: int, max_length: int | None, policy: TooLong | None, log: Log) -> None:
        self._renderer, self._rows = renderer, rows
        self._window = Window(renderer, max_length, policy, log)
        self._step = -(-rows // EXACT) or 1
        self._bound = Bound(renderer)
        self._seen = self._measured = self._total = self._trained = self._longest = 0
        self._counts: dict[int, int] = {}
        self._sample: Tokens | None = None

    def add(self, example: Example) -> None:
        """Count one row: by its tokens if it is its turn, or if it may be too long."""
        in_turn = self._seen % self._step == 0
        self._seen += 1
        if not in_turn:
            bound = self._bound.of(example)
            if bound is not None and bound <= self._window.limit:
                return
        tokens = self._window.render(example)
        if tokens is None:
            return
        taken = self._window.take(example, tokens)
        self._longest = max(self._longest, size(tokens))
        if in_turn:
            self._measured += 1
            edge = self._edge(size(tokens))
            self._counts[edge] = self._counts.get(edge, 0) + 1
            self._total += sum(len(each.ids) + (len(each.rejected.ids) if each.rejected else 0) for each in taken)
            self._trained += sum(map(trained, taken))
            self._keep(tokens)

    def lengths(self) -> Lengths:
        """What all rows together come to."""
        window, share = self._window, self._rows / self._measured if self._measured else 1.0
        edges = sorted(self._counts)
        return Lengths(
            limit=window.limit,
            window=self._renderer.window,
            exact=self._step == 1,
            measured=self._measured,
            longest=self._longest,
            total=round(self._total * share) if self._step > 1 else self._total,
            trained=round(self._trained * share) if self._step > 1 else self._trained,
            histogram=tuple(Bar(self._below(edge), edge, self._counts[edge]) for edge in edges),
            too_long=len(window.too_long),
            too_long_lines=tuple(window.too_long[:_LINES]),
            untrained=len(window.untrained),
            note=window.note(),
        )

    def shown(self) -> _Shown:
        """One row, token by token."""
        sample = self._sample
        if sample is None:
            return _Shown()
        return _Shown(self._marked(sample), self._marked(sample.rejected) if sample.rejected else (), sample.label)

    def _marked(self, tokens: Tokens) -> tuple[tuple[str, bool], ...]:
        labels = tokens.labels or (UNTRAINED,) * len(tokens.ids)
        texts = self._renderer.tokens(tokens.ids)
        return tuple((text, label != UNTRAINED) for text, label in zip(texts, labels, strict=True))

    def _keep(self, tokens: Tokens) -> None:
        """The sample is the first row that is short enough to show, or else the shortest."""
        if self._sample is None or size(self._sample) > max(_SAMPLE_TOKENS, size(tokens)):
            self._sample = tokens

    def _edge(self, length: int) -> int:
        """Upper edge of a length's bar: powers of two, and the limit itself."""
        edge = max(16, 1 << (length - 1).bit_length())
        return self._window.limit if length <= self._window.limit < edge else edge

    def _below(self, edge: int) -> int:
        limit = self._window.limit
        if edge == limit:
            return (1 << (limit - 1).bit_length()) // 2
        under = edge // 2 if edge > 16 else 0
        return limit if under < limit < edge else under


_CONFLICTS = {
    Kind.PREFERENCE: ("row prefers", "rows prefer", "the answer that an earlier row rejects, and rejects the other"),
    Kind.UNPAIRED: ("row judges", "rows judge", "an answer otherwise than an earlier row"),
    Kind.LABELLED: ("row has", "rows have", "the text of an earlier row, with another label"),
}
_ANSWERED = ("row asks", "rows ask", "what an earlier row asks, with another answer")


def _warnings(
    log: Log,
    other: Log,
    duplicates: Repeats,
    conflicts: Repeats,
    leaks: Repeats | None,
    sensitive: tuple[Sensitive, ...],
) -> Iterator[str]:
    if duplicates.count:
        yield f"{_rows(duplicates)} the same as an earlier one ({_pairs(duplicates, '=', log, log)})."
    if conflicts.count:
        one, more, what = _CONFLICTS.get(Kind(log.kind), _ANSWERED) if log.kind else _ANSWERED
        against = _pairs(conflicts, "against", log, log)
        yield f"{conflicts.count:,} {one if conflicts.count == 1 else more} {what} ({against})."
    if leaks and leaks.count:
        yield (
            f"{_rows(leaks)} in the validation file too ({_pairs(leaks, 'in it', log, other)}): "
            "the score on it would be that of rows it was trained on."
        )
    for each in sensitive:
        first = f"{'in' if log.documents else 'on'} {log.rows(each.lines)}"
        yield f"{each.what}: {each.count:,} found, first {first} ({each.shown}). The model may repeat them."


def _rows(repeats: Repeats) -> str:
    return "1 row is" if repeats.count == 1 else f"{repeats.count:,} rows are"


def _pairs(repeats: Repeats, word: str, log: Log, of: Log) -> str:
    shown = ", ".join(
        f"{log.row(line)} {word} {of.row(other) if of.documents else other}" for line, other in repeats.pairs
    )
    return shown + (", …" if repeats.count > len(repeats.pairs) else "")
