"""How long the request log keeps a request, and who says so. Knows no requests."""

from __future__ import annotations

from pumice.config import LOG_DAYS
from pumice.errors import ConflictError
from pumice.store.documents import Documents

KIND, NAME = "setting", "log-days"


class Retention:
    """The environment's word, else what was set while a server ran, else thirty days."""

    def __init__(self, documents: Documents, environment: int | None = None) -> None:
        self._documents, self._environment = documents, environment

    @property
    def fixed(self) -> bool:
        """Whether the environment says it."""
        return self._environment is not None

    def days(self) -> int:
        """How many days a request is kept."""
        if self._environment is not None:
            return self._environment
        found = self._documents.find(KIND, NAME)
        return int(found.body["days"]) if found else LOG_DAYS

    def keep(self, days: int) -> None:
        """Keep them so many days, after a restart too. Raises `ConflictError` where the environment says it."""
        if self._environment is not None:
            raise ConflictError(
                f"PUMICE_LOG_DAYS={self._environment} is set where this server was started.",
                "The environment's word counts.",
                "Change it there, or unset it and start the server again.",
            )
        self._documents.put(KIND, NAME, {"days": days})
