"""Rows of tokens as columns, in memory or mapped from a file: what training reads. Knows no text and no method."""

from __future__ import annotations

import io
import pickle
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow

from pumice.data.render.renderer import UNTRAINED
from pumice.records import Tokens

_IDS, _MARKS = pyarrow.list_(pyarrow.int32()), pyarrow.list_(pyarrow.bool_())
SCHEMA = pyarrow.schema(
    [
        ("ids", _IDS),
        # Which ids are trained: a label is its id, or it is not trained. Null where a row has no labels.
        ("marks", _MARKS),
        ("rejected_ids", _IDS),
        ("rejected_marks", _MARKS),
        ("label", pyarrow.string()),
        ("wanted", pyarrow.bool_()),
        ("facts", pyarrow.binary()),
        # Tokens of both endings; those of the row itself that the loss counts, and of its other ending.
        ("size", pyarrow.int32()),
        ("trained", pyarrow.int32()),
        ("rejected_trained", pyarrow.int32()),
    ]
)
_AT_ONCE = 1000
_PLAIN = ("datetime", "decimal", "pandas._libs.tslibs")
"""Modules of what a table's cell may hold beside plain values."""
Counts = npt.NDArray[np.int64]


def batch_of(rows: Sequence[Tokens]) -> pyarrow.RecordBatch:
    """Rows as columns."""
    others = [row.rejected for row in rows]
    ids, rejected_ids = _Flat([row.ids for row in rows]), _Flat([other.ids if other else None for other in others])
    # Without labels there is nothing to mark.
    labels = _Flat([row.labels or None for row in rows])
    rejected_labels = _Flat([(other.labels or None) if other else None for other in others])
    columns: list[Any] = [
        ids.column(ids.flat, pyarrow.int32()),
        labels.column(labels.marks(), pyarrow.bool_()),
        rejected_ids.column(rejected_ids.flat, pyarrow.int32()),
        rejected_labels.column(rejected_labels.marks(), pyarrow.bool_()),
        [row.label if type(row.label) is str else None for row in rows],
        [row.label if type(row.label) is bool else None for row in rows],
        [pickle.dumps(dict(row.facts)) if row.facts else None for row in rows],
        ids.lengths() + rejected_ids.lengths(),
        labels.predicted(),
        rejected_labels.predicted(),
    ]
    arrays = [pyarrow.array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)]
    return pyarrow.record_batch(arrays, schema=SCHEMA)


class _Flat:
    """Sequences of numbers one behind the other; None is none of them."""

    def __init__(self, values: Sequence[tuple[int, ...] | None]) -> None:
        # Through an array, as numpy and arrow take three times as long for Python's numbers.
        flat, ends = array("i"), array("i", [0])
        for each in values:
            if each:
                flat += array("i", each)
            ends.append(len(flat))
        self.flat, self._ends = np.array(flat, np.int32), np.array(ends, np.int32)
        self._missing = np.array([each is None for each in values], bool)

    def marks(self) -> npt.NDArray[np.bool_]:
        """Which of the numbers, as labels, are trained."""
        trained: npt.NDArray[np.bool_] = self.flat != UNTRAINED
        return trained

    def lengths(self) -> npt.NDArray[np.int32]:
        """Numbers of each sequence."""
        return np.diff(self._ends)

    def predicted(self) -> npt.NDArray[np.int32]:
        """Labels of each sequence that the loss counts: the first token is never predicted."""
        marks = self.marks()
        marks[self._ends[:-1][self.lengths() > 0]] = False
        return np.diff(np.concatenate([[0], np.cumsum(marks)])[self._ends]).astype(np.int32)

    def column(self, values: Any, kind: Any) -> Any:
        """The sequences with `values` in the place of the numbers."""
        if self._missing.all():
            return pyarrow.nulls(len(self._missing), pyarrow.list_(kind))
        mask = pyarrow.array(self._missing) if self._missing.any() else None
        return pyarrow.ListArray.from_arrays(pyarrow.array(self._ends), pyarrow.array(values, kind), mask=mask)


