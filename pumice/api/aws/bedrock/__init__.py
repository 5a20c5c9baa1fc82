"""Bedrock's control plane: each module serves its operations by being imported here. Knows no other service."""

from __future__ import annotations

__all__: list[str] = []
