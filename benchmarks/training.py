"""How fast, and in how much memory, Pumice trains beside TRL and LLaMA-Factory: same rows in the same order, same base.

    python -m benchmarks.training [--data FILE] [--base FOLDER] [--runs 3] [--pairs 7] [--peers trl,trl_best]

A run is Pumice and one peer, each a process that loads once and then does a step whenever it is its turn; the other
waits and takes no core. Tokens are those of the rows, never padding. The first step of each is not counted. Without
`--data` the rows are made up: questions of 20 words and answers of 10 to 150.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.pairs import Figure, in_turns, median, ratio
from benchmarks.performance import ROOT, Claim, Part, Row, record
from pumice.bases import resolve
from pumice.config import read_environment
from pumice.data.checks import load
from pumice.data.render import Renderer
from pumice.records import Example, Tokens
from pumice.train import sizes

_TEXT = (
    "the base of a model is what it was before and after training it answers as your data says so that people who ask "
    "about invoices refunds orders delivery warranty or the colour of a door get one short and true answer every time"
)
WORDS = _TEXT.split()
BATCH, R, LENGTH, RATE = 8, 16, 1024, 5e-4
JUDGED = 24
"""Rows that nobody trains on, on which the losses of the adapters are compared."""
ENVIRONMENT = ROOT / ".bench" / "llamafactory"
LOGS = ROOT / ".bench" / "logs"
TORCH = "2.13.0"
"""Named first and again with the peer, so that pip keeps this machine's build of it."""
FACTORY = "llamafactory==0.9.5"


@dataclass(frozen=True)
class Peer:
    """Another trainer."""

    name: str
    module: str
    """In `benchmarks.sides`."""
    settings: Mapping[str, Any]
    """Beside rows, batch, LoRA, length, rate and seed."""
    note: str
    own: Path | None = None
    """Its environment; without one, ours."""
    more: int = 0
    """Tokens that it adds to each row."""


BEST = {
    "gradient_checkpointing": False,
    "padding_free": True,
    "max_length": None,
    # What is padding is otherwise told by its id, which is that of the end of a turn.
    "include_num_input_tokens_seen": "all",
}
"""Found by trying, on two cores with AVX-512 and its bf16."""
PEERS = {
    "trl": Peer("TRL, its defaults", "trl", {}, "only batch size, LoRA, length, learning rate and seed are set"),
    "trl_best": Peer(
        "TRL, its best on a CPU",
        "trl",
        BEST,
        "`gradient_checkpointing: false`, `padding_free: true` (with `max_length` off; no row is longer), `bf16` as it "
        "comes. Padding-free pays most, then bf16 where the processor has it; packing changes which rows are a step; "
        "Liger's kernels and FlashAttention need a GPU",
    ),
    "llamafactory": Peer(
        "LLaMA-Factory",
        "llamafactory",
        {},
        f"{FACTORY} in an environment of its own, its defaults, template `smollm2`; that trains on a line's end after "
        "each answer, too: one token a row more, which is counted for it",
        ENVIRONMENT,
        more=1,
    ),
}


@dataclass
class Side:
    """What one side measured, run after run."""

    tokens: list[float] = field(default_factory=list)
    """Of each step."""
    rates: list[float] = field(default_factory=list)
    """Tokens a second of each step."""
    peaks: list[float] = field(default_factory=list)
    """Bytes, of each run."""
    losses: list[float] = field(default_factory=list)
    """Of each run's adapter, on rows that nobody trained on."""


@dataclass
class Meeting:
    """Pumice and a peer, and what the machine could do meanwhile."""

    ours: Side = field(default_factory=Side)
    theirs: Side = field(default_factory=Side)
    done: list[float] = field(default_factory=list)
    """Operations a second that each of Pumice's steps must have done."""
    possible: list[float] = field(default_factory=list)
    """Operations a second of torch's product of fp32 matrices, in the same round."""
    onednn: list[float] = field(default_factory=list)
    """The same by oneDNN."""


class Failed(Exception):
    """A side could not be run."""


def measure(
    data: Path | None = None,
    base: Path | None = None,
    runs: int = 3,
    pairs: int = 7,
    peers: Sequence[str] = tuple(PEERS),
) -> Part:
    """Pumice with each peer in turn, `runs` times `pairs` counted steps."""
    folder = base or resolve.resolve(resolve.DEFAULT, read_environment().home).folder
    found: dict[str, Meeting] = {}
    notes = []
    with tempfile.TemporaryDirectory() as place:
        count = BATCH * (pairs + 1)
        examples = fitting(data or made_up(Path(place) / "made-up.jsonl", count + JUDGED), folder)
        for name in peers:
            peer = PEERS[name]
            try:
                prepare(peer)
                found[name] = meet(peer, examples, folder, runs, pairs)
                (LOGS / f"training-{name}.json").write_text(json.dumps(asdict(found[name]), indent=1), "utf-8")
                notes.append(f"{peer.name}: {peer.note}.")
            except Failed as error:
                notes.append(f"The run beside {peer.name} failed: {error}")
    how = (
        f"LoRA r={R} on every linear layer of `{folder.name}`, {BATCH} rows a step, length {LENGTH}; the same seed, "
        f"rows and order for both, on {data.name if data else 'made-up rows'}. {runs} runs of {pairs} counted steps "
        "with each peer; the sides take turns step by step. Tokens are those of the rows. Memory is the most that the "
        f"process held. Losses are those of the adapters, by one function on {JUDGED} rows that none was trained on."
    )
    return Part(how, table(found), claims(found, runs), [*notes, *explained(found)])


