"""How fast a large file is checked, tokenised and laid out for training, beside `tokenizers` alone and `datasets.map`.

    python -m benchmarks.data_path [--rows 1000000] [--data FILE] [--base FOLDER] [--rounds 20]

First a part of the file goes through all sides in turns, each in a process of its own, on every core. `tokenizers` and
`datasets.map` are given the rendered texts: they read, check, render, label and write no row. Then the whole file goes
through Pumice, beside a tenth of it to show that memory does not grow, and once more to show that it is known. Without
`--data` the rows are made up of words of the base's vocabulary, about as unequally often as in English.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import shutil
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.pairs import ROUNDS, in_turns, median, ratio
from benchmarks.performance import Claim, Part, Row, record
from pumice.bases import resolve
from pumice.bases.describe import read_template
from pumice.config import Home, read_environment
from pumice.data import checks
from pumice.data.render.template import PLAIN, compile_template
from pumice.data.render.tokenizer import read_names, read_tokenizer
from pumice.plan import Material, gather
from pumice.records import Base
from pumice.train.recipe import make_recipe

PART = 100_000
"""Rows of a turn."""
SIDES = ("pumice", "tokenizers", "datasets.map")


def measure(rows: int = 1_000_000, data: Path | None = None, base: Path | None = None, rounds: int = ROUNDS) -> Part:
    """All sides on a part of the rows, in turns, and the whole file through Pumice."""
    folder = base or resolve.resolve(resolve.DEFAULT, read_environment().home).folder
    with tempfile.TemporaryDirectory() as place:
        whole, tenth, part, texts = (Path(place) / f"{name}.jsonl" for name in ("whole", "tenth", "part", "texts"))
        write(whole, rows, folder, data)
        for target, count in ((tenth, rows // 10), (part, min(rows, PART))):
            with whole.open("rb") as file, target.open("wb") as few:
                few.writelines(itertools.islice(file, count))
        render(part, texts, folder)
        given = {"pumice": part, "tokenizers": texts, "datasets.map": texts}

        def side(name: str) -> Callable[[], dict[str, float]]:
            return lambda: child(name, given[name], folder, Path(place) / "home")

        turns = in_turns({name: side(name) for name in SIDES}, rounds)
        runs = {
            "a tenth of the rows": child("pumice", tenth, folder, Path(place) / "tenth"),
            "all rows": child("pumice", whole, folder, Path(place) / "again"),
            "all rows, a second time": child("again", whole, folder, Path(place) / "again"),
        }
    alone, tokens = turns["tokenizers"], turns["tokenizers"]["tokens"][0] / turns["tokenizers"]["rows"][0]
    table = [
        Row(
            name,
            {
                "rows/s": median(told["rate"]),
                "tokens/s": median([rate * tokens for rate in told["rate"]]),
                # What others take of the machine meanwhile changes this less.
                "of tokenizers, by CPU time": ratio(alone["cpu_seconds"], told["cpu_seconds"]),
            },
        )
        for name, told in turns.items()
    ]
    table += [
        Row(name, {"rows": f"{run['rows']:,.0f}", "s": f"{run['seconds']:.1f}", "peak MB": f"{run['peak_mb']:,.0f}"})
        for name, run in runs.items()
    ]
    share = ratio(turns["pumice"]["rate"], alone["rate"])
    how = (
        f"Check, render, label and tokenise {min(rows, PART):,} rows, each side in a process of its own on every core; "
        "`tokenizers` and `datasets.map` are given the rendered texts. Then all rows once; a second time they are "
        "known, and the seconds are those until the first batch is there."
    )
    model = f"The model of the second time was loaded in {runs['all rows, a second time']['model_seconds']:.1f} s."
    return Part(how, table, [Claim("rows/s beside tokenizers", share, rounds, goal=0.7, peer="tokenizers")], [model])


def write(path: Path, rows: int, base: Path, data: Path | None) -> None:
    """Rows of questions and answers; or those of `data` over and over, each with a number of its own."""
    if data:
        lines = data.read_bytes().splitlines()
        with path.open("w") as file:
            for number, line in zip(range(rows), itertools.cycle(lines), strict=False):
                row = json.loads(line)
                key = next(key for key, value in row.items() if isinstance(value, str))
                file.write(json.dumps(row | {key: f"{number}: {row[key]}"}) + "\n")
        return
    dice, known = random.Random(0), read_tokenizer(base).get_vocab()
    words = sorted(word[1:] for word in known if len(word) > 3 and word[1:].isascii() and word[1:].islower())
    dice.shuffle(words)
    # Zipf and Mandelbrot: the n-th word is about 1 / (n + 3) as frequent.
    weights = list(itertools.accumulate(1 / (place + 3) for place in range(len(words))))
    with path.open("w") as file:
        for _ in range(rows):
            answer = " ".join(sentence(dice, words, weights, ".") for _ in range(dice.randrange(1, 9)))
            file.write(json.dumps({"prompt": sentence(dice, words, weights, "?"), "completion": answer}) + "\n")


def sentence(dice: random.Random, words: list[str], weights: list[float], end: str) -> str:
    """A dozen words, some with a number or a name that no vocabulary has."""
    chosen = dice.choices(words, cum_weights=weights, k=dice.randrange(6, 22))
    if dice.random() < 0.3:
        chosen[dice.randrange(len(chosen))] = str(dice.randrange(10_000))
    if dice.random() < 0.4:
        chosen[dice.randrange(len(chosen))] = "".join(dice.choices(string.ascii_lowercase, k=dice.randrange(5, 11)))
    return " ".join([chosen[0].capitalize(), *chosen[1:]]) + end


def render(path: Path, target: Path, base: Path) -> None:
    """The texts that the rows of `path` are tokenised from, one JSON string a line."""
    text = compile_template(read_template(base) or PLAIN, read_names(base))
    with target.open("w") as file:
        for example in checks.load(path).examples:
            file.write(json.dumps(text(example.messages, (), False)) + "\n")


def child(name: str, path: Path, base: Path, home: Path) -> dict[str, float]:
    """What one side measures in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data_path", "--child", name, "--data", str(path), "--base", str(base)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "PUMICE_HOME": str(home)}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=quiet, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_child(name: str, path: Path, base: Path) -> dict[str, float]:
    """One side, here."""
    if name in ("pumice", "again"):
        found = with_pumice(path, base, read_environment().home, name == "again")
    else:
        texts = [json.loads(line) for line in path.open()]
        found = (with_tokenizers if name == "tokenizers" else with_datasets)(texts, base)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return found | {"rate": found["rows"] / found["seconds"], "peak_mb": peak / 1e3}


