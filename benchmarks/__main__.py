"""`make bench`: every benchmark, one after the other, each as ratios or rates measured in one run on this machine."""

from __future__ import annotations

import subprocess
import sys

for name in ("check", "training", "memory", "methods", "front", "provisioned"):
    print(f"# {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