def fitting(path: Path, base: Path) -> list[Example]:
    """The rows that no side would have to cut."""
    renderer = Renderer(base)
    return [example for example in load(path).examples if len(renderer.train(example).ids) <= LENGTH]


def made_up(path: Path, rows: int) -> Path:
    """Questions and answers of random words."""
    dice = random.Random(0)
    with path.open("w") as file:
        for _ in range(rows):
            question, answer = dice.choices(WORDS, k=20), dice.choices(WORDS, k=dice.randrange(10, 150))
            file.write(json.dumps({"prompt": " ".join(question), "completion": " ".join(answer)}) + "\n")
    return path


def prepare(peer: Peer) -> None:
    """Make the peer's environment, if it needs one and there is none. Raises `Failed` with pip's last lines."""
    if peer.own is None or (peer.own / "ready").exists():
        return
    python = str(peer.own / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"torch=={TORCH}"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(peer.own)], install, [*install, FACTORY]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(" ".join(done.stderr.splitlines()[-3:]))
    # PyPI's builds of these two want CUDA's libraries, also beside a torch without them. Rows of text need neither.
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    if subprocess.run([python, "-c", "import torchaudio"], capture_output=True).returncode:
        for compiled in peer.own.glob("lib/python*/site-packages/torchaudio/lib"):
            shutil.rmtree(compiled)
    (peer.own / "ready").touch()


def meet(peer: Peer, examples: Sequence[Example], base: Path, runs: int, pairs: int) -> Meeting:
    """All runs of Pumice with one peer."""
    meeting = Meeting()
    steps, renderer = pairs + 1, Renderer(base)
    for seed in range(runs):
        chosen = list(islice(cycle(examples), seed * BATCH * steps, (seed + 1) * BATCH * steps + JUDGED))
        with tempfile.TemporaryDirectory() as place:
            trained = write_rows(Path(place), chosen[:-JUDGED])
            shared = {"base": str(base), "rows": str(trained), "steps": steps, "batch": BATCH, "r": R}
            shared |= {"length": LENGTH, "rate": RATE, "seed": seed}
            ours = {**shared, "out": str(Path(place) / "ours")}
            theirs = {**shared, "out": str(Path(place) / "theirs"), "settings": peer.settings}
            adapters = take_turns(meeting, peer, ours, theirs, pairs)
            judged = [renderer.train(example) for example in chosen[-JUDGED:]]
            losses = judge(base, judged, adapters, Path(place))
        for side, loss in zip((meeting.ours, meeting.theirs), losses, strict=True):
            side.losses.append(loss)
    return meeting


def write_rows(folder: Path, examples: Sequence[Example]) -> Path:
    """The rows as every side reads them: chats, one a line."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": list(one.messages)}) + "\n" for one in examples), "utf-8")
    return path


def take_turns(
    meeting: Meeting, peer: Peer, ours: Mapping[str, Any], theirs: Mapping[str, Any], pairs: int
) -> list[str]:
    """One run; returns the adapters, ours first. Raises `Failed` when the sides did not train on the same rows."""
    python = sys.executable if peer.own is None else str(peer.own / "bin" / "python")
    with ExitStack() as stack:
        product = stack.enter_context(child(sys.executable, "product", str(sizes.cores())))
        sides = {
            "ours": stack.enter_context(child(sys.executable, "pumice", json.dumps(ours))),
            "theirs": stack.enter_context(child(python, peer.module, json.dumps(theirs))),
        }
        for side in (product, *sides.values()):
            side.hear()
        asked = {"product": product.turn, **{name: side.turn for name, side in sides.items()}}
        found = in_turns(asked, pairs)
        mine, other = found["ours"], found["theirs"]
        if [tokens + peer.more * BATCH for tokens in mine["tokens"]] != other["tokens"]:
            raise Failed(f"its steps had {other['tokens']} tokens, Pumice's {mine['tokens']}")
        for measured, told in ((meeting.ours, mine), (meeting.theirs, other)):
            measured.tokens += told["tokens"]
            measured.rates += [
                tokens / seconds for tokens, seconds in zip(told["tokens"], told["seconds"], strict=True)
            ]
            measured.peaks.append(max(told["peak"]))
        meeting.done += [flops / seconds for flops, seconds in zip(mine["flops"], mine["seconds"], strict=True)]
        meeting.possible += found["product"]["rate"]
        meeting.onednn += found["product"]["onednn"]
        return [str(side.turn()["adapter"]) for side in sides.values()]


@dataclass(frozen=True)
class Child:
    """The parent's end of `benchmarks.sides.gate`."""

    process: subprocess.Popen[str]
    log: Path

    def turn(self) -> dict[str, Any]:
        """Let it do one step, or after the last what remains; what it told of it."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises `Failed` with the last lines of its log when it has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            last = " ".join(self.log.read_text("utf-8", errors="replace").split("\n")[-4:]).strip()
            raise Failed(f"{self.log.stem} ended: {last}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def child(python: str, module: str, order: str) -> Iterator[Child]:
    """A side's process, to the end of the block."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{module}.log"
    quiet = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, "-m", f"benchmarks.sides.{module}", order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=quiet,
            text=True,
        )
        try:
            yield Child(process, log)
        finally:
            process.kill()
            process.communicate()


