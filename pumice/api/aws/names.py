"""ARNs, both ways. Knows no service's behaviour.

One account and one region, as one machine has neither.
"""

from __future__ import annotations

import hashlib

ACCOUNT = "000000000000"
REGION = "us-east-1"


def arn(service: str, resource: str) -> str:
    """`arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE`."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def resource(name: str) -> str:
    """What stands behind the account in an ARN (`custom-model/…`), and any other name as it is."""
    return name.split(":", 5)[5] if name.startswith("arn:") and name.count(":") >= 5 else name


def tail(name: str) -> str:
    """What stands behind the last slash of an ARN, and any other name as it is."""
    return resource(name).rsplit("/", 1)[-1] if name.startswith("arn:") else name


def short_id(text: str) -> str:
    """Twelve characters that ARNs of Bedrock end with, always the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
