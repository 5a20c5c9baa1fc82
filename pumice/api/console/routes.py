"""All routes of `/api` as one. Who may is decided at the gate: reading, changing, and `admin` alone for keys."""

from __future__ import annotations

from fastapi import APIRouter

from pumice.api.console import (
    checks,
    jobs,
    models,
    overview,
    prompts,
    session,
    settings,
    traffic,
    training,
    votes,
)
from pumice.api.identity import Identity
from pumice.api.platform import Platform


def router(platform: Platform, keys: Identity) -> APIRouter:
    """Everything under `/api`."""
    routes = APIRouter(prefix="/api")
    for part in (overview, checks, training, jobs, models, votes, prompts, traffic):
        routes.include_router(part.router(platform))
    routes.include_router(session.router(keys))
    routes.include_router(settings.router(platform, keys))
    return routes
