"""The lines of printed pages as a reader takes them: no headers, columns one after the other, words whole.

Knows pages as lists of lines, in which the layout is kept by spaces; knows no file format.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

Page = list[str]
"""The lines of one page, without spaces at their ends."""

_EDGE = 3
"""So many lines at the top and at the bottom of a page may be headers and footers."""
_SHARE = 0.4
"""Of the pages: a line on so many of them repeats. Less than half, as left and right pages differ."""
_FEWEST, _NARROWEST, _FULL = 6, 20, 0.6
"""Columns of prose stand beside each other on so many lines, are so wide, and so full of text. A table's are not."""
_INDENT = 8
"""A line may begin so far inside its column."""

_NUMBER = re.compile(r"\d{1,9}")
_PAGE = "\0"
_GAP = re.compile(r"\S( {2,})(?=\S)")
_WIDE = re.compile(r"[^\s.!?:] {3,}\S|\S {5,}\S")
"""A gap between cells; behind a sentence, typesetters leave more room than between words."""
_WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")
_BROKEN = re.compile(r"(\w+)([-\u2010\xad])\n( *)(\w+)(\S*)( +|$|(?=\n))")
_UNFINISHED = re.compile(r"[\w,;-]$")


def without_repeated(pages: Sequence[Page]) -> tuple[list[Page], int]:
    """The pages without headers, footers and page numbers, and how many lines that were.

    A line goes when it is among the outermost of its page and stands so on 40 % of all pages, word for word or, from
    three pages on, with a number in it that counts them. A table's heading is kept where it first stands.
    """
    edges = [_edges(page) for page in pages]
    counts = Counter(key for index, page in enumerate(pages) for key in _all_keys(page, edges[index], index))
    needed = max(2, math.ceil(_SHARE * sum(any(page) for page in pages)))
    # Two numbers that follow each other may be chance, as two equal lines are not.
    least = max(needed, 3)
    numbered = _numbered(pages, edges, least)
    seen: set[str] = set()
    kept: list[Page] = []
    for index, page in enumerate(pages):
        gone = {at for which, at in numbered if which == index}
        for end, places in edges[index].items():
            for at in places:
                repeats = any(counts[key] >= (least if _PAGE in key else needed) for key in _keys(end, page[at], index))
                if repeats and not (_heads_table(page, at) and _is_new(page[at], seen)):
                    gone.add(at)
        kept.append([line for at, line in enumerate(page) if at not in gone])
    # Pages that are all alike are the text itself.
    if not any(map(any, kept)):
        return list(pages), 0
    return kept, sum(map(len, pages)) - sum(map(len, kept))


def in_order(pages: Sequence[Page]) -> list[Page]:
    """The lines as they are read: columns of prose one after the other; tables, and all else, as they lie."""
    gutters = [_gutter(page) for page in pages]
    usual = Counter(gutter for gutter in gutters if gutter is not None).most_common(1)
    if usual:
        # The last page of a text in columns may have but a few lines of the second one.
        near = range(usual[0][0] - 1, usual[0][0] + 2)
        gutters = [
            _gutter(page, 1, near) if gutter is None else gutter for gutter, page in zip(gutters, pages, strict=True)
        ]
    return [_unfolded(page, gutter) for page, gutter in zip(pages, gutters, strict=True)]


def _unfolded(page: Page, gutter: int | None) -> Page:
    """A page's lines, column by column."""
    if gutter is None:
        return [line if _WIDE.search(line) else _GAP.sub(lambda gap: f"{gap[0][0]} ", line) for line in page]
    lines: Page = []
    left: Page = []
    right: Page = []
    for line in page:
        cut = _cut(line, gutter)
        if cut is None:
            # A title across both columns: what stands above it is read first.
            lines += [*_unfolded(left, _gutter(left)), *_unfolded(right, _gutter(right)), line]
            left, right = [], []
        else:
            left.append(line[:cut].rstrip())
            right.append(line[cut:])
    return [*lines, *_unfolded(left, _gutter(left)), *_unfolded(right, _gutter(right))]


def one_text(pages: Sequence[Page]) -> str:
    """The pages as one text; a sentence that goes on over the page's end stays together."""
    text = ""
    for page in pages:
        lines = textwrap.dedent("\n".join(page)).strip("\n")
        if lines:
            goes_on = _UNFINISHED.search(text) and lines.lstrip()[0].islower()
            text = f"{text}{chr(10) if goes_on else chr(10) * 2}{lines}" if text else lines
    return text


