"""QLoRA, whose knobs are LoRA's. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.lora import Lora


class QLora(Lora):
    """LoRA over a base that is held in 4 bits while it trains; needs an NVIDIA GPU and bitsandbytes."""

    four_bits: ClassVar = True
    trains: ClassVar = "As lora, over a base in 4 bits (NF4, double quantisation); needs a GPU."
    paper: ClassVar = "Dettmers et al. 2023, QLoRA: Efficient Finetuning of Quantized LLMs, arXiv:2305.14314"