class Rows(Sequence[Tokens]):
    """Rows of tokens in file order, each made when it is asked for."""

    def __init__(self, batches: Sequence[pyarrow.RecordBatch], places: Counts | None = None) -> None:
        """`places` are those of the batches' rows that are meant, in their order; None: all."""
        self._batches = [each for each in batches if each.num_rows]
        self._starts = np.cumsum([0, *(each.num_rows for each in self._batches)]).tolist()
        self._places = places

    @classmethod
    def of(cls, rows: Iterable[Tokens]) -> Rows:
        """Any rows as columns in memory; `rows` itself if they are columns already."""
        if isinstance(rows, Rows):
            return rows
        found = list(rows)
        return cls([batch_of(found[at : at + _AT_ONCE]) for at in range(0, len(found), _AT_ONCE)])

    @classmethod
    def open(cls, path: Path) -> Rows:
        """The rows of a file, mapped into memory: what is not read takes none."""
        # The file may be deleted meanwhile; its bytes stay until the last of these rows is gone.
        file = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
        return cls([file.get_batch(at) for at in range(file.num_record_batches)])

    def __len__(self) -> int:
        return self._starts[-1] if self._places is None else len(self._places)

    @overload
    def __getitem__(self, at: int) -> Tokens: ...
    @overload
    def __getitem__(self, at: slice) -> Rows: ...
    def __getitem__(self, at: int | slice) -> Tokens | Rows:
        if isinstance(at, slice):
            return self.select(np.arange(len(self))[at])
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        place = at % len(self) if self._places is None else int(self._places[at])
        number = bisect_right(self._starts, place) - 1
        return _row(self._batches[number], place - self._starts[number])

    def select(self, places: Sequence[int] | Counts) -> Rows:
        """The rows at these places, in this order."""
        chosen = np.asarray(places, np.int64)
        return Rows(self._batches, chosen if self._places is None else self._places[chosen])

    @property
    def sizes(self) -> Counts:
        """Tokens of each row, of both endings."""
        return self._column("size")

    @property
    def trained(self) -> Counts:
        """Tokens of each row that the loss counts, of both endings."""
        return self._column("trained") + self._column("rejected_trained")

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Whether each row has labels, so that some of its own tokens must be trained."""
        return self._column("marks", lambda column: column.is_valid()).astype(bool)

    @property
    def empty(self) -> Counts:
        """The places of rows that have labels, and none that the loss counts."""
        return np.flatnonzero(self.labelled & (self._column("trained") == 0))

    @property
    def wanted(self) -> npt.NDArray[np.bool_]:
        """Whether each row's answer is wanted."""
        return self._column("wanted", lambda column: column.fill_null(False)).astype(bool)

    def labels(self) -> set[str]:
        """The different classes."""
        return {str(each) for batch in self._meant() for each in batch.column("label").unique().to_pylist()}

    def used(self) -> set[int]:
        """The different ids."""
        found: set[int] = set()
        for batch in self._meant():
            for name in ("ids", "rejected_ids"):
                found.update(np.unique(batch.column(name).flatten().to_numpy()).tolist())
        return found

    def _meant(self) -> Iterable[pyarrow.RecordBatch]:
        """The batches with the rows that are meant, each once."""
        for number, batch in enumerate(self._batches):
            start, stop = self._starts[number : number + 2]
            if self._places is None:
                yield batch
            else:
                inside = self._places[(self._places >= start) & (self._places < stop)]
                yield batch.take(pyarrow.array(np.unique(inside) - start))

    def _column(self, name: str, of: Any = lambda column: column) -> Counts:
        parts = [of(each.column(name)).to_numpy(zero_copy_only=False) for each in self._batches]
        whole = np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)
        return whole if self._places is None else whole[self._places]


def _row(batch: pyarrow.RecordBatch, at: int) -> Tokens:
    other = _tokens(batch, "rejected_", at) if batch.column("rejected_ids")[at].is_valid else None
    label, wanted, facts = (batch.column(name)[at].as_py() for name in ("label", "wanted", "facts"))
    ids, labels = _tokens(batch, "", at)
    rejected = Tokens(*other) if other else None
    return Tokens(ids, labels, rejected, wanted if label is None else label, unpickled(facts) if facts else {})


def _tokens(batch: pyarrow.RecordBatch, prefix: str, at: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ids = batch.column(f"{prefix}ids")[at].values.to_numpy()
    marks = batch.column(f"{prefix}marks")[at]
    if not marks.is_valid:
        return tuple(ids.tolist()), ()
    labels = np.where(marks.values.to_numpy(zero_copy_only=False), ids, UNTRAINED)
    return tuple(ids.tolist()), tuple(labels.tolist())


def unpickled(data: bytes) -> Any:
    """What was pickled of plain values and of what `_PLAIN` and the records have; nothing else is ever called."""
    return _Plain(io.BytesIO(data)).load()


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        plain = any(module == each or module.startswith(f"{each}.") for each in _PLAIN)
        if "." not in name and (plain or (module, name) == ("pumice.records", "Example")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")
