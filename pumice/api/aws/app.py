"""The AWS side as one ASGI app: which service a request is for, by its credential scope or, unsigned, by its path."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from botocore.model import OperationModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pumice.api.aws import bedrock, cloudwatch, runtime, sagemaker, sts
from pumice.api.aws.bedrock import parts as bedrock_parts
from pumice.api.aws.errors import AwsError
from pumice.api.aws.refusals import refuse
from pumice.api.aws.sagemaker import parts as sagemaker_parts
from pumice.api.aws.services import BEDROCK, BY_SIGNING_NAME
from pumice.api.aws.wire import AwsService, Call
from pumice.api.exchange import Exchange
from pumice.api.platform import Platform

_FORM = "application/x-www-form-urlencoded"
"""What clients of the older services send, which read XML."""
SERVED = ("s3", "sts", *BY_SIGNING_NAME)
HANDLERS = (bedrock, cloudwatch, runtime, sagemaker)
"""What serves operations, once it is imported."""


def attend(platform: Platform) -> None:
    """Add what these services have beside the requests to a platform that is not running yet."""
    bedrock_parts.attend(platform)
    sagemaker_parts.attend(platform)


Found = tuple[AwsService, OperationModel, dict[str, str]]
"""Who answers a request: the service, its operation, and the labels in the path."""


class Aws:
    """Answers every request that is signed, whatever its service."""

    def __init__(self, platform: Platform, s3: ASGIApp) -> None:
        """`platform` must have what `attend` adds to it."""
        self._platform, self._s3 = platform, s3

    async def answer(self, service: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose credential scope names `service`."""
        if service == "s3":
            await self._s3(scope, receive, send)
            return
        request = Request(scope, receive)
        response = await sts.answer(request) if service == "sts" else await self._json(service, request)
        await response(scope, receive, send)

    def takes(self, request: Request) -> str | None:
        """The signing name of the service that has a route for this unsigned request, if any has."""
        if request.headers.get("x-amz-target", "").startswith("SageMaker."):
            return "sagemaker"
        return next((name for name, services in BY_SIGNING_NAME.items() if _find(services, request)), None)

    async def _json(self, name: str, request: Request) -> Response:
        services = BY_SIGNING_NAME.get(name, ())
        if found := _find(services, request):
            service, op, labels = found
            return await service.answer(Call(self._platform, request, Exchange.of(request.scope)), op, labels)
        if not services:
            known, forms = ", ".join(SERVED), request.headers.get("content-type", "").startswith(_FORM)
            action = parse_qs((await request.body()).decode("latin-1")).get("Action", [""])[0] if forms else ""
            sentence = f"Pumice serves {known} at this address, and not {name} ({action or _asked(request)})."
            return refuse("query" if forms else name, AwsError("NotImplementedException", sentence, 501))
        sentence = f"No operation of {name} is at {_asked(request)}."
        return BEDROCK.refuse(AwsError("UnknownOperationException", sentence, 404))


def _find(services: Sequence[AwsService], request: Request) -> Found | None:
    for service in services:
        if found := service.find(request):
            return service, *found
    return None


def _asked(request: Request) -> str:
    target = request.headers.get("x-amz-target")
    return target or f"{request.method} {request.url.path}"
