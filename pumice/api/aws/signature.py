"""SigV4: reads what a request was signed with, and checks it by signing once more with botocore. Knows no key.

A signature binds method, path, query, signed headers, time and body; the same request may be sent again while it is in
force, with anything changed it is refused. Of the older version 2 presigned URLs are read, for S3 alone, as boto3 still
makes them where nobody sets `signature_version="s3v4"`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from botocore.auth import SIGV4_TIMESTAMP, UNSIGNED_PAYLOAD, HmacV1Auth, S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from starlette.datastructures import Headers
from starlette.types import Scope

from pumice.api.aws.errors import AwsError
from pumice.api.aws.s3.body import ChunkSigner

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = timedelta(minutes=5)
"""How far the clocks of caller and server may be apart."""
LONGEST = timedelta(days=7)
"""A presigned URL's life, at most."""
_CREDENTIAL = re.compile(r"([^/]+)/(\d{8})/([^/]+)/([a-z0-9-]+)/aws4_request")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_LONG_AGO = datetime.fromtimestamp(0, UTC)
# These two are in what is signed, whether they are named in SignedHeaders or not.
_BOUND = {"x-amz-date", "x-amz-content-sha256"}


@dataclass(frozen=True)
class Signed:
    """What a request says of its signature; nothing of it is checked yet."""

    access_key: str
    region: str
    service: str
    """The signing name: `s3`, `bedrock`."""
    headers: tuple[str, ...]
    """Names of the signed headers."""
    signature: str
    moment: datetime
    until: datetime | None = None
    """The end of a presigned URL."""
    version: int = 4


def service_of(scope: Scope) -> str | None:
    """The signing name in a request's credential scope, None for one that is not signed, or not understood."""
    if _version_2(scope):
        return "s3"
    found = _CREDENTIAL.fullmatch(_fields(scope).get("Credential", ""))
    return found[4] if found else None


def read(scope: Scope) -> Signed | None:
    """The signature of an ASGI request, None when it has none. Raises `AwsError` for one that cannot be understood."""
    if query := _version_2(scope):
        end = datetime.fromtimestamp(int(query["Expires"]), UTC)
        return Signed(query["AWSAccessKeyId"], "", "s3", (), query["Signature"], _LONG_AGO, end, version=2)
    fields = _fields(scope)
    if not fields:
        return None
    if fields.get("Algorithm") != ALGORITHM:
        raise _incomplete(f"The algorithm must be {ALGORITHM}, got {fields.get('Algorithm')!r}.")
    for name in ("Credential", "SignedHeaders", "Signature"):
        if name not in fields:
            raise _incomplete(f"{name} is missing.")
    credential = _CREDENTIAL.fullmatch(fields["Credential"])
    if credential is None:
        raise _incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request.")
    if not _SIGNATURE.fullmatch(fields["Signature"]):
        raise _incomplete("Signature must be 64 hex digits.")
    access_key, date, region, service = credential.groups()
    moment, life = _moment(fields.get("Date")), _life(fields)
    if f"{moment:%Y%m%d}" != date:
        raise _incomplete(f"The date of Credential, {date}, is not that of the request, {moment:%Y%m%d}.")
    headers = tuple(fields["SignedHeaders"].lower().split(";"))
    try:
        until = None if life is None else moment + life
    except OverflowError as error:
        raise _incomplete(f"The time {moment:%Y-%m-%d} is too late.") from error
    return Signed(access_key, region, service, headers, fields["Signature"], moment, until)


def check_time(signed: Signed, now: datetime) -> None:
    """Raise `AwsError` for a request from another time, or a presigned URL that has run out."""
    here = f"here it is {now:%Y-%m-%dT%H:%M:%SZ}"
    if signed.until is not None and now > signed.until:
        sentence = f"This URL was good until {signed.until:%Y-%m-%dT%H:%M:%SZ}, and {here}: sign another."
        raise AwsError("ExpiredToken", sentence, 403)
    if signed.moment - now > SKEW or (signed.until is None and now - signed.moment > SKEW):
        sentence = f"The request was signed at {signed.moment:%Y-%m-%dT%H:%M:%SZ}, and {here}: set the clock right."
        raise AwsError("RequestTimeTooSkewed", sentence, 403)


def payload_of(signed: Signed, scope: Scope, body: bytes) -> str:
    """What stands for the body in the signature. Raises `AwsError` for a body that was announced with another hash.

    A body for S3 is not looked at: its hash is in a header, which is signed, and left for the one who reads it.
    """
    announced = Headers(scope=scope).get("x-amz-content-sha256")
    if signed.service == "s3":
        if signed.until is None and announced is None:
            raise _incomplete("The header x-amz-content-sha256 is missing.")
        return UNSIGNED_PAYLOAD if announced is None or signed.until is not None else announced
    found = hashlib.sha256(body).hexdigest()
    if announced is not None and not hmac.compare_digest(announced.encode(), found.encode()):
        raise _invalid("The body is not the one that was signed.")
    return found


