"""AWS's own images by region: the model comes from S3, so nobody builds or pushes one. Knows no AWS API.

Names as AWS's list has them: github.com/aws/deep-learning-containers, read on 2026-11-22.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pumice.errors import InputError

Engine = Literal["llama.cpp", "vllm", "pumice"]
"""What answers: llama.cpp on a CPU, vLLM on a GPU, or Pumice itself in an image that the user names."""
USUAL = "763104351884"
ACCOUNTS = {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "us-gov-east-1": "446045086412",
    "us-gov-west-1": "442386744353",
}
"""Regions that AWS publishes in from another account."""


@dataclass(frozen=True)
class Image:
    """One of them, and the libraries in it that Pumice needs."""

    name: str
    carries: dict[str, str] = field(default_factory=dict)
    python: str = ""

    def uri(self, region: str) -> str:
        """Where it is pulled from."""
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"{ACCOUNTS.get(region, USUAL)}.dkr.ecr.{region}.{suffix}/{self.name}"


LLAMA_CPP = Image("llama-cpp:server-sagemaker-cpu-v1")
VLLM = Image("vllm:0.30.0-gpu-py312-cu130-ubuntu24.04-sagemaker")
# The newest with transformers in it has 5.3.0 beside torch 2.9.0, both older than Pumice needs; these get their own.
TRAIN_GPU = Image("pytorch-training:2.10.0-gpu-py313-cu130-ubuntu22.04-sagemaker", {"torch": "2.10.0"}, "3.13")
TRAIN_CPU = Image("pytorch-training:2.10.0-cpu-py313-ubuntu22.04-sagemaker", {"torch": "2.10.0"}, "3.13")
TRAINING = {("2.10", True): TRAIN_GPU, ("2.10", False): TRAIN_CPU}
"""By version of torch, and whether the instance has a GPU."""
CONTEXT = 4096
MOST_ADAPTERS = 32
"""Over one base; vLLM keeps four on the GPU at once, and these in memory."""

ENVIRONMENT: dict[Engine, dict[str, str]] = {
    "llama.cpp": {"SM_LLAMA_CPP_CTX_SIZE": str(CONTEXT)},
    "vllm": {"SM_VLLM_MODEL": "/opt/ml/model", "SM_VLLM_MAX_MODEL_LEN": str(CONTEXT)},
    "pumice": {},
}


def lora(rank: int) -> dict[str, str]:
    """What vLLM is told so that it takes adapters up to a rank; Pumice's own container needs no word.

    It says nothing of how many there are, so that one more does not start the base anew.
    """
    return {
        "SM_VLLM_ENABLE_LORA": "true",
        "SM_VLLM_MAX_LORAS": "4",
        "SM_VLLM_MAX_CPU_LORAS": str(MOST_ADAPTERS),
        "SM_VLLM_MAX_LORA_RANK": str(rank),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true",
    }


def split(gpus: int) -> dict[str, str]:
    """What vLLM is told so that a model which no GPU holds alone lies over all of them."""
    return {"SM_VLLM_TENSOR_PARALLEL_SIZE": str(gpus)}


def serving(engine: Engine, region: str, given: str | None) -> str:
    """The image that answers; `given` comes first. Raises `InputError` where there is none."""
    if given:
        return given
    if engine == "pumice":
        raise InputError(
            "AWS has no image that answers with this model.",
            "It is neither a whole model nor an adapter that becomes one, and llama.cpp and vLLM serve nothing else.",
            "Build one with Pumice in it (docs/deploy-aws.md has its six lines) and name it: --image",
        )
    return (LLAMA_CPP if engine == "llama.cpp" else VLLM).uri(region)


def training(gpu: bool, region: str, torch: str = "2.10") -> str:
    """The image that trains."""
    return TRAINING[torch, gpu].uri(region)
