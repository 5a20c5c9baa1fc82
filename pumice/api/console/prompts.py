"""`/api/prompts`: the prompt templates that are kept, and what one makes of a question. Asks no model."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pumice.api.openai.refusals import Refusal
from pumice.api.platform import Platform
from pumice.prompting.templates import ENDING, GIVEN, Template, add, find, kept, parse, shipped
from pumice.train.rules import Name


class ShownTemplate(BaseModel):
    """One template: a version that was added, or one that ships with Pumice."""

    name: str
    text: str
    variables: list[str]
    """What it takes beside the question."""


class Templates(BaseModel):
    """Every template."""

    data: list[ShownTemplate]


class TemplateRequest(BaseModel):
    name: Name
    text: Annotated[str, Field(max_length=100_000)]


class KeptTemplate(BaseModel):
    """The version that holds a text."""

    template: ShownTemplate
    new: bool
    """False where an earlier version had this text already."""


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
    """The three routes."""
    routes = APIRouter(prefix="/prompts", tags=["prompts"])

    def shown() -> Templates:
        return Templates(data=[_shown(each) for each in (*kept(platform.documents), *shipped())])

    def keep(asked: TemplateRequest) -> KeptTemplate:
        found, new = add(asked.name, parse(asked.text, asked.name), platform.documents)
        return KeptTemplate(template=_shown(found), new=new)

    def fill(asked: FillRequest) -> Filled:
        if asked.template.endswith(ENDING):
            raise Refusal(400, "Over the network a template is named, and no file is read.", "template")
        user, system = find(asked.template, platform.documents).write(asked.question, (), asked.variables)
        return Filled(user=user, system=system)

    @routes.get("")
    async def list_prompts() -> Templates:
        """Every template: versions by name, the newest first, then those that ship with Pumice."""
        return await asyncio.to_thread(shown)

    @routes.post("")
    async def keep_prompt(asked: TemplateRequest) -> KeptTemplate:
        """Keep a text, for ever, as the next version of its name."""
        return await asyncio.to_thread(keep, asked)

    @routes.post("/filled")
    async def fill_prompt(asked: FillRequest) -> Filled:
        """A template with its question and variables filled in, as `pumice prompt` would ask it without shots."""
        return await asyncio.to_thread(fill, asked)

    return routes


def _shown(template: Template) -> ShownTemplate:
    variables = sorted(template.prompt.variables - set(GIVEN))
    return ShownTemplate(name=template.name, text=template.text, variables=variables)
