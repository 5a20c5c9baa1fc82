"""`GET /models`: every name that answers. Knows nothing of engines."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from pumice.api.openai.wire import ModelCard, ModelList
from pumice.api.platform import Platform


def router(platform: Platform) -> APIRouter:
    """The two routes."""
    routes = APIRouter()

    @routes.get("/models")
    async def list_models() -> ModelList:
        """Every registered name, every version, and every base that a version was trained on."""
        created = await asyncio.to_thread(platform.names.all)
        return ModelList(data=[ModelCard(id=name, created=when) for name, when in created.items()])

    # A base's id may hold slashes.
    @routes.get("/models/{model:path}")
    async def get_model(model: str) -> ModelCard:
        """One name that answers."""
        created = await asyncio.to_thread(platform.names.all)
        if model not in created:
            raise platform.names.unknown(model)
        return ModelCard(id=model, created=created[model])

    return routes
