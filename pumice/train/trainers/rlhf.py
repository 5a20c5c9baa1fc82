"""Learning from rewards through TRL: GRPO and RLOO over prompts that are ids already. Knows no chat template.

Answers are written by transformers in this process and scored by a function of texts or by a reward model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import RepeatSampler

from pumice.bases.classifiers import classifies, read_labels
from pumice.bases.describe import read_config, read_template
from pumice.data.render import Renderer, same_tokens
from pumice.engine.contract import CONTEXT
from pumice.errors import InputError
from pumice.records import Event, Tokens
from pumice.train import scorers
from pumice.train.fast import losses
from pumice.train.methods import Rlhf
from pumice.train.trainers.judged import forget_new_adapter, tell_of_dropout
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.lora import old_names
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.sft import bare
from pumice.train.trainers.tune import tune

Reward = Callable[[Tokens, Sequence[int]], float]
"""What an answer's ids to a row are worth."""


class Order(RepeatSampler):
    """Prompts in an order that follows from seed and epoch alone, so that a resumed run sees the same."""

    def __init__(self, epoch: Callable[[], int], seed: int, **given: Any) -> None:
        super().__init__(**given)
        self.epoch, self.first = epoch, seed

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.first + self.epoch())
        yield from super().__iter__()  # type: ignore[no-untyped-call]


class Rollouts(Ours):
    """What both algorithms share: given ids instead of text, and an end where the model has moved too far."""

    metrics = frozenset({"reward", "reward_std", "kl", "completions/mean_length"})
    has_loss = False
    parts: Parts
    knobs: Rlhf
    fast_loss = False
    # TRL's own, which a rehearsal must leave as they were.
    generation_config: Any
    generation_kwargs: dict[str, Any]
    eos_token_ids: list[int]
    aux_loss_enabled: bool
    _step: int
    _buffered_inputs: Any
    _metrics: Any
    _current_train_step_time: float

    @property
    def prompts(self) -> int:
        """Different prompts of a step."""
        return (self.parts.recipe.batch_size or 1) * self.args.gradient_accumulation_steps

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The prompts are ids; TRL would put special tokens in front of them once more."""
        return prompts, None, {}

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        with old_names():
            return super()._generate_and_score_completions(inputs)  # type: ignore[misc]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *rest: Any,
        **more: Any,
    ) -> Any:
        """As TRL has it; on a CPU with logits for the answers alone, where TRL makes them for the prompts as well."""
        if not self.fast_loss:
            return super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, input_ids, attention_mask, logits_to_keep, *rest, **more
            )
        causal = bare(model)
        backbone: Any = causal.base_model
        hidden = backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        written = attention_mask[:, -logits_to_keep:].bool()
        labels = input_ids[:, -logits_to_keep:][written]
        head = causal.get_output_embeddings()  # type: ignore[no-untyped-call]
        found = losses.label_logprobs(hidden[:, -logits_to_keep - 1 : -1][written], head, labels)
        logprobs = hidden.new_zeros(written.shape).masked_scatter(written, found)
        # TRL logs a mean of entropies beside what is told; they would cost a pass over all logits.
        return logprobs, torch.full_like(logprobs, torch.nan), None

    def _get_train_sampler(self, dataset: Any = None) -> Order:
        return Order(
            # Exact at the start of each epoch, and inside the one in which a run goes on.
            lambda: self.state.global_step // (len(self.parts.rows) // self.prompts),
            data_source=self.parts.rows,
            mini_repeat_count=self.knobs.answers,
            batch_size=self.prompts,
            repeat_count=self.args.gradient_accumulation_steps,
            seed=self.args.seed,
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, and end the training where the KL divergence of two steps in a row is past its limit.

        It is estimated from the tokens that were drawn: a single unlikely one may lift a single step.
        """
        super().log(logs, start_time)
        limit = self.knobs.kl_limit
        moved = [told["kl"] for told in self.state.log_history if "kl" in told][-2:]
        if "kl" not in logs or len(moved) < 2 or min(moved) <= limit:
            return
        self.control.should_training_stop = True
        text = (
            f"The model has moved {moved[0]:.2f} and {moved[1]:.2f} nats a token from where it started, past "
            f"rlhf.kl_limit = {limit:g}: training ends after step {self.state.global_step} of {self.state.max_steps}."
        )
        self.parts.tell(Event("note", {"text": text}))

    def try_step(self, rows: Sequence[Tokens]) -> int:
        """Write answers of full length to a whole step of these rows, score them, and one batch forward and back."""
        assert self.model is not None
        asked = [rows[number % len(rows)] for number in range(self.prompts)]
        given: Any = list(self.over([row for row in asked for _ in range(self.knobs.answers)]))
        self.generation_config.min_new_tokens = self.knobs.max_tokens
        self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps
        self.training_step(self.model, given, None)
        self.generation_config.min_new_tokens = None
        batch = self._buffered_inputs[0]
        return int(batch["prompt_ids"].numel() + batch["completion_ids"].numel())

    def forget(self) -> None:
        """The first step writes its own answers and counts its own tokens."""
        self._step, self._buffered_inputs, self._current_train_step_time = 0, None, 0.0
        self.state.num_input_tokens_seen = 0
        for counted in self._metrics.values():
            counted.clear()


