"""What is true of lora and full is true of every kind of weights: cut, packed, interrupted or short of memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from pumice.data.render import Renderer
from pumice.errors import InputError
from pumice.records import Base, Event, Example, Tokens
from pumice.train import loop, sizes
from pumice.train.methods import METHODS, Weights
from pumice.train.recipe import Recipe, make_recipe, read_recipe, resolve_recipe
from pumice.train.trainers import prefix

# The rate, and by how much the loss of an epoch falls in three: a random base can do little with a soft prompt.
LEARNED: dict[str, tuple[float, float]] = {
    "rslora": (2e-2, 0.2),
    "dora": (2e-2, 0.2),
    "last-layers": (2e-3, 0.2),
    "ia3": (0.3, 0.06),
    "prompt": (3e-2, 0.06),
    "p-tuning": (1e-2, 0.06),
    "prefix": (0.3, 0.06),
}
SOFT = ("prompt", "p-tuning", "prefix")
KNOBS: dict[str, dict[str, Any]] = {
    "last-layers": {"blocks": 1},
    **{name: {"tokens": 7} for name in SOFT},
}


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


class Run(NamedTuple):
    """What a training run left."""

    artifact: Path
    events: list[Event]

    @property
    def losses(self) -> list[float]:
        """Of each step."""
        return [event.data["loss"] for event in self.events if event.kind == "step"]

    @property
    def notes(self) -> str:
        """All that was told beside the steps."""
        return "\n".join(event.data["text"] for event in self.events if event.kind == "note")

    @property
    def file(self) -> Path:
        """The trained weights."""
        names = ("adapter_model.safetensors", "model.safetensors")
        return next(self.artifact / name for name in names if (self.artifact / name).exists())


@cache
def rows() -> list[Tokens]:
    """Twelve rows of unlike lengths; all answers are made of the same words, which can be learned."""
    dice = random.Random(5)
    made = []
    for _ in range(12):
        asked = tuple(dice.randrange(1000, 2000) for _ in range(dice.randrange(3, 14)))
        said = tuple(dice.choice((11, 12, 13)) for _ in range(dice.randrange(2, 8)))
        made.append(Tokens(asked + said, (-100,) * len(asked) + said))
    return made


def recipe_for(method: str, base: Base, **values: Any) -> Recipe:
    shared = {"data": "/d/rows", "epochs": 3, "batch_size": 4, "gradient_accumulation": 1, "save_steps": 2}
    knobs = {method: KNOBS[method]} if method in KNOBS else {}
    made = make_recipe({**shared, "method": method, "learning_rate": LEARNED[method][0], **knobs, **values})
    return resolve_recipe(made, base, len(rows()), sum(row.size for row in rows())).recipe


def train(
    recipe: Recipe, base: Base, folder: Path, tell: Callable[[Event], None] | None = None, start: Path | None = None
) -> Run:
    events: list[Event] = []
    return Run(loop.train(recipe, base, rows(), folder, tell or events.append, lambda: False, start), events)


@pytest.fixture(scope="module")
def reference(narrow: Base, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Four rows a step, padded, without interruption."""
    return cache(
        lambda method: train(recipe_for(method, narrow, packing=False), narrow, tmp_path_factory.mktemp(method))
    )


def alike(one: Run, other: Run) -> None:
    assert one.losses == pytest.approx(other.losses, abs=1e-4)
    mine, theirs = load_file(one.file), load_file(other.file)
    assert mine.keys() == theirs.keys()
    # Adam makes a full step of the smallest gradient, so weights differ by rounding where a gradient is almost zero.
    distance = sum(float((mine[name] - theirs[name]).square().sum()) for name in theirs) ** 0.5
    assert distance < 1e-3 * sum(float(weight.square().sum()) for weight in theirs.values()) ** 0.5


@pytest.mark.parametrize("method", LEARNED)
def test_it_learns(reference: Callable[[str], Run], method: str) -> None:
    losses = reference(method).losses
    assert (sum(losses[:3]) - sum(losses[-3:])) / 3 > LEARNED[method][1]


