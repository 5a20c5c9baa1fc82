"""`make bench`: every part of `docs/performance.md`, each in a process of its own; 1 when one failed."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.performance import PARTS

failed = []
for name in PARTS:
    print(f"# {name}", flush=True)
    if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode:
        failed.append(name)
if failed:
    sys.exit(f"Failed: {', '.join(failed)}. The page has what the others found.")
