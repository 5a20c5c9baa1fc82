"""A refusal that no operation has made, in the shape of the service that was asked. Knows no operation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.sax.saxutils import escape

from starlette.responses import Response

from pumice.api.aws.errors import AwsError

# The JSON services' codes under the names of those that speak XML.
_XML_NAMES: Mapping[str, Mapping[str, str]] = {
    "s3": {
        "InvalidSignatureException": "SignatureDoesNotMatch",
        "IncompleteSignatureException": "AuthorizationHeaderMalformed",
        "UnrecognizedClientException": "InvalidAccessKeyId",
        "MissingAuthenticationTokenException": "AccessDenied",
        "AccessDeniedException": "AccessDenied",
        "ThrottlingException": "SlowDown",
        "InternalFailure": "InternalError",
    },
    "sts": {
        "InvalidSignatureException": "SignatureDoesNotMatch",
        "IncompleteSignatureException": "IncompleteSignature",
        "UnrecognizedClientException": "InvalidClientTokenId",
        "MissingAuthenticationTokenException": "MissingAuthenticationToken",
        "AccessDeniedException": "AccessDenied",
        "ThrottlingException": "Throttling",
    },
    # Every other service whose clients send forms.
    "query": {},
}


def refuse(service: str | None, error: AwsError) -> Response:
    """The response; `service` is the signing name, and JSON is for all that do not speak XML."""
    if service is None or service not in _XML_NAMES:
        body = json.dumps({"__type": error.code, "message": error.message})
        return Response(body, error.status, {"x-amzn-errortype": error.code, **error.headers}, "application/json")
    code = _XML_NAMES[service].get(error.code, error.code)
    inner = f"<Code>{escape(code)}</Code><Message>{escape(error.message)}</Message>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    if service == "sts":
        body = f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error></ErrorResponse>"
    if service == "query":
        # EC2's clients look for Errors, the others take it for their own.
        body = f"<Response><Errors><Error>{inner}</Error></Errors></Response>"
    return Response(body, error.status, error.headers, "application/xml")
