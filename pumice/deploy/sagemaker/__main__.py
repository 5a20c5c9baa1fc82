"""`python -m pumice.deploy.sagemaker train` or `serve`, as SageMaker starts a container."""

from __future__ import annotations

import sys

from pumice.deploy.sagemaker import container, serve, train

MAINS = {"train": train.main, "serve": serve.main}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in MAINS:
        sys.exit("Say `train` or `serve`.")
    sys.exit(MAINS[sys.argv[1]](container.read()))
