"""STS: `GetCallerIdentity`, which says whose key signed. The one service here that speaks XML and forms."""

from __future__ import annotations

from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from pumice.api.aws.names import ACCOUNT
from pumice.api.exchange import Exchange

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


async def answer(request: Request) -> Response:
    """`GetCallerIdentity`; any other action is 501 with its name."""
    exchange = Exchange.of(request.scope)
    fields = parse_qs((await request.body()).decode(errors="replace")) | parse_qs(request.url.query)
    action = fields.get("Action", [""])[0]
    if action != "GetCallerIdentity":
        return _error(exchange.id, action)
    exchange.operation = action
    user = exchange.key.name if exchange.key else "anyone"
    access_key = exchange.key.access_key if exchange.key and exchange.key.access_key else "anyone"
    arn = f"arn:aws:iam::{ACCOUNT}:user/{user}"
    return _xml(
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult><Arn>{escape(arn)}</Arn>'
        f"<UserId>{escape(access_key)}</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{exchange.id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )


def _error(request_id: str, action: str) -> Response:
    sentence = f"{action or 'A request without an Action'} of sts is not served by Pumice."
    return _xml(
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>NotImplemented</Code>'
        f"<Message>{escape(sentence)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        501,
    )


def _xml(body: str, status: int = 200) -> Response:
    return Response(body, status, media_type="text/xml")
