"""Tables of jobs, their units and logs, and of workers and claims."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.store.tables.base import Base, Created


class Job(Base, Created):
    """A job.

    `claim` is the content key of kind and parameters while the job is queued, running or finished,
    NULL if it failed or was cancelled: equal requests share one job, and a failed job can be
    submitted again. `done` of `total` units are committed. `attempt` counts from 1; each attempt is
    a workflow of the job engine. `activity` is the current activity, of which `part` of `parts` is
    completed. `requires` is "any" or "cuda", the workers that may execute the job. `work` is its
    cost in the kind's unit, for estimates of later jobs; `done_before` the units of earlier
    attempts; `crash_count` the workers in a row that started with the job and did not return.
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
    """An idempotency key, the `content` key of its request, and the job."""

    __tablename__ = "job_request"

    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)


class JobUnit(Base):
    """A committed unit of a job; `unit` is its JSON.

    `is_stored` if its result was stored before, so that its time must not count in estimates; None
    if unknown.
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
    """A part of a result, by name, that a worker computes; other live workers wait for it."""

    __tablename__ = "claim"

    name: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str]


class Worker(Base):
    """A worker process: `live` under a lease, `dead` once it has expired, `gone` once recovered.

    Only live workers commit, so a worker that resumes after its jobs were recovered writes nothing.
    A name is used once. `job_id` is the job of the current unit.
    """

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    device: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str | None]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
