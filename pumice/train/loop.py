"""The only training loop: rows of ids in, an artifact folder out, through any kill and resume to the same weights.

Knows neither text nor templates; what differs between methods is in `methods/` and `trainers/`.
"""

from __future__ import annotations

import logging
import math
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, PromptLearningConfig
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback

from pumice.data.token_rows import Rows
from pumice.engine.adapter import CONFIG, WEIGHTS
from pumice.errors import InputError, PumiceError, StoppedError
from pumice.records import Base, Event, Tell, Tokens
from pumice.train import artifact, checkpoints, ranks, sizes, validation
from pumice.train.fast import kernels
from pumice.train.methods import field
from pumice.train.recipe import Recipe
from pumice.train.switches import choose
from pumice.train.trainers import Ours, Parts, build_trainer

SECONDS_BETWEEN_SAVES = 30.0
# Saving takes at most a twentieth of the time.
SAVE_SHARE = 0.05


def train(
    recipe: Recipe,
    base: Base,
    rows: Sequence[Tokens],
    folder: Path,
    tell: Tell,
    should_stop: Callable[[], bool],
    start_adapter: Path | None = None,
    guide: Path | None = None,
    unseen: Sequence[Tokens] = (),
) -> Path:
    """Train a resolved recipe and return `folder/artifact`, at once if it is there already.

    `guide` is the folder of the other model that the method asks: a teacher, a reward model. The loss of the rows in
    `unseen`, which are not trained on, is told now and then.

    Checkpoints lie in `folder/checkpoints`; a second call goes on from the newest whole one and ends with the same
    weights as an uninterrupted run. Raises `StoppedError` after a checkpoint when `should_stop` says so, `InputError`
    for rows, values or adapters that cannot train, `PumiceError` when memory runs out.
    """
    target, saves = folder / "artifact", folder / "checkpoints"
    if not target.exists():
        rows = Rows.of(rows)
        check_rows(rows)
        if start_adapter is not None:
            artifact.check_adapter(start_adapter, recipe, base)
        prepare_machine()
        saves.mkdir(parents=True, exist_ok=True)
        with memory_errors(recipe), kernels.onednn(recipe.fast and not torch.cuda.is_available()):
            trainer = build(recipe, base, rows, saves, start_adapter, tell, guide)
            ranks.share(trainer, recipe)
            looked_at = validation.chosen(Rows.of(unseen if trainer.has_loss else ()), rows)
            watch = Watch(trainer, recipe, rows, looked_at, tell, should_stop)
            run(trainer, checkpoints.newest(saves, tell), watch)
            ranks.check_equal(trainer)
        made = recipe if start_adapter is None else as_trained(recipe, trainer.model)
        if ranks.first():
            save(trainer.model, made, base, target)
    shutil.rmtree(saves, ignore_errors=True)
    return target


def check_rows(rows: Rows) -> None:
    """Every row has something to learn. Raises `InputError` with the first that has nothing."""
    if not rows:
        raise InputError("There are no rows to train on.", fix="Give a data file with at least one row.")
    # The first token has nothing before it to be predicted from. Without labels, something else is learned.
    if len(rows.empty):
        at = int(rows.empty[0])
        raise InputError(
            f"Row {at + 1} trains on nothing: none of its {len(rows[at].ids)} tokens is an answer.",
            "Every row must have at least one token to learn.",
            "Give that row an answer, or leave it out; `pumice check` shows which tokens are trained.",
        )


def prepare_machine() -> None:
    """One thread a physical core, no slow denormals, one GPU, and silence from libraries that print by themselves."""
    if torch.cuda.device_count() > 1:
        raise InputError(
            f"{torch.cuda.device_count()} GPUs are visible, and training uses one.",
            fix="Set CUDA_VISIBLE_DEVICES to the number of one of them; `pumice doctor` lists them.",
        )
    torch.set_num_threads(min(torch.get_num_threads(), sizes.cores()))
    torch.set_flush_denormal(True)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)


