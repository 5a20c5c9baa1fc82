"""The classes of a whole file: how many rows each has, whether there are enough, whether they were learned.

Knows no texts and no models.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pumice.data.rows import Log
from pumice.records import Dataset, Example

_SHOWN = 20


def check_seen(validation: Dataset, known: Sequence[str]) -> None:
    """Raises DataError naming the rows whose class is not in `known`: no model can tell what it never learned."""
    if not validation.classes or set(validation.classes) <= set(known):
        return
    log = Log(validation.path)
    for example in validation.examples:
        note_unseen(example, known, log)
    log.raise_errors()


def note_unseen(example: Example, known: Sequence[str], log: Log) -> None:
    """The finding for one row whose class is not in `known`."""
    if example.label is None or example.label in known:
        return
    near = difflib.get_close_matches(example.label, known, 1, 0.7)
    near = near or [name for name in known if _folded(name) == _folded(example.label)][:1]
    fix = f'Did you mean "{near[0]}"?' if near else f"Trained on are {_some(known)}. Add rows of it there."
    log.add((example.line, 1), "label", f'No row that is trained on has the class "{example.label}".', fix)


class Count:
    """How many rows have which class, or a wanted answer, as they come by."""

    def __init__(self) -> None:
        self._classes: Counter[str] = Counter()
        self._judged: Counter[bool] = Counter()
        self._first = 0

    def add(self, example: Example) -> None:
        """Count one row, if it has anything to count."""
        if example.label is not None:
            self._classes[example.label] += 1
        elif example.wanted is not None:
            self._judged[example.wanted] += 1
        else:
            return
        self._first = self._first or example.line

    def classes(self) -> tuple[str, ...]:
        """Every class there is, sorted."""
        return tuple(sorted(self._classes))

    def tell(self, log: Log) -> None:
        """Once all rows came by: the counts as notes, and a finding at the first row if all are alike.

        A file with other findings is not held to that, as rows that were left out may be of another class.
        """
        for note in self._notes():
            log.note(note)
        alike = self._alike()
        if alike and not log.total:
            log.add((self._first, 1), "label", *alike)

    def _alike(self) -> tuple[str, str] | None:
        if len(self._classes) == 1:
            rule = f'Every row has the class "{next(iter(self._classes))}"; there must be two classes to tell apart.'
            return rule, "Add rows of another class."
        if len(self._judged) == 1:
            wanted = next(iter(self._judged))
            rule = f"Every answer is {'wanted' if wanted else 'unwanted'}; there must be both sorts to tell apart."
            return rule, f"Add rows with the label {'false' if wanted else 'true'}."
        return None

    def _notes(self) -> Iterator[str]:
        if self._judged:
            yield f"Answers: {self._judged[True]:,} wanted, {self._judged[False]:,} not wanted."
        if not self._classes:
            return
        common = self._classes.most_common()
        shown = ", ".join(f"{name} {count:,}" for name, count in common[:_SHOWN])
        noun = "class" if len(common) == 1 else "classes"
        yield f"{len(common):,} {noun}: {shown}{', …' if len(common) > _SHOWN else ''}."
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.classes():
            alike[_folded(name)].append(name)
        for names in alike.values():
            if len(names) > 1:
                quoted = " and ".join(f'"{name}"' for name in names)
                yield f"The classes {quoted} differ in case or white space only; they stay {len(names)}."
        single = sorted(name for name, count in common if count == 1)
        if single and len(common) > 1:
            verb = "class has" if len(single) == 1 else "classes have"
            yield f"{len(single):,} {verb} 1 row only ({_some(single)}): too few both to learn from and to ask about."


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