class Grpo(Rollouts, GRPOTrainer):
    """Answers are compared with the mean of their prompt's, in units of their spread (Shao et al. 2024)."""


class Rloo(Rollouts, RLOOTrainer):
    """Answers are compared with the mean of the others to their prompt (Ahmadian et al. 2024)."""


class Judge:
    """A reward model, which reads prompt and answer as it read the pairs that it was trained on."""

    def __init__(self, folder: Path, cuda: bool) -> None:
        dtype = torch.bfloat16 if cuda else torch.float32
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
        self.model = model.to("cuda" if cuda else "cpu").eval()

    @torch.inference_mode()
    def __call__(self, row: Tokens, answer: Sequence[int]) -> float:
        ids = torch.tensor([[*row.ids, *answer]], device=self.model.device)
        return float(self.model(input_ids=ids).logits[0, 0])


def columns(row: Tokens) -> dict[str, Any]:
    """A prompt as TRL's samplers read it."""
    return {"prompt": list(row.ids)}


def build(parts: Parts) -> Ours:
    """A trainer of the recipe's algorithm. Raises `InputError` for scorers, prompts and judges that do not fit."""
    knobs = parts.recipe.knobs
    assert isinstance(knobs, Rlhf)
    check_room(parts, knobs)
    renderer = Renderer(parts.base.folder)
    reward = reward_of(parts, knobs, renderer)
    tell_of_dropout(parts)
    model = tune(load_causal(parts), parts)
    assert parts.recipe.batch_size is not None
    arguments = {
        **parts.arguments,
        "per_device_train_batch_size": parts.recipe.batch_size * knobs.answers,
        "num_generations": knobs.answers,
        "max_completion_length": knobs.max_tokens,
        "beta": knobs.beta,
        "temperature": 1.0,
        "disable_dropout": True,
        "remove_unused_columns": False,
    }
    data = parts.dataset(columns, row=lambda _, row: row)

    def rewards(row: list[Tokens], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [reward(asked, ids) for asked, ids in zip(row, completion_ids, strict=True)]

    given: dict[str, Any] = {"train_dataset": data, "processing_class": parts.tokenizer}
    trainer: Rollouts = (
        Grpo(model, rewards, GRPOConfig(**arguments), **given)
        if knobs.algorithm == "grpo"
        else Rloo(model, rewards, RLOOConfig(**arguments), **given)
    )
    forget_new_adapter(model, parts)
    # What ends an answer when it is served ends it here.
    stops = list(renderer.stop_ids)
    trainer.eos_token_ids = trainer.generation_config.eos_token_id = trainer.generation_kwargs["eos_token_id"] = stops
    trainer.parts, trainer.knobs = parts, knobs
    trainer.fast_loss = parts.fast and not trainer.aux_loss_enabled and losses.plain_head(bare(model))
    return trainer


def check_room(parts: Parts, knobs: Rlhf) -> None:
    """Raise `InputError` for a prompt behind which the window has no room for the longest answer."""
    longest = int(parts.rows.sizes.max())
    most = min(parts.base.window, CONTEXT)
    if longest + knobs.max_tokens > most:
        raise InputError(
            f"The longest prompt has {longest:,} tokens and rlhf.max_tokens is {knobs.max_tokens:,}.",
            f"Together they must fit into the {most:,} tokens that an engine holds of {parts.base.name}.",
            "Lower rlhf.max_tokens, or leave long prompts out: `max_length` with `too_long: drop`.",
        )


def reward_of(parts: Parts, knobs: Rlhf, renderer: Renderer) -> Reward:
    """The recipe's scorer over ids."""
    if parts.guide is not None:
        check_judge(knobs.reward, parts.guide, parts.base.folder)
        return Judge(parts.guide, parts.cuda)
    scorer = scorers.scorer(knobs.reward)

    def reward(row: Tokens, answer: Sequence[int]) -> float:
        return scorer(row.facts["prompt"], renderer.decode(answer).strip(), row.facts)

    return reward


def check_judge(name: str, folder: Path, base: Path) -> None:
    """Raise `InputError` for what is no reward model, or reads other ids than the base writes."""
    architecture = (read_config(folder).get("architectures") or [None])[0]
    if not classifies(architecture) or read_labels(folder):
        raise InputError(
            f"{scorers.KEY}: {name} is no reward model.",
            f"It is a {architecture}; a reward model gives one score to a whole conversation.",
            "Train one on pairs with `method: reward`, and name that.",
        )
    same = same_tokens(folder, base)
    if not same or read_template(folder) != read_template(base):
        raise InputError(
            f"{scorers.KEY}: {name} reads texts in another way than the base that is trained.",
            f"Its {'chat template' if same else 'tokenizer'} is another one: its ids mean other words.",
            "Train the reward model on the same base: `method: reward`.",
        )
