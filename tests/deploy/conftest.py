"""An account of AWS on loopback: an emulator that enforces IAM, and doubles for what it does not know."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import Cloud
from sagemaker_double import Double
from stacks_double import Stacks

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".bench" / "aws" / "bin"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The programs that are installed apart from Pumice."""
    subprocess.run(["make", ".bench/aws/ready"], cwd=ROOT, check=True, capture_output=True)
    return TOOLS


@pytest.fixture(scope="session")
def cloud(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One for all tests of this folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    double = Double(url)
    folder = tmp_path_factory.mktemp("emulator")
    # The functions that it runs inherit where SageMaker is.
    told = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "AUTH": "true", "TMPDIR": str(folder)}
    environment = {**os.environ, **told, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": double.url}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([tools / "ministack"], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/_ministack/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        made = Cloud(url, double, None)  # type: ignore[arg-type]
        made.stacks = Stacks(made.client("cloudformation"), made.client("iam"), double.sagemaker)
        yield made
        made.stacks.close()
    finally:
        double.close()
        process.terminate()
        process.wait(20)


@pytest.fixture
def account(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The account, as this process's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    return cloud