def build(
    recipe: Recipe,
    base: Base,
    rows: Sequence[Tokens],
    saves: Path,
    start_adapter: Path | None,
    tell: Tell,
    guide: Path | None = None,
) -> Ours:
    """The method's trainer on this machine, and the numbers that are due before the start."""
    rows = Rows.of(rows)
    total, trained = int(rows.sizes.sum()), int(rows.trained.sum())
    text = f"{trained:,} of {total:,} tokens in {len(rows):,} rows are trained on."
    if not rows.labelled.any():
        text = f"{len(rows):,} rows of {total:,} tokens are read."
    tell(Event("note", {"text": text, "trained_tokens": trained, "total_tokens": total}))
    cuda = torch.cuda.is_available()
    estimate = sizes.estimate(recipe, base, total, int(rows.sizes.max()), cuda)
    free = sizes.machine().available(cuda)
    numbers = {"memory_bytes": estimate.memory_bytes, "seconds": estimate.seconds}
    tell(Event("note", {"text": f"Estimate: {estimate}", **numbers}))
    if estimate.gradient_checkpointing:
        tell(Event("note", {"text": "Memory is short: activations are computed twice. Slower, with the same result."}))
    if estimate.memory_bytes > free:
        text = f"Only {free / 1e9:.1f} GB of memory are free; a smaller batch_size needs less."
        tell(Event("note", {"text": text}))
    switches = choose(recipe, cuda, estimate.gradient_checkpointing)
    parts = Parts(
        recipe=recipe,
        base=base,
        tokenizer=AutoTokenizer.from_pretrained(base.folder, local_files_only=True),
        rows=rows,
        arguments={
            "output_dir": str(saves),
            "num_train_epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": recipe.warmup_steps,
            "per_device_train_batch_size": recipe.batch_size,
            "gradient_accumulation_steps": recipe.gradient_accumulation,
            "seed": recipe.seed,
            "data_seed": recipe.seed,
            "use_cpu": not cuda,
            "bf16": switches.bf16.on,
            "use_liger_kernel": switches.liger.on,
            "activation_checkpointing": switches.checkpointing.on,
            "dataloader_pin_memory": cuda,
            "save_strategy": "no",
            "save_total_limit": 2,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "disable_tqdm": True,
            "report_to": "none",
        },
        cuda=cuda,
        adapter=start_adapter,
        guide=guide,
        tell=tell,
        switches=switches,
    )
    transformers.set_seed(recipe.seed)
    trainer = build_trainer(parts)
    trainer.remove_callback(PrinterCallback)
    return trainer


def run(trainer: Ours, checkpoint: Path | None, watch: Watch) -> None:
    """Train to the end. Raises `StoppedError` when asked to stop before."""
    if checkpoint is not None:
        watch.tell(Event("note", {"text": f"Goes on from {checkpoint.name}."}))
    trainer.add_callback(watch)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if watch.stopped:
        raise StoppedError(
            f"Training stopped at step {trainer.state.global_step} of {trainer.state.max_steps}.",
            "Everything up to there is kept in a checkpoint.",
            "`pumice jobs resume` goes on from there.",
        )


