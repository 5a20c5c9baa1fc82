"""Files through the official client: what goes in comes out, in pages, within limits."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from live_server import serving
from openai import OpenAI

from pumice.api.openai import uploads
from pumice.config import Home
from pumice.store.documents import Documents
from pumice.store.tables import open_database


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def client(own_home: Home) -> Iterator[OpenAI]:
    with serving(own_home) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_what_goes_in_comes_out(client: OpenAI, own_home: Home) -> None:
    content = bytes(range(256)) * 20_000 + b"\r\n--boundary"
    made = client.files.create(file=("dätä.jsonl", content), purpose="fine-tune")
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(content),
        "dätä.jsonl",
        "fine-tune",
        "processed",
    )
    assert made.expires_at is None
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    assert [path.name for path in (own_home.files / made.id).iterdir()] == ["dätä.jsonl"]
    assert client.files.delete(made.id).deleted
    assert not (own_home.files / made.id).exists()
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.retrieve(made.id)
    assert (caught.value.code, caught.value.param) == ("file_not_found", "id")


def test_pages_follow_each_other_even_while_files_are_deleted(client: OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(5)]
    other = client.files.create(file=("b.jsonl", b"x"), purpose="batch").id
    assert [file.id for file in client.files.list(purpose="user_data", limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(purpose="user_data", limit=2, order="asc")] == made
    assert client.files.list().data[0].id == other
    seen = []
    for file in client.files.list(purpose="user_data", limit=2):
        seen.append(file.id)
        client.files.delete(file.id)
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "C:\\evil\\x.jsonl", "", "a\x00b.txt", "ä" * 300 + ".jsonl"]
)
def test_a_name_leads_nowhere_else(client: OpenAI, own_home: Home, name: str) -> None:
    made = client.files.create(file=(name or "file", b"x"), purpose="user_data")
    assert [path.name for path in (own_home.files / made.id).iterdir()] == [made.filename]
    assert client.files.content(made.id).read() == b"x"


def test_a_file_that_has_expired_is_gone(client: OpenAI, own_home: Home) -> None:
    life = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=("a.txt", b"x"), purpose="batch", expires_after=life)
    assert made.expires_at in (made.created_at + 3600, made.created_at + 3601)
    documents = Documents(open_database(own_home.database))
    documents.change("openai-file", made.id, expires_at=made.created_at - 1)
    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)
    assert made.id not in [file.id for file in client.files.list()]
    assert not (own_home.files / made.id).exists()


def test_mistakes_are_named_and_leave_nothing_behind(client: OpenAI, own_home: Home) -> None:
    before = sorted(own_home.files.iterdir())
    with pytest.raises(openai.BadRequestError, match="Did you mean 'fine-tune'") as caught:
        client.files.create(file=("a.jsonl", b"x"), purpose="finetune")
    assert caught.value.param == "purpose"
    with pytest.raises(openai.BadRequestError, match="must be 3600 to 2592000, got '5'"):
        client.files.create(
            file=("a.jsonl", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 5}
        )
    with pytest.raises(openai.BadRequestError, match="'file'"):
        client.post("/files", body={"purpose": "batch"}, files=[("fil", b"x")], cast_to=object,
                    options={"headers": {"Content-Type": "multipart/form-data"}})  # fmt: skip
    with pytest.raises(openai.BadRequestError, match="not a form"):
        client.post("/files", body={"purpose": "batch"}, cast_to=object)
    assert sorted(own_home.files.iterdir()) == before


def test_a_file_beyond_the_limit_is_refused_before_it_is_whole(
    client: OpenAI, own_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_FILE", 1_000_000)
    before = sorted(own_home.files.iterdir())
    client.files.create(file=("a.bin", b"x" * 1_000_000), purpose="user_data")
    with pytest.raises(openai.APIStatusError, match="larger than 1 MB") as caught:
        client.files.create(file=("a.bin", b"x" * 1_000_001), purpose="user_data")
    assert caught.value.status_code == 413
    assert len(sorted(own_home.files.iterdir())) == len(before) + 1
    with pytest.raises(openai.APIStatusError, match="beside the file") as caught:
        client.files.create(file=("a.bin", b"x"), purpose="batch", extra_body={"note": "x" * 100_000})
    assert caught.value.status_code == 413
