"""Pumice fine-tunes, evaluates, serves and watches your own language model."""

__version__ = "0.1.0"
