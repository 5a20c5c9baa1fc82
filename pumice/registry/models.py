"""Registered versions: where each lies, where it came from and what it is trusted with. Does not know jobs.

A version's files and its record appear together or not at all, and never change but for its stage and exports.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, RowMapping, case, delete, func, insert, select, update

from pumice.bases.describe import describe
from pumice.config import Home
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.evaluate import report as reports
from pumice.records import Base, Model, Report, Stage
from pumice.registry.card import card
from pumice.store.connect import hold
from pumice.store.documents import Documents
from pumice.store.files import write_atomic
from pumice.store.tables import models
from pumice.train import scratch
from pumice.train.recipe import Recipe

NUMBERS = "deleted-version"
"""Documents by model name: the highest version that was deleted."""
SHORT_NUMBER = re.compile(r"[0-9]{1,9}")


class Registry:
    """The models of one home."""

    def __init__(self, database: Engine, home: Home) -> None:
        self.database, self.home = database, home

    def register(
        self, recipe: Recipe, artifact: Path, base: Base, data_sha256: str, job: str | None, report: Report | None
    ) -> Model:
        """Copy the `artifact` folder to the next version of the recipe's name, as a candidate, with its card.

        `job` is the id of a recorded job; one that has registered a version already gets that version back. What was
        trained from nothing stands on itself: its random base is not kept.
        """
        assert recipe.name, "a resolved recipe has a name"
        values = {
            "name": recipe.name,
            "method": recipe.method,
            "adapter": recipe.makes_adapter,
            "data_sha256": data_sha256,
            "recipe": recipe.model_dump(mode="json"),
            "report": reports.to_json(report) if report else None,
        }
        if base.source.startswith(scratch.SOURCE):
            base = describe(artifact, base.name, base.source)
        return self._add(values, artifact, base, job)

    def adopt(self, name: str, method: str, artifact: Path, base: Base, adapter: bool, job: str | None) -> Model:
        """Like `register`, for weights whose recipe and data nobody knows."""
        values = {"name": name, "method": method, "adapter": adapter, "data_sha256": "", "recipe": {}, "report": None}
        return self._add(values, artifact, base, job)

    def _add(self, values: Mapping[str, Any], artifact: Path, base: Base, job: str | None) -> Model:
        if job and (row := self._row(models.c.job == job)):
            return self._model(row)
        lineage = {
            "base": base.name,
            "base_sha256": base.sha256,
            "base_source": base.source,
            "template_sha256": base.template_sha256,
            "job": job,
        }
        new = {"stage": Stage.CANDIDATE, "created": datetime.now(UTC), "exports": {}}
        self.home.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.home.cache) as folder:
            part = Path(folder) / "model"
            shutil.copytree(artifact, part)
            return self._place(part, {**values, **lineage, **new}, base)

    def _place(self, part: Path, values: Mapping[str, Any], base: Base) -> Model:
        """Record the version and move `part` to where it belongs, in one transaction."""
        deleted = Documents(self.database).find(NUMBERS, values["name"])
        last = deleted.body["last"] if deleted else 0
        there = func.coalesce(func.max(models.c.version), 0)
        newest = select(case((there < last, last), else_=there)).where(models.c.name == values["name"])
        with self.database.begin() as connection:
            # Two registrations at once never get the same number.
            hold(connection, models)
            adding = insert(models).values({**values, "version": newest.scalar_subquery() + 1}).returning(models)
            model = self._model(connection.execute(adding).mappings().one())
            if model.report:
                write_atomic(part / "report.json", orjson.dumps(values["report"], option=orjson.OPT_INDENT_2))
            write_atomic(part / "README.md", card(model, base, part))
            if model.folder.exists():
                # Left by a registration that was killed before its record was written.
                shutil.rmtree(model.folder)
            model.folder.parent.mkdir(parents=True, exist_ok=True)
            part.rename(model.folder)
        return model

    def has(self, name: str) -> bool:
        """Whether `name`, or the name before its `@`, was ever registered."""
        return self._row(models.c.name == name.partition("@")[0]) is not None

    def find(self, name: str) -> Model:
        """`name@3`, or for `name` alone the production version, else the newest that is not archived.

        Raises `NotFoundError` with the names nearest to it.
        """
        bare, at, version = name.partition("@")
        ours = models.c.name == bare
        if at:
            row = self._row(ours & (models.c.version == int(version))) if SHORT_NUMBER.fullmatch(version) else None
        else:
            in_use = self._row(ours & (models.c.stage == Stage.PRODUCTION))
            row = in_use or self._row(ours & (models.c.stage != Stage.ARCHIVED))
        if row is None:
            raise NotFoundError(f"There is no model {name!r}.", self._near(bare), "See every model: pumice models list")
        return self._model(row)

    def list(self, name: str | None = None) -> tuple[Model, ...]:
        """Every version, or those of one name; by name, the newest first."""
        wanted = select(models).order_by(models.c.name, models.c.version.desc())
        with self.database.connect() as connection:
            rows = connection.execute(wanted if name is None else wanted.where(models.c.name == name)).mappings().all()
        return tuple(self._model(row) for row in rows)

    def set_stage(self, id: str, stage: Stage) -> Model:
        """Say what a version is trusted with. A name has one production version: the one before becomes a candidate."""
        model = self.find(id)
        ours = models.c.name == model.name
        with self.database.begin() as connection:
            hold(connection, models)
            if stage is Stage.PRODUCTION:
                before = update(models).where(ours, models.c.stage == Stage.PRODUCTION)
                connection.execute(before.values(stage=Stage.CANDIDATE))
            connection.execute(update(models).where(ours, models.c.version == model.version).values(stage=stage))
        return self.find(model.id)

    def delete(self, id: str) -> Model:
        """Remove a version, its record and its files; its number is never given again. Returns what it was.

        Raises `ConflictError` while it is in production or other versions stand on it.
        """
        model = self.find(id)
        if id != model.id:
            raise InputError(f"{id!r} is a name, not a version.", fix=f"Name the version: {model.id}")
        if model.stage is Stage.PRODUCTION:
            fix = f"Take it out first: pumice models stage {id} archived"
            raise ConflictError(f"{id} is in production.", "What is trusted is not deleted.", fix)
        if standing := [each.id for each in self.list() if each.base_source == f"model:{id}"]:
            fix = f"Delete {', '.join(standing)} first, or keep both: pumice models stage {id} archived"
            raise ConflictError(f"{id} is the base of {', '.join(standing)}.", "Without it they cannot answer.", fix)
        self._keep_number(model)
        self.home.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.home.cache) as folder, self.database.begin() as connection:
            this = (models.c.name == model.name) & (models.c.version == model.version)
            connection.execute(delete(models).where(this))
            if model.folder.exists():
                model.folder.rename(Path(folder) / "model")
        return model

    def _keep_number(self, model: Model) -> None:
        """Remember the highest number deleted: an engine may still hold these weights under it."""
        documents = Documents(self.database)
        known = documents.find(NUMBERS, model.name)
        if known is None:
            documents.add(NUMBERS, model.name, {"last": model.version})
        else:
            documents.change(NUMBERS, model.name, last=max(model.version, known.body["last"]))

    def record_export(self, id: str, format: str, result: Mapping[str, Any]) -> Model:
        """Keep where an export lies and how far it differs from the model; the one before of the format is replaced."""
        model = self.find(id)
        this = update(models).where(models.c.name == model.name, models.c.version == model.version)
        with self.database.begin() as connection:
            # An UPDATE that changes nothing takes the write lock, so that no other export is lost.
            known = connection.execute(this.values(stage=models.c.stage).returning(models.c.exports)).scalar_one()
            connection.execute(this.values(exports={**known, format: dict(result)}))
        return self.find(model.id)

    def check_base(self, model: Model, base: Base) -> None:
        """Raises `InputError` when `base` is not the one that `model` was trained on."""
        if base.sha256 != model.base_sha256:
            raise InputError(
                f"{model.id} belongs to another base than this {base.name}.",
                f"It was trained on {model.base} with weights sha256 {model.base_sha256}; "
                f"these have sha256 {base.sha256}, and an adapter means nothing on other weights.",
                f"Bring back the base from {model.base_source}, or train again on this one.",
            )

    def _near(self, name: str) -> str:
        """What to say beside "there is no such model"."""
        with self.database.connect() as connection:
            rows = connection.execute(select(models.c.name, models.c.version, models.c.stage)).all()
        versions = [f"{name}@{row.version} ({row.stage})" for row in rows if row.name == name]
        if versions:
            return f"There is {', '.join(versions)}."
        near = get_close_matches(name, {row.name for row in rows}, cutoff=0.4)
        return f"Near to it: {', '.join(near)}." if near else ""

    def _row(self, condition: Any) -> RowMapping | None:
        """The newest version of those that fit."""
        newest = select(models).where(condition).order_by(models.c.version.desc()).limit(1)
        with self.database.connect() as connection:
            return connection.execute(newest).mappings().one_or_none()

    def _model(self, row: RowMapping) -> Model:
        report = row["report"]
        return Model(
            **{
                **row,
                "stage": Stage(row["stage"]),
                "folder": self.home.models / row["name"] / str(row["version"]),
                "report": None if report is None else reports.from_json(report),
            }
        )
