"""The page of performance is what the benchmarks found, and their intervals are as wide as they say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import performance, training
from benchmarks.flops import step_flops
from benchmarks.pairs import Figure, in_turns, median, ratio, written
from benchmarks.performance import KEYS, NUMBERS, PAGE, PARTS, ROOT, Claim, Kept, Part, Row, from_json, page, verdict
from pumice.records import Tokens

KEPT = Kept(
    Part(
        "Eight rows a step.",
        [
            Row("Pumice", {"tokens/s": Figure(230.0, 224.0, 236.4), "peak GB": Figure(2.43, 2.41, 2.45)}),
            Row("TRL", {"tokens/s": Figure(68.1, 66.0, 70.2), "note": "default"}),
        ],
        [
            Claim("speed", Figure(3.38, 3.31, 3.52), 21, goal=3.5, peer="TRL", key="training.speed_ratio"),
            Claim("memory", Figure(0.41, 0.405, 0.42), 3, more=False, goal=0.4, peer="TRL"),
        ],
        ["TRL as it comes."],
    ),
    "0123456789abcdef",
    "code",
    "2 cores",
)
SECTION = """\
## Training

Eight rows a step.

| | tokens/s | peak GB | note |
|---|---:|---:|---:|
| Pumice | 230 [224, 236] | 2.43 [2.41, 2.45] | |
| TRL | 68.1 [66.0, 70.2] | | default |

| | measured | rounds | goal | |
|---|---:|---:|---:|---:|
| speed | 3.38 [3.31, 3.52] | 21 | ≥ 3.50 | met, Pumice is better |
| memory | 0.410 [0.405, 0.420] | 3 | ≤ 0.400 | **missed**, Pumice is better |

- TRL as it comes.

Measured on 2 cores, commit 0123456789ab.
"""


def test_the_numbers_have_the_keys_that_others_read() -> None:
    told, text = json.loads(NUMBERS.read_text("utf-8")), PAGE.read_text("utf-8")
    assert sorted(told) == sorted([*KEYS, "commit"])
    for key in KEYS:
        assert sorted(told[key]) == ["high", "low", "value"]
        assert told[key]["low"] <= told[key]["value"] <= told[key]["high"], key
        assert str(Figure(**told[key])) in text, f"{key} is not on the page"
    assert len(told["commit"].removesuffix("-dirty")) == 40


def test_a_part_is_a_section_and_the_others_are_said_to_be_missing() -> None:
    made = page({"training": KEPT})
    assert SECTION in made
    for name, title in PARTS.items():
        assert f"## {title}\n" in made
        assert (f"`python -m benchmarks.{name}` measures it." in made) == (name != "training")


def test_what_is_kept_is_read_again() -> None:
    assert page({"training": from_json(json.loads(json.dumps(asdict(KEPT))))}) == page({"training": KEPT})


@pytest.mark.parametrize(
    ("low", "high", "more", "said"),
    [
        (0.90, 0.95, True, "**missed**, **llama.cpp is better**"),
        (0.90, 0.98, True, "met, **llama.cpp is better**"),
        (0.98, 1.02, True, "met, no difference seen"),
        (1.01, 1.02, True, "met, Pumice is better"),
        (1.01, 1.02, False, "**missed**, **llama.cpp is better**"),
        (0.90, 0.96, False, "met, Pumice is better"),
    ],
)
def test_a_verdict_follows_the_interval(low: float, high: float, more: bool, said: str) -> None:
    figure = Figure((low + high) / 2, low, high)
    assert verdict(Claim("decode", figure, 20, more=more, goal=0.97, peer="llama.cpp")) == said


@pytest.mark.parametrize("name", PARTS)
def test_every_part_can_be_run_and_keeps_what_it_finds(name: str) -> None:
    program = (ROOT / "benchmarks" / f"{name}.py").read_text("utf-8")
    assert f'record("{name}", measure(' in program
    assert callable(importlib.import_module(f"benchmarks.{name}").measure)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both files elsewhere."""
    for name, place in {"RESULTS": "results", "PAGE": "page.md", "NUMBERS": "numbers.json"}.items():
        monkeypatch.setattr(performance, name, tmp_path / place)
    return tmp_path


