"""A recipe is read strictly, and every gap is filled with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.bases.resolve import DEFAULT
from pumice.errors import InputError, NotFoundError
from pumice.records import Base
from pumice.train.methods import METHODS, Lora, Objective, Tables, Weights, field
from pumice.train.recipe import Recipe, change, make_recipe, read_recipe, resolve_recipe, write_recipe
from pumice.train.rules import keys_of

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def base_of_width(hidden: int) -> Base:
    return Base("b", Path("/b"), "0", "folder:/b", "LlamaForCausalLM", 10**9, hidden, 10, 50_000, 2_048, "")


def test_every_mistake_is_told_at_its_place_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = "# a comment\nlearning_rte: 3\nlearning_rate: fast\nbatch_size: 0\n"
    path = written(tmp_path, lines + "lora:\n  alfa: 3\n  targets: 5\nmethod: dop\n")
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert caught.value.what == f"{path} has 7 mistakes; nothing was started."
    assert caught.value.why.split("\n") == [
        f"{path}:1:1: data is missing; it must be text.",
        f"{path}:2:1: learning_rte is no key of a recipe; did you mean learning_rate?",
        f'{path}:3:16: learning_rate = "fast"; it must be a number above 0.',
        f"{path}:4:13: batch_size = 0; it must be a whole number, 1 or more.",
        f"{path}:6:3: lora.alfa is no key of a recipe; did you mean alpha?",
        f"{path}:7:12: lora.targets = 5; it must be all-linear, or a list of layer names such as [q_proj, v_proj].",
        f'{path}:8:9: method = "dop"; it must be one of {", ".join(METHODS)}.',
    ]


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("learning_rate", 0, "a number above 0"),
        ("learning_rate", float("inf"), "a number above 0"),
        ("epochs", "3", "a number above 0"),
        ("packing", 1, "true or false"),
        ("seed", True, "a whole number, 0 or more"),
        ("seed", -1, "a whole number, 0 or more"),
        ("too_long", "cut", "one of error, drop, truncate, split"),
        ("start", "again", "one of continue, merge"),
        ("name", "two words", "letters, digits, dots, dashes and underscores, 63 at most, a letter or digit first"),
        ("lora", 5, "a table"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(key: str, value: object, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe({"data": "faq.jsonl", key: value})
    assert caught.value.why.startswith(f"{key} = ")
    assert caught.value.why.endswith(f"; it must be {rule}.")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": ["lora"]}, 'method = ["lora"]; it must be one of'),
        ({"method": {"dpo": 1}, "dpo": {}}, 'method = {"dpo": 1}; it must be one of'),
        ({"method": "dpo", "dpo": {"weights": ["lora"]}}, 'dpo.weights = ["lora"]; it must be one of lora, rslora'),
        ({"method": "dpo", "dpo": {"weights": 3}, "lora": {}}, "dpo.weights = 3; it must be one of lora, rslora"),
        ({"method": "distill", "distill": None}, "distill.teacher is missing; it must be text."),
        ({"method": "distill"}, "distill.teacher is missing; it must be text."),
        ({"method": "distill", "distill": 0}, "distill = 0; it must be a table."),
    ],
)
def test_values_of_any_shape_are_told_where_they_stand(values: dict[str, object], sentence: str) -> None:
    """An error that the recipe does not tell would be the server's own fault over the wires."""
    with pytest.raises(InputError, match="has 1 mistake") as caught:
        make_recipe({"data": "faq.jsonl", **values})
    assert caught.value.why.startswith(sentence)


def test_a_table_of_another_method_is_refused_even_when_empty(tmp_path: Path) -> None:
    path = written(tmp_path, "data: faq.jsonl\nmethod: full\nlora: {}\n")
    with pytest.raises(
        InputError, match=r"recipe.yaml:3:1: lora is the table of method: lora; the method here is full"
    ):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "place"),
    [("data: [a\nb: c", "2:2"), ("data: a\ndata: b\n", "2:1"), ("- a\n", "1:1"), ("", "1:1"), ("a: 1\n b: 2", "2:3")],
)
def test_what_is_no_table_of_keys_is_told_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert caught.value.what.startswith(f"{path}:{place}: ")
    assert "\n" not in caught.value.what


