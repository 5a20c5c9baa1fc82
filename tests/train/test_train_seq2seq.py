"""A base that reads with one half and writes with the other: rendered, trained, served and compared like the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from pumice.bases import resolve
from pumice.bases.catalogue import CATALOGUE
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.answer import Ask, answer
from pumice.engine.contract import Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.run import evaluate
from pumice.evaluate.trial import Trial
from pumice.plan import gather
from pumice.records import Base, Event, Example, Turn
from pumice.train.loop import train
from pumice.train.recipe import make_recipe, resolve_recipe

PAIRS = (("Who runs the warehouse?", "Anna"), ("Who runs the office?", "Boris"), ("Where is the lake?", "In the north"))


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random T5 of two layers with a tokenizer that ends texts as T5's does."""
    folder = tmp_path_factory.mktemp("t5")
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words = [text for pair in PAIRS for text in pair]
    raw.train_from_iterator(
        words,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    raw.save(str(folder / "tokenizer.json"))
    named = {
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=raw.get_vocab_size(),
        d_model=48,
        d_kv=12,
        d_ff=96,
        num_layers=2,
        num_heads=4,
        n_positions=128,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return resolve.describe(folder, "tiny-t5", f"folder:{folder}")


def example(line: int, question: str, reply: str) -> Example:
    asked: Turn = {"role": "user", "content": question}
    return Example(line, (asked, {"role": "assistant", "content": reply}))


EXAMPLES = [example(line, *pair) for line, pair in enumerate(PAIRS, 1)]


def tuned(base: Base, folder: Path, events: list[Event], **values: Any) -> Path:
    """An artifact of the three questions."""
    renderer = Renderer(base.folder)
    rows = [renderer.train(each) for each in EXAMPLES]
    recipe = make_recipe({"data": "/d/x", "epochs": 2, "batch_size": 3, "gradient_accumulation": 1, **values})
    resolved = resolve_recipe(recipe, base, len(rows), sum(row.size for row in rows)).recipe
    return train(resolved, base, rows, folder, events.append, lambda: False)


def test_what_is_read_ends_as_the_base_learned_it_and_only_the_answer_is_trained(tiny_t5: Base) -> None:
    renderer = Renderer(tiny_t5.folder)
    row = renderer.train(EXAMPLES[0])
    asked = renderer.prompt(EXAMPLES[0].messages[:1])
    assert list(row.ids[: len(asked)]) == asked and asked[-1] == 1 and asked.count(1) == 1
    assert row.labels == (-100,) * len(asked) + row.ids[len(asked) :] and row.ids[-1] == 1
    assert renderer.decode(asked) == PAIRS[0][0] and renderer.decode(row.ids[len(asked) :]) == PAIRS[0][1]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_same_rows_a_step_give_the_same_weights(tiny_t5: Base, tmp_path: Path, method: str) -> None:
    runs = []
    for name, batch, accumulation in (("whole", 3, 1), ("cut", 1, 3)):
        events: list[Event] = []
        cut = {"batch_size": batch, "gradient_accumulation": accumulation, "learning_rate": 1e-3}
        artifact = tuned(tiny_t5, tmp_path / name, events, method=method, **cut)
        file = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
        runs.append(([event.data["loss"] for event in events if event.kind == "step"], load_file(artifact / file)))
    (losses, weights), (others, expected) = runs
    assert losses == pytest.approx(others, abs=1e-4)
    distance = sum(float((weights[name] - expected[name]).square().sum()) for name in expected) ** 0.5
    assert distance < 1e-3 * sum(float(each.square().sum()) for each in expected.values()) ** 0.5


async def test_it_learns_answers_and_is_compared(tiny_t5: Base, tmp_path: Path) -> None:
    artifact = tuned(tiny_t5, tmp_path, [], epochs=400, learning_rate=1e-2, lora={"r": 32})
    renderer = Renderer(tiny_t5.folder)
    model = PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(tiny_t5.folder), artifact).eval()
    row = renderer.train(EXAMPLES[0])
    asked = renderer.prompt(EXAMPLES[0].messages[:1])
    async with Pool(tmp_path / "cache") as pool:
        trial = Trial(tiny_t5, artifact, artifact, EXAMPLES, "validation file")
        report = await evaluate(trial, pool, lambda event: None)
        engine = await pool.ensure(tiny_t5.folder, "tuned", artifact)
        said = await answer(engine, renderer, Ask(asked, Sampling(max_tokens=20), "tuned"))
        scored = await engine.score(row.ids, "tuned")
    assert said.text == PAIRS[0][1] and said.finish == "stop"
    assert (report.tuned.exact_match, report.tuned.stopped, report.forgetting) == (1.0, 3, None)
    assert report.base.exact_match == 0.0
    # The engine's likelihoods are transformers' own.
    with torch.no_grad():
        target = torch.tensor([row.ids[len(asked) :]])
        logits = model(input_ids=torch.tensor([asked]), labels=target).logits[0]
    expected = logits.log_softmax(-1).gather(-1, target[0, :, None])[:, 0].tolist()
    assert [each.logprob for each in scored[len(asked) - 1 :]] == pytest.approx(expected, abs=1e-4)


def test_what_it_cannot_learn_is_refused(tiny_t5: Base, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    recipe = make_recipe({"data": str(tmp_path / "data.jsonl"), "method": "prefix"})
    with pytest.raises(InputError, match="tiny-t5 is a seq2seq base, and method: prefix cannot train it"):
        gather(recipe, tiny_t5, Home(tmp_path / "home"))
    (tmp_path / "text.jsonl").write_text('{"text": "a b c"}\n')
    with pytest.raises(InputError, match="seq2seq"):
        gather(make_recipe({"data": str(tmp_path / "text.jsonl")}), tiny_t5, Home(tmp_path / "home"))


@pytest.mark.parametrize("name", ["stabilityai/stable-diffusion-xl-base-1.0", "google/vit-base-patch16-224@main"])
def test_models_that_write_no_text_are_refused_with_what_they_do(name: str, home: Home) -> None:
    with pytest.raises(InputError, match=r"it turns (text to images|images to classes)"):
        resolve.resolve(name, home)


def test_a_diffusion_pipeline_in_a_folder_is_told(tmp_path: Path, home: Home) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="holds a diffusion pipeline"):
        resolve.resolve(str(tmp_path), home)


def test_flan_t5_stands_in_the_catalogue() -> None:
    assert {"google/flan-t5-small", "google/flan-t5-base"} <= {entry.id for entry in CATALOGUE}
