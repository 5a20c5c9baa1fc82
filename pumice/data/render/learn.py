"""Trains a tokenizer on texts: byte-level BPE, the same one for the same texts. Knows no models and no templates."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from pumice.store.files import write_atomic

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"


@dataclass(frozen=True)
class Learned:
    """What a model's configuration must know of its tokenizer."""

    size: int
    """Tokens in it."""
    begin: int
    end: int
    pad: int


def learn(texts: Iterable[str], most: int, folder: Path) -> Learned:
    """Write a tokenizer of at most `most` tokens, trained on `texts`, into `folder` (Sennrich et al. 2016, on bytes).

    Every text can be written with it: each byte is a token. A digit is always one, and a text begins with `BEGIN`.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    # The steps that llama.cpp knows as "smollm".
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=most,
        min_frequency=2,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = tokenizer.get_vocab()
    begin, end, pad = ids[BEGIN], ids[END], ids[PAD]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B:1", special_tokens=[(BEGIN, begin)]
    )
    write_atomic(folder / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    names = {"bos_token": BEGIN, "eos_token": END, "pad_token": PAD}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    write_atomic(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    return Learned(len(ids), begin, end, pad)
