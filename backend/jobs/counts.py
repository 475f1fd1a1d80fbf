"""Jobs, their units and workers as numbers, for monitoring."""

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

# Seconds are added up over so many units at most: a scrape must stay cheap.
MAX_UNITS = 1_000_000
MAX_KINDS = 40
OTHER = "other"
_NAME = re.compile(r"[a-z_]{1,32}")


@dataclass(frozen=True)
class JobCounts:
    """What the job tables hold now.

    Attributes:
        jobs: how many, by (kind, state).
        units: committed units by kind.
        unit_seconds: seconds that units took, by kind; of `MAX_UNITS` units at most.
        queued: jobs that wait for a worker.
        live_workers: workers whose lease has not run out.
        oldest_heartbeat_seconds: since the oldest heartbeat among workers that nobody has given
            up; None without any.
    """

    jobs: dict[tuple[str, str], int]
    units: dict[str, int]
    unit_seconds: dict[str, float]
    queued: int
    live_workers: int
    oldest_heartbeat_seconds: float | None


def job_counts(store: Store) -> JobCounts:
    """Return what the job tables hold now; a few statements, none gives more than a few rows."""
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


def _known(name: str) -> str:
    """Return a name that the program gives; whatever else stands there is `other`."""
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
        jobs[_known(kind), _known(state)] += n
        units[_known(kind)] += int(done or 0)
    return dict(jobs), dict(units)


def _seconds(session: Session) -> dict[str, float]:
    some = select(JobUnit.job_id, JobUnit.seconds).limit(MAX_UNITS).subquery()
    rows = session.execute(
        select(Job.kind, func.sum(some.c.seconds))
        .join(some, some.c.job_id == Job.id)
        .group_by(Job.kind)
        .limit(MAX_KINDS)
    )
    seconds: defaultdict[str, float] = defaultdict(float)
    for kind, spent in rows:
        seconds[_known(kind)] += float(spent)
    return dict(seconds)


def _workers(session: Session) -> tuple[int, float | None]:
    """Return (workers whose lease holds, seconds since the oldest heartbeat), by one clock."""
    now = session.scalars(select(func.current_timestamp())).one()
    beats = select(Worker.heartbeat_at).where(Worker.state == "live")
    oldest = session.scalars(beats.order_by(Worker.heartbeat_at).limit(1)).first()
    if oldest is None:
        return 0, None
    holds = Worker.heartbeat_at >= utc(now) - timedelta(seconds=TTL_SECONDS)
    live = select(func.count()).select_from(Worker).where(Worker.state == "live", holds)
    age = (utc(now) - utc(oldest)).total_seconds()
    return session.scalar(live) or 0, max(0.0, age)
