"""What SageMaker lays out under /opt/ml, read once. Knows no training."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = "PUMICE_ML_ROOT"
"""Names another place than /opt/ml, for tests."""
FAILURE = 1024
"""Characters of the reason that SageMaker shows."""
METRICS = (
    {"Name": "loss", "Regex": " loss=([0-9.]+)"},
    {"Name": "validation_loss", "Regex": "validation_loss=([0-9.]+)"},
    {"Name": "step", "Regex": "step=([0-9]+)"},
)
"""What SageMaker reads out of a training job's lines."""


@dataclass(frozen=True)
class Container:
    """One machine of a training job, or one that answers."""

    root: Path
    settings: Mapping[str, str]
    """The hyper-parameters, without those that SageMaker's own tools add."""
    hosts: tuple[str, ...]
    host: str
    interface: str | None = None
    """The network interface by which the machines reach each other."""

    @property
    def model(self) -> Path:
        """What is put here is the result; what answers finds it here."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """Kept in S3 all the time, and here again after an interruption."""
        return self.root / "checkpoints"

    def channel(self, name: str) -> Path | None:
        """The one file of a channel, or its folder; None for a channel that is not there."""
        folder = self.root / "input" / "data" / name
        if not folder.is_dir():
            return None
        files = list(folder.iterdir())
        return files[0] if len(files) == 1 else folder

    @property
    def scratch(self) -> Path:
        """What this machine keeps for itself, always at the same place: a plan names paths."""
        return Path(tempfile.gettempdir()) / "pumice" / str(os.getuid()) / self.root.name

    def fail(self, reason: str) -> None:
        """Say why; SageMaker shows it as the job's failure reason. The first stays: others follow from it."""
        path = self.root / "output" / "failure"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(reason[:FAILURE])


def read() -> Container:
    """This process's container."""
    root = Path(os.environ.get(ROOT, "/opt/ml"))
    given = configuration(root, "hyperparameters")
    # The SDK writes a text as JSON, in quotes; a recipe's values are read as YAML, which takes both.
    settings = {key: str(value) for key, value in given.items() if not key.startswith("sagemaker_")}
    resources = configuration(root, "resourceconfig")
    host = resources.get("current_host", "localhost")
    hosts = tuple(sorted(resources.get("hosts", [host])))
    return Container(root, settings, hosts, host, resources.get("network_interface_name"))


def configuration(root: Path, name: str) -> dict[str, Any]:
    """One of the files in input/config; empty where there is none."""
    path = root / "input" / "config" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found
