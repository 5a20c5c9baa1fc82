"""The built console is small, and neither it nor the list of its packages names a place to be loaded from."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from pumice.api.console.bundle import HOST, NONCE, STATIC

MOST = 350_000
"""Bytes of all its files together, gzipped."""
CLASS = re.compile(r"\bm_[0-9a-f]{6,8}\b")


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


def test_every_component_has_its_styles(built: Path) -> None:
    """`library.css` names the parts of the styles one by one; a component is told by its classes."""
    scripts, styles = ("".join(path.read_text() for path in STATIC.rglob(f"*.{kind}")) for kind in ("js", "css"))
    known = set(CLASS.findall((built / "node_modules" / "@mantine" / "core" / "styles.css").read_text()))
    used = known & set(CLASS.findall(scripts))
    assert len(used) > 50
    assert used - set(CLASS.findall(styles)) == set()
