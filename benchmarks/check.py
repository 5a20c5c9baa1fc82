"""How fast, and in how much memory, a large JSONL file is checked.

    python -m benchmarks.check [--megabytes 1000] [--base FOLDER]

The structural part reads every row and finds errors and repeated rows; the content part, measured with `--base`, adds
tokens, lengths and the search for personal data. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pumice.data import checks
from pumice.data.render import Renderer
from pumice.data.rows import Log

_TEXT = (
    "the base of a model is what it was before and after training it answers as your data says so that people who ask "
    "about invoices refunds orders delivery warranty or the colour of a door get one short and true answer every time"
)
_WORDS = _TEXT.split()


def main(megabytes: int = 1000, base: Path | None = None) -> dict[str, Any]:
    """Make the file, measure, print a table. Returns megabytes, rows, and for each part MB/s and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        _write(path, megabytes * 1_000_000)
        results = {"megabytes": megabytes, "structural": _measure("structural", path, None)}
        if base:
            results["structural and content"] = _measure("content", path, base)
    print(f"{'part':24} {'rows':>10} {'seconds':>9} {'MB/s':>7} {'MB/s of CPU':>12} {'peak MB':>8}")
    for part, found in results.items():
        if isinstance(found, dict):
            speeds = f"{found['rate']:7.0f} {found['cpu_rate']:12.0f}"
            print(f"{part:24} {found['rows']:10,} {found['seconds']:9.1f} {speeds} {found['peak']:8.0f}")
    return results


def _write(path: Path, size: int) -> None:
    """Question and answer rows of about 500 bytes; every thousandth repeats an earlier one."""
    chance = random.Random(0)
    written = number = 0
    with path.open("wb") as file:
        while written < size:
            number += 1
            prompt = f"Question {number - 500 if number % 1000 == 0 else number}: " + " ".join(
                chance.choices(_WORDS, k=20)
            )
            row = {"prompt": prompt, "completion": " ".join(chance.choices(_WORDS, k=70))}
            written += file.write(json.dumps(row).encode() + b"\n")


def _measure(part: str, path: Path, base: Path | None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.check", "--child", part, "--file", str(path)]
    done = subprocess.run([*command, *(["--base", str(base)] if base else [])], capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _child(part: str, path: Path, base: Path | None) -> None:
    renderer = Renderer(base) if base else None
    wall, cpu = time.perf_counter(), time.process_time()
    if part == "structural":
        hashes = checks.structure(path, Log(str(path)))
        hashes.duplicates()
        hashes.conflicts()
        rows = len(hashes)
    else:
        rows = checks.check(path, renderer).rows
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size, peak = path.stat().st_size / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"rows": rows, "seconds": wall, "rate": size / wall, "cpu_rate": size / cpu, "peak": peak}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--base", type=Path, help="a base model's folder, to measure the content part too")
    parser.add_argument("--child", choices=("structural", "content"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.child, given.file, given.base)
    else:
        main(given.megabytes, given.base)
