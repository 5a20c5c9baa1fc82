"""Messages of an AWS event stream (`application/vnd.amazon.eventstream`). Knows no service.

Each is: total length, header length, their crc, headers, payload, crc of it all. Source: the event stream encoding of
the AWS SDKs, as botocore.eventstream reads it.
"""

from __future__ import annotations

import json
import struct
from binascii import crc32

_STRING = 7
"""The type of a header whose value is text."""


def event_frame(name: str, payload: bytes) -> bytes:
    """One event of the stream's union."""
    kind = "application/octet-stream" if not payload.startswith(b"{") else "application/json"
    return _frame({":message-type": "event", ":event-type": name, ":content-type": kind}, payload)


def exception_frame(name: str, message: str) -> bytes:
    """The frame that ends a stream with an error."""
    headers = {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"}
    return _frame(headers, json.dumps({"message": message}).encode())


def _frame(headers: dict[str, str], payload: bytes) -> bytes:
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    head = b"".join(struct.pack("!B", len(k)) + k + struct.pack("!BH", _STRING, len(v)) + v for k, v in pairs)
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack("!I", crc32(prelude)) + head + payload
    return message + struct.pack("!I", crc32(message))
