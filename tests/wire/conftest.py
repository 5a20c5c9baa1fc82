"""A platform over an empty home, without a server."""

from __future__ import annotations

import pytest

from pumice.api.platform import Platform, open_platform
from pumice.config import Home
from pumice.store.tables import open_database


@pytest.fixture
def platform(home: Home) -> Platform:
    return open_platform(home, open_database(home.database))