def verify(signed: Signed, scope: Scope, secret: str, payload: str) -> None:
    """Sign the request again and compare. Raises `AwsError` when it was not signed with `secret` as it came."""
    if signed.version == 2:
        _verify_2(signed, scope, secret)
        return
    headers = [(name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in scope["headers"]]
    named = set(signed.headers)
    open_headers = {name for name, _ in headers if name.startswith("x-amz-")} - named - _BOUND
    for missing in ({"host"} - named) or sorted(open_headers):
        raise _invalid(f"The header {missing} is not signed.")
    s3 = signed.service == "s3"
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    if s3:  # its keys are encoded once; some clients send less of it encoded than they sign
        path = quote(unquote_to_bytes(path), safe="/-_.~")
    rest = "&".join(pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature="))
    again = AWSRequest(scope["method"], f"http://host{path}?{rest}")
    for name, value in headers:
        if name in named:
            again.headers[name] = value
    again.context["timestamp"] = signed.moment.strftime(SIGV4_TIMESTAMP)
    signer = (_S3Signer if s3 else _Signer)(Credentials("", secret), signed.service, signed.region)
    again.context["payload"] = payload
    signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    if not hmac.compare_digest(signature, signed.signature):
        raise _invalid("The signature does not match: check the secret access key.")


def chunk_signer(secret_of: Callable[[str], str | None], scope: Scope) -> ChunkSigner | None:
    """What checks the chunks of an upload that `verify` has let in; None where nobody had to sign."""
    signed = read(scope) if scope["caller"].key else None
    secret = secret_of(signed.access_key) if signed else None
    if signed is None or secret is None:
        return None
    date, key = signed.moment.strftime(SIGV4_TIMESTAMP), f"AWS4{secret}".encode()
    parts = (date[:8], signed.region, signed.service, "aws4_request")
    for part in parts:
        key = hmac.digest(key, part.encode(), "sha256")
    return ChunkSigner(key, date, "/".join(parts), signed.signature)


def _verify_2(signed: Signed, scope: Scope, secret: str) -> None:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    sent = {**query, **{name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in scope["headers"]}}
    headers = HTTPHeaders()
    for name, value in sent.items():
        if name.startswith("x-amz-") or name in ("content-md5", "content-type"):
            headers[name] = value
    url = urlsplit(f"http://host{scope['raw_path'].decode('latin-1')}?{scope['query_string'].decode('latin-1')}")
    signer = _Signer2(Credentials("", secret))
    signer.expires = query["Expires"]
    found = signer.get_signature(scope["method"], url, headers)  # type: ignore[arg-type]  # the stub says Mapping
    if not hmac.compare_digest(found.encode(), signed.signature.encode()):
        raise _invalid("The signature does not match: check the secret access key.")


class _Signer2(HmacV1Auth):
    """botocore's signer of version 2, for the end that the URL names."""

    expires = ""

    def _get_date(self) -> str:
        return self.expires


class _Signer(SigV4Auth):
    """botocore's signer over what the caller says that was signed, instead of what botocore itself would sign."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.headers

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["payload"])


class _S3Signer(_Signer, S3SigV4Auth):
    """The same for S3, whose paths are taken as they are."""


def _fields(scope: Scope) -> dict[str, str]:
    """Algorithm, Credential, SignedHeaders, Signature, Date and Expires, from the header or else the query."""
    headers = Headers(scope=scope)
    header = headers.get("authorization")
    if header is not None:
        if not header.startswith("AWS4-"):
            return {}
        algorithm, _, rest = header.partition(" ")
        date = headers.get("x-amz-date") or headers.get("date", "")
        return {"Algorithm": algorithm, "Date": date, **dict(re.findall(r"(\w+)=([^,\s]+)", rest))}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    if "X-Amz-Algorithm" not in query:
        return {}
    names = ("Algorithm", "Credential", "SignedHeaders", "Signature", "Date")
    found = {name: query[f"X-Amz-{name}"] for name in names if f"X-Amz-{name}" in query}
    return {**found, "Expires": query.get("X-Amz-Expires", "")}


def _version_2(scope: Scope) -> dict[str, str]:
    """The query of a presigned URL of version 2, empty for any other request."""
    if b"AWSAccessKeyId=" not in scope["query_string"] or "authorization" in Headers(scope=scope):
        return {}
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    whole = {"AWSAccessKeyId", "Signature"} <= query.keys() and re.fullmatch(r"\d{1,10}", query.get("Expires", ""))
    return query if whole else {}


def _moment(date: str | None) -> datetime:
    for parse in (_parse_amz_date, parsedate_to_datetime):
        try:
            return parse(date or "").astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise _incomplete("The time of the request is missing: send x-amz-date as YYYYMMDDTHHMMSSZ.")


def _parse_amz_date(date: str) -> datetime:
    return datetime.strptime(date, SIGV4_TIMESTAMP).replace(tzinfo=UTC)


def _life(fields: dict[str, str]) -> timedelta | None:
    if "Expires" not in fields:
        return None
    seconds = int(fields["Expires"]) if fields["Expires"].isdecimal() else 0
    if not 1 <= seconds <= LONGEST.total_seconds():
        raise _incomplete(f"X-Amz-Expires must be 1 to {LONGEST.total_seconds():.0f}, got {fields['Expires']!r}.")
    return timedelta(seconds=seconds)


def _incomplete(sentence: str) -> AwsError:
    return AwsError("IncompleteSignatureException", f"The signature cannot be understood. {sentence}", 400)


def _invalid(sentence: str) -> AwsError:
    return AwsError("InvalidSignatureException", sentence, 403)