def with_pumice(path: Path, base: Path, home: Home, again: bool) -> dict[str, float]:
    """From the file to rows that training reads; `again`: those that are known, with their first batch."""
    described = resolve.describe(base, "base", f"folder:{base}")
    recipe = make_recipe({"data": str(path)})
    if not again:
        # Each turn anew.
        shutil.rmtree(home.cache, ignore_errors=True)
    if again:
        # What a job has loaded before its model is.
        import_module("pumice.train.loop")
    began, used = time.perf_counter(), cpu()
    material = gather(recipe, described, home)
    seconds = time.perf_counter() - began
    found = {"rows": float(len(material.dataset.examples)), "seconds": seconds, "cpu_seconds": cpu() - used}
    return found | (first_batch(material, described, began) if again else {})


def first_batch(material: Material, base: Base, began: float) -> dict[str, float]:
    """Seconds until the first batch is there, and those that loading the model takes."""
    from transformers import AutoModelForCausalLM

    from pumice.train import loop

    rows = material.rows.tokens
    loop.check_rows(rows)
    assert rows.trained.sum() and rows.labelled.all()
    batch = [rows[int(place)] for place in rows.sizes.argsort()[-8:]]
    seconds, began = time.perf_counter() - began, time.perf_counter()
    AutoModelForCausalLM.from_pretrained(base.folder, local_files_only=True)
    tokens = float(sum(row.size for row in batch))
    return {"seconds": seconds, "model_seconds": time.perf_counter() - began, "tokens": tokens}


def with_tokenizers(texts: list[str], base: Path) -> dict[str, float]:
    """The library alone, which shares a batch among the cores."""
    tokenizer, tokens = read_tokenizer(base), 0
    began, used = time.perf_counter(), cpu()
    for at in range(0, len(texts), 1000):
        found = tokenizer.encode_batch(texts[at : at + 1000], add_special_tokens=False)
        tokens += sum(map(len, found))
    seconds = time.perf_counter() - began
    return {"rows": len(texts), "seconds": seconds, "cpu_seconds": cpu() - used, "tokens": tokens}


def with_datasets(texts: list[str], base: Path) -> dict[str, float]:
    """As most trainers do it."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    tokenizer = read_tokenizer(base)

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        return {"ids": [each.ids for each in tokenizer.encode_batch(batch["text"], add_special_tokens=False)]}

    rows = Dataset.from_dict({"text": texts})
    began, used = time.perf_counter(), cpu()
    rows.map(encode, batched=True, num_proc=os.cpu_count(), remove_columns=["text"], load_from_cache_file=False)
    return {"rows": len(texts), "seconds": time.perf_counter() - began, "cpu_seconds": cpu() - used}


def cpu() -> float:
    """Seconds that this process and its ended children have computed, on all cores."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="rows to repeat; by default made up")
    parser.add_argument("--base", type=Path, help="a base model's folder; by default the default base")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", choices=(*SIDES, "again"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(run_child(given.child, given.data, given.base)))
    else:
        record("data_path", measure(given.rows, given.data, given.base, given.rounds))
