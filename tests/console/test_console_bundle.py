"""The built console is small, and neither it nor the list of its packages names a place to be loaded from."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from pumice.api.console.bundle import HOST, NONCE, STATIC

MOST = 350_000
"""Bytes of all its files together, gzipped."""


def test_the_bundle_is_small(built: Path) -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in STATIC.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < MOST, sizes


def test_the_page_loads_only_what_lies_beside_it(built: Path) -> None:
    page = (STATIC / "index.html").read_text()
    assert NONCE in page
    assert HOST in page
    assert "<style" not in page
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert all(link.startswith("/console/assets/") for link in links)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert [script for script in scripts if script.strip()] == []
    for style in STATIC.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?https?:|@import", style.read_text()), style.name


def test_the_lock_names_no_host() -> None:
    lock = json.loads((Path(__file__).parents[2] / "web" / "package-lock.json").read_text())
    assert not [name for name, each in lock["packages"].items() if "resolved" in each]
