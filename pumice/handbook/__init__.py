"""The handbook: facts about Pumice itself as question/answer pairs, and the recipe of the quickstart."""

from __future__ import annotations

from pathlib import Path

RECIPE = Path(__file__).parent / "recipe.yaml"
