"""`make bench`: every part of `docs/performance.md`, each in a process of its own; 1 when one failed.

python -m benchmarks [--data FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.performance import PARTS, RESULTS


def main(data: str | None) -> int:
    """Run all, whatever becomes of each; what an earlier run found is not used."""
    failed = []
    for name in PARTS:
        print(f"# {name}", flush=True)
        (RESULTS / f"{name}.json").unlink(missing_ok=True)
        given = ["--data", data] if data and name == "training" else []
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *given]).returncode:
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)}. The page has what the others found.", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="rows to train on; by default made up")
    sys.exit(main(parser.parse_args().data))
