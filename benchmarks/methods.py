"""Every method on the default base, from its recipe to a report: its curve goes into docs/methods.

    python -m benchmarks.methods [NAME ...]

Each recipe is run as a user runs it, by the command line, in one home. Runs are cut to about a minute of training each,
so the curves show that a method learns, not how far it gets. `qlora` is left out where there is no GPU.
"""

from __future__ import annotations

import json
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
SHORT: dict[str, dict[str, str]] = {
    "full": {"epochs": "2"},
    "distill": {"distill.teacher": "smollm2-135m-instruct-q4_1"},
}
"""What a recipe is cut by, or needs here: its teacher is a base that no network is asked for."""
EPOCHS = "3"


def main(names: list[str]) -> None:
    """Run each, draw its curve, print a line."""
    columns = f"{'steps':>6} {'first loss':>11} {'last loss':>10} {'base':>8} {'tuned':>8} {'minutes':>8}"
    print(f"{'method':12} {columns}  score")
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
            losses = f"{found['first']['loss']:11.3f} {found['last']['loss']:10.3f}"
            scores = f"{base:8.3f} {tuned:8.3f} {minutes:8.1f}  {NAMES[key]}, {report.set}"
            print(f"{name:12} {found['steps']:6} {losses} {scores}", flush=True)


def run(name: str, home: Path) -> dict[str, Any]:
    """The recipe's report, with the losses of its first and last step; the curve is drawn."""
    settings = {"epochs": EPOCHS, **SHORT.get(name, {})}
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
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
