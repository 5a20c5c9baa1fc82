"""S3 as boto3 uses it, against a real server."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import serving

from pumice.config import Home

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def home_and_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, str]]:
    home = Home(tmp_path_factory.mktemp("s3"))
    with serving(home) as url:
        yield home, url


def client(url: str, **config: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="anything",
        aws_secret_access_key="passes",
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, **config),
    )


@pytest.fixture
def s3(home_and_url: tuple[Home, str]) -> Any:
    return client(home_and_url[1])


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = "b-" + hashlib.sha1(request.node.name.encode()).hexdigest()[:12]
    s3.create_bucket(Bucket=name)
    return name


def read(s3: Any, bucket: str, key: str, **extra: Any) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=key, **extra)["Body"].read())


def test_an_object_is_a_file(s3: Any, bucket: str, home_and_url: tuple[Home, str]) -> None:
    s3.put_object(
        Bucket=bucket, Key="faq/train.jsonl", Body=b"{}\n", ContentType="application/jsonl", Metadata={"a": "b"}
    )
    file = home_and_url[0].s3 / bucket / "faq" / "train.jsonl"
    assert file.read_bytes() == b"{}\n"
    found = s3.get_object(Bucket=bucket, Key="faq/train.jsonl")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"{}\n", "application/jsonl", {"a": "b"})
    file.write_bytes(b"longer than before\n")
    head = s3.head_object(Bucket=bucket, Key="faq/train.jsonl")
    assert head["ContentLength"] == 19
    assert read(s3, bucket, "faq/train.jsonl") == b"longer than before\n"
    s3.delete_object(Bucket=bucket, Key="faq/train.jsonl")
    assert not file.exists()


def test_a_server_that_was_killed_between_an_object_and_its_metadata_leaves_the_key_writable(
    s3: Any, bucket: str, home_and_url: tuple[Home, str]
) -> None:
    left = home_and_url[0].s3 / bucket / ".nanio-meta" / "faq.jsonl.json.tmp"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"{")
    s3.put_object(Bucket=bucket, Key="faq.jsonl", Body=b"{}")
    assert (read(s3, bucket, "faq.jsonl"), left.exists()) == (b"{}", False)


@pytest.mark.parametrize("key", ["a b", "é/ü", "a+b", "100%", "a%2Bb", "x=1&y=2", "(1)~!'*"])
def test_keys_with_any_character_come_back(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert read(s3, bucket, key) == key.encode()
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


@pytest.mark.parametrize("key", ["../out", "a/../../out", ".nanio-meta/x", "/etc/passwd"])
def test_keys_that_leave_the_bucket_are_refused(s3: Any, bucket: str, key: str) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert 400 <= error.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500


def test_a_key_beside_a_folder_of_its_name_is_refused_with_a_sentence(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a.txt", Body=b"x")
    with pytest.raises(ClientError, match="folder of another key"):
        s3.put_object(Bucket=bucket, Key="a.txt/z", Body=b"x")


@pytest.mark.parametrize(
    ("range_", "wanted"), [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-3", b"789"), ("bytes=5-999", b"56789")]
)
def test_ranges(s3: Any, bucket: str, range_: str, wanted: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    assert read(s3, bucket, "k", Range=range_) == wanted


def test_a_range_behind_the_end_is_invalid(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=10-")
    assert error.value.response["Error"]["Code"] == "InvalidRange"


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
def test_pages_have_every_key_once_and_in_order(s3: Any, bucket: str, operation: str) -> None:
    keys = sorted(["a/b", "a.txt", "a/c/d", "a0", "b", "c/x", "c/y", "é"], key=str.encode)
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for size in (1, 2, 3, 100):
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
        assert [each["Key"] for page in pages for each in page.get("Contents", [])] == keys
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
        folders = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
        assert folders == ["a/", "c/"]
    inside = s3.list_objects_v2(Bucket=bucket, Prefix="a/", Delimiter="/")
    assert [each["Key"] for each in inside["Contents"]] == ["a/b"]
    assert [each["Prefix"] for each in inside["CommonPrefixes"]] == ["a/c/"]


def test_a_large_file_goes_up_in_parts(s3: Any, bucket: str) -> None:
    content = bytes(range(256)) * (12 * MIB // 256)
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(content), bucket, "large", Config=parts)
    assert read(s3, bucket, "large") == content
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "large"})
    assert s3.head_object(Bucket=bucket, Key="copy")["ContentLength"] == len(content)


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_work_without_the_client(home_and_url: tuple[Home, str], bucket: str, version: str) -> None:
    s3 = client(home_and_url[1], signature_version=version)
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "p"})
    assert httpx.put(put, content=b"through a link").status_code == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "p"})
    assert httpx.get(get).content == b"through a link"


def chunked(*chunks: bytes, trailer: str = "") -> bytes:
    body = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    return body + b"0\r\n" + trailer.encode() + b"\r\n"


def put_chunked(url: str, bucket: str, body: bytes, **headers: str) -> httpx.Response:
    signed = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    usual = {"authorization": signed, "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
             "content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32"}  # fmt: skip
    return httpx.put(f"{url}/{bucket}/chunked", content=body, headers={**usual, **headers})


def test_a_chunked_body_is_unwrapped_and_its_checksum_is_checked(
    home_and_url: tuple[Home, str], s3: Any, bucket: str
) -> None:
    url = home_and_url[1]
    right = chunked(b"hello ", b"world", trailer="x-amz-checksum-crc32:DUoRhQ==\r\n")
    assert put_chunked(url, bucket, right, **{"x-amz-decoded-content-length": "11"}).status_code == 200
    found = s3.get_object(Bucket=bucket, Key="chunked")
    assert found["Body"].read() == b"hello world"
    assert "aws-chunked" not in found.get("ContentEncoding", "")
    for broken in (
        put_chunked(url, bucket, chunked(b"HELLO ", b"world", trailer="x-amz-checksum-crc32:DUoRhQ==\r\n")),
        put_chunked(url, bucket, right, **{"x-amz-decoded-content-length": "12"}),
        put_chunked(url, bucket, right[:-20]),
        put_chunked(url, bucket, b"zz\r\nhello"),
    ):
        assert broken.status_code == 400
    assert read(s3, bucket, "chunked") == b"hello world"


def test_what_is_not_served_is_said_and_does_nothing(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for call in (
        lambda: s3.get_bucket_versioning(Bucket=bucket),
        lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}),
        lambda: s3.get_object_tagging(Bucket=bucket, Key="k"),
        lambda: s3.put_object_acl(Bucket=bucket, Key="k", ACL="private"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        assert "not served by Pumice" in error.value.response["Error"]["Message"]
    assert read(s3, bucket, "k") == b"x"
