"""The fast path on a CPU, in pieces: each changes speed and memory of a step, and never its result."""
