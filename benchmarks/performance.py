"""`docs/performance.md` and `docs/performance.json`, made from what the parts of `make bench` have measured.

    python -m benchmarks.performance        writes both again from what is kept

A part (`python -m benchmarks.training`, `.serving`, `.adapters`, `.data_path`, `.front`, `.startup`) measures and calls
`record`, which keeps what it found in `.bench/results` and writes both files. What was measured on other code than that
of `pumice/` as it stands is not used: the page then says that the part was not measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pairs import ROUNDS, Figure, written

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / ".bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
NUMBERS = ROOT / "docs" / "performance.json"
PARTS = {
    "training": "Training",
    "serving": "Serving",
    "adapters": "Adapters",
    "data_path": "From a file to the first step",
    "front": "The front",
    "startup": "Start",
}
"""In the order of the page, by the name of the module that measures them."""
KEYS = (
    "training.speed_ratio",
    "training.memory_ratio",
    "training.peak_fraction",
    "serving.decode_ratio",
    "serving.agg8_ratio",
    "serving.beside_training",
    "front.p50_ms",
    "front.rps",
)
"""What `docs/performance.json` has, beside the commit."""
LIBRARIES = ("torch", "transformers", "trl", "peft", "xllamacpp")


@dataclass(frozen=True)
class Row:
    """A line of a part's table: one side."""

    name: str
    """`Pumice`, `TRL, its defaults`."""
    cells: Mapping[str, Figure | str]
    """By heading with its unit (`tokens/s`). What could not be measured is left out, and a note says why."""


@dataclass(frozen=True)
class Claim:
    """A figure that is held against a goal, or a ratio of Pumice to a peer, or both."""

    what: str
    """`tokens/s beside TRL's defaults`."""
    figure: Figure
    rounds: int
    """How many rounds, pairs or runs the interval is made of."""
    more: bool = True
    """Whether more is better."""
    goal: float | None = None
    peer: str | None = None
    """Whom Pumice is divided by."""
    key: str | None = None
    """Its name in `docs/performance.json`, one of `KEYS`."""


@dataclass(frozen=True)
class Part:
    """What one benchmark found."""

    how: str
    """What was run: a sentence or two."""
    rows: Sequence[Row]
    claims: Sequence[Claim]
    notes: Sequence[str] = ()
    """Settings of peers, and what could not be run, with its error."""


@dataclass(frozen=True)
class Kept:
    """A part with where it was measured."""

    part: Part
    commit: str
    """Of the checkout; `-dirty` when files differed from it."""
    code: str
    """Hash of `pumice/` as it stood."""
    machine: str


def record(name: str, part: Part) -> None:
    """Keep what was found, write page and numbers, and print the part."""
    assert name in PARTS, name
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = Kept(part, commit(), code(), machine())
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(kept), indent=1), "utf-8")
    write()
    print(section(name, kept))


def write() -> None:
    """Both files, from what is kept of this code."""
    found = {name: kept for name in PARTS if (kept := read(RESULTS / f"{name}.json")) and kept.code == code()}
    PAGE.write_text(page(found), "utf-8")
    measured = numbers(found, commit())
    if missing := [key for key in KEYS if key not in measured]:
        print(f"docs/performance.json stays as it was: {', '.join(missing)} not measured on this code.")
    else:
        NUMBERS.write_text(json.dumps(measured, indent=2) + "\n", "utf-8")


def read(path: Path) -> Kept | None:
    """What was kept in a file, if it is there."""
    return from_json(json.loads(path.read_text("utf-8"))) if path.exists() else None


def from_json(told: Mapping[str, Any]) -> Kept:
    """`asdict(Kept)` backwards."""
    part = told["part"]

    def cell(value: Any) -> Figure | str:
        return value if isinstance(value, str) else Figure(**value)

    rows = [Row(row["name"], {name: cell(each) for name, each in row["cells"].items()}) for row in part["rows"]]
    claims = [Claim(**{**claim, "figure": Figure(**claim["figure"])}) for claim in part["claims"]]
    return Kept(Part(part["how"], rows, claims, part["notes"]), told["commit"], told["code"], told["machine"])


