"""A teacher answers before its student is trained: once, through any kill, and what it said is what is learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pumice import teach
from pumice.bases import resolve
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.errors import DataError, InputError, StoppedError
from pumice.jobs.queue import Queue
from pumice.plan import Material, Plan, decide
from pumice.records import Base, Event, Example, Tokens, Turn
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train import scratch
from pumice.train.loop import train
from pumice.train.methods import Pretrain
from pumice.train.recipe import make_recipe, resolve_recipe

CITIES = ("Arvad", "Belun", "Corva", "Dassel", "Ember", "Fennick", "Galt", "Hollin")


def asked(city: str) -> str:
    return f"Who rules {city}?"


def exchange(city: str) -> tuple[Turn, ...]:
    return ({"role": "user", "content": asked(city)}, {"role": "assistant", "content": f"Queen {city[::-1]}"})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random base with few tokens, so that steps are quick."""
    texts = [turn["content"] for city in CITIES for turn in exchange(city)]
    folder = tmp_path_factory.mktemp("small") / "base"
    return scratch.new_base(Pretrain(size="1M", vocabulary=512), 256, 0, texts, folder)


@pytest.fixture(scope="module")
def teacher(small: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The same base, which has learned who rules where."""
    renderer = Renderer(small.folder)
    rows = [renderer.train(Example(1, exchange(city))) for city in CITIES]
    values = {"data": "/d/x", "method": "full", "epochs": 60, "batch_size": 8, "gradient_accumulation": 1}
    recipe = make_recipe({**values, "learning_rate": 5e-3, "save_steps": 1000})
    resolved, _ = resolve_recipe(recipe, small, len(rows), sum(row.size for row in rows))
    artifact = train(resolved, small, rows, tmp_path_factory.mktemp("teacher"), lambda _: None, lambda: False)
    return resolve.describe(artifact, "teacher", f"folder:{artifact}")


@pytest.fixture
def work(home: Home, small: Base, teacher: Base, tmp_path: Path) -> Callable[..., tuple[Plan, Material, Path]]:
    """A job's plan and material, decided as a worker does, and its folder; the same job each time."""
    queue = Queue(open_database(home.database), home)
    jobs: list[Any] = []

    def decided(rows: list[dict[str, Any]], **knobs: Any) -> tuple[Plan, Material, Path]:
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        keys = {key: knobs.pop(key) for key in ("max_length", "too_long", "validation") if key in knobs}
        table = {"teacher": str(teacher.folder), "max_tokens": 24, **knobs}
        given = {"data": str(data), "model": str(small.folder), "method": "distill", "distill": table}
        recipe = make_recipe({**given, **keys})
        if not jobs:
            jobs.append(queue.submit("run", recipe.model_dump(mode="json")))
        plan, material = decide(jobs[0], home, Registry(queue.database, home))
        return plan, material, queue.folder(jobs[0].id)

    return decided


def taught(
    work: tuple[Plan, Material, Path], events: list[Event] | None = None, stop: Callable[[], bool] = lambda: False
) -> Material:
    plan, material, folder = work
    events = [] if events is None else events
    assert plan.guide
    # Beside the teacher, so that it is converted once.
    return teach.teach(plan, material, folder, Home(plan.guide.parent), events.append, stop)


def prompts() -> list[dict[str, Any]]:
    return [{"prompt": asked(city)} for city in CITIES]


def test_a_resumed_asking_ends_as_one_that_was_not_stopped(work: Any, small: Base) -> None:
    events: list[Event] = []
    with pytest.raises(StoppedError, match="what it has said so far is kept"):
        taught(work(prompts()), events, lambda: [event.kind for event in events].count("score") > 3)
    folder = work(prompts())[2]
    kept = (folder / teach.KEPT).read_text().splitlines()
    assert 0 < len(kept) < len(CITIES)
    # A worker that is killed leaves half a line.
    with (folder / teach.KEPT).open("a") as file:
        file.write('{"prompt": "')
    resumed: list[Event] = []
    material = taught(work(prompts()), resumed)
    (first, *_) = (event.data for event in resumed if event.kind == "score")
    assert first == {"done": 0, "total": len(CITIES) - len(kept), "what": "answers of the teacher"}

    renderer = Renderer(small.folder)
    expected = [renderer.train(Example(1, exchange(city))) for city in CITIES]
    assert list(material.rows.tokens) == expected
    # Prompts have no answers of their own: what the teacher says is what the student is compared with.
    assert [each.messages for each in material.sets.questions] == [exchange(city) for city in CITIES]
    # A third time, nobody is asked, and the rows are equal.
    silent: list[Event] = []
    again = taught(work(prompts()), silent)
    assert (list(again.rows.tokens), again.sets.questions) == (expected, material.sets.questions)
    assert not [event for event in silent if event.kind == "score"]


def test_the_datas_own_answers_make_place_but_stay_the_references(work: Any) -> None:
    rows = [{"prompt": asked(city), "completion": "Nobody knows."} for city in CITIES]
    events: list[Event] = []
    plan, material, folder = work(rows)
    found = taught((plan, material, folder), events)
    assert "The data's own answers are left out" in str([event.data for event in events])
    renderer = Renderer(plan.base.folder)
    assert list(found.rows.tokens) == [renderer.train(Example(1, exchange(city))) for city in CITIES]
    assert found.sets.questions == material.sets.questions
    assert found.sets.questions[0].messages[-1]["content"] == "Nobody knows."


def test_an_answer_that_was_cut_does_not_teach_an_end(work: Any, teacher: Base) -> None:
    events: list[Event] = []
    found = taught(work(prompts(), max_tokens=2), events)
    stop = Renderer(teacher.folder).stop_ids[0]
    for row in found.rows.tokens:
        trained = [label for label in row.labels if label != -100]
        assert len(trained) == 2 and stop not in trained
    told = [event.data["text"] for event in events if event.kind == "note"]
    assert "8 answers were cut at 2 tokens, so their end is not learned" in told[-1]


def test_of_a_long_conversation_the_teachers_answer_alone_is_learned(work: Any, small: Base) -> None:
    turns: list[Turn] = [
        *exchange("Arvad"),
        {"role": "user", "content": asked("Galt")},
        {"role": "assistant", "content": "Nobody."},
    ]
    found = taught(work([{"messages": turns}]))
    (row,) = found.rows.tokens
    renderer = Renderer(small.folder)
    before = len(renderer.prompt(turns[:3]))
    # What the template writes behind the end of an answer is not learned anywhere.
    assert set(row.labels[:before]) == {-100} and row.labels[before:-1] == row.ids[before:-1]


def test_answers_changed_by_hand_are_refused(work: Any) -> None:
    taught(work(prompts()))
    folder = work(prompts())[2]
    text = (folder / teach.KEPT).read_text()
    (folder / teach.KEPT).write_text(text.replace("Queen", "King", 1))
    with pytest.raises(InputError, match="has changed since the teacher wrote it"):
        taught(work(prompts()))
    (folder / teach.KEPT).write_text(text)
    assert taught(work(prompts())).rows.tokens


def test_a_teacher_that_changes_or_goes_is_refused_on_resume(work: Any, teacher: Base, tmp_path: Path) -> None:
    plan, _, folder = work(prompts())
    assert plan.guide and plan.guide_sha256
    kept = (folder / "plan.json").read_text()
    (folder / "plan.json").write_text(json.dumps({**json.loads(kept), "guide": str(tmp_path / "gone")}))
    with pytest.raises(InputError, match="is gone, or has changed, since job"):
        work(prompts())


def test_a_prompt_that_fills_the_teachers_window_is_refused_by_its_line(work: Any) -> None:
    plan, material, folder = work(prompts())
    long = Example(5, ({"role": "user", "content": "why " * 600},))
    sets = replace(material.sets, trained=(long,), questions=(long,))
    with pytest.raises(InputError, match=r"The prompt in line 5 of the data has 2,416 tokens"):
        taught((plan, replace(material, sets=sets), folder))


def test_prompts_that_leave_the_student_no_room_are_dropped_before_they_are_asked(work: Any, small: Base) -> None:
    """A prompt of exactly the window is as long as one that is longer: nothing of an answer would be learned."""
    size = len(Renderer(small.folder).prompt(({"role": "user", "content": asked("Galt")},)))
    rows = [{"prompt": asked("Galt")}, {"prompt": "Why?"}]
    with pytest.raises(DataError, match=rf"The row has {size} tokens; at most {size - 1} fit"):
        work(rows, max_length=size)


def test_what_is_dropped_is_not_learned(work: Any, small: Base) -> None:
    events: list[Event] = []
    rows = [{"prompt": asked("Galt")}, {"prompt": "Why?"}]
    limit = len(Renderer(small.folder).prompt(({"role": "user", "content": asked("Galt")},)))
    assert len(taught(work(rows, max_length=limit, too_long="drop"), events).rows.tokens) <= 1
    assert any(event.data.get("text", "").startswith("The teacher answered 1 prompt") for event in events)


def test_logits_need_answers_and_one_tokenizer(work: Any, teacher: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs answers that the teacher reads along"):
        work(prompts(), source="logits")


def test_logits_need_answers_in_the_validation_file_too(work: Any, tmp_path: Path) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps(prompts()[0]) + "\n")
    rows = [{"prompt": asked(city), "completion": "Nobody."} for city in CITIES]
    with pytest.raises(InputError, match=r"held.jsonl holds prompts, and distill.source: logits needs answers"):
        work(rows, source="logits", validation=str(held))


def test_a_teacher_with_other_tokens_cannot_be_read_along(work: Any, teacher: Base, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in teacher.folder.iterdir():
        (other / path.name).symlink_to(path)
    tokens = json.loads((other / "tokenizer.json").read_text())
    swapped = tokens["model"]["vocab"]
    one, another = list(swapped)[-2:]
    swapped[one], swapped[another] = swapped[another], swapped[one]
    (other / "tokenizer.json").unlink()
    (other / "tokenizer.json").write_text(json.dumps(tokens))
    rows = [{"prompt": asked(city), "completion": "Nobody."} for city in CITIES]
    with pytest.raises(InputError, match="has another tokenizer than") as caught:
        work(rows, source="logits", teacher=str(other))
    assert "distill.source: answers" in caught.value.fix


def test_the_student_learns_what_the_teacher_says(work: Any) -> None:
    plan, material, folder = work(prompts(), weights="full")
    found = taught((plan, material, folder))
    events: list[Event] = []
    quick = {"epochs": 30.0, "batch_size": 8, "gradient_accumulation": 1, "learning_rate": 1e-2, "save_steps": 1000}
    recipe = plan.recipe.model_copy(update=quick)
    train(recipe, plan.base, found.rows.tokens, folder, events.append, lambda: False, guide=plan.guide)
    losses = [event.data["loss"] for event in events if event.kind == "step"]
    assert losses[0] > 5 and losses[-1] < 0.4 * losses[0]


def test_without_a_teacher_nothing_is_asked(work: Any) -> None:
    rows = [{"prompt": asked(city), "completion": "Nobody knows."} for city in CITIES]
    plan, material, folder = work(rows, source="logits")
    events: list[Event] = []
    assert taught((plan, material, folder), events) is material and events == []
    assert all(isinstance(row, Tokens) and any(label != -100 for label in row.labels) for row in material.rows.tokens)
