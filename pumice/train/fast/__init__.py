"""The fast path on a CPU, in pieces: each changes speed and memory of a step, and never its result."""

TOKENS = 768
"""Of a part of a batch, unless a row has more: enough for the full speed of products on two cores."""
