"""Checked rows become rows of tokens: a batch at a time, in a file's order, with every core that there is.

A large file's batches go to processes, as Python renders on one core only: each reads batches from its standard input
and ends when that does, so none outlives whoever started it. Knows no kind of data and no method.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import psutil
import pyarrow

from pumice.data.render import Renderer
from pumice.data.rows import Log
from pumice.data.token_rows import SCHEMA, Rows, batch_of
from pumice.data.window import TooLong, Treated, Window
from pumice.errors import InputError, PumiceError
from pumice.records import Example

LARGE = 32_000_000
"""Bytes of a file from which on processes are worth their start, which takes about a second."""
_ROWS, _CHARACTERS = 1000, 1_000_000
"""Of a batch, at most, but for a row that is longer by itself."""


@dataclass(frozen=True)
class Fitted:
    """The tokens of all rows, ready to train on."""

    tokens: Rows
    note: str
    """What was done to rows that were too long; "" when there were none."""


class _Settings(NamedTuple):
    """What decides how rows become tokens."""

    folder: Path
    """The base's."""
    max_length: int | None
    too_long: TooLong | None


class _Made(NamedTuple):
    """A batch's rows, as Arrow writes them, and what was done to them."""

    rows: bytes
    treated: Treated


def fit(
    examples: Iterable[Example],
    renderer: Renderer,
    max_length: int | None = None,
    too_long: TooLong | None = None,
    path: str = "the data",
    documents: Sequence[str] = (),
    target: Path | None = None,
    large: bool = False,
) -> Fitted:
    """Render all rows and treat those of more than `max_length` tokens (by default the window); written to `target`.

    Without a target they stay in memory; `large`: processes are worth their start. `documents` are their names, where
    each row is a whole one. Raises DataError naming the rows that may not be trained on, and InputError if no row is
    left.
    """
    log = Log(path)
    log.documents = documents
    settings = _Settings(renderer.folder, max_length, too_long)
    window = Window(renderer, max_length, too_long, log)
    kept: list[pyarrow.RecordBatch] = []
    seen = False

    def keep(made: _Made) -> pyarrow.RecordBatch:
        nonlocal seen
        seen = True
        window.add(made.treated)
        return pyarrow.ipc.read_record_batch(pyarrow.py_buffer(made.rows), SCHEMA)

    made = _by_processes(examples, settings) if large and _cores() > 1 else _here(examples, renderer, settings)
    if target is None:
        kept.extend(map(keep, made))
        rows = Rows(kept)
    else:
        with pyarrow.OSFile(str(target), "wb") as file, pyarrow.ipc.new_file(file, SCHEMA) as writer:
            for each in made:
                writer.write_batch(keep(each))
        rows = Rows.open(target)
    log.raise_errors()
    if seen and not rows:
        fix = "Choose a larger max_length, or another too_long."
        raise InputError(f"No row of {path} is left.", window.note(), fix)
    return Fitted(rows, window.note())


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += len(example.text or "") + sum(len(turn["content"]) for turn in example.messages)
        if len(batch) >= _ROWS or characters >= _CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _make(batch: Sequence[Example], renderer: Renderer, settings: _Settings) -> _Made:
    window = Window(renderer, settings.max_length, settings.too_long, Log(""))
    rows = batch_of(window.fit(batch))
    return _Made(rows.serialize().to_pybytes(), window.treated())


def _here(examples: Iterable[Example], renderer: Renderer, settings: _Settings) -> Iterator[_Made]:
    for batch in _batches(examples):
        yield _make(batch, renderer, settings)


def _by_processes(examples: Iterable[Example], settings: _Settings) -> Iterator[_Made]:
    """The batches in their order; no more of them are in memory than keep every process busy."""
    count = _cores()
    with _processes(count, settings) as ask, ThreadPoolExecutor(count) as threads:
        under_way: deque[Future[_Made]] = deque()
        for batch in _batches(examples):
            under_way.append(threads.submit(ask, batch))
            if len(under_way) > count + 1:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


@contextmanager
def _processes(count: int, settings: _Settings) -> Iterator[Callable[[list[Example]], _Made]]:
    """Started processes, and a function, for as many threads, that lets one of them make a batch."""
    command = [sys.executable, "-P", "-c", "from pumice.data.tokenise import serve; serve()"]
    # Each is one core's: the tokenizer's own threads would be in each other's way.
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    started: list[subprocess.Popen[bytes]] = []

    def ask(batch: list[Example]) -> _Made:
        process = free.get()
        assert process.stdin and process.stdout
        try:
            pickle.dump(batch, process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            made: _Made = pickle.load(process.stdout)
        except (OSError, EOFError) as error:
            raise PumiceError(
                f"A process that tokenises ended by itself, with code {process.wait()}.",
                "Most often the machine ran out of memory.",
                "Free some memory and start again.",
            ) from error
        finally:
            free.put(process)
        return made

    try:
        for _ in range(count):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            started.append(process)
            assert process.stdin
            pickle.dump(settings, process.stdin, pickle.HIGHEST_PROTOCOL)
            free.put(process)
        yield ask
    finally:
        for process in started:
            process.kill()
            process.communicate()


def serve() -> None:
    """What a process does: batches from its standard input, until no more come."""
    # Ctrl-C is for whoever started this: its input then ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given, told = sys.stdin.buffer, sys.stdout.buffer
    # There is little to find in so many small things.
    gc.set_threshold(50_000, 20, 100)
    settings: _Settings = pickle.load(given)
    renderer = Renderer(settings.folder)
    while True:
        try:
            batch = pickle.load(given)
        except EOFError:
            return
        pickle.dump(_make(batch, renderer, settings), told, pickle.HIGHEST_PROTOCOL)
        told.flush()


def _cores() -> int:
    """Cores that this process may use."""
    return len(psutil.Process().cpu_affinity()) if psutil.LINUX else os.cpu_count() or 1
