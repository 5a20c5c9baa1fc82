"""`/api/models` and `/api/catalogue`: what is registered, where it comes from, and what it is trusted with."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel

from pumice.api.aws.sagemaker.kept import kind_of
from pumice.api.console.exports import Exports
from pumice.api.console.shown import Row, ShownJob, file_of, who
from pumice.api.openai.refusals import Refusal
from pumice.api.platform import Platform
from pumice.bases.catalogue import CATALOGUE
from pumice.evaluate import report as reports
from pumice.records import Model, Report, Stage
from pumice.registry.start import SOURCE
from pumice.train import sizes

CHANGE = "stage-change"
"""Documents: who moved which version, from where to where."""
Format = Literal["safetensors", "gguf-f16", "gguf-q8_0", "gguf-q4_0"]
FORMATS: tuple[Format, ...] = get_args(Format)
SAMPLES = 100
"""Answers that a suite shows."""


class ShownReport(BaseModel):
    """A comparison with the base, ready to read."""

    sentence: str
    columns: tuple[str, str]
    rows: list[tuple[str, str, str, str]]
    """Score, base, tuned, difference with its interval."""
    report: Report


class ShownModel(Row):
    """One version."""

    id: str
    name: str
    version: int
    stage: Stage
    method: str
    adapter: bool
    base: str
    base_source: str
    parent: str
    """What training started from: a version, or a base."""
    data: str
    """Name of the file that it was trained on, "" where nobody knows."""
    data_sha256: str
    job: str | None
    created: datetime
    recipe: dict[str, Any]
    exports: dict[str, Any]
    report: ShownReport | None


class Change(BaseModel):
    """One move of a version."""

    before: Stage
    after: Stage
    by: str | None
    """Name of the key; null while none was asked for."""
    at: datetime


class ModelDetail(BaseModel):
    """One version and what hangs on it."""

    model: ShownModel
    card: str
    """Its model card, Markdown."""
    changes: list[Change]
    standing: list[str]
    """Versions that could not answer without it."""
    endpoints: list[str]
    """Endpoints that name it."""
    exporting: list[str]
    export_failures: dict[str, str]


class StageRequest(BaseModel):
    stage: Stage


class ExportRequest(BaseModel):
    format: Format


class SuiteRequest(BaseModel):
    """Questions with answers for a version and its base."""

    data: str | None = None
    """Id of an uploaded file or `s3://…`; by default what its recipe held out."""


class ShownAbility(BaseModel):
    """A base that is known, and what this machine can do with it."""

    id: str
    parameters: int
    window: int
    licence: str
    modality: str
    train: dict[str, bool]
    serve: bool


class Models(BaseModel):
    """Every version."""

    data: list[ShownModel]


class Catalogue(BaseModel):
    """Every known base."""

    data: list[ShownAbility]


def router(platform: Platform) -> APIRouter:
    """The eight routes."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models")
    async def list_versions() -> Models:
        """Every registered version, by name, the newest first."""
        found = await asyncio.to_thread(platform.registry.list)
        return Models(data=[_shown(platform, model) for model in found])

    @routes.get("/models/{model_id}")
    async def get_version(model_id: str) -> ModelDetail:
        """One version: lineage, card, who moved it, and what would break without it."""
        return await asyncio.to_thread(_detail, platform, model_id)

    @routes.put("/models/{model_id}/stage")
    async def set_stage(model_id: str, asked: StageRequest, http: Request) -> ShownModel:
        """Say what a version is trusted with; who said so is kept."""
        return await asyncio.to_thread(_move, platform, model_id, asked.stage, who(http))

    @routes.delete("/models/{model_id}", status_code=204)
    async def delete_version(model_id: str) -> None:
        """Delete a version for ever. Refused while it is in production or others stand on it."""
        await asyncio.to_thread(platform.registry.delete, model_id)

    @routes.post("/models/{model_id}/exports", status_code=202)
    async def begin_export(model_id: str, asked: ExportRequest) -> None:
        """Write it for other programs, beside the requests; the version tells how far it is."""
        model = await asyncio.to_thread(platform.registry.find, model_id)
        platform.part(Exports).begin(model, asked.format)

    @routes.get("/models/{model_id}/exports/{format}", response_class=FileResponse)
    async def get_export(model_id: str, format: Format) -> FileResponse:
        """The file of an export."""
        model = await asyncio.to_thread(platform.registry.find, model_id)
        path = Path(model.exports.get(format, {}).get("path", ""))
        if not path.is_file():
            raise Refusal(404, f"There is no file of {model.id} as {format}.", param="format", code="export_not_found")
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    @routes.post("/models/{model_id}/suites")
    async def begin_suite(model_id: str, asked: SuiteRequest) -> ShownJob:
        """Queue a comparison with the base, on a file or on what was held out; the job tells the report."""
        model = await asyncio.to_thread(platform.registry.find, model_id)
        data = str(file_of(platform, asked.data, "data")) if asked.data else None
        spec = {"model": model.id, "data": data, "samples": SAMPLES}
        job = await asyncio.to_thread(platform.queue.submit, "evaluate", spec, True)
        platform.nudge()
        return ShownJob.model_validate(job)

    @routes.get("/catalogue")
    async def list_bases() -> Catalogue:
        """Known bases, and what this machine can do with each."""
        machine = await asyncio.to_thread(sizes.machine)
        rows = [sizes.abilities(entry, machine) for entry in CATALOGUE]
        return Catalogue(data=[ShownAbility.model_validate(row.to_json()) for row in rows])

    return routes


