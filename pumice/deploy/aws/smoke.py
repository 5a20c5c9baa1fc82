"""What nobody can prove without an account: a deployment made, asked through every door, and taken away.

`pumice deploy aws smoke plan.json` costs what the plan says for about half an hour.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

from pumice.deploy.aws.account import Account, heard
from pumice.deploy.aws.apply import Made
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.page import GATEWAY
from pumice.deploy.aws.watch import invoke, status
from pumice.errors import UnavailableError

Tell = Callable[[str], None]
UNPROVEN = (
    "that IAM's roles are known everywhere before SageMaker takes them",
    "that there is a machine of the kind to be had",
    "that AWS's images start with the model and answer with it",
    "that CloudFormation takes what cfn-lint takes: SageMaker, scaling and the budget are in no emulator",
    "that an update moves over without a lost request, and an idle endpoint is deleted",
    "that CloudFront serves the page over TLS, and finds API Gateway by its name",
    "prices and quotas",
)
"""What the tests do not show; this does, but for the last two, which take longer than it waits."""


def smoke(facts: Facts, made: Made, account: Account, tell: Tell) -> None:
    """Ask through every door. Raises `UnavailableError` for the first that stays shut."""
    with heard():
        tell(f"SageMaker answers: {invoke(facts, account, 'Say one word.')[:60]!r}")
        url = f"{made.url}/chat/completions"
        expect(url, "", 403, "without a key")
        answer = expect(url, made.key, 200, "with the key")
        expect(f"{made.url}/feedback", made.key, 200, "feedback", {"request_id": answer["request_id"], "score": 1})
        if made.page:
            look(f"{made.page}/console/playground", tell)
            expect(f"{made.page}/v1/chat/completions", "", 403, "without a key")
            expect(f"{made.page}/v1/chat/completions", made.key, 200, "with the key")
        found = status(facts, account)
        tell(f"Status: {found.endpoint}, {found.requests} requests in the log")
    tell("Every door opens.")


def look(url: str, tell: Tell) -> None:
    """A page, under its policy. Raises `UnavailableError` for any other."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            said, policy = answer.read().decode(), answer.headers["content-security-policy"] or ""
    except OSError as error:
        raise UnavailableError(f"{url} did not answer: {error}.") from error
    if GATEWAY not in said or "script-src 'self'" not in policy:
        raise UnavailableError(f"{url} answered, and not with the console.", f"Its policy is {policy!r}.")
    tell("CloudFront answers with the console")


def expect(url: str, key: str, wanted: int, what: str, body: dict[str, object] | None = None) -> dict[str, str]:
    """POST, and compare the status."""
    asked = body or {"messages": [{"role": "user", "content": "Say one word."}], "max_tokens": 8}
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            got, said = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        got, said = error.code, error.read()
    except OSError as error:
        raise UnavailableError(f"{url} {what} did not answer: {error}.") from error
    if got != wanted:
        raise UnavailableError(f"{url} {what} answered {got}, not {wanted}.", said.decode("utf-8", "replace")[:300])
    found: dict[str, str] = json.loads(said)
    return found
