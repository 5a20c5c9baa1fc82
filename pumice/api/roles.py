"""What a role may do, and who is calling. Knows no wire's operations: each wire says which action one of its own is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pumice.errors import DeniedError
from pumice.records import Key, Role

Action = Literal["invoke", "read", "train", "admin"]
"""`invoke`: ask a model, and see which there are. `read`: see jobs, files, objects and logs. `train`: make, change and
delete them. `admin`: keys and settings."""
Access = Literal["bearer", "sigv4", "session", "none"]

_MAY: Mapping[Role, frozenset[Action]] = {
    Role.INVOKE: frozenset({"invoke"}),
    Role.TRAIN: frozenset({"invoke", "read", "train"}),
    Role.ADMIN: frozenset({"invoke", "read", "train", "admin"}),
}
_OPENAI = ("/openai/v1/", "/v1/")
_INVOKE = ("models", "chat/", "completions", "embeddings", "classify", "responses", "moderations", "rerank")
_ADMIN = ("/api/keys", "/api/settings")
_OPEN_TO_EVERY_KEY = ("/metrics", "/openapi.json", "/api/session")


def allowed(role: Role, action: Action) -> bool:
    """Whether keys of this role may do this."""
    return action in _MAY[role]


@dataclass(frozen=True)
class Caller:
    """Who sent a request; `Gate` leaves it in `scope["caller"]`."""

    key: Key | None
    """None while no key is asked for."""
    access: Access
    """What the request came with."""
    service: str | None
    """The signing name in the credential scope: `s3`, `bedrock`, `sagemaker`; None for what is not signed."""

    def need(self, action: Action) -> None:
        """Raise `DeniedError` unless the caller may do this. Who needs no key may do everything."""
        if self.key and not allowed(self.key.role, action):
            roles = " or ".join(role for role in Role if allowed(role, action))
            raise DeniedError(
                f"The key {self.key.name!r} has the role {self.key.role}, which may not do this.",
                f"It needs the role {roles}.",
                "`pumice keys create NAME --role ROLE` makes such a key.",
            )


def action_of(method: str, path: str) -> Action | None:
    """The action of a route that is not AWS's, by its method and path; None for a path that may be AWS's."""
    if path.startswith(_ADMIN):
        return "admin"
    if path in _OPEN_TO_EVERY_KEY:
        return "invoke"
    reads = method in ("GET", "HEAD", "OPTIONS")
    prefix = next((each for each in (*_OPENAI, "/api/") if path.startswith(each)), None)
    if prefix in _OPENAI and path.removeprefix(prefix).startswith(_INVOKE):
        return "train" if method == "DELETE" else "invoke"
    return None if prefix is None else "read" if reads else "train"