def joined(text: str) -> str:
    """Words that were parted at a line's end are whole; one that has its hyphen elsewhere in the text keeps it."""
    known = {word.lower() for word in _WORD.findall(text)}

    def whole(match: re.Match[str]) -> str:
        first, hyphen, indent, second, tail, behind = match.groups()
        if not second[0].islower():
            return match[0]
        with_hyphen = f"{first}-{second}".lower() in known and f"{first}{second}".lower() not in known
        word = f"{first}{hyphen if with_hyphen else ''}{second}{tail}"
        return f"{word}\n{indent}" if behind else word

    return _BROKEN.sub(whole, text)


def _edges(page: Page) -> dict[str, list[int]]:
    """Where the outermost lines of a page are: from the top down, and from the bottom up."""
    filled = [at for at, line in enumerate(page) if line]
    return {"top": filled[:_EDGE], "bottom": filled[: -_EDGE - 1 : -1]}


def _all_keys(page: Page, edges: Mapping[str, Sequence[int]], index: int) -> set[str]:
    return {key for end, places in edges.items() for at in places for key in _keys(end, page[at], index)}


def _keys(end: str, line: str, index: int) -> Iterator[str]:
    """By what a line is the same on other pages: its words, or these with one number taken as the page's.

    In any order, as left pages mirror right ones.
    """
    yield " ".join([end, *sorted(line.split())])
    for number in _NUMBER.finditer(line):
        counting = f"{line[: number.start()]}{_PAGE}{int(number[0]) - index}{_PAGE}{line[number.end() :]}"
        yield " ".join([end, *sorted(counting.split())])


def _numbered(pages: Sequence[Page], edges: Sequence[Mapping[str, Sequence[int]]], least: int) -> set[tuple[int, int]]:
    """Page and line of the outermost lines that count the pages, whatever their words: "Chapter 3: Pumps   17"."""
    found: set[tuple[int, int]] = set()
    for end in ("top", "bottom"):
        places = [edge[end][0] if edge[end] else None for edge in edges]
        numbers = [
            {int(number) for number in _NUMBER.findall(page[at])} if at is not None else set[int]()
            for page, at in zip(pages, places, strict=True)
        ]
        follows = [any(each + 1 in after for each in before) for before, after in pairwise(numbers)]
        steps = [index for index in range(len(pages)) if any(follows[max(index - 1, 0) : index + 1])]
        if len(steps) >= least:
            found |= {(index, at) for index in steps if (at := places[index]) is not None}
    return found


def _heads_table(page: Page, at: int) -> bool:
    return at + 1 < len(page) and bool(_GAP.search(page[at]) and _GAP.search(page[at + 1]))


def _is_new(line: str, seen: set[str]) -> bool:
    words = " ".join(line.split())
    new = words not in seen
    seen.add(words)
    return new


def _gutter(page: Page, fewest: int = _FEWEST, near: range | None = None) -> int | None:
    """Where the second column of prose begins, perhaps `near` a place; None for a page without columns."""
    ends = (gap.end() for line in page for gap in _GAP.finditer(line))
    starts = Counter(end for end in ends if near is None or end in near)
    for start, _ in starts.most_common(3):
        sides = [
            (line[:start].rstrip(), line[start:])
            for line in page
            if line[start - 2 : start] == "  " and line[:start].strip() and line[start : start + 1].strip()
        ]
        if len(sides) >= fewest and all(map(_is_prose, zip(*sides, strict=True))):
            return start
    return None


def _is_prose(lines: Sequence[str]) -> bool:
    """Lines about as long as their column is wide, and without gaps: a table's cells are neither."""
    widest = max(map(len, textwrap.dedent("\n".join(lines)).splitlines()))
    mean = sum(len(" ".join(line.split())) for line in lines) / len(lines)
    return mean >= max(_NARROWEST, _FULL * widest)


def _cut(line: str, gutter: int) -> int | None:
    """Where a line's two columns part; None for one that runs across."""
    if not line[gutter - 1 :].strip() or not line[: gutter - 1].strip():
        return min(gutter, len(line) - len(line.lstrip())) if line[gutter - 1 : gutter].strip() else gutter
    for gap in _GAP.finditer(line):
        if gap.start(1) <= gutter + 2 and gutter - 1 <= gap.end() <= gutter + _INDENT:
            return min(max(gutter, gap.start(1)), gap.end())
    return None