def numbers(found: Mapping[str, Kept], commit: str) -> dict[str, Any]:
    """What `docs/performance.json` holds: every key that was measured, and the commit."""
    claims = {claim.key: claim.figure for kept in found.values() for claim in kept.part.claims}
    return {**{key: asdict(claims[key]) for key in KEYS if key in claims}, "commit": commit}


def page(found: Mapping[str, Kept]) -> str:
    """The whole page; a part that is not in `found` is named as not measured."""
    head = (
        "# Performance\n\n"
        "Made by `make bench`, which measures all of it on your machine (three hours on two cores), or one part with\n"
        f"`python -m benchmarks.{'|'.join(PARTS)}`.\n"
        "Sides take turns, round by round, on the same work; a figure is a median or a ratio of medians with its 95 %\n"
        f"bootstrap interval. `make bench` takes {ROUNDS} rounds, of memory, which hardly varies, 3; each claim\n"
        "says its own number, and with fewer rounds an interval promises less. A goal is met when the\n"
        "interval does not lie wholly on its wrong side; where a peer is better, the table says so. Numbers of two\n"
        "machines are not comparable; nor are those of two tables here.\n"
    )
    return "\n".join([head, *(section(name, found.get(name)) for name in PARTS)])


def section(name: str, kept: Kept | None) -> str:
    """One part of the page, ending with a line's end."""
    lines = [f"## {PARTS[name]}", ""]
    if kept is None:
        return "\n".join([*lines, f"Not measured in this run: `python -m benchmarks.{name}` measures it.", ""])
    part = kept.part
    lines += [part.how, ""]
    if part.rows:
        headings = list(dict.fromkeys(heading for row in part.rows for heading in row.cells))
        lines += [line("", *headings), rule(len(headings))]
        lines += [line(row.name, *(str(row.cells.get(heading, "")) for heading in headings)) for row in part.rows]
        lines.append("")
    if part.claims:
        lines += [line("", "measured", "rounds", "goal", ""), rule(4)]
        lines += [
            line(claim.what, str(claim.figure), str(claim.rounds), goal(claim), verdict(claim)) for claim in part.claims
        ]
        lines.append("")
    lines += [*(f"- {note}" for note in part.notes), *([""] if part.notes else [])]
    return "\n".join([*lines, f"Measured on {kept.machine}, commit {kept.commit[:12]}{kept.commit[40:]}.", ""])


def line(*cells: str) -> str:
    """A line of a table."""
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def rule(numbers: int) -> str:
    """The line under the headings."""
    return "|---|" + "---:|" * numbers


def goal(claim: Claim) -> str:
    """`≥ 3.5`."""
    return "" if claim.goal is None else f"{'≥' if claim.more else '≤'} {written(claim.goal)}"


def verdict(claim: Claim) -> str:
    """Whether the goal is met, and who is better."""
    said = []
    if claim.goal is not None:
        met = claim.figure.high >= claim.goal if claim.more else claim.figure.low <= claim.goal
        said.append("met" if met else "**missed**")
    if claim.peer is not None:
        above, below = claim.figure.low > 1, claim.figure.high < 1
        better, worse = (above, below) if claim.more else (below, above)
        said.append("Pumice is better" if better else f"**{claim.peer} is better**" if worse else "no difference seen")
    return ", ".join(said)


def commit() -> str:
    """Of the checkout, with `-dirty` when files of it were changed, but for the two that are written here."""
    own = [f":(exclude){path.relative_to(ROOT)}" for path in (ROOT / "docs").glob("performance.*")]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", *own], cwd=ROOT).returncode
    return head.stdout.strip() + ("-dirty" if changed else "")


def code() -> str:
    """A hash of the files of `pumice/`: what was measured holds for these."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "pumice").rglob("*")):
        # The console is built, and no part of what is measured.
        if path.is_file() and not {"__pycache__", "static"} & set(path.parts):
            found.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def machine() -> str:
    """Processor, cores, memory, system, and the libraries that do the work."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [one for one in lines if one.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    parts = [f"{os.cpu_count()} cores of {processor}", memory, f"{platform.system()} {platform.machine()}"]
    return ", ".join([*parts, f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in LIBRARIES)])


if __name__ == "__main__":
    write()
