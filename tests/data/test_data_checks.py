"""What a check tells about a file is true of the file, and `load` takes exactly the files that it calls good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.data import checks
from pumice.data.render import Renderer
from pumice.errors import DataError, InputError
from pumice.records import Base, Kind


@pytest.fixture(scope="module")
def renderer(tiny: Base) -> Renderer:
    return Renderer(tiny.folder)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def qa(question: str, answer: str = "a") -> dict[str, str]:
    return {"question": question, "answer": answer}


def test_load_takes_all_rows_in_order_or_none(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", *(qa(f"q{n}") for n in range(300)))
    dataset = checks.load(path)
    assert (dataset.kind, len(dataset.examples), list(dataset.examples)[299].line) == (Kind.INSTRUCTION, 300, 300)
    path.write_text(path.read_text() + '{"question": "q"}\n' * 30)
    with pytest.raises(DataError) as refused:
        checks.load(path)
    assert (refused.value.total, len(refused.value.findings)) == (30, 20)
    assert f"{path}:301:1: " in str(refused.value)
    assert "10 more" in str(refused.value)


def test_repeated_rows_are_found_exactly(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.jsonl",
        qa("q1"),
        qa("q2"),
        qa("q1"),
        qa("q2", "other"),
        qa("q1"),
        {"prompt": "q2", "response": "a"},
    )
    found = checks.check(path, None)
    assert (found.duplicates.count, found.duplicates.pairs) == (3, ((3, 1), (5, 1), (6, 2)))
    assert (found.conflicts.count, found.conflicts.pairs) == (1, ((4, 2),))
    assert len(found.warnings) == 2
    assert found.ok


def test_a_system_text_makes_another_prompt(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", qa("q"), {**qa("q", "b"), "system": "s"})
    assert checks.check(path, None).conflicts.count == 0


def test_leaks_into_the_validation_file(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", qa("q1"), qa("q2"), qa("q3"))
    validation = write(tmp_path / "v.jsonl", qa("q9"), qa("q3", "other"))
    found = checks.check(path, None, validation=validation)
    assert found.leaks is not None
    assert (found.leaks.count, found.leaks.pairs) == (1, ((3, 2),))
    assert "validation" in found.warnings[0]


def test_faults_of_the_validation_file_are_told_too(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", qa("q1"))
    found = checks.check(path, None, validation=write(tmp_path / "v.jsonl", qa("")))
    assert not found.ok
    assert found.findings[0].path == str(tmp_path / "v.jsonl")


SECRETS = {
    "email address": "write to ann.b@example.co.uk.",
    "phone number": "call +49 30 1234 5678 now",
    "AWS key": "AKIAIOSFODNN7EXAMPLE",
    "API key (sk-…)": "sk-" + "a1B2" * 10,
    "GitHub token": "ghp_" + "a1B2" * 9,
    "private key": "-----BEGIN RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("what, text", SECRETS.items(), ids=SECRETS)
def test_personal_text_is_counted_and_never_shown_whole(tmp_path: Path, what: str, text: str) -> None:
    path = write(tmp_path / "d.jsonl", qa("q1"), qa("q2", text), qa(f"{text} and {text}"))
    found = checks.check(path, None)
    assert [(each.what, each.count, each.lines) for each in found.sensitive] == [(what, 3, (2, 3))]
    said = json.dumps(found.to_json(), ensure_ascii=False)
    assert max(text.split(), key=len).strip(".") not in said
    assert found.ok


@pytest.mark.parametrize(
    "text", ["In 2024 we sold 1,234,567 units.", "5 @ 3", "version 1.2.3.4", "2024-01-02 10:20:30", "ask-me"]
)
def test_common_text_is_not_taken_for_personal(tmp_path: Path, text: str) -> None:
    assert checks.check(write(tmp_path / "d.jsonl", qa(text)), None).sensitive == ()


def test_lengths_are_those_of_the_rendered_rows(tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "d.jsonl", *(qa("why " * n, "so " * n) for n in range(1, 41)))
    rendered = [renderer.train(example) for example in checks.load(path).examples]
    lengths = checks.check(path, renderer).lengths
    assert lengths is not None
    assert lengths.exact
    assert lengths.total == sum(len(row.ids) for row in rendered)
    assert lengths.trained == sum(label != -100 for row in rendered for label in row.labels)
    assert lengths.longest == max(len(row.ids) for row in rendered)
    for bar in lengths.histogram:
        assert bar.rows == sum(bar.over < len(row.ids) <= bar.upto for row in rendered)
    assert sum(bar.rows for bar in lengths.histogram) == 40


def test_rows_that_are_too_long_are_exact_where_lengths_are_a_sample(
    tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "EXACT", 10)
    rows = [qa(f"q{n}", "é so " * (n % 50) + "a") for n in range(200)]
    path = write(tmp_path / "d.jsonl", *rows)
    want = [e.line for e in checks.load(path).examples if len(renderer.train(e).ids) > 128]
    found = checks.check(path, renderer, max_length=128)
    assert found.lengths is not None
    assert want
    assert (found.lengths.exact, found.lengths.measured) == (False, 10)
    assert found.lengths.too_long == found.errors == len(want)
    assert found.lengths.too_long_lines == tuple(want[:20])


def test_the_sample_shows_what_is_trained(tmp_path: Path, renderer: Renderer) -> None:
    sample = checks.check(write(tmp_path / "d.jsonl", qa("Who are you?", "Pumice, at your service.")), renderer).sample
    assert "".join(text for text, trained in sample if trained).startswith("Pumice, at your service.")
    assert "Who are you?" in "".join(text for text, trained in sample if not trained)


def test_a_check_is_one_plain_document(tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "d.jsonl", qa("q1"), qa(""))
    document = json.loads(json.dumps(checks.check(path, renderer, validation=path).to_json()))
    assert (document["ok"], document["kind"], document["rows"], document["errors"]) == (False, "instruction", 1, 2)
    assert document["findings"][0]["line"] == 2


def test_check_raises_only_where_there_is_nothing_to_judge(tmp_path: Path, renderer: Renderer) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert checks.check(tmp_path / "empty.jsonl", renderer).errors == 1
    with pytest.raises(InputError):
        checks.check(tmp_path / "none.jsonl", renderer)
    with pytest.raises(InputError, match="max_length = 99999"):
        checks.check(write(tmp_path / "d.jsonl", qa("q")), renderer, max_length=99999)


def test_the_sample_of_a_pair_shows_both_endings(tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "d.jsonl", {"prompt": "Who are you?", "chosen": "Pumice.", "rejected": "Never mind, sir."})
    found = checks.check(path, renderer)
    assert found.lengths is not None
    for sample, answer in ((found.sample, "Pumice."), (found.sample_rejected, "Never mind, sir.")):
        assert "".join(text for text, trained in sample if trained).startswith(answer)
        assert "Who are you?" in "".join(text for text, trained in sample if not trained)
    both = (*found.sample, *found.sample_rejected)
    assert (found.lengths.total, found.lengths.trained) == (len(both), sum(trained for _, trained in both))
    assert found.lengths.longest == len(found.sample_rejected) > len(found.sample)
    assert [bar.rows for bar in found.lengths.histogram if bar.over < found.lengths.longest <= bar.upto] == [1]


def test_the_sample_of_a_labelled_text_has_its_class_and_trains_no_token(tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "d.jsonl", {"text": "so cheap", "label": "spam"}, {"text": "see you", "label": "ham"})
    found = checks.check(path, renderer)
    assert found.lengths is not None
    assert (found.errors, found.lengths.untrained, found.lengths.trained) == (0, 0, 0)
    assert ("".join(text for text, _ in found.sample), found.sample_label) == ("so cheap", "spam")
    assert not any(trained for _, trained in found.sample)
