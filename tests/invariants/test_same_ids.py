"""Promise 1: the ids that a trainer's batch holds are those that the chat route sends for the same messages."""

from __future__ import annotations

from pathlib import Path

from pumice.api.openai.chat import ask
from pumice.api.openai.wire import ChatRequest
from pumice.api.served import Served
from pumice.data.render import Renderer
from pumice.records import Base, Example, Turn
from pumice.train.loop import build
from pumice.train.recipe import Recipe, resolve_recipe

CONVERSATION: tuple[Turn, ...] = (
    {"role": "system", "content": "Be brief.\n\n"},
    {"role": "user", "content": "Who runs the warehouse?  "},
    {"role": "assistant", "content": "\nAnna Voss"},
    {"role": "user", "content": "And the office in Zürich? 🏔"},
    {"role": "assistant", "content": " Boris <|im_end|> Novak"},
)


def test_batch_and_route_hold_the_same_ids(tiny: Base, tmp_path: Path) -> None:
    renderer = Renderer(tiny.folder)
    tokens = renderer.train(Example(1, CONVERSATION))
    recipe, _ = resolve_recipe(Recipe(data="x.jsonl"), tiny, 1, len(tokens.ids))
    trainer = build(recipe, tiny, [tokens], tmp_path, None, lambda event: None)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    trained = batch["input_ids"][0].tolist()

    asked = ChatRequest.model_validate({"model": "x", "messages": list(CONVERSATION[:-1])})
    sent = list(ask(asked, Served("x", tiny, renderer, None))[0].ids)
    assert trained[: len(sent)] == sent
    # What follows is the answer, and nothing of the prompt is trained but the first answer.
    labels = batch["labels"][0].tolist()
    first = list(renderer.prompt(CONVERSATION[:2]))
    assert labels[: len(first)] == [-100] * len(first)
    assert all(label == id for label, id in zip(labels, trained, strict=True) if label != -100)
    assert renderer.stop_ids[0] in [label for label in labels if label != -100]