def test_parts_come_one_by_one_and_the_numbers_when_all_are_there(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = list(PARTS)
    keys = {name: [key for key in KEYS if key.startswith(f"{name}.")] for name in every}
    last = max(every.index(name) for name in every if keys[name])
    for name in every:
        claims = [Claim("a", Figure(2, 1, 3), 20, key=key) for key in keys[name]]
        performance.record(name, Part(f"How {name} was measured.", [], claims))
        text = (places / "page.md").read_text()
        assert f"How {name} was measured." in text
        missing = text.count("Not measured in this run")
        assert missing == len(every) - 1 - every.index(name)
        assert (places / "numbers.json").exists() == (every.index(name) >= last)
    assert "training.speed_ratio not measured" not in capsys.readouterr().out
    told = json.loads((places / "numbers.json").read_text())
    assert told == {**{key: {"value": 2, "low": 1, "high": 3} for key in KEYS}, "commit": performance.commit()}


def test_what_was_measured_on_other_code_is_not_used(places: Path) -> None:
    performance.record("training", KEPT.part)
    path = places / "results" / "training.json"
    path.write_text(json.dumps(asdict(replace(KEPT, code="of yesterday"))))
    performance.write()
    assert "Eight rows a step." not in (places / "page.md").read_text()


def test_the_intervals_hold_what_they_promise() -> None:
    dice = np.random.default_rng(7)
    hits = {"median": 0, "ratio": 0}
    for _ in range(300):
        # The machine's mood falls on both sides of a round; ours takes half as long.
        mood = dice.lognormal(0, 0.3, 20)
        ours, theirs = (mood * scale * dice.lognormal(0, 0.1, 20) for scale in (1.0, 2.0))
        one, both = median(list(theirs / mood)), ratio(list(ours), list(theirs))
        hits["median"] += one.low <= 2 <= one.high
        hits["ratio"] += both.low <= 0.5 <= both.high
    assert all(0.9 <= hit / 300 <= 0.99 for hit in hits.values()), hits


def test_a_round_is_drawn_whole() -> None:
    ours = [1.0, 5.0, 9.0, 2.0, 7.0, 4.0]
    figure = ratio(ours, [2 * each for each in ours])
    assert (figure.low, figure.value, figure.high) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no pairs"):
        ratio(ours, ours[1:])
    with pytest.raises(ValueError, match="Nothing was measured"):
        median([])


def test_sides_take_turns_and_change_who_is_first() -> None:
    order: list[str] = []

    def side(name: str) -> dict[str, float]:
        order.append(name)
        return {"at": len(order)}

    found = in_turns({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": {"at": [1, 4, 5]}, "b": {"at": [2, 3, 6]}}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (3.5, "3.50"), (999.9, "1,000"), (1234.5, "1,230"), (-2, "-2.00")],
)
def test_three_digits_are_written(value: float, text: str) -> None:
    assert written(value) == text


def test_the_operations_of_a_step_are_those_that_torch_counts(tmp_path: Path) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 40}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    plain = LlamaForCausalLM(LlamaConfig(**shape, attn_implementation="eager"))
    plain.config.save_pretrained(tmp_path)
    model = get_peft_model(plain, LoraConfig(r=4, target_modules="all-linear"))
    # One token a row: what lies before it is itself, so that torch, which counts the whole square, counts the same.
    with FlopCounterMode(display=False) as backbone:
        model.get_base_model().base_model(torch.tensor([[5]] * 3)).last_hidden_state.sum().backward()
    assert step_flops(tmp_path, 4, [Tokens((5,), (-100,))] * 3) == backbone.get_total_flops()
    hidden = torch.zeros(2, 32, requires_grad=True)
    with FlopCounterMode(display=False) as head:
        plain.get_output_embeddings().requires_grad_(False)(hidden).sum().backward()
    learned = step_flops(tmp_path, 4, [Tokens((5, 6, 7), (-100, 6, 7))])
    assert learned - step_flops(tmp_path, 4, [Tokens((5, 6, 7), (-100,) * 3)]) == head.get_total_flops()


def test_a_side_waits_for_its_parents_word_and_ends_without_a_parent() -> None:
    steps = (
        "from benchmarks.sides.gate import Gate; gate = Gate(); print('a log'); [gate.step(at=at) for at in range(5)]"
    )
    done = subprocess.run([sys.executable, "-c", steps], input="go\ngo\n", capture_output=True, text=True, cwd=ROOT)
    assert [json.loads(line)["at"] for line in done.stdout.splitlines()] == [0, 1, 2]
    assert done.returncode == 1
    assert "a log" in done.stderr and "a log" not in done.stdout


def test_a_side_does_a_step_when_told_and_says_why_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOGS", tmp_path)
    with training.child(sys.executable, "product", "1") as side:
        told = [side.hear(), side.turn()]
    assert all(each["rate"] > 0 and each["peak"] > 1e7 for each in told)
    assert side.process.returncode is not None
    with (
        training.child(sys.executable, "nobody", "") as side,
        pytest.raises(training.Failed, match=r"nobody ended: .*No module"),
    ):
        side.hear()
