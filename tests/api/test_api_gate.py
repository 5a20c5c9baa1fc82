"""Who is let in, on both wires: real clients, real signatures, a real socket."""

from __future__ import annotations

import gc
import json
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.auth
import httpx
import pytest
import uvicorn
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pumice.api.aws import actions
from pumice.api.aws.errors import AwsError
from pumice.api.aws.refusals import refuse
from pumice.api.aws.s3.app import S3
from pumice.api.aws.signature import chunk_signer
from pumice.api.certificate import Certificate, choose, self_signed
from pumice.api.gate import MAX_AWS_BODY, MAX_JSON_BODY, Gate, body_limit
from pumice.api.identity import Identity, NewKey
from pumice.api.openai.refusals import from_error
from pumice.api.roles import Action, Caller, action_of, allowed
from pumice.config import Home
from pumice.errors import DeniedError, ExhaustedError, InputError
from pumice.records import Role
from pumice.store.tables import open_database
from pumice.traffic.meter import Meter

REGION = "us-east-1"


class Inside:
    """What lies behind the gate: says who called, asks the meter before it answers, and keeps objects."""

    def __init__(self, home: Home, keys: Identity) -> None:
        self.meter = Meter(open_database(home.database))
        self.s3 = S3(home.s3, lambda scope: chunk_signer(keys.secret_of, scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        caller: Caller = scope["caller"]
        answer: ASGIApp = self.s3 if caller.service == "s3" else await self._answer(Request(scope, receive), caller)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, caller: Caller) -> Response:
        try:
            self.meter.admit(caller.key)
        except ExhaustedError as error:
            if caller.service is None:
                return from_error(error).response()
            headers = {"Retry-After": str(error.seconds)}
            return refuse(caller.service, AwsError("ThrottlingException", str(error), 429, headers))
        self.meter.spend(caller.key, 30)
        size = len(await request.body())
        told = {"key": caller.key and caller.key.name, "access": caller.access, "service": caller.service, "size": size}
        said = {"output": {"message": {"role": "assistant", "content": [{"text": json.dumps(told)}]}}}
        return JSONResponse({**told, "modelSummaries": [], **said})


@contextmanager
def listening(app: ASGIApp, certificate: Certificate | None = None) -> Iterator[str]:
    """The address of a server on a free port, which ends with the block."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=1,
            loop="asyncio",  # uvloop leaves TLS connections behind that end after it
            ssl_certfile=certificate.path if certificate else None,
            ssl_keyfile=certificate.key if certificate else None,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
        with warnings.catch_warnings(action="ignore"):  # TLS connections whose peer never said goodbye
            gc.collect()


@pytest.fixture
def identity(home: Home) -> Identity:
    home.root.mkdir()
    return Identity(open_database(home.database), home)


@pytest.fixture
def url(identity: Identity, home: Home) -> Iterator[str]:
    """A gate on loopback."""
    with listening(Gate(Inside(home, identity), identity, "127.0.0.1")) as address:
        yield address


@pytest.fixture
def made(identity: Identity) -> NewKey:
    return identity.create("laptop", Role.TRAIN)


def client(service: str, url: str, made: NewKey | None = None, **options: Any) -> Any:
    """A boto3 client with the pair of a key, or with one that nobody gave out."""
    access_key, secret = (made.key.access_key, made.signing_secret) if made else ("PUMIAAAAAAAAAAAAAAAA", "x" * 40)
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    session = boto3.Session(access_key, options.pop("secret", secret), region_name=REGION)
    return session.client(service, endpoint_url=url, config=config, **options)


def refused(call: Callable[[], object]) -> tuple[int, str, str]:
    """Status, code and message of the error that a boto3 call ends with."""
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def converse(bedrock: Any, text: str = "Hello", model: str = "faq@1") -> dict[str, Any]:
    answer = bedrock.converse(modelId=model, messages=[{"role": "user", "content": [{"text": text}]}])
    told: dict[str, Any] = json.loads(answer["output"]["message"]["content"][0]["text"])
    return told


def signed(made: NewKey, url: str, body: bytes = b"{}", service: str = "bedrock", **headers: str) -> AWSRequest:
    """A signed request for /model/faq/invoke, as botocore prepares it."""
    request = AWSRequest("POST", f"{url}/model/faq/invoke", headers, body)
    request.context["timestamp"] = ""
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(made.key.access_key, made.signing_secret), service, REGION).add_auth(request)
    return request


def send(request: AWSRequest, url: str | None = None, body: bytes | None = None, **headers: str) -> httpx.Response:
    """Send it, changed on the way as the arguments say."""
    content = request.data if body is None else body
    return httpx.request(request.method, url or request.url, headers={**request.headers, **headers}, content=content)


# On loopback, while there is no key


def test_without_keys_every_caller_is_let_in_with_the_service_it_signed_for(url: str) -> None:
    told = converse(client("bedrock-runtime", url))
    assert (told["key"], told["access"], told["service"]) == (None, "sigv4", "bedrock")
    assert httpx.get(f"{url}/x").json()["access"] == "none"
    wrong = httpx.get(f"{url}/x", headers={"Authorization": "Bearer wrong"}).json()
    assert (wrong["access"], wrong["service"]) == ("bearer", None)
    assert httpx.get(f"{url}/x", headers={"Authorization": "AWS4-HMAC-SHA256 nonsense"}).status_code == 200
    store = client("s3", url)
    store.create_bucket(Bucket="mine")
    assert store.list_buckets()["Buckets"][0]["Name"] == "mine"


def test_without_keys_a_web_page_is_refused_on_either_wire(url: str) -> None:
    for headers in (
        {"Host": "evil.example:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        answer = httpx.get(f"{url}/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_host")
        assert "access-control-allow-origin" not in answer.headers
    presigned = client("s3", url).generate_presigned_url("list_buckets", HttpMethod="GET")
    answer = httpx.get(presigned, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403 and "<Code>AccessDenied</Code>" in answer.text
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert httpx.get(f"{url}/v1/models", headers={"Host": host}).status_code == 200


# Bearer


def test_once_a_key_exists_it_is_asked_for(url: str, made: NewKey) -> None:
    for path in ("/v1/models", "/openai/v1/models", "/metrics", "/openapi.json", "/healthz/../v1/models"):
        answer = httpx.get(url + path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "invalid_request_error"
        known = httpx.get(url + path, headers={"Authorization": f"Bearer {made.secret}", "Host": "gpu-box.lan"})
        assert known.json()["key"] == "laptop" and known.json()["access"] == "bearer"
    for wrong in (f"Basic {made.secret}", f"Bearer {made.secret}x", f"Bearer {made.signing_secret}", made.secret):
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": wrong}).status_code == 401
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_revoked_key_is_refused_on_both_wires(url: str, made: NewKey, identity: Identity) -> None:
    identity.create("other", Role.ADMIN)
    identity.revoke("laptop")
    assert httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {made.secret}"}).status_code == 401
    status, code, _ = refused(client("bedrock", url, made).list_foundation_models)
    assert (status, code) == (403, "UnrecognizedClientException")


# SigV4


@pytest.mark.parametrize("model", ["faq", "faq@1", "arn:aws:bedrock:us-east-1::foundation-model/a b~é"])
def test_a_signed_request_is_its_keys(url: str, made: NewKey, model: str) -> None:
    runtime = client("bedrock-runtime", url, made)
    assert converse(runtime, model=model)["key"] == "laptop"
    assert client("bedrock", url, made).list_foundation_models(byProvider="a b&c=d/ü+")["modelSummaries"] == []
    with httpx.Client(base_url=url) as plain:
        assert plain.get("/x").status_code == 401


def test_the_signing_name_is_told(url: str, made: NewKey) -> None:
    for service in ("bedrock", "sagemaker", "monitoring", "sts"):
        answer = send(signed(made, url, service=service)).json()
        assert (answer["service"], answer["access"], answer["size"]) == (service, "sigv4", 2)


def test_who_signs_wrong_is_told_in_the_services_own_words(url: str, made: NewKey) -> None:
    for service, call, unknown, wrong in (
        ("bedrock", "list_foundation_models", "UnrecognizedClientException", "InvalidSignatureException"),
        ("sagemaker", "list_models", "UnrecognizedClientException", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId", "SignatureDoesNotMatch"),
        ("s3", "list_buckets", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
    ):
        status, code, message = refused(getattr(client(service, url), call))
        assert (status, code) == (403, unknown) and "pumice keys list" in message
        status, code, message = refused(getattr(client(service, url, made, secret="x" * 40), call))
        assert (status, code) == (403, wrong) and "secret access key" in message


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_skewed_clock_is_refused(url: str, made: NewKey, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    then = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: then)
    for service, call in (("bedrock", "list_foundation_models"), ("s3", "list_buckets")):
        status, code, message = refused(getattr(client(service, url, made), call))
        assert (status, code) == (403, "RequestTimeTooSkewed") and f"{then:%H:%M}" in message
    near = datetime.now(UTC) + timedelta(minutes=minutes) * 0.8
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: near)
    client("bedrock", url, made).list_foundation_models()


def test_a_replayed_request_passes_and_a_changed_one_does_not(url: str, made: NewKey) -> None:
    request = signed(made, url, b'{"prompt": "Hi"}', **{"X-Amz-Target": "SageMaker.ListModels"})
    assert send(request).status_code == send(request).status_code == 200
    for changed in (
        send(request, body=b'{"prompt": "Ho"}'),
        send(request, body=b""),
        send(request, url=f"{url}/model/other/invoke"),
        send(request, url=f"{url}/model/faq/invoke?x=1"),
        send(request, url=f"{url}/model/f%61q/invoke"),
        send(request, Host="elsewhere:80"),
        send(request, **{"X-Amz-Target": "SageMaker.DeleteModel"}),
        send(request, **{"X-Amz-Extra": "1"}),
        send(request, **{"X-Amz-Content-SHA256": "0" * 64}),
        send(request, **{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}),
        send(request, Authorization=request.headers["Authorization"].replace("/bedrock/", "/sagemaker/")),
        send(request, Authorization=request.headers["Authorization"].replace("host;", "")),
    ):
        assert (changed.status_code, changed.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
        assert changed.json()["__type"] == "InvalidSignatureException" and changed.json()["message"]


def test_a_signature_that_cannot_be_read_says_what_is_missing(url: str, made: NewKey) -> None:
    whole = signed(made, url).headers["Authorization"]
    for broken, word in (
        (whole.replace("Signature=", "Sig="), "Signature is missing"),
        (whole.replace("aws4_request", "aws5"), "KEY/DATE/REGION/SERVICE"),
        (whole.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "algorithm"),
        (whole, "time of the request"),
    ):
        answer = httpx.post(f"{url}/x", headers={"Authorization": broken})
        assert answer.status_code == 400 and word in answer.json()["message"]


def test_a_signed_body_may_have_25_megabytes(url: str, made: NewKey) -> None:
    assert send(signed(made, url, bytes(12_000_000))).json()["size"] == 12_000_000
    answer = send(signed(made, url, bytes(MAX_AWS_BODY + 1)))
    assert (answer.status_code, answer.json()["__type"]) == (413, "RequestEntityTooLargeException")


def test_presigned_urls_of_any_service(url: str, made: NewKey, monkeypatch: pytest.MonkeyPatch) -> None:
    def presign(seconds: int) -> str:
        request = AWSRequest("GET", f"{url}/foundation-models?byProvider=a%20b")
        pair = Credentials(made.key.access_key, made.signing_secret)
        SigV4QueryAuth(pair, "bedrock", REGION, expires=seconds).add_auth(request)
        return str(request.url)

    good = presign(60)
    assert httpx.get(good).json()["service"] == "bedrock"
    for changed in (f"{good}&x=1", good.replace("a%20b", "c"), good.replace("Expires=60", "Expires=3600")):
        assert httpx.get(changed).json()["__type"] == "InvalidSignatureException"
    assert httpx.request("GET", good, content=b"{}").json()["__type"] == "InvalidSignatureException"
    then = datetime.now(UTC) - timedelta(minutes=2)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: then)
    late = httpx.get(presign(60))
    assert (late.status_code, late.json()["__type"]) == (403, "ExpiredToken")
    assert httpx.get(presign(3600)).status_code == 200
    assert httpx.get(presign(8 * 86400)).status_code == 400


# S3, whose bodies pass the gate unread


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_s3_by_header_and_by_presigned_url(url: str, made: NewKey, region: str) -> None:
    store = client("s3", url, made, region_name=region)
    store.create_bucket(Bucket="data")
    name, content = "a folder/ü (1)+~'=&%.txt", bytes(range(256)) * 4000
    store.put_object(Bucket="data", Key=name, Body=content)
    assert store.get_object(Bucket="data", Key=name)["Body"].read() == content
    assert [each["Key"] for each in store.list_objects_v2(Bucket="data", Prefix="a f")["Contents"]] == [name]
    get = store.generate_presigned_url("get_object", {"Bucket": "data", "Key": name}, ExpiresIn=60)
    assert ("AWSAccessKeyId" in get) == (region == "us-east-1")  # version 2, as boto3 still makes it there
    assert httpx.get(get).content == content
    put = store.generate_presigned_url("put_object", {"Bucket": "data", "Key": "two"}, ExpiresIn=60)
    assert httpx.put(put, content=b"two").status_code == 200
    assert httpx.put(put.replace("/two?", "/three?"), content=b"three").status_code == 403
    assert httpx.delete(put).status_code == 403
    assert httpx.put(put, headers={"x-amz-copy-source": "/data/two"}).status_code == 403
    late = store.generate_presigned_url("get_object", {"Bucket": "data", "Key": "two"}, ExpiresIn=-1)
    assert httpx.get(late).status_code in (400, 403)


def test_an_s3_body_that_was_not_signed_is_not_kept(url: str, made: NewKey) -> None:
    store = client("s3", url, made)
    store.create_bucket(Bucket="data")
    request = AWSRequest("PUT", f"{url}/data/key", {}, b"signed")
    request.context["timestamp"] = ""
    S3SigV4Auth(Credentials(made.key.access_key, made.signing_secret), "s3", REGION).add_auth(request)
    assert send(request, body=b"SIGNED").status_code == 400
    assert "Contents" not in store.list_objects_v2(Bucket="data")
    assert send(request).status_code == 200
    assert send(request, **{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}).status_code == 403


# Roles


def test_what_each_role_may() -> None:
    every: tuple[Action, ...] = ("invoke", "read", "train", "admin")
    assert [allowed(Role.INVOKE, action) for action in every] == [True, False, False, False]
    assert [allowed(Role.TRAIN, action) for action in every] == [True, True, True, False]
    assert all(allowed(Role.ADMIN, action) for action in every)
    nobody = Caller(None, "none", None)
    for action in every:
        nobody.need(action)


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/v1/chat/completions", "invoke"),
        ("POST", "/openai/v1/embeddings", "invoke"),
        ("GET", "/v1/models/faq", "invoke"),
        ("DELETE", "/v1/models/faq", "train"),
        ("GET", "/metrics", "invoke"),
        ("GET", "/v1/files", "read"),
        ("POST", "/v1/fine_tuning/jobs", "train"),
        ("GET", "/api/logs", "read"),
        ("POST", "/api/jobs", "train"),
        ("GET", "/api/keys", "admin"),
        ("PUT", "/api/settings/logging", "admin"),
        ("POST", "/model/faq/converse", None),
    ],
)
def test_the_action_of_a_route(method: str, path: str, action: Action | None) -> None:
    assert action_of(method, path) == action


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("Converse", "invoke"),
        ("InvokeModelWithResponseStream", "invoke"),
        ("InvokeEndpoint", "invoke"),
        ("ListFoundationModels", "invoke"),
        ("ListCustomModels", "read"),
        ("GetModelCustomizationJob", "read"),
        ("DescribeTrainingJob", "read"),
        ("CreateTrainingJob", "train"),
        ("DeleteCustomModel", "train"),
        ("CreateModelInvocationJob", "train"),
        ("PutModelInvocationLoggingConfiguration", "admin"),
    ],
)
def test_the_action_of_an_aws_operation(operation: str, action: Action) -> None:
    assert actions.action_of(operation) == action


def test_a_role_that_is_too_small_is_told_which_one_it_takes(url: str, identity: Identity) -> None:
    small, large = identity.create("phone", Role.INVOKE), identity.create("root", Role.ADMIN)

    def ask(made: NewKey, method: str, path: str) -> httpx.Response:
        return httpx.request(method, url + path, headers={"Authorization": f"Bearer {made.secret}"})

    assert ask(small, "POST", "/v1/chat/completions").status_code == 200
    for method, path in (("GET", "/v1/files"), ("POST", "/v1/fine_tuning/jobs"), ("GET", "/api/keys")):
        answer = ask(small, method, path)
        assert answer.status_code == 403
        assert "'phone' has the role invoke" in answer.json()["error"]["message"]
        assert ask(large, method, path).status_code == 200
    assert converse(client("bedrock-runtime", url, small))["key"] == "phone"
    for call in (lambda s3: s3.list_buckets(), lambda s3: s3.create_bucket(Bucket="mine")):
        store = client("s3", url, small)
        status, code, message = refused(lambda call=call, store=store: call(store))  # type: ignore[misc]
        assert (status, code) == (403, "AccessDenied") and "role" in message
    with pytest.raises(DeniedError, match="needs the role admin or train"):
        Caller(small.key, "sigv4", "bedrock").need("train")


# Budgets


def test_budgets_are_told_on_either_wire(url: str, identity: Identity) -> None:
    one = identity.create("one", Role.INVOKE, requests_per_minute=1)
    headers = {"Authorization": f"Bearer {one.secret}"}
    assert httpx.post(f"{url}/v1/chat/completions", headers=headers).status_code == 200
    answer = httpx.post(f"{url}/v1/chat/completions", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    few = client("bedrock-runtime", url, identity.create("few", Role.INVOKE, tokens_per_day=50))
    assert converse(few)["key"] == converse(few)["key"] == "few"  # the second one goes beyond, and is not cut
    status, code, message = refused(lambda: converse(few))
    assert (status, code) == (429, "ThrottlingException") and "50 tokens" in message


# Beyond loopback, and TLS


@pytest.fixture
def trusted(home: Home, identity: Identity) -> Iterator[tuple[str, Certificate]]:
    """A gate for the whole network behind TLS; the certificate is its own."""
    certificate = self_signed(home.tls, "0.0.0.0")
    with listening(Gate(Inside(home, identity), identity, "0.0.0.0"), certificate) as address:
        yield address, certificate


def test_real_clients_over_tls(trusted: tuple[str, Certificate], made: NewKey, monkeypatch: pytest.MonkeyPatch) -> None:
    url, certificate = trusted
    strict = ssl.create_default_context(cafile=certificate.path)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {made.secret}"}
    for host in ("127.0.0.1", "localhost", socket.gethostname()):
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as plain:
            strict.wrap_socket(plain, server_hostname=host).close()
    assert httpx.get(f"{url}/v1/models", headers=headers, verify=strict).json()["access"] == "bearer"
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/v1/models", headers=headers)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.path))
    runtime, store = client("bedrock-runtime", url, made), client("s3", url, made)
    assert converse(runtime)["access"] == "sigv4"
    store.create_bucket(Bucket="data")
    store.put_object(Bucket="data", Key="key", Body=b"over TLS")  # sent in chunks with a checksum behind them
    assert store.get_object(Bucket="data", Key="key")["Body"].read() == b"over TLS"
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", made.secret)
    bearer = client("bedrock-runtime", url)
    told = converse(bearer)
    assert (told["access"], told["key"]) == ("bearer", "laptop")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "sk-pumice-wrong")
    unknown = client("bedrock-runtime", url)
    status, code, _ = refused(lambda: converse(unknown))
    assert (status, code) == (403, "UnrecognizedClientException")
    for each in (runtime, store, bearer, unknown):
        each.close()  # or the server waits for their goodbye


def test_beyond_loopback_the_last_key_revoked_opens_nothing(
    trusted: tuple[str, Certificate], made: NewKey, identity: Identity
) -> None:
    url, certificate = trusted
    context = ssl.create_default_context(cafile=certificate.path)
    identity.revoke("laptop")
    assert httpx.get(f"{url}/v1/models", verify=context).status_code == 401
    headers = {"Authorization": f"Bearer {made.secret}"}
    assert httpx.get(f"{url}/v1/models", verify=context, headers=headers).status_code == 401


def test_plain_http_beyond_loopback_is_refused_on_both_wires(home: Home, identity: Identity, made: NewKey) -> None:
    with listening(Gate(Inside(home, identity), identity, "0.0.0.0")) as url:
        answer = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {made.secret}"})
        assert answer.status_code == 403 and "--tls" in answer.json()["error"]["message"]
        status, code, message = refused(client("bedrock", url, made).list_foundation_models)
        assert (status, code) == (403, "AccessDeniedException") and "--tls" in message
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_the_certificate_stays_until_it_no_longer_fits(home: Home) -> None:
    first = self_signed(home.tls, "127.0.0.1").path.read_bytes()
    assert self_signed(home.tls, "localhost").path.read_bytes() == first
    assert self_signed(home.tls, "gpu-box.lan").path.read_bytes() != first
    assert self_signed(home.tls, "gpu-box.lan").key.stat().st_mode & 0o077 == 0


def test_files_that_are_no_certificate_are_named(home: Home, tmp_path: Path) -> None:
    made, other = self_signed(home.tls, "localhost"), self_signed(tmp_path / "other", "localhost")
    made.check()
    with pytest.raises(InputError, match=r"cert\.pem and .*key\.pem"):
        Certificate(made.path, other.key).check()
    with pytest.raises(InputError, match=r"no file .*absent\.pem"):
        Certificate(tmp_path / "absent.pem", made.key).check()
    with pytest.raises(InputError, match="only one"):
        choose(home.tls, "localhost", False, made.path, None)
    assert choose(home.tls, "localhost", False, None, None) is None


# Sizes


def test_how_large_a_body_may_be() -> None:
    def limit(path: str, authorization: bytes = b"") -> int | None:
        headers = [(b"authorization", authorization)] if authorization else []
        return body_limit({"path": path, "query_string": b"", "headers": headers})

    name = b"AWS4-HMAC-SHA256 Credential=PUMI/20260101/us-east-1/%s/aws4_request, SignedHeaders=host, Signature=0"
    assert limit("/v1/chat/completions") == MAX_JSON_BODY
    assert limit("/v1/files") is None and limit("/openai/v1/files") is None
    assert limit("/bucket/key", name % b"s3") is None
    assert limit("/model/faq/invoke", name % b"bedrock") == limit("/model/faq/invoke", b"Bearer x") == MAX_AWS_BODY
