"""Jobs: what was asked for, how far it is, and what came of it."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created


class Job(Base, Created):
    """One request for computing; `id` is also the id of its workflow in the job engine.

    `claim` is the content key of kind and parameters while the job is queued, running or
    finished, NULL once it has failed: equal requests meet in one job, and a failed one can be
    asked for again. `done` of `total` units are committed.
    """

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    parameters: Mapped[dict[str, Any]]
    key: Mapped[str]
    claim: Mapped[str | None] = mapped_column(unique=True)
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    done: Mapped[int]
    total: Mapped[int | None]
    unit: Mapped[str]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None]
    remedy: Mapped[str | None]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
