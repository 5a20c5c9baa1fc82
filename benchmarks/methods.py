"""Every method on the default base, from its recipe to a report: its curve goes into docs/methods.

    python -m benchmarks.methods [NAME ...]

Each recipe is run as a user runs it, by the command line, in one home. Runs are cut to about a minute of training each,
so the curves show that a method learns, not how far it gets. `qlora` is left out where there is no GPU. The curve and
its numbers replace those that stand in the method's page.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pumice.evaluate.compare import deciding
from pumice.evaluate.report import NAMES, from_json
from pumice.train import sizes
from pumice.train.methods import METHODS

ROOT = Path(__file__).parents[1]
HANDBOOK = ROOT / "pumice" / "handbook"
EPOCHS = "3"
OTHERWISE: dict[str, dict[str, str]] = {
    "full": {"epochs": "2"},
    "cpt": {"epochs": "12"},
    # What an answer begins with is learned in a minute; how long it is, not.
    "rlhf": {
        "rlhf.reward": r"regex:^The\b",
        "rlhf.answers": "6",
        "rlhf.max_tokens": "4",
        "epochs": "0.33",
        "batch_size": "2",
        "learning_rate": "1e-3",
    },
    # What `lora` made of the handbook is the teacher: no network is asked for one.
    "distill": {
        "distill.teacher": "lora@1",
        "data": str(HANDBOOK / "facts.jsonl"),
        "validation": str(HANDBOOK / "phrasings.jsonl"),
    },
}
"""What a recipe is run with, in the place of its own."""
PARAGRAPH = re.compile(r"Not drawn yet[^\n]*\n|!\[[^\n]*\n\n(?:[^\n]+\n)+")


def main(names: list[str]) -> None:
    """Run each, draw its curve, print a line, and write what was found into its page."""
    columns = f"{'steps':>6} {'first loss':>11} {'last loss':>10} {'base':>8} {'tuned':>8} {'minutes':>8}"
    print(f"{'method':12} {columns}  score")
    if "distill" in names and "lora" not in names:
        names = ["lora", *names]
    with tempfile.TemporaryDirectory() as home:
        for name in names:
            if name == "qlora" and not sizes.machine().gpus:
                print(f"{name:12} needs a GPU: not run")
                continue
            began = time.monotonic()
            found = run(name, Path(home))
            minutes = (time.monotonic() - began) / 60
            report = from_json(found["report"])
            key = deciding(report.differences)
            base, tuned = (vars(scores)[key] for scores in (report.base, report.tuned))
            first, last = (found[end]["loss"] for end in ("first", "last"))
            scores = f"{base:8.3f} {tuned:8.3f} {minutes:8.1f}  {NAMES[key]}, {report.set}"
            print(f"{name:12} {found['steps']:6} {first:11.3f} {last:10.3f} {scores}", flush=True)
            rows = "1 row" if report.count == 1 else f"{report.count} rows"
            change = f"{NAMES[key]} went from {base:.3g} to {tuned:.3g} on {rows} of the {report.set}"
            far = f", at a KL of {found['last']['kl']:.2g} nats a token" if "kl" in found["last"] else ""
            write(name, f"{found['steps']} steps, loss {first:.3g} to {last:.3g}; {change}{far}")


def write(name: str, numbers: str) -> None:
    """The curve and its numbers, in the place of those of the last run."""
    page = ROOT / "docs" / "methods" / f"{name}.md"
    settings = ", ".join(f"`{key}: {value.removeprefix(str(ROOT) + '/')}`" for key, value in settings_of(name).items())
    start = "A new model" if name == "pretrain" else "The default base"
    paragraph = (
        f"![the loss of each step]({name}.svg)\n\n"
        f"{start}, the recipe with {settings}: {numbers}.\n"
        f"Once, by `python -m benchmarks.methods {name}`.\n"
    )
    text, count = PARAGRAPH.subn(lambda _: paragraph, page.read_text("utf-8"), count=1)
    assert count == 1, f"{page} has no place for the curve"
    page.write_text(text, "utf-8")


def settings_of(name: str) -> dict[str, str]:
    """The keys of the recipe that are set here."""
    return {"epochs": EPOCHS, **OTHERWISE.get(name, {})}


def run(name: str, home: Path) -> dict[str, Any]:
    """The recipe's report, with the losses of its first and last step; the curve is drawn."""
    given = [word for key, value in settings_of(name).items() for word in ("--set", f"{key}={value}")]
    asked = ["--yes"] if name == "pretrain" else []
    done = pumice(home, "run", str(ROOT / "recipes" / f"{name}.yaml"), *given, *asked, "--name", name)
    picture = ROOT / "docs" / "methods" / f"{name}.svg"
    told = pumice(home, "report", done["job"], "--plot", str(picture))
    return {**told[done["job"]], "report": done["report"]}


def pumice(home: Path, *words: str) -> Any:
    """What a command prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "pumice", *words, "--json"],
        env={"PATH": "/usr/bin:/bin", "PUMICE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:] or list(METHODS))
