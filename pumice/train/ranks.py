"""Several processes that train one model: each computes its share of a step's batches, and all gradients are added up.

A step is a sum over its batches, whoever computes them: any number of processes makes the steps of one. Neither
transformers nor accelerate knows of it, so nothing else is different. In a process that is alone it does nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pumice.errors import StoppedError, UnavailableError
from pumice.store.files import write_atomic
from pumice.train import checkpoints
from pumice.train.recipe import Recipe
from pumice.train.trainers import Ours

TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""What torchrun tells a process."""
PATIENCE = timedelta(minutes=30)
"""How long one waits for the others; a large checkpoint takes minutes."""
BUCKET = 2**24
"""Numbers that travel at once, of 4 bytes."""
CHUNK = 2**26
"""Bytes of a file that travel at once."""


@contextmanager
def joined() -> Iterator[None]:
    """Within the block this is one of the processes that torchrun has started; done or stopped, they leave together.

    What torchrun told goes: by it accelerate would wrap the model in its own way.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    for name in TOLD:
        os.environ.pop(name, None)
    try:
        yield
    except StoppedError:
        leave()
        raise
    leave()


def leave() -> None:
    """Wait for the others: the machine of one that ends early may be taken away from it."""
    wished(False)
    dist.destroy_process_group()


def count() -> int:
    """How many processes train."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this is the one that writes and tells."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wished(here: bool) -> bool:
    """Whether any process wishes so. All must ask at the same place."""
    if not dist.is_initialized():
        return here
    told = torch.tensor(int(here))
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def of_first(value: Any) -> Any:
    """What the first one has."""
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def agree(what: str, value: object) -> None:
    """Raise `UnavailableError` unless all have the same."""
    held: list[object] = [None] * count()
    dist.all_gather_object(held, value)
    if strange := [at for at, each in enumerate(held) if each != held[0]]:
        raise UnavailableError(
            f"Process {strange[0]} of {count()} has other {what} than the first.",
            "They train one model, so they must read and hold the same.",
            "Give all machines the same files and the same Pumice, and start it again.",
        )


class Share:
    """This process's part of each of a trainer's steps."""

    def __init__(self, trainer: Ours, seed: int) -> None:
        self.trainer, self.seed = trainer, seed
        self.collect, self.train = trainer.get_batch_samples, trainer.training_step
        self.at = self.batches = 0
        self.loss = torch.zeros(())
        trainer.get_batch_samples, trainer.training_step = self.collected, self.step  # type: ignore

    def collected(self, *given: Any) -> Any:
        """The batches of a step: all of them, so that labels are counted over the whole step."""
        found, labels = self.collect(*given)
        self.at, self.batches, self.loss = 0, len(found), torch.zeros((), device=self.trainer.args.device)
        return found, labels

    def step(self, model: Any, inputs: dict[str, Any], labels: Tensor | int | None = None) -> Tensor:
        """Train on a batch if it is ours; with the step's last one, the loss and the gradients of all."""
        if self.at == self.batches:
            # A rehearsal, which is each one's own.
            return self.train(model, inputs, labels)
        if self.at % count() == dist.get_rank():
            # Dropout follows from the batch, not from who computes it, nor from where a run went on.
            chance = random.Random(f"{self.seed} {self.trainer.state.global_step} {self.at}")
            with torch.random.fork_rng():
                torch.manual_seed(chance.getrandbits(63))
                self.loss += self.train(model, inputs, labels)
        self.at += 1
        if self.at < self.batches:
            return torch.zeros_like(self.loss)
        add_up(each for each in model.parameters() if each.requires_grad)
        if self.trainer.metrics:
            gather(self.trainer)
        dist.all_reduce(self.loss)
        return self.loss


def share(trainer: Ours, recipe: Recipe) -> None:
    """Let a trainer compute its share of each step, from the same weights as all."""
    if not dist.is_initialized():
        return
    for each in trained(trainer):
        dist.broadcast(each.data, 0)
    Share(trainer, recipe.seed)


def trained(trainer: Ours) -> Iterator[torch.nn.Parameter]:
    """The numbers that change."""
    assert isinstance(trainer.model, torch.nn.Module)
    return (each for each in trainer.model.parameters() if each.requires_grad)


def add_up(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Each gradient becomes its sum over all processes, in 32 bits; one that a process does not have is 0 there."""
    for bucket in buckets(parameters):
        flat = torch.cat(
            [(torch.zeros_like(each) if each.grad is None else each.grad).float().flatten() for each in bucket]
        )
        dist.all_reduce(flat)
        for each, piece in zip(bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True):
            each.grad = piece.view_as(each).to(each.dtype)


def buckets(parameters: Iterable[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """In their order, each of about `BUCKET` numbers."""
    held: list[torch.nn.Parameter] = []
    for each in parameters:
        held.append(each)
        if sum(one.numel() for one in held) >= BUCKET:
            yield held
            held = []
    if held:
        yield held


def gather(trainer: Any) -> None:
    """What the trainer noted of the step's rows becomes what all noted, before it tells their mean."""
    noted = trainer._metrics["train"]
    held: list[dict[str, list[float]]] = [{} for _ in range(count())]
    dist.all_gather_object(held, dict(noted))
    for name in {name for each in held for name in each}:
        noted[name] = [value for each in held for value in each.get(name, [])]


def check_equal(trainer: Ours) -> None:
    """Raise `UnavailableError` unless all processes hold the same weights."""
    if dist.is_initialized():
        made = hashlib.sha256()
        for each in trained(trainer):
            made.update(each.detach().float().cpu().numpy().tobytes())
        agree("weights", made.hexdigest())


def hand_out(known: Path, here: Path) -> None:
    """Put the first one's newest checkpoint into the folder `here` of every other process.

    The first has it in `known`, where other machines may have been given the same: then a link is enough.
    """
    found = checkpoints.newest(known, lambda _: None) if first() else None
    name, mark = of_first((found.name, (found / checkpoints.MARK).read_text()) if found else ("", ""))
    if not name:
        return
    copy, target = known / name, here / name
    has = first() or (checkpoints.is_whole(copy) and (copy / checkpoints.MARK).read_text() == mark)
    if not first():
        here.mkdir(parents=True, exist_ok=True)
        if has:
            target.symlink_to(copy, target_is_directory=True)
    if wished(not has):
        send(found, None if has else target, json.loads(mark))
    if not has:
        write_atomic(target / checkpoints.MARK, mark)


def send(source: Path | None, target: Path | None, sizes: Mapping[str, int]) -> None:
    """The files of the first one's `source`, by name, written to `target` where that is given."""
    for name, size in sizes.items():
        if target:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
        path = source or target
        with Path(path / name if path else os.devnull).open("rb" if source else "wb") as file:
            for start in range(0, size, CHUNK):
                length = min(CHUNK, size - start)
                piece = bytearray(file.read(length) if source else length)
                dist.broadcast(torch.frombuffer(piece, dtype=torch.uint8), 0)
                if not source:
                    file.write(piece)
