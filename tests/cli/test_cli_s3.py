"""An s3:// address is taken wherever a file is, and stays the user's word for it in all that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from pumice.cli import app
from pumice.config import Home
from pumice.errors import DataError, InputError, NotFoundError
from pumice.jobs.queue import Queue
from pumice.plan import decide
from pumice.records import Base
from pumice.registry.again import compare
from pumice.registry.models import Registry
from pumice.store.s3 import Objects
from pumice.store.tables import open_database
from pumice.train.recipe import Recipe, change, read_recipe

GOOD = b'{"prompt": "What is pumice?", "completion": "A light stone."}\n' * 4
BROKEN = GOOD + b'{"prompt": "q", "completion": ""}\n'
Ask = Callable[..., Result]


@pytest.fixture
def objects(home: Home) -> Objects:
    objects = Objects(home.s3)
    objects.put("s3://data/a/faq.jsonl", GOOD)
    objects.put("s3://data/a/test.jsonl", GOOD)
    objects.put("s3://data/broken.jsonl", BROKEN)
    return objects


@pytest.fixture
def ask(home: Home, objects: Objects, tiny: Base, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs a command with the tiny base; an error that is shown to the user is raised."""
    monkeypatch.setenv("PUMICE_HOME", str(home.root))

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, [*words, "--model", str(tiny.folder)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_check_tells_of_an_object_by_its_address(ask: Ask, home: Home) -> None:
    good = ask("check", "s3://data/a/faq.jsonl", "--validation", "s3://data/a/test.jsonl", "--json")
    found = orjson.loads(good.stdout)
    assert found["ok"] and found["path"] == "s3://data/a/faq.jsonl" and found["leaks"]["count"] == 4
    broken = ask("check", "s3://data/a/faq.jsonl", "--validation", "s3://data/broken.jsonl", "--json")
    assert broken.exit_code == 1
    assert [(each["path"], each["line"]) for each in orjson.loads(broken.stdout)["findings"]] == [
        ("s3://data/broken.jsonl", 5)
    ]
    assert str(home.root) not in good.output + broken.output


def test_an_object_that_is_not_there_is_told_by_its_address(ask: Ask, home: Home) -> None:
    for command in ("check", "run"):
        with pytest.raises(NotFoundError, match=r"s3://data/a/fag\.jsonl does not exist") as caught:
            ask(command, "s3://data/a/fag.jsonl")
        assert "s3://data/a/faq.jsonl" in caught.value.why and str(home.root) not in str(caught.value)
    with pytest.raises(InputError, match=r"^gs://data/faq\.jsonl is not on this machine"):
        ask("check", "gs://data/faq.jsonl")


def test_what_cannot_be_read_is_told_by_its_address(ask: Ask, objects: Objects, home: Home) -> None:
    for name, content, rule in (
        ("x.pdf", b"text", "is not a PDF document"),
        ("x.xyz", b"x", "is not known"),
        ("x.csv", b"PK\x03\x04", "a ZIP archive"),
        ("x.parquet", b"PAR1 and nothing else", "is damaged"),
    ):
        objects.put(f"s3://data/{name}", content)
        with pytest.raises(InputError, match=rf"s3://data/{name}\b.*{rule}") as caught:
            ask("check", f"s3://data/{name}")
        assert str(home.root) not in str(caught.value)


def test_run_refuses_bad_rows_of_an_object_and_leaves_no_job(ask: Ask, home: Home) -> None:
    with pytest.raises(DataError, match=r"s3://data/broken\.jsonl has 1 error") as caught:
        ask("run", "s3://data/broken.jsonl")
    assert "s3://data/broken.jsonl:5:" in caught.value.why and str(home.root) not in str(caught.value)
    assert Queue(open_database(home.database), home).list() == ()


def test_a_dry_run_keeps_the_address_in_the_recipe(ask: Ask) -> None:
    words = "--set", "validation=s3://data/a/test.jsonl", "--dry-run", "--json"
    values = orjson.loads(ask("train", "s3://data/a/faq.jsonl", *words).stdout)["recipe"]
    assert (values["data"], values["validation"]) == ("s3://data/a/faq.jsonl", "s3://data/a/test.jsonl")
    assert values["name"] == "faq"


def test_a_recipe_keeps_addresses_wherever_it_lies(objects: Objects, tmp_path: Path) -> None:
    text = "data: s3://data/a/faq.jsonl\nvalidation: test.jsonl\n"
    (tmp_path / "recipe.yaml").write_text(text)
    here = read_recipe(tmp_path / "recipe.yaml")
    assert (here.data, here.validation) == ("s3://data/a/faq.jsonl", str(tmp_path / "test.jsonl"))
    there = objects.path(objects.put("s3://data/a/recipe.yaml", text.encode()))
    assert read_recipe(there, "s3://data/a/recipe.yaml").validation == "s3://data/a/test.jsonl"
    assert change(here, {"validation": "s3://data/x.jsonl"}).validation == "s3://data/x.jsonl"
    assert Recipe.from_data("s3://data/a/faq.jsonl").data == "s3://data/a/faq.jsonl"


def test_a_recipe_in_s3_is_run_and_its_mistakes_have_its_address(ask: Ask, objects: Objects) -> None:
    objects.put("s3://data/a/recipe.yaml", b"data: faq.jsonl\nepochs: 2\n")
    values = orjson.loads(ask("train", "s3://data/a/recipe.yaml", "--dry-run", "--json").stdout)["recipe"]
    assert (values["data"], values["epochs"]) == ("s3://data/a/faq.jsonl", 2)
    objects.put("s3://data/a/recipe.yaml", b"data: faq.jsonl\nepoch: 2\n")
    with pytest.raises(InputError, match=r"s3://data/a/recipe\.yaml has 1 mistake") as caught:
        ask("train", "s3://data/a/recipe.yaml", "--dry-run")
    assert "s3://data/a/recipe.yaml:2:1: " in caught.value.why


async def test_a_job_reads_the_object_and_notices_when_it_has_changed(home: Home, objects: Objects, tiny: Base) -> None:
    database = open_database(home.database)
    queue, registry = Queue(database, home), Registry(database, home)
    spec = Recipe.from_data("s3://data/a/faq.jsonl", model=str(tiny.folder)).model_dump(mode="json")
    job = queue.submit("run", spec)
    plan, material = decide(job, home, registry)
    assert plan.recipe.data == material.dataset.path == "s3://data/a/faq.jsonl" and len(material.rows.tokens) == 4
    again, known = decide(job, home, registry)
    assert again == plan and list(known.rows.tokens) == list(material.rows.tokens)
    objects.put("s3://data/a/faq.jsonl", GOOD * 2)
    with pytest.raises(InputError, match=r"data: s3://data/a/faq\.jsonl has changed"):
        decide(job, home, registry)


async def test_a_comparison_takes_its_questions_from_an_object(home: Home, objects: Objects, tiny: Base) -> None:
    registry = Registry(open_database(home.database), home)
    recipe = Recipe.from_data("s3://data/a/faq.jsonl", model=str(tiny.folder), name="faq", method="full")
    model = registry.register(recipe, tiny.folder, replace(tiny, name=str(tiny.folder)), "ef" * 32, None, None)
    with pytest.raises(InputError, match=r"s3://data/a/faq\.jsonl has changed since faq@1"):
        await compare(model.id, None, registry, home, lambda _: None)
    with pytest.raises(DataError, match=r"s3://data/broken\.jsonl has 1 error"):
        await compare(model.id, "s3://data/broken.jsonl", registry, home, lambda _: None)


def test_a_model_is_trained_on_an_object(ask: Ask, home: Home) -> None:
    done = ask("train", "s3://data/a/faq.jsonl", "--name", "stone", "--set", "epochs=1", "--json")
    assert done.exit_code == 0, done.output
    model = Registry(open_database(home.database), home).find("stone@1")
    assert model.recipe["data"] == "s3://data/a/faq.jsonl"