def read_report(report: Report) -> ShownReport:
    """A report with its sentence and its table."""
    rows = [(row.name, row.base, row.tuned, row.difference) for row in reports.table(report)]
    return ShownReport(sentence=reports.sentence(report), columns=reports.columns(report), rows=rows, report=report)


def _shown(platform: Platform, model: Model) -> ShownModel:
    named = str(model.recipe.get("model") or model.base)
    parent = platform.registry.find(named).id if platform.registry.has(named) and "@" in named else named
    source = model.base_source
    return ShownModel(
        **{key: value for key, value in vars(model).items() if key not in ("report", "folder")},
        id=model.id,
        parent=source.removeprefix(SOURCE) if source.startswith(SOURCE) else parent,
        data=Path(str(model.recipe.get("data", ""))).name,
        report=read_report(model.report) if model.report else None,
    )


def _detail(platform: Platform, id: str) -> ModelDetail:
    model, exports = platform.registry.find(id), platform.part(Exports)
    card = model.folder / "README.md"
    standing = [each.id for each in platform.registry.list() if each.base_source == f"{SOURCE}{model.id}"]
    changes = [each for each in platform.documents.list(CHANGE) if each.body["model"] == model.id]
    return ModelDetail(
        model=_shown(platform, model),
        card=card.read_text("utf-8") if card.is_file() else "",
        changes=[
            Change(before=each.body["before"], after=each.body["after"], by=each.body["by"], at=each.created)
            for each in changes
        ],
        standing=standing,
        endpoints=[
            each.name
            for each in platform.documents.list(kind_of("endpoint"))
            if _names(each.body.get("variants"), model)
        ],
        exporting=list(exports.running(model, FORMATS)),
        export_failures=exports.failures(model),
    )


def _names(value: Any, model: Model) -> bool:
    """Whether a version is named anywhere in a document."""
    if isinstance(value, dict):
        return any(_names(each, model) for each in value.values())
    return bool(value == model.id)


def _move(platform: Platform, id: str, stage: Stage, by: str | None) -> ShownModel:
    model = platform.registry.find(id)
    before = {each.id: each.stage for each in platform.registry.list(model.name)}
    moved = platform.registry.set_stage(model.id, stage)
    # Whatever stood in production before is moved too.
    for each in platform.registry.list(model.name):
        if each.stage is not before.get(each.id, each.stage):
            body = {"model": each.id, "before": before[each.id], "after": each.stage, "by": by}
            platform.documents.add(CHANGE, f"{each.id} {time.time_ns()}", body)
    return _shown(platform, moved)
