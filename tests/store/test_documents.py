"""Documents are kept by kind and name, and nobody's change is lost, on either database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from pumice.errors import ConflictError, NotFoundError
from pumice.store.documents import Documents


@pytest.fixture
def documents(database: Engine) -> Documents:
    return Documents(database)


def test_what_was_added_is_found_as_it_was(documents: Documents) -> None:
    body = {"text": "zwei\nZeilen ✓", "nul": "a\0b", "half": "\ud800", "big": 2**70, "list": [1.5, None, True, {}]}
    added = documents.add("file", "file-1", body)
    assert documents.find("file", "file-1") == documents.get("file", "file-1") == added
    assert added.body == body and added.created == added.updated and added.created.tzinfo
    assert documents.find("batch", "file-1") is None and documents.find("file", "file-2") is None


def test_a_name_is_unique_in_its_kind(documents: Documents) -> None:
    documents.add("file", "one", {"n": 1})
    documents.add("batch", "one", {"n": 2})
    with pytest.raises(ConflictError, match="There is a file named 'one' already") as caught:
        documents.add("file", "one", {"n": 3})
    assert caught.value.fix
    assert documents.get("file", "one").body == {"n": 1}


def test_a_kind_is_listed_newest_first(documents: Documents) -> None:
    for name in ("b", "a", "c"):
        documents.add("file", name, {})
    documents.add("batch", "d", {})
    assert [document.name for document in documents.list("file")] == ["c", "a", "b"]
    assert documents.list("guardrail") == ()


def test_changing_sets_keys_and_leaves_the_others(documents: Documents) -> None:
    added = documents.add("batch", "b1", {"state": "queued", "n": 0})
    changed = documents.change("batch", "b1", state="done", end=[1])
    assert changed.body == {"state": "done", "n": 0, "end": [1]} and documents.get("batch", "b1") == changed
    assert changed.created == added.created and changed.updated > added.updated
    with pytest.raises(NotFoundError, match="There is no batch 'b2'"):
        documents.change("batch", "b2", n=1)


def test_no_change_of_many_at_once_is_lost(documents: Documents) -> None:
    documents.add("batch", "b1", {})
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: documents.change("batch", "b1", **{f"k{n}": n}), range(40)))
    assert documents.get("batch", "b1").body == {f"k{n}": n for n in range(40)}


def test_what_is_deleted_is_gone(documents: Documents) -> None:
    documents.add("file", "one", {})
    documents.add("batch", "one", {})
    documents.delete("file", "one")
    assert documents.find("file", "one") is None and documents.get("batch", "one")
    with pytest.raises(NotFoundError, match="There is no file 'one'"):
        documents.delete("file", "one")
    with pytest.raises(NotFoundError, match="There is no file 'one'"):
        documents.get("file", "one")
