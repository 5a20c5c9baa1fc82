"""From a name to what answers it, without a server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from live_server import register, write_adapter

from pumice.api import served
from pumice.api.served import Names
from pumice.bases import resolve
from pumice.config import Home
from pumice.engine.answer import Ask, answer
from pumice.engine.contract import Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError, NotFoundError, UnavailableError
from pumice.records import Base, Stage
from pumice.registry.models import Registry
from pumice.store.tables import open_database


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FRESH_SECONDS", 0)


@pytest.fixture
def own(home: Home, tiny: Base, tmp_path: Path) -> Base:
    """A copy of the tiny base that a test may change."""
    shutil.copytree(tiny.folder, tmp_path / "own")
    return resolve.resolve(str(tmp_path / "own"), home)


@pytest.fixture
def names(home: Home, own: Base, tmp_path: Path) -> Names:
    for version in (1, 2):
        register(home, own, "red", write_adapter(own, 1000 * version, tmp_path / f"red{version}"))
    return Names(Registry(open_database(home.database), home), home)


def test_a_name_is_its_production_version_else_its_newest(names: Names, home: Home) -> None:
    registry = Registry(open_database(home.database), home)
    assert names.find("red").id == "red@2"
    registry.set_stage("red@1", Stage.PRODUCTION)
    assert names.find("red").id == "red@1"
    assert names.find("red@2").id == "red@2"
    registry.set_stage("red@1", Stage.ARCHIVED)
    registry.set_stage("red@2", Stage.ARCHIVED)
    with pytest.raises(NotFoundError):
        names.find("red")
    assert "red" not in names.all()
    assert "red@1" in names.all()


def test_a_version_registered_while_the_server_runs_answers_at_once(
    names: Names, home: Home, own: Base, tmp_path: Path
) -> None:
    assert names.find("red").id == "red@2"
    register(home, own, "red", write_adapter(own, 3000, tmp_path / "red3"))
    assert names.find("red").id == "red@3"
    assert names.find("red@3").adapter


def test_the_records_are_not_read_again_while_an_answer_is_fresh(
    names: Names, home: Home, own: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "FRESH_SECONDS", 60)
    assert names.find("red").id == "red@2"
    register(home, own, "red", write_adapter(own, 3000, tmp_path / "red3"))
    assert names.find("red").id == "red@2"
    assert names.find("red@3").id == "red@3"


def test_the_versions_over_one_base_share_its_renderer(names: Names, own: Base) -> None:
    first, second, bare = names.find("red@1"), names.find("red@2"), names.find(own.name)
    assert first.renderer is second.renderer is bare.renderer
    assert first.adapter
    assert first.adapter.folder.name == "1"
    assert bare.adapter is None
    assert first.base == bare.base == own


def test_an_adapter_is_refused_on_other_weights(names: Names, own: Base, base: Base) -> None:
    shutil.copy(base.folder / "model.safetensors", own.folder / "model.safetensors")
    with pytest.raises(InputError, match="belongs to another base"):
        names.find("red")


def test_an_adapter_is_refused_under_another_template(names: Names, own: Base) -> None:
    template = own.folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    with pytest.raises(InputError, match="another chat template"):
        names.find("red")


def test_a_base_that_is_gone_is_not_an_unknown_model(names: Names, own: Base) -> None:
    shutil.rmtree(own.folder)
    with pytest.raises(UnavailableError, match="is gone"):
        names.find("red")


async def test_a_full_fine_tune_answers_with_its_own_weights(names: Names, home: Home, own: Base, tiny: Base) -> None:
    register(home, own, "whole", tiny.folder, method="full")
    served = names.find("whole")
    assert served.adapter is None
    assert served.base.folder == home.models / "whole" / "1"
    pool = Pool(home.cache)
    try:
        engine = await served.ready(pool)
        assert (await answer(engine, served.renderer, Ask([1, 2, 3], Sampling(max_tokens=3)))).completion_tokens == 3
        assert [folder for folder, _, _ in await pool.stats()] == [served.base.folder.resolve()]
    finally:
        await pool.stop()


def test_a_model_from_nothing_answers_and_what_it_was_before_does_not(names: Names, home: Home, own: Base) -> None:
    before = replace(own, name="untrained-10M", source="new:10M")
    register(home, before, "fresh", own.folder, method="full")
    assert {"fresh", "fresh@1"} <= names.all().keys() and before.name not in names.all()
    for name in names.all():
        assert names.find(name).id


def test_a_name_from_outside_is_no_path_and_no_download(names: Names, tiny: Base) -> None:
    for name in (str(tiny.folder), "HuggingFaceTB/SmolLM2-135M", "../models/red/1", "red@", "red@x", "@1"):
        with pytest.raises(NotFoundError):
            names.find(name)
