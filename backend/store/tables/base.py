"""Declarative base, and the columns that several tables share."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, LargeBinary, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


def utc(time: datetime) -> datetime:
    """Return a stored time with its zone; SQLite drops it, and all are UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


class Base(DeclarativeBase):
    """Declarative base with fixed constraint names, for migrations."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        bytes: LargeBinary,
        dict[str, Any]: JSON,
        list[int]: JSON,
        list[float]: JSON,
        list[str]: JSON,
    }


class ArrayColumns:
    """A little-endian, C-ordered array in one row.

    `backend.store.arrays` is the only writer and reader; `checksum` is over dtype, shape and bytes.
    """

    dtype: Mapped[str]
    shape: Mapped[list[int]]
    checksum: Mapped[str]
    data: Mapped[bytes] = mapped_column(deferred=True)


class Created:
    """When the row was committed; never part of a key or of a content hash."""

    created_at: Mapped[datetime] = mapped_column(default=now)
