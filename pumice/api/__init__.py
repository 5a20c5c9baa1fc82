"""The HTTP side of Pumice: what other programs talk to. Knows no torch and no terminal."""
