"""Continued pre-training: a domain's text becomes likelier, also one that was not trained on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pumice.config import Home
from pumice.plan import gather, resolve
from pumice.records import Base
from pumice.train import scratch
from pumice.train.loop import train
from pumice.train.methods import Pretrain
from pumice.train.recipe import make_recipe
from pumice.train.trainers.unseen import loss_on

DATA = Path(__file__).parents[2] / "recipes" / "data"


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A base that has read of other things: its tokens come from the handbook's page on cleaning data."""
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    return scratch.new_base(Pretrain(size="1M", vocabulary=768), 96, 0, [text], tmp_path_factory.mktemp("g") / "base")


def test_the_domains_perplexity_falls(general: Base, tmp_path: Path) -> None:
    values = {"data": str(DATA / "domain.md"), "validation": str(DATA / "domain-held-out.md"), "method": "cpt"}
    recipe = make_recipe({**values, "cpt": {"weights": "full"}, "learning_rate": 5e-3, "epochs": 3, "batch_size": 2})
    material = gather(recipe, general, Home(tmp_path))
    assert len(material.rows.tokens) > 10  # one document, split into windows
    assert all(row.labels[1:] == row.ids[1:] for row in material.rows.tokens)
    resolved = resolve(recipe, general, material).recipe
    artifact = train(resolved, general, material.rows.tokens, tmp_path, lambda _: None, lambda: False)
    held = gather(make_recipe({**values, "data": values["validation"]}), general, Home(tmp_path)).rows.tokens
    before, after = (math.exp(loss_on(folder, held)) for folder in (general.folder, artifact))
    assert after < 0.5 * before
