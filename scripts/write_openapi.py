"""Writes the server's OpenAPI document, out of which the console's client is generated: `write_openapi.py FILE`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from pumice.api.app import create_app
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.store.tables import open_database


def document() -> str:
    """The document, as `/openapi.json` serves it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        database = open_database(home.database)
        platform = open_platform(home, database)
        try:
            return json.dumps(create_app(platform, "127.0.0.1").openapi(), indent=1)
        finally:
            platform.log.close()
            database.dispose()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
