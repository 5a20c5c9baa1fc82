"""`/api/prompts`: the prompt templates that are kept, and what one makes of a question. Asks no model."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pumice.api.openai.refusals import Refusal
from pumice.api.platform import Platform
from pumice.prompting.templates import ENDING, GIVEN, find, kept, shipped


class ShownTemplate(BaseModel):
    """One template: a version that was added, or one that ships with Pumice."""

    name: str
    text: str
    variables: list[str]
    """What it takes beside the question."""


class Templates(BaseModel):
    """Every template."""

    data: list[ShownTemplate]


class FillRequest(BaseModel):
    template: str
    question: Annotated[str, Field(max_length=1_000_000)]
    variables: dict[str, Any] = {}


class Filled(BaseModel):
    """What a template makes of a question."""

    user: str
    system: str
    """Empty where it has no system turn."""


def router(platform: Platform) -> APIRouter:
    """The two routes."""
    routes = APIRouter(prefix="/prompts", tags=["prompts"])

    def shown() -> Templates:
        found = [*kept(platform.documents), *shipped()]
        return Templates(
            data=[
                ShownTemplate(name=each.name, text=each.text, variables=sorted(each.prompt.variables - set(GIVEN)))
                for each in found
            ]
        )

    def fill(asked: FillRequest) -> Filled:
        if asked.template.endswith(ENDING):
            raise Refusal(400, "Over the network a template is named, and no file is read.", "template")
        user, system = find(asked.template, platform.documents).write(asked.question, (), asked.variables)
        return Filled(user=user, system=system)

    @routes.get("")
    async def list_prompts() -> Templates:
        """Every template: versions by name, the newest first, then those that ship with Pumice."""
        return await asyncio.to_thread(shown)

    @routes.post("/filled")
    async def fill_prompt(asked: FillRequest) -> Filled:
        """A template with its question and variables filled in, as `pumice prompt` would ask it without shots."""
        return await asyncio.to_thread(fill, asked)

    return routes