class Watch(TrainerCallback):
    """Rehearses, tells each step, decides when to save, and stops when asked."""

    def __init__(
        self,
        trainer: Ours,
        recipe: Recipe,
        rows: Rows,
        unseen: Rows,
        tell: Tell,
        should_stop: Callable[[], bool],
    ) -> None:
        self.trainer, self.recipe, self.rows, self.tell, self.should_stop = trainer, recipe, rows, tell, should_stop
        self.unseen, self.looks = unseen, frozenset[int]()
        self.started = self.saved = self.save_began = time.monotonic()
        self.save_seconds = 0.0
        self.stopped = False
        self.first_step = self.first_tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.recipe.epochs is not None
        self.looks = validation.steps_of(state.max_steps, self.recipe.epochs, self.unseen, self.rows)
        if state.global_step == 0:
            self.save_seconds = rehearse(self.trainer, self.recipe, self.rows, self.tell)
            if self.unseen:
                self.look(state)
        self.first_step, self.first_tokens = state.global_step, state.num_input_tokens_seen
        self.started = self.saved = time.monotonic()

    def look(self, state: Any) -> None:
        """Tell the loss of the rows that are not trained on."""
        assert self.recipe.batch_size is not None and isinstance(self.trainer.model, torch.nn.Module)
        with undisturbed(self.trainer.model):
            loss = self.trainer.loss_of(self.unseen, self.recipe.batch_size)
        data = {"step": state.global_step, "steps": state.max_steps, "validation_loss": loss, "rows": len(self.unseen)}
        self.tell(Event("validation", data))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in self.looks:
            self.look(state)
        now = time.monotonic()
        if self.recipe.save_steps is not None:
            due = state.global_step % self.recipe.save_steps == 0
        else:
            due = now - self.saved >= max(SECONDS_BETWEEN_SAVES, self.save_seconds / SAVE_SHARE)
        last = state.global_step >= state.max_steps
        if not last and ranks.wished(self.should_stop()):
            self.stopped = control.should_training_stop = due = True
        control.should_save = due and not last and ranks.first()
        self.save_began = now

    def on_log(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        logs: dict[str, float] = told["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"The loss became {logs['loss']} at step {state.global_step}.",
                f"learning_rate = {self.recipe.learning_rate:g} is too high for this data.",
                "Lower learning_rate, to a third for example.",
            )
        seconds = max(time.monotonic() - self.started, 1e-9)
        done = state.global_step - self.first_step
        data = {
            "step": state.global_step,
            "steps": state.max_steps,
            "epoch": round(state.epoch, 3),
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "tokens": state.num_input_tokens_seen,
            "tokens_per_second": (state.num_input_tokens_seen - self.first_tokens) / seconds,
            "seconds_left": seconds / done * (state.max_steps - state.global_step),
            "metrics": {name: value for name, value in logs.items() if name in self.trainer.metrics},
        }
        self.tell(Event("step", data))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoints.mark(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self.saved = time.monotonic()
        self.save_seconds = self.saved - self.save_began
        self.tell(Event("checkpoint", {"step": state.global_step}))


def rehearse(trainer: Ours, recipe: Recipe, rows: Rows, tell: Tell) -> float:
    """Run the longest batch, one evaluation and one save, and leave no trace. Returns the seconds that a save takes."""
    model, began = trainer.model, time.monotonic()
    assert isinstance(model, torch.nn.Module)
    longest = rows.select(np.argsort(-rows.sizes, kind="stable")[: recipe.batch_size])
    with undisturbed(model):
        # The optimizer keeps two numbers for each trained one; they must fit beside the longest batch.
        reserve = [torch.ones_like(one) for one in model.parameters() if one.requires_grad for _ in range(2)]
        tokens = trainer.try_step(longest)
        step_seconds = time.monotonic() - began
        del reserve
        if trainer.has_loss:
            trainer.loss_of(longest, len(longest))
        trainer.forget()
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=trainer.args.output_dir, prefix="rehearsal-") as place:
            kept, trainer.args.output_dir = trainer.args.output_dir, place
            try:
                trainer._save_checkpoint(model, None)
                checkpoints.mark(Path(place) / f"checkpoint-{trainer.state.global_step}")
            finally:
                trainer.args.output_dir = kept
        save_seconds = time.monotonic() - began
    done = f"the longest batch ({tokens:,} tokens) in {step_seconds:.1f} s"
    text = f"Rehearsed: {done}, {peak_memory() / 1e9:.1f} GB at most; a save in {save_seconds:.1f} s."
    tell(Event("note", {"text": text, "peak_memory_bytes": peak_memory()}))
    return save_seconds


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Random numbers and gradients are afterwards as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def peak_memory() -> int:
    """Bytes: of the GPU when there is one, else of this process since it began."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def memory_errors(recipe: Recipe) -> Iterator[None]:
    """Running out of memory, in words that help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not out:
            raise
        raise PumiceError(
            "Memory ran out while training.",
            f"batch_size is {recipe.batch_size} and max_length {recipe.max_length}; both decide how much a step needs.",
            "Halve batch_size and double gradient_accumulation: the result stays the same. Or lower max_length.",
        ) from error


def as_trained(recipe: Recipe, model: Any) -> Recipe:
    """The recipe with the knobs that the adapter, whose training went on, brought with it."""
    config = model.peft_config["default"]
    brought: dict[str, Any] = {}
    if isinstance(config, LoraConfig):
        brought = {"r": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
        if isinstance(config.target_modules, set):
            brought["targets"] = tuple(sorted(config.target_modules))
    elif isinstance(config, PromptLearningConfig):
        brought = {"tokens": config.num_virtual_tokens}
    return recipe.model_copy(update={field(recipe.way): recipe.weights.model_copy(update=brought)})


def folded(model: Any) -> Any:
    """The whole model, without an adapter; the sums are made at full precision."""
    return model.float().merge_and_unload() if isinstance(model, PeftModel) else model


def save(model: Any, recipe: Recipe, base: Base, target: Path) -> None:
    """Write the artifact so that `target` exists only whole."""
    unfinished = target.with_name("artifact.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if recipe.knobs.classifier:
        model = folded(model)
    if isinstance(model, PeftModel):
        config = model.peft_config["default"]
        config.base_model_name_or_path = base.name
        for key, value in vars(config).items():
            # The order of a set changes from process to process.
            if isinstance(value, set):
                setattr(config, key, sorted(value))
        # Left to itself, peft saves a reference as well, and asks the hub whether the vocabulary has grown.
        model.save_pretrained(str(unfinished), selected_adapters=["default"], save_embedding_layers=False)
        for path in unfinished.iterdir():
            # Neither peft's card nor the network of p-tuning, which has done its work.
            if path.name not in (CONFIG, WEIGHTS):
                path.unlink()
    else:
        model.save_pretrained(unfinished)
    artifact.describe(unfinished, recipe, base)
    unfinished.rename(target)
