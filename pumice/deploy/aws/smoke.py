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
from pumice.deploy.aws.watch import invoke, status
from pumice.errors import UnavailableError

Tell = Callable[[str], None]
UNPROVEN = (
    "that IAM's roles are known everywhere before SageMaker takes them",
    "that there is a machine of the kind to be had",
    "that AWS's images start with the model and answer with it",
    "that CloudFormation takes what cfn-lint takes: SageMaker, scaling and the budget are in no emulator",
    "that an update moves over without a lost request, and an idle endpoint is deleted",
    "that CloudFront serves the page over TLS",
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
        try:
            with urllib.request.urlopen(made.page, timeout=60) as page:
                tell(f"CloudFront answers {page.status}")
        except OSError as error:
            raise UnavailableError(f"{made.page} did not answer: {error}.") from error
        found = status(facts, account)
        tell(f"Status: {found.endpoint}, {found.requests} requests in the log")
    tell("Every door opens.")


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
