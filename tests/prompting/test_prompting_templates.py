"""Prompt templates: the ready ones, versions that never change, and templates that could not ask anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from pumice.cli import app
from pumice.cli.prompts import Task
from pumice.config import Home
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.prompting.templates import Shot, add, find, kept, parse, read, shipped, shipped_names
from pumice.store.documents import Documents

VALUES = {"labels": ["good", "bad"], "target_language": "German"}
SHOTS = (Shot("first asked", "first answered"), Shot("then asked", "then answered"))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_task_has_a_template_that_writes_question_shots_and_variables() -> None:
    assert shipped_names() == sorted(get_args(Task))
    for template in shipped():
        values = {name: value for name, value in VALUES.items() if name in template.prompt.variables}
        template.check(values, with_shots=True)
        user, system = template.write("what is asked", SHOTS, values)
        places = [user.index(part) for shot in SHOTS for part in (shot.question, shot.answer)]
        assert [*places, user.index("what is asked")] == sorted([*places, user.index("what is asked")])
        assert not system
        alone = template.write("what is asked", (), values)[0]
        assert alone != user and user.endswith(alone)
        for value in values.values():
            assert (value if isinstance(value, str) else value[0]) in alone


def test_versions_are_kept_for_ever_and_one_text_is_one_version(database: Engine, tmp_path: Path) -> None:
    documents, file = Documents(database), tmp_path / "short.jinja"
    first, is_new = add("short", read(write(file, "{{ question }}"), "short.jinja"), documents)
    assert (first.name, is_new) == ("short@1", True)
    second, is_new = add("short", read(write(file, "Q: {{ question }}"), "short.jinja"), documents)
    assert (second.name, is_new) == ("short@2", True)
    again, is_new = add("short", read(write(file, "{{ question }}"), "short.jinja"), documents)
    assert (again.name, again.sha256, is_new) == ("short@1", first.sha256, False)
    other, _ = add("other", read(write(file, "{{ question }}"), "other.jinja"), documents)
    assert other.name == "other@1"

    assert find("short@1", documents).text == "{{ question }}"
    assert find("short", documents).text == find("short@2", documents).text == "Q: {{ question }}"
    for number in range(3, 12):
        add("short", read(write(file, f"{number}: {{{{ question }}}}"), "short.jinja"), documents)
    assert find("short", documents).name == "short@11"
    assert [each.name for each in kept(documents)][:3] == ["other@1", "short@11", "short@10"]


def test_a_name_that_is_not_there(database: Engine, tmp_path: Path) -> None:
    documents = Documents(database)
    add("short", read(write(tmp_path / "x", "{{ text }}"), "short.jinja"), documents)
    for word, sentence in (
        ("shrt", "Near to it: short"),
        ("sumarise", "Near to it: summarise"),
        ("short@2", "There is short@1"),
        ("short@", "There is short@1"),
        ("qa@1", "Near to it: qa"),
    ):
        with pytest.raises(NotFoundError) as error:
            find(word, documents)
        assert sentence in str(error.value)
    with pytest.raises(InputError, match=r"missing.jinja cannot be read: No such file"):
        find(str(tmp_path / "missing.jinja"), documents)


def test_names_and_files_that_cannot_be_kept(database: Engine, tmp_path: Path) -> None:
    documents, good = Documents(database), parse("{{ question }}", "good")
    with pytest.raises(ConflictError, match="qa is the name of a template that ships"):
        add("qa", good, documents)
    for name in ("a@1", "", "../x", "x.jinja"):
        with pytest.raises(InputError, match="cannot be a template's name"):
            add(name, good, documents)
    with pytest.raises(InputError, match="bad:1: unexpected"):
        parse("{{ question", "bad")
    (tmp_path / "latin").write_bytes("{{ question }} é".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8"):
        read(tmp_path / "latin", "latin")
    with pytest.raises(InputError, match="forgetful does not write its question"):
        parse("Say something. {{ shots }}", "forgetful")
    assert kept(documents) == ()


@pytest.mark.parametrize(
    ("text", "variables", "sentence"),
    [
        ("{% if question %}Say something.{% endif %}", {}, "does not write its question"),
        ("{{ question }}", {}, "does not write its shots"),
        ("{{ question }}{{ shots | length }}", {}, "does not write its shots"),
        ("{{ question }}{{ shots }}", {"tone": "dry"}, "--var tone"),
        ("{{ question }}{{ shots }}", {"question": "x"}, "--var question"),
        ("{{ question }}\n{{ shots }}\n{{ tone }}", {}, "x.jinja:3: 'tone' is undefined"),
    ],
)
def test_a_template_that_could_not_be_measured_is_refused(
    tmp_path: Path, text: str, variables: dict[str, str], sentence: str
) -> None:
    template = read(write(tmp_path / "x.jinja", text), "x.jinja")
    with pytest.raises(InputError) as error:
        template.check(variables, with_shots=True)
    assert sentence in str(error.value)


def test_the_commands(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    text = "{{ question }}\n{{ shots }}{{ tone }}\n"
    file = write(tmp_path / "mine.jinja", text)
    added = json.loads(pumice("prompts", "add", "mine", file, "--json"))
    assert (added["name"], added["variables"]) == ("mine@1", ["question", "shots", "tone"])
    pumice("prompts", "add", "mine", file)
    assert pumice("prompts", "show", "mine@1") == text
    listed = json.loads(pumice("prompts", "list", "--json"))
    assert [each["name"] for each in listed] == ["classify", "qa", "summarise", "translate", "mine@1"]
    pumice("prompts", "list")


def pumice(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.stdout)
