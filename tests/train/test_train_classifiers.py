"""A head and a reward model learn, and what they leave behind is a whole classifier that any transformers loads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pumice.bases.classifiers import find_labels, read_labels
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine import gguf
from pumice.engine.hf_classifier import Classifier
from pumice.errors import DataError
from pumice.plan import gather
from pumice.records import Base, Event, Tokens
from pumice.train.loop import build, train
from pumice.train.recipe import make_recipe, read_recipe, resolve_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
LABELS = ("billing", "delivery", "technical")


def rows_of(method: str, base: Base, home: Home) -> list[Tokens]:
    return list(gather(read_recipe(RECIPES / f"{method}.yaml"), base, home).rows.tokens)


def logits(folder: Path, texts: list[list[int]]) -> torch.Tensor:
    """As transformers alone gives them, padded as the artifact's own tokenizer pads."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer.pad({"input_ids": texts}, return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = AutoModelForSequenceClassification.from_pretrained(folder)(**batch).logits
    return found


def test_a_head_learns_the_classes(classifiers: dict[str, Path], tiny: Base, home: Home) -> None:
    folder, rows = classifiers["head"], rows_of("head", tiny, home)
    assert read_labels(folder) == LABELS
    said = logits(folder, [list(row.ids) for row in rows]).argmax(-1)
    right = sum(LABELS[at] == row.label for at, row in zip(said.tolist(), rows, strict=True))
    assert right / len(rows) > 0.9  # one in three is chance


def test_a_reward_model_learns_the_order(classifiers: dict[str, Path], tiny: Base, home: Home) -> None:
    folder, rows = classifiers["reward"], rows_of("reward", tiny, home)
    assert (find_labels(folder), find_labels(tiny.folder)) == ((), None)
    scores = logits(folder, [list(ending.ids) for row in rows for ending in row.endings])
    assert scores.shape == (2 * len(rows), 1)
    right = sum(chosen > rejected for chosen, rejected in scores.view(-1, 2).tolist())
    assert right / len(rows) > 0.9  # one in two is chance


@pytest.mark.parametrize("method", ["head", "reward"])
def test_alone_and_in_a_padded_batch_a_text_is_the_same(
    classifiers: dict[str, Path], tiny: Base, home: Home, method: str
) -> None:
    """By our engine and by transformers: nothing depends on who else is in the batch."""
    folder = classifiers[method]
    texts = [list(ending.ids) for row in rows_of(method, tiny, home)[:12] for ending in row.endings]
    assert len({len(text) for text in texts}) > 4
    engine = Classifier(folder)
    together, alone = engine.classify(texts), [engine.classify([text])[0] for text in texts]
    assert torch.allclose(torch.tensor(together), torch.tensor(alone), atol=1e-5)
    found = logits(folder, texts)
    assert torch.allclose(torch.tensor(together), found.softmax(-1) if method == "head" else found, atol=1e-5)


def stop_of(base: Base) -> int:
    return Renderer(base.folder).stop_ids[0]


def test_what_pads_is_in_no_row(classifiers: dict[str, Path], tiny: Base, home: Home) -> None:
    for method, folder in classifiers.items():
        pad = json.loads((folder / "config.json").read_text())["pad_token_id"]
        assert not any(pad in ending.ids for row in rows_of(method, tiny, home) for ending in row.endings)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert (tokenizer.pad_token_id, tokenizer.padding_side) == (pad, "right")
    # Answers end with what the base pads with: the score is read there, so something else must pad.
    assert json.loads((tiny.folder / "config.json").read_text())["pad_token_id"] == stop_of(tiny) != pad
    answer = list(rows_of("reward", tiny, home)[0].ids)
    engine = Classifier(classifiers["reward"])
    assert answer[-1] == stop_of(tiny)
    assert engine.classify([answer]) != engine.classify([answer[:-1]])


def test_only_the_head_and_the_top_blocks_change(classifiers: dict[str, Path], tiny: Base) -> None:
    before, after = (load_file(each / "model.safetensors") for each in (tiny.folder, classifiers["head"]))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name.removeprefix("model.").split(".self")[0].split(".mlp")[0] for name in before.keys() - same} == {
        "layers.1",
        "layers.1.input_layernorm.weight",
        "layers.1.post_attention_layernorm.weight",
        "norm.weight",
    }
    assert after.keys() - before.keys() == {"score.weight"}


@pytest.mark.parametrize(
    ("method", "own", "changed"),
    [
        ("head", {}, set()),
        ("reward", {"weights": "last-layers"}, {"layers.1", "norm.weight"}),
    ],
    ids=["head-0", "reward-last-layers"],
)
def test_the_head_is_trained_with_whatever_weights(
    tiny: Base, tmp_path: Path, method: str, own: dict[str, Any], changed: set[str]
) -> None:
    tables = {"last-layers": {"last-layers": {"blocks": 1}}}.get(own.get("weights", ""), {})
    recipe = make_recipe({"data": "/d/x", "method": method, method: own, "epochs": 2, "learning_rate": 1e-2, **tables})
    events, rows = list[Event](), rows_of(method, tiny, Home(tmp_path))[:16]
    recipe = resolve_recipe(recipe, tiny, len(rows), sum(row.size for row in rows)).recipe
    new = dict(build(recipe, tiny, rows, tmp_path, None, lambda event: None).model.named_parameters())  # type: ignore[union-attr]
    folder = train(recipe, tiny, rows, tmp_path, events.append, lambda: False)
    before, after = (load_file(each / "model.safetensors") for each in (tiny.folder, folder))
    assert not torch.equal(after["score.weight"], new["score.weight"])
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.removeprefix("model.").partition(".self")[0].partition(".mlp")[0] for name in moved} - {
        f"layers.1.{norm}_layernorm.weight" for norm in ("input", "post_attention")
    } == changed
    losses = [event.data["loss"] for event in events if event.kind == "step"]
    # An untrained head knows nothing: even odds for every class, and for either answer of a pair.
    assert losses[0] == pytest.approx(math.log(3 if method == "head" else 2), abs=0.4)
    assert losses[-1] < losses[0]
    metrics = {"accuracy", "margin", "mean_reward"} if method == "reward" else set()
    assert all(event.data["metrics"].keys() == metrics for event in events if event.kind == "step")


def test_a_class_that_was_never_learned_is_an_error_before_the_training(tiny: Base, tmp_path: Path) -> None:
    for name, labels in (("rows", "abab"), ("asked", "abc")):
        rows = [{"text": f"Text {at} of {name}.", "label": label} for at, label in enumerate(labels)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {key: str(tmp_path / f"{name}.jsonl") for key, name in (("data", "rows"), ("validation", "asked"))}
    with pytest.raises(DataError, match=r'asked\.jsonl:3:1: label: No row that is trained on has the class "c"'):
        gather(make_recipe({"method": "head", **files}), tiny, Home(tmp_path))


def test_llama_cpp_is_never_given_a_classifier(classifiers: dict[str, Path]) -> None:
    for folder in classifiers.values():
        assert gguf.can_convert(folder) == "it is a classifier, and llama.cpp runs models that write"
