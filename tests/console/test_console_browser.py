"""What a person does in the console, done by real Chromium: the tests themselves are in `web/browser`."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def test_from_a_file_with_mistakes_to_a_model_in_use(browse: Callable[[str], None]) -> None:
    browse("story")


@pytest.mark.usefixtures("past")
def test_what_is_set_and_written_by_hand(browse: Callable[[str], None]) -> None:
    browse("changes")


def test_every_page_in_both_themes_and_widths(browse: Callable[[str], None]) -> None:
    browse("pages")


def test_when_things_go_wrong(browse: Callable[[str], None]) -> None:
    browse("trouble")
