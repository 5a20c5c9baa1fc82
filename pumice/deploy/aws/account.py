"""One AWS account in one region: its clients, and every refusal of theirs as a sentence. Knows no deployment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from boto3.exceptions import Boto3Error, S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from pumice.errors import ConflictError, DeniedError, InputError, PumiceError, UnavailableError

WRONG = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "InvalidAccessKeyId",
    "AuthFailure",
    "IncompleteSignature",
)
OLD = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403")
LIMIT = ("ResourceLimitExceeded", "LimitExceededException", "ServiceQuotaExceededException")
ACTION = re.compile(r"perform:? ([\w-]+:\w+)")


class Account:
    """Who is asking, and where."""

    def __init__(self, profile: str | None, region: str | None) -> None:
        """Raises `InputError` for a profile or a region that is not there."""
        with heard():
            self._session = boto3.Session(profile_name=profile, region_name=region)
        if not self._session.region_name:
            raise InputError(
                "No AWS region is known.",
                fix="Name it: --region us-east-1, or set it: aws configure set region us-east-1",
            )
        self.profile, self.region = profile, str(self._session.region_name)

    def client(self, service: str) -> Any:
        """Of one service; tries again by itself where AWS asks for patience."""
        try:
            with heard():
                return self._session.client(service, config=Config(retries={"mode": "standard", "max_attempts": 5}))
        except ValueError as error:
            raise InputError(f"AWS's client refuses its settings: {error}.", fix="Look at AWS_ENDPOINT_URL.") from error

    def id(self) -> str:
        """The account's number. Raises `DeniedError` for credentials that AWS does not accept."""
        with heard():
            return str(self.client("sts").get_caller_identity()["Account"])


@contextmanager
def heard() -> Iterator[None]:
    """What AWS refuses inside the block becomes one of Pumice's errors."""
    try:
        yield
    except S3UploadFailedError as error:
        # boto3 wraps what S3 said.
        told = error.__context__
        raise translated(told if isinstance(told, ClientError | BotoCoreError) else error) from error
    except (ClientError, BotoCoreError, Boto3Error) as error:
        raise translated(error) from error


def translated(error: ClientError | BotoCoreError | Boto3Error) -> PumiceError:
    """A refusal of AWS's, or of its client, as a sentence with a way out."""
    match error:
        case ClientError():
            return refusal(error.response["Error"].get("Code", ""), str(error), error.operation_name)
        case NoCredentialsError() | PartialCredentialsError():
            return DeniedError(
                "No AWS credentials were found.",
                "They come from a profile, from AWS_ACCESS_KEY_ID and its secret, or from the machine's role.",
                "Run `aws configure` (or `aws sso login`), or name a profile: --profile NAME",
            )
        case ProfileNotFound():
            return InputError(f"{error}.", fix="See those that there are: aws configure list-profiles")
        case NoRegionError():
            return InputError("No AWS region is known.", fix="Name it: --region us-east-1")
        case EndpointConnectionError():
            return UnavailableError(
                f"{error}.",
                "The region may not have this service, or its name is wrong, or there is no way to the internet.",
                "Check --region, then run the same command again.",
            )
        case ConnectionError():
            return UnavailableError(f"AWS did not answer: {error}.", fix="Run the same command again.")
    return UnavailableError(f"AWS's client failed: {error}.", fix="Run the same command again.")


def refusal(code: str, text: str, operation: str) -> PumiceError:
    """One error code of AWS's."""
    if code in WRONG:
        return DeniedError(
            "AWS does not accept these credentials.",
            f"It answered {code}: the access key is unknown, or its secret is another one.",
            "Run `aws configure`, or name another profile: --profile NAME",
        )
    if code in OLD:
        return DeniedError(
            "The AWS credentials have expired.", fix="Sign in again: aws sso login, or new session keys."
        )
    if code in DENIED:
        found = ACTION.search(text)
        what = found[1] if found else f"the one for {operation}"
        return DeniedError(
            f"A permission is missing: {what}.",
            "Whoever deploys needs what the policy in docs/deploy-aws.md lists, and no more.",
            "Ask whoever administers the account to attach it, then run the same command again.",
        )
    if code in LIMIT:
        return ConflictError(
            f"A quota of the account is used up: {text}.",
            fix="`pumice deploy aws plan` names each quota and how to ask for more.",
        )
    return UnavailableError(f"AWS refused {operation}: {text}", fix="Put it right, then run the same command again.")


def missing(error: ClientError) -> bool:
    """Whether an error only says that the thing is not there."""
    code, text = error.response["Error"].get("Code", ""), str(error)
    return (
        code in ("404", "NoSuchBucket", "NotFound", "NotFoundException", "ResourceNotFoundException", "NoSuchKey")
        or code == "NoSuchEntity"
        or (code in ("ValidationError", "ValidationException", "ResourceNotFound") and bool(ABSENT.search(text)))
    )


ABSENT = re.compile(r"does not exist|could not find|not found", re.IGNORECASE)
