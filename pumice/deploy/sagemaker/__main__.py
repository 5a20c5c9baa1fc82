"""`python -m pumice.deploy.sagemaker train` or `serve`, as SageMaker starts a container.

`share` is what torchrun starts: one process of several that train together.
"""

from __future__ import annotations

import sys
from importlib import import_module

from pumice.deploy.sagemaker import container, launch

VERBS = ("train", "serve", "share")


def main(verb: str) -> int:
    """Only what is done is imported: each of them takes seconds."""
    found = container.read()
    if verb == "train" and len(found.hosts) * launch.here() > 1:
        return launch.main(found)
    code: int = import_module(f"pumice.deploy.sagemaker.{verb}").main(found)
    return code


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in VERBS:
        sys.exit("Say `train` or `serve`.")
    sys.exit(main(sys.argv[1]))