def judge(base: Path, rows: Sequence[Tokens], adapters: Sequence[str], folder: Path) -> list[float]:
    """The loss of each adapter on the same rows, by the same function."""
    path = folder / "judged.json"
    path.write_text(json.dumps([[row.ids, row.labels] for row in rows]))
    command = [sys.executable, "-m", "benchmarks.sides.judge", str(base), str(path), *adapters]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: Mapping[str, Meeting]) -> list[Row]:
    """Pumice of the first meeting, and every peer."""

    def row(name: str, side: Side) -> Row:
        peaks = median([each / 1e9 for each in side.peaks])
        return Row(name, {"tokens/s": median(side.rates), "peak GB": peaks, "loss": median(side.losses)})

    meetings = list(found.items())
    ours = [row("Pumice", meetings[0][1].ours)] if meetings else []
    return [*ours, *(row(PEERS[name].name, meeting.theirs) for name, meeting in meetings)]


def claims(found: Mapping[str, Meeting], runs: int) -> list[Claim]:
    """Ratios to each peer, and how much of what the machine can do is used."""
    made = []
    for name, meeting in found.items():
        ours, theirs, peer = meeting.ours, meeting.theirs, PEERS[name].name
        first = name == "trl"
        made += [
            Claim(
                f"tokens/s, divided by those of {peer}",
                ratio(ours.rates, theirs.rates),
                len(ours.rates),
                goal=3.5 if first else None,
                peer=peer,
                key="training.speed_ratio" if first else None,
            ),
            Claim(
                f"peak memory, divided by that of {peer}",
                ratio(ours.peaks, theirs.peaks),
                runs,
                more=False,
                goal=0.4 if first else None,
                peer=peer,
                key="training.memory_ratio" if first else None,
            ),
            Claim(f"loss, how far from that of {peer}", apart(ours, theirs), runs, more=False, goal=0.01),
        ]
    if found:
        done = [each for meeting in found.values() for each in meeting.done]
        possible = [each for meeting in found.values() for each in meeting.possible]
        peak = ratio(done, possible)
        what = "operations a second, divided by those of torch's fp32 matrix product"
        made.append(Claim(what, peak, len(done), goal=0.7, key="training.peak_fraction"))
        other = ratio(done, [each for meeting in found.values() for each in meeting.onednn])
        made.append(Claim("the same, divided by those of oneDNN's", other, len(done)))
    return made


def apart(ours: Side, theirs: Side) -> Figure:
    """How far the losses are from each other, as a part of theirs."""
    return median([abs(one - other) / other for one, other in zip(ours.losses, theirs.losses, strict=True)])


def explained(found: Mapping[str, Meeting]) -> list[str]:
    """What the fraction of the matrix product means, with the product itself."""
    possible = [each / 1e9 for meeting in found.values() for each in meeting.possible]
    if not possible:
        return []
    other = [each / 1e9 for meeting in found.values() for each in meeting.onednn]
    return [
        f"The matrix product: 2048 x 2048 by 2048 x 2048 in fp32 with every core, {median(possible)} GFLOP/s as torch "
        f"comes, {median(other)} by oneDNN, between the steps. What a step must compute is counted in "
        "`benchmarks/flops.py`: products alone, with attention to what lies before, the head only where a label is, "
        "and nothing twice."
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="question and answer rows; by default made up")
    parser.add_argument("--base", type=Path, help="a base model's folder; by default the default base")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=7, help="counted steps of each side in a run")
    parser.add_argument("--peers", default=",".join(PEERS), help="names, with commas between them")
    given = parser.parse_args()
    record("training", measure(given.data, given.base, given.runs, given.pairs, given.peers.split(",")))
