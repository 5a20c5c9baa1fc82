"""Several machines, or several GPUs: torchrun starts a process for each, and all of them train one model.

They meet at the first machine. SageMaker's SIGTERM ends no process here: it leaves a word that each looks for, so that
all stop after the same step. Knows no training.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pumice.deploy.sagemaker.container import Container
from pumice.train import sizes


def here() -> int:
    """Processes on this machine: one for each GPU, or one for all cores."""
    return max(1, len(sizes.gpus()))


def main(container: Container) -> int:
    """Exit code of this machine's processes; with the reason in `failure` where it is not 0."""
    stop = container.scratch / "stop"
    stop.parent.mkdir(parents=True, exist_ok=True)
    stop.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: stop.touch())
    code = subprocess.run(command(container, here()), env=environment(container), check=False).returncode
    if code:
        container.fail(f"The processes on {container.host} ended with {code}; the reason is in the job's log.")
    return code


def command(container: Container, processes: int) -> list[str]:
    """What starts `processes` here."""
    meeting = {
        "nnodes": len(container.hosts),
        "node-rank": container.hosts.index(container.host),
        "nproc-per-node": processes,
        "master-addr": container.hosts[0],
    }
    options = [f"--{name}={value}" for name, value in meeting.items()]
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", "pumice.deploy.sagemaker", "share"]


def environment(container: Container) -> dict[str, str]:
    """With the interface by which the machines reach each other, as SageMaker names it, for both libraries."""
    named = {f"{library}_SOCKET_IFNAME": container.interface for library in ("GLOO", "NCCL") if container.interface}
    return {**os.environ, **{name: value for name, value in named.items() if value}}
