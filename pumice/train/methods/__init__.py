"""The training methods by name: one file each. Loads no training library."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pumice.train.methods.cpt import Cpt
from pumice.train.methods.distill import Distill
from pumice.train.methods.dora import Dora
from pumice.train.methods.dpo import Dpo
from pumice.train.methods.full import Full
from pumice.train.methods.head import Head
from pumice.train.methods.ia3 import Ia3
from pumice.train.methods.kto import Kto
from pumice.train.methods.last_layers import LastLayers
from pumice.train.methods.lora import Lora
from pumice.train.methods.method import Method, Objective, Weights
from pumice.train.methods.orpo import Orpo
from pumice.train.methods.p_tuning import PTuning
from pumice.train.methods.prefix import Prefix
from pumice.train.methods.pretrain import Pretrain
from pumice.train.methods.prompt import Prompt
from pumice.train.methods.qlora import QLora
from pumice.train.methods.reward import Reward
from pumice.train.methods.rlhf import Rlhf
from pumice.train.methods.rslora import RsLora

METHODS: dict[str, type[Method]] = {
    "lora": Lora,
    "rslora": RsLora,
    "dora": Dora,
    "qlora": QLora,
    "full": Full,
    "last-layers": LastLayers,
    "head": Head,
    "ia3": Ia3,
    "prompt": Prompt,
    "p-tuning": PTuning,
    "prefix": Prefix,
    "cpt": Cpt,
    "pretrain": Pretrain,
    "dpo": Dpo,
    "kto": Kto,
    "orpo": Orpo,
    "reward": Reward,
    "rlhf": Rlhf,
    "distill": Distill,
}


class WeightsTables(BaseModel):
    """The tables of weights: one each, of the same name."""

    lora: Lora | None = None
    """Knobs of LoRA."""
    rslora: RsLora | None = None
    """Knobs of rank-stabilised LoRA."""
    dora: Dora | None = None
    """Knobs of DoRA."""
    qlora: QLora | None = None
    """Knobs of QLoRA."""
    full: Full | None = None
    """Full fine-tuning has no knobs."""
    last_layers: LastLayers | None = Field(None, alias="last-layers")
    """Knobs of training the last layers."""
    ia3: Ia3 | None = None
    """IA3 has no knobs."""
    prompt: Prompt | None = None
    """Knobs of prompt tuning."""
    p_tuning: PTuning | None = Field(None, alias="p-tuning")
    """Knobs of p-tuning."""
    prefix: Prefix | None = None
    """Knobs of prefix tuning."""


class Tables(WeightsTables):
    """The tables of a recipe: one a method, of the same name."""

    head: Head | None = None
    """Knobs of a classification head."""
    cpt: Cpt | None = None
    """Knobs of continued pre-training."""
    pretrain: Pretrain | None = None
    """Knobs of a new model."""
    dpo: Dpo | None = None
    """Knobs of DPO."""
    kto: Kto | None = None
    """Knobs of KTO."""
    orpo: Orpo | None = None
    """Knobs of ORPO."""
    reward: Reward | None = None
    """Knobs of a reward model."""
    rlhf: Rlhf | None = None
    """Knobs of learning from rewards."""
    distill: Distill | None = None
    """Knobs of distillation."""


def field(name: str) -> str:
    """The field of `Tables` that holds the table of the method `name`."""
    return name.replace("-", "_")


__all__ = [
    "METHODS",
    "Cpt",
    "Distill",
    "Dora",
    "Dpo",
    "Full",
    "Head",
    "Ia3",
    "Kto",
    "LastLayers",
    "Lora",
    "Method",
    "Objective",
    "Orpo",
    "PTuning",
    "Prefix",
    "Pretrain",
    "Prompt",
    "QLora",
    "Reward",
    "Rlhf",
    "RsLora",
    "Tables",
    "Weights",
    "field",
]
