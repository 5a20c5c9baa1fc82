"""What nobody can prove without an account: a deployment made, asked through every door, and taken away.

`pumice deploy aws smoke plan.json` costs what the plan says for about half an hour; `--ab`, `--train` and `--bedrock`
prove more, and cost more.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from pumice.deploy.aws.ab import shift
from pumice.deploy.aws.account import Account, heard
from pumice.deploy.aws.apply import Made
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.invoke import invoke
from pumice.deploy.aws.page import GATEWAY
from pumice.deploy.aws.watch import status
from pumice.errors import UnavailableError

Tell = Callable[[str], None]
JSON = {"content-type": "application/json"}
UNPROVEN = (
    "that IAM's roles are known everywhere before SageMaker takes them",
    "that there is a machine of the kind to be had",
    "that AWS's images start with the model and answer with it",
    "that CloudFormation takes what cfn-lint takes: SageMaker, scaling and the budget are in no emulator",
    "that an update moves over without a lost request, and an idle endpoint is deleted",
    "that Lambda starts the streaming loop, and the gateway passes each piece on at once",
    "that CloudFront serves the page over TLS, and finds API Gateway by its name",
    "prices and quotas",
)
"""What the tests do not show; this does, but for the last two, which take longer than it waits."""


def smoke(facts: Facts, made: Made, account: Account, tell: Tell) -> None:
    """Ask through every door. Raises `UnavailableError` for the first that stays shut."""
    with heard():
        tell(f"SageMaker answers: {''.join(invoke(facts, account, 'Say one word.', tell))[:60]!r}")
        if facts.mode != "async":
            doors(made, next(iter(facts.components), "deployed"), tell)
        found = status(facts, account)
        tell(f"Status: {found.endpoint}, {found.requests} requests in the log")
    tell("Every door opens.")


def doors(made: Made, model: str, tell: Tell) -> None:
    """The API's, and the page's."""
    url, body = f"{made.url}/chat/completions", question("Say one word.", model)
    expect(url, "", 403, "without a key", body)
    answer = expect(url, made.key, 200, "with the key", body)
    expect(f"{made.url}/feedback", made.key, 200, "feedback", {"request_id": answer["request_id"], "score": 1})
    streamed(url, made.key, model, tell)
    if made.page:
        look(f"{made.page}/console/playground", tell)
        expect(f"{made.page}/v1/chat/completions", "", 403, "without a key", body)
        streamed(f"{made.page}/v1/chat/completions", made.key, model, tell)


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


def question(text: str, model: str) -> dict[str, Any]:
    """As OpenAI has it."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 32}


def streamed(url: str, key: str, model: str, tell: Tell) -> None:
    """An answer that comes word by word, and when it came."""
    asked = question("Count to twenty.", model) | {"stream": True}
    request = urllib.request.Request(url, json.dumps(asked).encode(), {**JSON, "x-api-key": key})
    begun, times, last = time.monotonic(), [], b""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    times.append(time.monotonic() - begun)
                    last = line[5:].strip()
    except OSError as error:
        raise UnavailableError(f"{url} did not stream: {error}.") from error
    if last != b"[DONE]":
        raise UnavailableError(f"{url} did not stream to its end.", last.decode("utf-8", "replace")[:300])
    tell(f"The gateway streams: {len(times)} events, the first after {times[0]:.2f} s, the last after {times[-1]:.2f}")


def shifted(facts: Facts, made: Made, account: Account, tell: Tell) -> None:
    """The second variant answers, and gets every request."""
    body = question("Say one word.", "deployed") | {"variant": "B"}
    with heard():
        answer = expect(f"{made.url}/chat/completions", made.key, 200, "for variant B", body)
        if answer["variant"] != "B":
            raise UnavailableError(f"Variant B was asked, and {answer['variant']} answered.")
        shares = shift(facts, account, 100)
    tell(", ".join(f"{name}: {share:.0%}" for name, share in shares.items()))


def imported(facts: Facts, account: Account, tell: Tell) -> None:
    """Bedrock answers with what it has imported; the first time it must be brought up."""
    asked = question("Say one word.", "")
    del asked["model"]
    body = json.dumps(asked)
    with heard():
        model = account.client("bedrock").get_imported_model(modelIdentifier=facts.endpoint)["modelArn"]
        client, end = account.client("bedrock-runtime"), time.monotonic() + 600
        while True:
            try:
                said = client.invoke_model(modelId=model, body=body)["body"].read()
            except ClientError as error:
                if error.response["Error"]["Code"] != "ModelNotReadyException" or time.monotonic() > end:
                    raise
                time.sleep(15)
            else:
                tell(f"Bedrock answers: {said[:200]!r}")
                return


def expect(url: str, key: str, wanted: int, what: str, body: dict[str, Any]) -> dict[str, str]:
    """POST, and compare the status."""
    headers = {**JSON, **({"x-api-key": key} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
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
