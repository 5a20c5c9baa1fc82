"""An `s3://` address means one file, nothing outside its bucket, and what was put is what any S3 client gets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nanio.storage import FilesystemStorage

from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.store.s3 import Objects, is_uri


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "s3")


def test_writers_of_one_key_do_not_meet(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: objects.put("s3://data/one", b"%04d" % number), range(400)))
    info = FilesystemStorage(objects.root).head_object("data", "one")
    assert (len(objects.path("s3://data/one").read_bytes()), info.size) == (4, 4)
    assert not [path for path in objects.root.rglob("*") if path.is_file() and path.name not in {"one", "one.json"}]


def test_what_is_put_is_there_for_every_client(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 10_000)
    assert objects.put("s3://data/a/faq.jsonl", b"hello") == "s3://data/a/faq.jsonl"
    objects.put("s3://data/big.bin", tmp_path / "big.bin")
    assert objects.path("s3://data/a/faq.jsonl").read_bytes() == b"hello"
    assert objects.path("s3://data/a/faq.jsonl") == tmp_path / "s3" / "data" / "a" / "faq.jsonl"
    server = FilesystemStorage(objects.root)
    assert [bucket.name for bucket in server.list_buckets()] == ["data"]
    listed = server.list_objects("data", prefix="", delimiter=None, max_keys=10, continuation_token=None)
    assert [(each.key, each.size) for each in listed.contents] == [("a/faq.jsonl", 5), ("big.bin", 2_560_000)]
    etag = hashlib.md5((tmp_path / "big.bin").read_bytes()).hexdigest()
    assert server.head_object("data", "big.bin").etag == f'"{etag}"'


def test_what_a_client_put_is_there_for_us(objects: Objects) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"hello"

    server = FilesystemStorage(objects.root)
    server.create_bucket("data")
    asyncio.run(server.put_object("data", "a/faq.jsonl", body()))
    assert objects.path("s3://data/a/faq.jsonl").read_bytes() == b"hello"
    assert objects.list("s3://data") == ("s3://data/a/faq.jsonl",)


def test_putting_again_replaces_whole(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.put("s3://data/x", b"old")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            objects.put("s3://data/x", b"new")
    assert objects.path("s3://data/x").read_bytes() == b"old" and objects.list("s3://data/") == ("s3://data/x",)
    assert list((objects.root / ".nanio" / "put").iterdir()) == []
    objects.put("s3://data/x", b"new")
    assert objects.path("s3://data/x").read_bytes() == b"new"
    assert FilesystemStorage(objects.root).head_object("data", "x").size == 3


def test_a_prefix_is_the_start_of_keys(objects: Objects) -> None:
    for key in ("b", "a/2", "a/1", "ab/3", "a.txt"):
        objects.put(f"s3://data/{key}", b"")
    keys = ("a.txt", "a/1", "a/2", "ab/3", "b")
    assert objects.list("s3://data") == objects.list("s3://data/") == tuple(f"s3://data/{key}" for key in keys)
    assert [uri[10:] for uri in objects.list("s3://data/a")] == ["a.txt", "a/1", "a/2", "ab/3"]
    assert [uri[10:] for uri in objects.list("s3://data/a/")] == ["a/1", "a/2"]
    assert objects.list("s3://data/c") == objects.list("s3://data/c/d") == ()
    assert objects.folder("s3://data/a/") == objects.folder("s3://data/a") == objects.root / "data" / "a"
    assert objects.folder("s3://data") == objects.root / "data"


def test_what_is_not_there_is_told_with_what_is_near(objects: Objects) -> None:
    objects.put("s3://data/a/faq.jsonl", b"")
    with pytest.raises(NotFoundError, match="no bucket 'date'") as caught:
        objects.path("s3://date/x")
    assert "data" in caught.value.why and "aws s3 mb s3://date" in caught.value.fix
    with pytest.raises(NotFoundError, match=r"s3://data/a/fag.jsonl does not exist") as caught:
        objects.path("s3://data/a/fag.jsonl")
    assert "s3://data/a/faq.jsonl" in caught.value.why and "aws s3 ls" in caught.value.fix
    with pytest.raises(NotFoundError, match="s3://data/a is a prefix, not an object") as caught:
        objects.path("s3://data/a")
    assert "s3://data/a/faq.jsonl" in caught.value.fix
    with pytest.raises(NotFoundError, match="is an object, not a prefix"):
        objects.folder("s3://data/a/faq.jsonl")
    for nothing in ("s3://data/b/", "s3://data/.nanio-meta2"):
        with pytest.raises(InputError):
            objects.folder(nothing)
    with pytest.raises(NotFoundError, match="no bucket"):
        objects.list("s3://other/")


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("s3://data/../secret", "`..`"),
        ("s3://data/a/../../secret", "`..`"),
        ("s3://data//etc/passwd", "start with `/`"),
        ("s3://data/a//b", "empty segments"),
        ("s3://data/a/", "empty segments"),
        ("s3://data/./a", "`.`"),
        ("s3://data/", "empty"),
        ("s3://data", "empty"),
        ("s3://", "3-63"),
        ("s3:///a", "3-63"),
        ("s3://../a", "3-63"),
        ("s3://Data/a", "lowercase"),
        ("s3://data/.nanio-meta/a.json", ".nanio"),
        ("s3://data/a\0b", "control"),
        ("s3://data/" + "x" * 241, "240 bytes"),
        ("faq.jsonl", "begins with s3://"),
    ],
)
def test_an_address_that_leads_elsewhere_is_refused(objects: Objects, uri: str, rule: str) -> None:
    objects.put("s3://data/a/b", b"")
    (objects.root / "secret").write_text("no object")
    for work in (objects.path, lambda uri: objects.put(uri, b"")):
        with pytest.raises(InputError, match="is no address in S3") as caught:
            work(uri)
        assert rule in caught.value.why and "s3://bucket/key" in caught.value.fix


@pytest.mark.parametrize(
    "prefix", ["s3://data/..", "s3://data/../", "s3://data/a/../..", "s3://..", "a", "s3://data//"]
)
def test_a_prefix_that_leads_elsewhere_is_refused(objects: Objects, prefix: str) -> None:
    objects.put("s3://data/a/b", b"")
    objects.put("s3://other/a/b", b"")
    for work in (objects.folder, objects.list):
        try:
            found = work(prefix)
        except InputError:
            continue
        assert found in ((), objects.root / "data"), prefix


def test_a_link_does_not_lead_out_of_the_buckets(objects: Objects, tmp_path: Path) -> None:
    objects.put("s3://data/a", b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret").write_text("no object")
    (objects.root / "data" / "folder").symlink_to(tmp_path / "out")
    (objects.root / "data" / "leaf").symlink_to(tmp_path / "out" / "secret")
    for uri in ("s3://data/folder/secret", "s3://data/leaf"):
        with pytest.raises(NotFoundError):
            objects.path(uri)
    with pytest.raises(NotFoundError):
        objects.folder("s3://data/folder/")
    assert objects.list("s3://data/folder/") == () and "s3://data/folder/secret" not in objects.list("s3://data/")
    with pytest.raises(InputError, match="outside"):
        objects.put("s3://data/folder/new", b"")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["secret"]


def test_a_key_under_a_key_is_refused_with_the_reason(objects: Objects) -> None:
    objects.put("s3://data/a", b"1")
    objects.put("s3://data/b/c", b"2")
    for uri in ("s3://data/a/b", "s3://data/b"):
        with pytest.raises(ConflictError, match="cannot be written") as caught:
            objects.put(uri, b"3")
        assert "a key is a file" in caught.value.why
    assert objects.path("s3://data/a").read_bytes() == b"1"


def test_a_word_is_an_address_or_a_file(objects: Objects) -> None:
    objects.put("s3://data/a", b"")
    assert is_uri("s3://data/a") and not is_uri("/s3/data/a") and not is_uri("gs://data/a")
    assert objects.locate("s3://data/a") == objects.root / "data" / "a"
    assert objects.locate("data/a") == Path("data/a")
