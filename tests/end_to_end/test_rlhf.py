"""Learning from rewards with the real model: a few steps move the reward of prompts that it was not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PROMPTS = Path(__file__).parents[2] / "recipes" / "data"
RECIPE = f"""
method: rlhf
name: begins
data: {PROMPTS}/prompts.jsonl
validation: {PROMPTS}/prompts-held-out.jsonl
epochs: 0.33
batch_size: 2
learning_rate: 1.0e-3
rlhf:
  reward: regex:^The\\b # what an answer begins with is learned in very few steps
  max_tokens: 4
  answers: 6
"""


@pytest.fixture(scope="module")
def ran(pumice: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What `pumice run --json` printed, and its story."""
    path = tmp_path_factory.mktemp("rlhf") / "recipe.yaml"
    path.write_text(RECIPE)
    done = pumice("run", path, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_the_reward_of_held_out_prompts_rises_and_the_divergence_is_told(ran: tuple[dict[str, Any], str]) -> None:
    document, story = ran
    report = document["report"]
    assert (report["set"], report["count"]) == ("validation file", 24)
    # Seen with three seeds: from 0.29 to 1.00, with a divergence of about 0.9 nats a token.
    assert report["base"]["reward"] < 0.5
    assert report["differences"]["reward"]["low"] > 0 and report["verdict"] == "better"
    assert report["tuned"]["reward"] > report["base"]["reward"] + 0.3
    assert 0 < report["tuned"]["kl"] < 3
    assert report["forgetting"] < 0.5
    assert "KL from the base, nats a token" in story


def test_it_answers_as_it_was_rewarded(pumice: Any, ran: tuple[dict[str, Any], str]) -> None:
    said = [each["tuned"] for each in ran[0]["report"]["samples"]]
    assert sum(each.startswith("The") for each in said) > len(said) / 2
    done = pumice("chat", "begins", "--prompt", "What does a doctor do?")
    assert done.returncode == 0 and done.stdout.startswith("The"), done.stdout + done.stderr
