"""Recipes of other trainers as recipes of Pumice, and what of them has no equal here. Knows no data and no models."""

from pumice.train.foreign.read import Imported, import_recipe

__all__ = ["Imported", "import_recipe"]