def test_a_missing_or_binary_recipe_is_an_error_of_the_user(tmp_path: Path) -> None:
    written(tmp_path, "data: faq.jsonl\n")
    with pytest.raises(NotFoundError) as caught:
        read_recipe(tmp_path / "recipe.yml")
    assert caught.value.fix == "In that folder there is: recipe.yaml."
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        read_recipe(tmp_path / "binary.yaml")


def test_paths_are_relative_to_the_recipe_and_names_stay_names(tmp_path: Path) -> None:
    path = written(tmp_path, "data: faq.jsonl\nvalidation: ../more.csv\nmodel: ./my-model\n")
    recipe = read_recipe(path)
    assert Path(recipe.data) == tmp_path / "faq.jsonl"
    assert Path(recipe.validation or "") == tmp_path / "../more.csv"
    assert Path(recipe.model) == tmp_path / "my-model"
    assert read_recipe(written(tmp_path, "data: /abs/faq.jsonl\nmodel: org/name@v1\n")).model == "org/name@v1"
    assert read_recipe(written(tmp_path, "data: /abs/faq.jsonl\n")).data == "/abs/faq.jsonl"
    assert read_recipe(path.with_name("recipe.yaml")).model == DEFAULT


@pytest.mark.parametrize("key", ["model", "distill.teacher", "rlhf.reward"])
@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("./m", "m"),
        ("../m", "../m"),
        ("m.gguf", "m.gguf"),
        ("~/m", Path.home() / "m"),
        ("~nobody/m", "~nobody/m"),
        ("/d/m.gguf", "/d/m.gguf"),
        ("org/m", None),
        ("faq@2", None),
    ],
)
def test_a_model_that_is_a_path_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, word: str, place: str | Path | None
) -> None:
    """Relative to the recipe where that names it, and to where pumice is started where the command line does."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    table, _, knob = key.rpartition(".")
    line = f"method: {table}\n{table}: {{{knob}: {word}}}\n" if table else f"model: {word}\n"

    def named(recipe: Recipe) -> str:
        return (recipe.knobs.guide or "") if table else recipe.model

    recipe = read_recipe(written(tmp_path, "data: faq.jsonl\n" + line))
    assert named(recipe) == (str(tmp_path / place) if place else word)
    changed = change(recipe, {key: word})
    assert named(changed) == (str((elsewhere / place).resolve()) if place else word)
    assert named(change(changed, {"epochs": "1"})) == named(changed)


def test_a_data_file_alone_is_a_recipe() -> None:
    recipe = Recipe.from_data(Path("faq.jsonl"), epochs=3, lora={"r": 8})
    assert Path(recipe.data) == Path.cwd() / "faq.jsonl"
    assert (recipe.epochs, recipe.lora and recipe.lora.r, recipe.model) == (3, 8, DEFAULT)
    with pytest.raises(InputError, match="did you mean epochs"):
        Recipe.from_data(Path("faq.jsonl"), epoch=3)


@pytest.mark.parametrize("values", [{}, {"lora": {"r": 4, "targets": ["q_proj"]}}, {"method": "full", "epochs": 1e-1}])
def test_json_and_yaml_give_the_same_recipe_back(tmp_path: Path, values: dict[str, object]) -> None:
    recipe = make_recipe({"data": "/d/faq.jsonl", **values})
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
    resolved = resolve_recipe(recipe, base_of_width(576), 40, 1_900).recipe
    assert Recipe.model_validate(json.loads(json.dumps(resolved.model_dump(mode="json")))) == resolved
    write_recipe(resolved, tmp_path / "out.yaml")
    assert read_recipe(tmp_path / "out.yaml") == resolved


def test_every_gap_is_filled_with_a_reason_and_what_the_user_said_stays() -> None:
    recipe, reasons = resolve_recipe(make_recipe({"data": "/d/My faq!.jsonl"}), base_of_width(576), 40, 1_900)
    gaps = {key for key, value in recipe if value is None}
    tables = {field(name) for name in METHODS} - {"lora"}
    assert gaps == {"validation", "start", "learning_rate_multiplier", "save_steps", "too_long", *tables}
    assert set(reasons) == {"name", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "max_length"}
    assert recipe.name == "My-faq"
    assert recipe.lora == Lora(r=16, alpha=32)
    said = {"epochs": 7.0, "learning_rate": 0.5, "batch_size": 3, "max_length": 99, "name": "mine"}
    kept, reasons = resolve_recipe(make_recipe({"data": "/d/faq.jsonl", **said}), base_of_width(576), 40, 1_900)
    assert {key: value for key, value in kept if key in said} == said
    assert set(reasons) == {"gradient_accumulation"}
    assert kept.gradient_accumulation == 1


def test_few_rows_are_seen_often_and_many_rarely() -> None:
    """Forty facts: the run that was measured to end in 100 % recall. Thousands of rows: three times, twice, once."""

    def plan(rows: int, tokens: int, hidden: int = 576, method: str = "lora") -> Recipe:
        recipe = make_recipe({"data": "/d/faq.jsonl", "method": method})
        return resolve_recipe(recipe, base_of_width(hidden), rows, tokens).recipe

    facts = plan(40, 1_881)
    assert (facts.epochs, facts.batch_size, facts.gradient_accumulation, facts.learning_rate) == (16, 5, 1, 2e-3)
    assert [plan(rows, rows * 200).epochs for rows in (1_000, 2_000, 50_000)] == [3, 2, 1]
    sizes = [plan(rows, rows * 60) for rows in (10, 40, 200, 1_000, 10_000, 100_000)]
    assert [one.epochs for one in sizes] == sorted((one.epochs for one in sizes), reverse=True)
    assert [one.learning_rate for one in sizes] == sorted((one.learning_rate for one in sizes), reverse=True)
    assert all(one.batch_size * one.gradient_accumulation <= 16 for one in sizes)
    assert plan(40, 1_881, method="full").learning_rate == pytest.approx(2e-4)
    wide = plan(40, 1_881, hidden=4_096)
    assert 3e-4 < wide.learning_rate < 6e-4
    long = plan(1_000, 2_000_000)
    assert long.batch_size == 2 and long.gradient_accumulation == 4


def test_the_default_rate_can_be_multiplied(tmp_path: Path) -> None:
    default, twice = (
        resolve_recipe(make_recipe({"data": "faq.jsonl", **more}), base_of_width(576), 40, 1_881)
        for more in ({}, {"learning_rate_multiplier": 2})
    )
    assert twice.recipe.learning_rate == 2 * (default.recipe.learning_rate or 0)
    assert "2 times the default" in twice.reasons["learning_rate"]
    write_recipe(twice.recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml").learning_rate == twice.recipe.learning_rate
    with pytest.raises(InputError, match="learning_rate_multiplier is for the default rate"):
        make_recipe({"data": "faq.jsonl", "learning_rate": 1e-3, "learning_rate_multiplier": 2})


def test_the_options_are_frozen() -> None:
    """A new option needs a line in options.txt, and so a reason in review."""
    options = [key for key in keys_of(Recipe) if key not in METHODS]
    options += [f"{name}.{knob}" for name, method in METHODS.items() for knob in method.model_fields]
    assert sorted(options) == (Path(__file__).with_name("options.txt")).read_text().split()


def test_every_option_is_documented() -> None:
    keys = (ROOT / "docs" / "training.md").read_text().split("## The keys of a recipe")[1].split("##")[0]
    pages = [page.read_text().split("## Knobs")[1].split("##")[0] for page in (ROOT / "docs" / "methods").glob("*.md")]
    lines = [line for page in (keys, *pages) for line in page.splitlines()]
    documented = {line.split("`")[1] for line in lines if line.startswith("| `")}
    assert documented == set((Path(__file__).with_name("options.txt")).read_text().split())


def test_every_method_has_a_table_of_its_name() -> None:
    assert set(keys_of(Tables)) == set(METHODS)
    assert all(method.__doc__ and method.trains and method.paper and method.kinds for method in METHODS.values())
    engines = [method.servable_by for method in METHODS.values() if issubclass(method, Weights)]
    assert all(some and some <= {"llama.cpp", "transformers"} for some in engines)
    assert all(issubclass(method, Weights) or issubclass(method, Objective) for method in METHODS.values())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_each_method_has_a_page(name: str) -> None:
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    assert "## Knobs" in page and f"recipes/{name}.yaml" in page


@pytest.mark.parametrize("name", sorted(METHODS))
def test_each_method_has_a_recipe_to_copy(name: str) -> None:
    recipe = read_recipe(ROOT / "recipes" / f"{name}.yaml")
    assert recipe.method == name
