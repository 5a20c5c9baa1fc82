"""Things that only have to be kept, by kind and name. Does not know what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pumice.errors import ConflictError, NotFoundError
from pumice.records import Document
from pumice.store.tables import documents


class Documents:
    """The documents of one home. Every method blocks for the time of one statement."""

    def __init__(self, database: Engine) -> None:
        self.database = database

    def add(self, kind: str, name: str, body: Mapping[str, Any]) -> Document:
        """Keep a new one; `body` is plain JSON. Raises `ConflictError` when the kind has this name already."""
        now = datetime.now(UTC)
        document = Document(kind, name, dict(body), now, now)
        try:
            with self.database.begin() as connection:
                connection.execute(insert(documents).values(vars(document)))
        except IntegrityError as error:
            raise ConflictError(f"There is a {kind} named {name!r} already.", fix="Choose another name.") from error
        return document

    def put(self, kind: str, name: str, body: Mapping[str, Any]) -> Document:
        """Keep one under this name, in the place of what was there; only its time of creation stays."""
        this = update(documents).where(_is(kind, name)).values(body=dict(body), updated=datetime.now(UTC))
        with self.database.begin() as connection:
            row = connection.execute(this.returning(documents)).mappings().one_or_none()
        return self.add(kind, name, body) if row is None else _document(row)

    def find(self, kind: str, name: str) -> Document | None:
        """The one with this name, None when there is none."""
        with self.database.connect() as connection:
            row = connection.execute(select(documents).where(_is(kind, name))).mappings().one_or_none()
        return None if row is None else _document(row)

    def get(self, kind: str, name: str) -> Document:
        """The one with this name. Raises `NotFoundError`."""
        found = self.find(kind, name)
        if found is None:
            raise NotFoundError(f"There is no {kind} {name!r}.")
        return found

    def list(self, kind: str) -> tuple[Document, ...]:
        """All of a kind, the newest first."""
        wanted = select(documents).where(documents.c.kind == kind)
        with self.database.connect() as connection:
            rows = connection.execute(wanted.order_by(documents.c.created.desc(), documents.c.name)).mappings().all()
        return tuple(_document(row) for row in rows)

    def change(self, kind: str, name: str, **changes: Any) -> Document:
        """Set keys of the body, the others stay. Raises `NotFoundError`."""
        this = update(documents).where(_is(kind, name))
        with self.database.begin() as connection:
            # An UPDATE that changes nothing takes the write lock, so that no other change is lost.
            known = connection.execute(this.values(kind=kind).returning(documents.c.body)).scalar_one_or_none()
            if known is None:
                raise NotFoundError(f"There is no {kind} {name!r}.")
            changed = this.values(body={**known, **changes}, updated=datetime.now(UTC)).returning(documents)
            return _document(connection.execute(changed).mappings().one())

    def delete(self, kind: str, name: str) -> None:
        """Forget one. Raises `NotFoundError`."""
        with self.database.begin() as connection:
            if not connection.execute(delete(documents).where(_is(kind, name))).rowcount:
                raise NotFoundError(f"There is no {kind} {name!r}.")


def _is(kind: str, name: str) -> Any:
    return (documents.c.kind == kind) & (documents.c.name == name)


def _document(row: RowMapping) -> Document:
    return Document(**row)
