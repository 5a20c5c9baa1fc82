"""One call trains, tells its story and leaves an artifact that the libraries of the field load."""

from __future__ import annotations

import json
import random
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pumice.errors import InputError, PumiceError, StoppedError
from pumice.records import Base, Event, Tokens
from pumice.train import loop
from pumice.train.recipe import Recipe, make_recipe, read_recipe, resolve_recipe

SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "save_steps": 100}


def made_rows(count: int = 12, seed: int = 1) -> list[Tokens]:
    """Rows of 6 to 20 ids, the second half of each trained."""
    dice = random.Random(seed)
    rows = []
    for _ in range(count):
        ids = tuple(dice.randrange(1000, 2000) for _ in range(dice.randrange(6, 21)))
        rows.append(Tokens(ids, (-100,) * (len(ids) // 2) + ids[len(ids) // 2 :]))
    return rows


def resolved(base: Base, rows: list[Tokens], **values: Any) -> Recipe:
    return resolve_recipe(
        make_recipe({"data": "/d/rows.jsonl", **SHORT, **values}), base, len(rows), sum(len(row.ids) for row in rows)
    ).recipe


def run(base: Base, folder: Path, rows: list[Tokens] | None = None, **values: Any) -> tuple[Path, list[Event]]:
    rows = made_rows() if rows is None else rows
    events: list[Event] = []
    adapter = values.pop("start_adapter", None)
    recipe = resolved(base, rows, **values)
    return loop.train(recipe, base, rows, folder, events.append, lambda: False, adapter), events


@pytest.fixture(scope="module")
def lora(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    return run(tiny, tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def full(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    return run(tiny, tmp_path_factory.mktemp("full"), method="full", learning_rate=1e-3)


def losses(events: list[Event]) -> list[float]:
    return [event.data["loss"] for event in events if event.kind == "step"]


GOLDEN = {
    "lora": [10.8578, 10.7875, 10.7917, 10.6144, 10.6133, 10.5529, 10.5071, 10.4698, 10.4828],
    "full": [10.8578, 10.8007, 10.8186, 10.5780, 10.5290, 10.4648, 10.4353, 10.3697, 10.3693],
}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_golden_losses(method: str, request: pytest.FixtureRequest) -> None:
    """The same seed, data and random model give the same trajectory on every machine and with every release."""
    _, events = request.getfixturevalue(method)
    assert losses(events) == pytest.approx(GOLDEN[method], abs=2e-3)


def test_the_story_has_numbers_before_the_start_and_a_line_a_step(lora: tuple[Path, list[Event]]) -> None:
    _, events = lora
    first_step = [event.kind for event in events].index("step")
    notes = [event.data["text"] for event in events[:first_step]]
    rows = made_rows()
    total, trained = sum(len(row.ids) for row in rows), sum(len(row.ids) - len(row.ids) // 2 for row in rows)
    assert notes[0] == f"{trained} of {total} tokens in 12 rows are trained on."
    assert notes[1].startswith("Estimate: about ")
    assert notes[2].startswith("Rehearsed: the longest batch (")
    steps = [event.data for event in events if event.kind == "step"]
    assert [(step["step"], step["steps"]) for step in steps] == [(number, 9) for number in range(1, 10)]
    assert steps[-1]["tokens"] == 3 * total
    assert steps[-1]["seconds_left"] == 0 and steps[0]["seconds_left"] > 0
    assert steps[-1]["epoch"] == 3
    rates = [step["learning_rate"] for step in steps]
    assert rates[0] == pytest.approx(1e-2) and rates == sorted(rates, reverse=True)


def test_warmup_grows_the_steps_before_they_shrink(tiny: Base, tmp_path: Path) -> None:
    _, events = run(tiny, tmp_path, warmup_steps=3)
    rates = [event.data["learning_rate"] for event in events if event.kind == "step"]
    assert rates[:4] == pytest.approx([0, 1e-2 / 3, 2e-2 / 3, 1e-2])
    assert rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] < rates[3]


# peft reads a property that transformers has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_plain_peft_loads_the_adapter(lora: tuple[Path, list[Event]], tiny: Base) -> None:
    folder, _ = lora
    names = {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "pumice.json", "recipe.yaml"}
    assert {path.name for path in folder.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    base = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    ids = torch.tensor([made_rows()[0].ids])
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, folder)(ids).logits
    assert not torch.allclose(before, after, atol=1e-2)
    assert AutoTokenizer.from_pretrained(folder).chat_template == (tiny.folder / "chat_template.jinja").read_text()


def test_plain_transformers_loads_the_whole_model(full: tuple[Path, list[Event]], tiny: Base) -> None:
    folder, _ = full
    tuned = AutoModelForCausalLM.from_pretrained(folder)
    assert tuned.dtype == torch.float32
    before = json.loads((tiny.folder / "config.json").read_text())
    after = json.loads((folder / "config.json").read_text())
    assert after == before
    assert {path.name for path in folder.iterdir()} >= {"tokenizer.json", "chat_template.jinja", "recipe.yaml"}
    assert not (folder / "adapter_config.json").exists()
    weights = load_file(folder / "model.safetensors")
    base = load_file(tiny.folder / "model.safetensors")
    assert weights.keys() == base.keys()
    # The rows of unseen tokens change through the head alone, but every matrix changes.
    assert all(not torch.equal(weights[name], base[name]) for name in weights)


def test_the_artifact_says_what_it_was_made_from(lora: tuple[Path, list[Event]], tiny: Base) -> None:
    folder, _ = lora
    record = json.loads((folder / "pumice.json").read_text())
    assert (record["base"], record["base_sha256"], record["method"]) == ("tiny", tiny.sha256, "lora")
    assert record["template_sha256"] == tiny.template_sha256
    assert {"torch", "transformers", "peft", "trl", "pumice"} == set(record["versions"])
    recipe = read_recipe(folder / "recipe.yaml")
    assert recipe == resolved(tiny, made_rows())


def test_a_finished_artifact_is_returned_at_once(lora: tuple[Path, list[Event]], tiny: Base) -> None:
    folder, _ = lora
    assert not (folder.parent / "checkpoints").exists()
    again, events = run(tiny, folder.parent)
    assert again == folder and events == []


def test_the_saved_recipe_gives_the_same_weights_again(
    lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path
) -> None:
    folder, _ = lora
    again = loop.train(read_recipe(folder / "recipe.yaml"), tiny, made_rows(), tmp_path, lambda _: None, lambda: False)
    for name in ("adapter_model.safetensors", "adapter_config.json", "recipe.yaml", "pumice.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_another_seed_gives_other_weights(lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path) -> None:
    folder, _ = lora
    other, _ = run(tiny, tmp_path, seed=1)
    name = "adapter_model.safetensors"
    assert (other / name).read_bytes() != (folder / name).read_bytes()


def test_the_knobs_reach_the_adapter(tiny: Base, tmp_path: Path) -> None:
    folder, _ = run(tiny, tmp_path, epochs=0.1, lora={"r": 3, "alpha": 5, "dropout": 0.25, "targets": ["q_proj"]})
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["target_modules"]) == (
        3,
        5,
        0.25,
        ["q_proj"],
    )
    assert all("q_proj" in name for name in load_file(folder / "adapter_model.safetensors"))


def test_a_stop_leaves_a_checkpoint_and_says_how_to_go_on(tiny: Base, tmp_path: Path) -> None:
    rows, events = made_rows(), []
    recipe = resolved(tiny, rows)
    with pytest.raises(StoppedError, match="stopped at step 2 of 9"):
        loop.train(recipe, tiny, rows, tmp_path, events.append, lambda: sum(one.kind == "step" for one in events) >= 1)
    assert [event.data for event in events if event.kind == "checkpoint"] == [{"step": 2}]
    assert not (tmp_path / "artifact").exists()


def test_training_goes_on_from_an_adapter(lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path) -> None:
    folder, events = lora
    more, told = run(tiny, tmp_path, start_adapter=folder, epochs=1, lora={"r": 4})
    # The first step already knows what the adapter had learned.
    assert losses(told)[0] < losses(events)[0] - 0.3
    # The adapter keeps its own rank, and the saved recipe says so.
    recipe = read_recipe(more / "recipe.yaml")
    assert recipe.lora is not None and (recipe.lora.r, recipe.lora.alpha) == (16, 32)
    assert json.loads((more / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"


def test_training_asks_nobody(
    lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No telemetry, no look at the hub: not when a run starts, goes on from an adapter, saves or ends."""
    asked: list[object] = []

    def refused(*where: object, **_: object) -> None:
        asked.append(where)
        raise OSError("the network is gone")

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    run(tiny, tmp_path / "new", epochs=1, save_steps=1)
    run(tiny, tmp_path / "more", epochs=1, save_steps=1, start_adapter=lora[0])
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(timeout=5)
    assert asked == []


def test_an_adapter_of_another_base_is_refused(lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was trained on tiny, and other is another base"):
        run(replace(tiny, name="other", sha256="f" * 64), tmp_path, start_adapter=lora[0])


def test_an_adapter_cannot_become_a_whole_model_by_itself(
    lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="start: merge"):
        run(tiny, tmp_path, start_adapter=lora[0], method="full")


def test_pickled_weights_are_refused(lora: tuple[Path, list[Event]], tiny: Base, tmp_path: Path) -> None:
    adapter = shutil.copytree(lora[0], tmp_path / "adapter")
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="never from a pickle"):
        run(tiny, tmp_path / "job", start_adapter=adapter)
    base = shutil.copytree(tiny.folder, tmp_path / "base")
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        run(replace(tiny, folder=base), tmp_path / "job")


def test_a_rate_that_is_too_high_ends_with_advice(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="learning_rate = 1e\\+20 is too high") as caught:
        run(tiny, tmp_path, learning_rate=1e20, method="full")
    assert "at step" in caught.value.what
    assert not (tmp_path / "artifact").exists()


def test_memory_that_runs_out_ends_with_advice(tiny: Base) -> None:
    recipe = resolved(tiny, made_rows())
    with pytest.raises(PumiceError, match="Memory ran out") as caught, loop.memory_errors(recipe):
        torch.empty(2**60)
    assert "batch_size" in caught.value.fix
    with pytest.raises(RuntimeError, match="size of tensor"), loop.memory_errors(recipe):
        torch.ones(2) + torch.ones(3)


def test_a_checkpoint_comes_by_time_but_saving_takes_at_most_a_twentieth(tiny: Base, tmp_path: Path) -> None:
    rows = made_rows()

    class State:
        global_step, max_steps, num_input_tokens_seen = 1, 100, 0

    class Control:
        should_save = should_training_stop = False

    watch = loop.Watch(None, resolved(tiny, rows, save_steps=None), rows, rows[:0], lambda _: None, lambda: False)  # type: ignore[arg-type]
    control = Control()
    for waited, save_seconds, due in ((29, 0.1, False), (31, 0.1, True), (31, 2.0, False), (41, 2.0, True)):
        watch.saved, watch.save_seconds = loop.time.monotonic() - waited, save_seconds
        watch.on_step_end(None, State, control)
        assert control.should_save is due


def test_the_real_base_learns(base: Base, tmp_path: Path) -> None:
    """The default base, its own size and speed: three steps, and the loss of the same rows falls."""
    rows = made_rows(4)
    folder, events = run(base, tmp_path, rows, epochs=3, learning_rate=1e-3)
    assert losses(events)[-1] < losses(events)[0] - 1
    assert load_file(folder / "adapter_model.safetensors")
