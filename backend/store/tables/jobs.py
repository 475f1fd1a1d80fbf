"""Jobs: what was asked for, how far it is, what came of it, and who works."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.store.tables.base import Base, Created


class Job(Base, Created):
    """One request for computing.

    `claim` is the content key of kind and parameters while the job is queued, running or
    finished, NULL once it has failed or was cancelled: equal requests meet in one job, and a
    failed one can be asked for again. `done` of `total` units are committed. `attempt` counts from
    1; each has a workflow of its own in the job engine. `activity` says what is done just now, and
    `part` of `parts` how far that is. `requires` is "any" or "cuda": which workers may do it.
    `work` is what it costs, in the kind's own unit, for the estimate of later ones;
    `done_before` how many units earlier attempts did; `crash_count` how many workers in a
    row have begun with it and not come back.
    """

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    parameters: Mapped[dict[str, Any]]
    key: Mapped[str] = mapped_column(index=True)
    claim: Mapped[str | None] = mapped_column(unique=True)
    attempt: Mapped[int] = mapped_column(default=1)
    requires: Mapped[str] = mapped_column(default="any")
    work: Mapped[float | None]
    done: Mapped[int]
    done_before: Mapped[int] = mapped_column(default=0)
    crash_count: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    unit: Mapped[str]
    activity: Mapped[str | None]
    part: Mapped[int | None]
    parts: Mapped[int | None]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None]
    remedy: Mapped[str | None]
    started_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class JobRequest(Base, Created):
    """What an idempotency key was sent with: the `content` key of its request, and the job."""

    __tablename__ = "job_request"

    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)


class JobUnit(Base):
    """A unit of a job that is committed; `unit` is its JSON.

    `is_stored` if it found stored all that it is for, so that its time tells nothing; None if that
    is not known.
    """

    __tablename__ = "job_unit"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str]
    seconds: Mapped[float]
    is_stored: Mapped[bool | None]
    finished_at: Mapped[datetime]


class JobMessage(Base):
    """A line of a job's log."""

    __tablename__ = "job_message"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    text: Mapped[str]


class Claim(Base):
    """What a worker computes just now, by name: no other live worker begins it."""

    __tablename__ = "claim"

    name: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str]


class Worker(Base):
    """A worker process: `live` while its lease is renewed, `dead` once another gave it up.

    What a worker commits is committed only while it is live, so one that was stopped and goes on
    after its jobs were given to another writes nothing. Its name is used once. `job_id` is the job
    that it computes a unit of.
    """

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    device: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str | None]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
