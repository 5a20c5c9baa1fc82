"""Training: a recipe and rendered rows in, an artifact folder out. Knows ids and labels, never text."""
