"""What is refused when a job is planned, and when its plan is read again: nothing is trained for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pumice import plan
from pumice.bases import resolve
from pumice.config import Home, Serving
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.records import Base, Model
from pumice.registry.models import Registry
from pumice.registry.start import as_base
from pumice.store.tables import open_database
from pumice.train.recipe import Recipe, make_recipe


@pytest.mark.parametrize(
    ("values", "sentence", "fix"),
    [
        ({"prompt": {"tokens": 9000}}, "prompt.tokens = 9,000 leaves 0 tokens of the window", "Choose fewer."),
        ({"max_length": 512}, "prompt.tokens = 20 leaves 492 tokens of the window", "a max_length of at most 492"),
    ],
)
def test_what_stands_in_front_needs_room(tiny: Base, values: dict[str, object], sentence: str, fix: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        plan.limit_of(make_recipe({"data": "x", "method": "prompt", **values}), tiny)
    assert fix in caught.value.fix


def test_room_is_the_window_without_what_stands_in_front(tiny: Base) -> None:
    limits = [
        plan.limit_of(make_recipe({"data": "x", "method": method, **values}), tiny)
        for method, values in (("prompt", {}), ("prompt", {"max_length": 400}), ("lora", {"max_length": 512}))
    ]
    assert limits == [492, 400, 512]


def rows(folder: Path) -> str:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Say {number}."}) + "\n" for number in range(3)))
    return str(data)


def test_a_scorer_that_changes_is_refused_on_resume(tiny: Base, home: Home, tmp_path: Path) -> None:
    scorer = tmp_path / "score.py"
    scorer.write_text("def brief(prompt, answer, facts):\n    return 1.0\n")
    database = open_database(home.database)
    values = {"data": rows(tmp_path), "model": str(tiny.folder), "method": "rlhf"}
    recipe = make_recipe({**values, "rlhf": {"reward": f"{scorer}:brief", "max_tokens": 4}})
    job = Queue(database, home).submit("run", recipe.model_dump(mode="json"))
    registry = Registry(database, home)
    first = plan.decide(job, replace(home, serving=Serving("llama.cpp", "q4_0")), registry)[0]
    again = plan.decide(job, replace(home, serving=Serving("vllm", idle=9)), registry)[0]
    assert first == again
    assert again.serving(home) == Serving("llama.cpp", "q4_0")
    scorer.write_text("def brief(prompt, answer, facts):\n    return 2.0\n")
    with pytest.raises(InputError, match=r"score.py has changed since job .* began"):
        plan.decide(job, home, registry)


def test_a_merged_teacher_is_made_again_where_the_cache_was_emptied(tiny: Base, home: Home, tmp_path: Path) -> None:
    """Its folder is one of the cache, which may be deleted at any time."""
    database = open_database(home.database)
    registry = Registry(database, home)
    teacher = made(registry, resolve.resolve(str(tiny.folder), home), tmp_path)
    values = {"data": rows(tmp_path), "model": str(tiny.folder), "method": "distill"}
    recipe = make_recipe({**values, "distill": {"teacher": teacher.id, "max_tokens": 4}})
    job = Queue(database, home).submit("run", recipe.model_dump(mode="json"))
    first, _ = plan.decide(job, home, registry)
    assert first.guide == as_base(teacher, registry, home).folder
    shutil.rmtree(home.cache)
    again, _ = plan.decide(job, home, registry)
    assert again == first and first.guide.is_dir()


def made(registry: Registry, base: Base, folder: Path) -> Model:
    """A registered LoRA adapter of random numbers over `base`."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    artifact = folder / "adapter"
    get_peft_model(AutoModelForCausalLM.from_pretrained(base.folder), config).save_pretrained(artifact)
    return registry.register(Recipe(data="x.jsonl", name="teacher"), artifact, base, "ef" * 32, None, None)


def decided(home: Home, tiny: Base, lines: list[dict[str, object]], folder: Path, **values: object) -> list[str]:
    """What a job over these rows would look at while it trains, as texts."""
    data = folder / "given.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    database = open_database(home.database)
    recipe = make_recipe({"data": str(data), "model": str(tiny.folder), **values})
    job = Queue(database, home).submit("run", recipe.model_dump(mode="json"))
    made, material = plan.decide(job, home, Registry(database, home))
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    unseen = [tokenizer.decode(row.ids) for row in plan.unseen_rows(made, material)]
    trained = {tuple(row.ids) for row in material.rows.tokens}
    assert not any(tuple(row.ids) in trained for row in plan.unseen_rows(made, material))
    return unseen


def test_what_is_looked_at_while_training_is_not_trained_on(tiny: Base, home: Home, tmp_path: Path) -> None:
    many = [{"prompt": f"Say {number}.", "completion": f"{number}!"} for number in range(400)]
    assert len(decided(home, tiny, many, tmp_path)) == 20
    # Few are all trained on, and asked again afterwards.
    assert decided(home, tiny, many[:20], tmp_path) == []


def test_rows_that_could_not_be_trained_on_are_not_looked_at(tiny: Base, home: Home, tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text(
        "".join(json.dumps({"prompt": text, "completion": "No."}) + "\n" for text in ("Short.", "Long. " * 200))
    )
    lines: list[dict[str, object]] = [{"prompt": f"Say {number}.", "completion": "x"} for number in range(9)]
    values = {"validation": str(tmp_path / "held.jsonl"), "max_length": 64}
    [text] = decided(home, tiny, lines, tmp_path, **values)
    assert "Short." in text
