"""Numbers of jobs, units and workers, for monitoring."""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.jobs.leases import TTL_SECONDS
from backend.store.database import Store
from backend.store.tables import Job, JobUnit, Worker
from backend.store.tables.base import utc

# Limit of the units in a sum of seconds, so that a scrape stays cheap.
MAX_UNITS = 1_000_000
MAX_KINDS = 40
OTHER = "other"
_NAME = re.compile(r"[a-z_]{1,32}")


@dataclass(frozen=True)
class JobCounts:
    """Numbers of jobs, units and workers.

    Attributes:
        jobs: number of jobs by (kind, state).
        units: number of committed units by kind.
        unit_seconds: seconds of units by kind, of at most `MAX_UNITS` units.
        queued: number of jobs that wait for a worker.
        live_workers: number of workers with a valid lease.
        oldest_heartbeat_seconds: seconds since the oldest heartbeat of workers that are not marked
            dead; None without any.
    """

    jobs: dict[tuple[str, str], int]
    units: dict[str, int]
    unit_seconds: dict[str, float]
    queued: int
    live_workers: int
    oldest_heartbeat_seconds: float | None


def job_counts(store: Store) -> JobCounts:
    """Return the numbers of jobs, units and workers, in a few small queries."""
    with store.session() as session:
        jobs, units = _jobs(session)
        live, oldest = _workers(session)
        return JobCounts(
            jobs=jobs,
            units=units,
            unit_seconds=_seconds(session),
            queued=sum(n for (_, state), n in jobs.items() if state == "queued"),
            live_workers=live,
            oldest_heartbeat_seconds=oldest,
        )


def _label(name: str) -> str:
    """Return a name of this program, `other` for anything else in the table."""
    return name if _NAME.fullmatch(name) else OTHER


def _jobs(session: Session) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    rows = session.execute(
        select(Job.kind, Job.state, func.count(), func.sum(Job.done))
        .group_by(Job.kind, Job.state)
        .order_by(func.count().desc(), Job.kind, Job.state)
        .limit(MAX_KINDS)
    )
    jobs: defaultdict[tuple[str, str], int] = defaultdict(int)
    units: defaultdict[str, int] = defaultdict(int)
    for kind, state, n, done in rows:
        jobs[_label(kind), _label(state)] += n
        units[_label(kind)] += int(done or 0)
    return dict(jobs), dict(units)


def _seconds(session: Session) -> dict[str, float]:
    units = select(JobUnit.job_id, JobUnit.seconds).limit(MAX_UNITS).subquery()
    rows = session.execute(
        select(Job.kind, func.sum(units.c.seconds))
        .join(units, units.c.job_id == Job.id)
        .group_by(Job.kind)
        .limit(MAX_KINDS)
    )
    seconds: defaultdict[str, float] = defaultdict(float)
    for kind, total in rows:
        seconds[_label(kind)] += float(total)
    return dict(seconds)


def _workers(session: Session) -> tuple[int, float | None]:
    """Return (number of workers with a valid lease, seconds since the oldest heartbeat)."""
    now = session.scalars(select(func.current_timestamp())).one()
    heartbeats = select(Worker.heartbeat_at).where(Worker.state == "live")
    oldest = session.scalars(heartbeats.order_by(Worker.heartbeat_at).limit(1)).first()
    if oldest is None:
        return 0, None
    is_valid = Worker.heartbeat_at >= utc(now) - timedelta(seconds=TTL_SECONDS)
    live = select(func.count()).select_from(Worker).where(Worker.state == "live", is_valid)
    age = (utc(now) - utc(oldest)).total_seconds()
    return session.scalar(live) or 0, max(0.0, age)