@pytest.mark.parametrize("method", LEARNED)
def test_packed_and_cut_otherwise_it_is_the_same_run(
    narrow: Base, reference: Callable[[str], Run], tmp_path: Path, method: str
) -> None:
    """A soft prompt is never packed: it stands in front of each row."""
    cut = train(recipe_for(method, narrow, batch_size=2, gradient_accumulation=2), narrow, tmp_path)
    told = f"{method} puts something in front of each row"
    assert (told in cut.notes) is (method in SOFT)
    alike(cut, reference(method))


@pytest.mark.parametrize("method", LEARNED)
def test_killed_and_resumed_is_never_killed(
    narrow: Base, reference: Callable[[str], Run], tmp_path: Path, method: str
) -> None:
    recipe = recipe_for(method, narrow, packing=False)

    def tell(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == 5:
            raise Killed

    with pytest.raises(Killed):
        train(recipe, narrow, tmp_path, tell)
    resumed = train(recipe, narrow, tmp_path)
    assert [event.data["step"] for event in resumed.events if event.kind == "step"] == [5, 6, 7, 8, 9]
    assert resumed.file.read_bytes() == reference(method).file.read_bytes()


@pytest.mark.parametrize("method", ["ia3", "prompt", "prefix"])
def test_short_memory_changes_nothing_but_speed(
    narrow: Base, reference: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Prefix tuning cannot compute activations twice, so it does not: what stands in front would be dropped."""
    monkeypatch.setattr(sizes.Machine, "available", lambda *_: 1_000_000)
    short = train(recipe_for(method, narrow, packing=False), narrow, tmp_path)
    assert ("activations are computed twice" in short.notes) is (method != "prefix")
    alike(short, reference(method))


def test_only_the_top_block_and_the_last_norm_change(narrow: Base, reference: Callable[[str], Run]) -> None:
    before, after = load_file(narrow.folder / "model.safetensors"), load_file(reference("last-layers").file)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(("model.layers.1.", "model.norm."))}


def test_p_tuning_leaves_its_network_behind(reference: Callable[[str], Run], narrow: Base) -> None:
    run = reference("p-tuning")
    assert {path.name for path in run.artifact.glob("*.safetensors")} == {"adapter_model.safetensors"}
    assert {name: tuple(each.shape) for name, each in load_file(run.file).items()} == {"prompt_embeddings": (7, 64)}


@pytest.mark.parametrize("method", ["ia3", "prompt", "prefix", "dora"])
def test_training_goes_on_from_an_adapter_of_its_own_kind(
    narrow: Base, reference: Callable[[str], Run], tmp_path: Path, method: str
) -> None:
    """It starts where that one ended, and keeps its size, whatever the recipe says."""
    before = reference(method)
    other = {method: {"tokens": 3}} if method in SOFT else {"dora": {"r": 2}} if method == "dora" else {}
    recipe = recipe_for(method, narrow, packing=False, epochs=0.5, learning_rate=1e-30, **other)
    more = train(recipe, narrow, tmp_path, start=before.artifact)
    assert more.losses[0] < before.losses[0] - LEARNED[method][1] / 2
    mine, theirs = load_file(more.file), load_file(before.file)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    knobs = read_recipe(more.artifact / "recipe.yaml").weights.model_dump()
    assert knobs.get("tokens") == (7 if method in SOFT else None)
    assert knobs.get("r") == (16 if method == "dora" else None)


@pytest.mark.parametrize(
    ("made", "values", "sentence", "fix"),
    [
        ("prompt", {"method": "lora"}, "method: lora cannot go on from a prompt adapter", "Write method: prompt."),
        ("dora", {"method": "lora"}, "method: lora cannot go on from a dora adapter", "or `start: merge`"),
        ("rslora", {"method": "qlora"}, "method: qlora cannot go on from a rslora adapter", "Write method: rslora"),
        ("ia3", {"method": "prefix"}, "method: prefix cannot go on from a ia3 adapter", "`start: merge`"),
        ("ia3", {"method": "dpo"}, "dpo.weights: lora cannot go on from a ia3 adapter", "`start: merge`"),
        ("p-tuning", {"method": "p-tuning"}, "A p-tuning version cannot be trained on", "method: prompt"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(
    narrow: Base,
    reference: Callable[[str], Run],
    tmp_path: Path,
    made: str,
    values: dict[str, Any],
    sentence: str,
    fix: str,
) -> None:
    given = make_recipe({"data": "/d/rows", **values})
    recipe = resolve_recipe(given, narrow, len(rows()), 100).recipe
    with pytest.raises(InputError, match=sentence) as caught:
        train(recipe, narrow, tmp_path, start=reference(made).artifact)
    assert fix in caught.value.fix and not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", LEARNED)
def test_a_batch_holds_the_ids_that_are_sent(narrow: Base, tmp_path: Path, method: str) -> None:
    """What a soft prompt puts in front is put there by the model, never by the batch."""
    renderer = Renderer(narrow.folder)
    turns = ({"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Anna Voss"})
    row = renderer.train(Example(1, turns))  # type: ignore[arg-type]
    recipe = resolve_recipe(make_recipe({"data": "x", "method": method}), narrow, 1, row.size).recipe
    batch = loop.build(recipe, narrow, [row], tmp_path, None, lambda _: None).collated([row])
    sent = renderer.prompt(turns[:1])  # type: ignore[arg-type]
    assert batch["input_ids"][0].tolist() == list(row.ids)
    assert batch["input_ids"][0].tolist()[: len(sent)] == sent
    weights = METHODS[method]
    assert issubclass(weights, Weights)
    assert recipe.max_length == narrow.window - (20 if method in SOFT else 0)


def test_a_prompt_starts_as_the_words_that_it_is_told(tiny: Base, tmp_path: Path) -> None:
    """As many as there are vectors: repeated, or cut."""
    words = Renderer(tiny.folder).encode("Answer in one word:")
    for tokens in (3, 2 * len(words)):
        knobs = {"text": "Answer in one word:", "tokens": tokens}
        recipe = resolve_recipe(make_recipe({"data": "x", "method": "prompt", "prompt": knobs}), tiny, 12, 200).recipe
        model = loop.build(recipe, tiny, rows(), tmp_path, None, lambda _: None).model
        vectors = model.get_base_model().get_input_embeddings().weight[(words * 2)[:tokens]]  # type: ignore[union-attr]
        assert torch.equal(model.prompt_encoder["default"].embedding.weight, vectors)  # type: ignore[union-attr,index]


def test_a_prefix_starts_as_what_the_base_keeps_of_words(
    narrow: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read behind it, a text is as likely as behind those words themselves."""
    words = torch.tensor([11, 400, 7, 1999, 23, 5, 60])
    monkeypatch.setattr(prefix, "random_words", lambda *_: words)
    model: Any = loop.build(recipe_for("prefix", narrow), narrow, rows(), tmp_path, None, lambda _: None).model
    ids = torch.tensor(rows()[0].ids)
    with torch.no_grad():
        behind = model(input_ids=ids[None]).logits[0]
        plain = model.get_base_model()(input_ids=torch.cat([words, ids])[None]).logits[0, 7:]
    assert torch.allclose(behind, plain, atol=1e-5)


def test_a_reference_is_no_part_of_the_artifact(narrow: Base, tmp_path: Path) -> None:
    """TRL lays a copy of the start beside the adapter; it belongs into checkpoints alone."""
    recipe = recipe_for("rslora", narrow)
    trainer = loop.build(recipe, narrow, rows(), tmp_path, None, lambda _: None)
    model: Any = trainer.model
    model.add_adapter("ref", model.peft_config["default"])
    loop.save(model, recipe, narrow, tmp_path / "artifact")
    assert not [path for path in (tmp_path / "artifact").iterdir() if path.is_dir()]
    assert (tmp_path / "artifact" / "adapter_model.safetensors").is_file()
