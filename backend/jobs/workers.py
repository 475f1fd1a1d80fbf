"""Workers that live now, as they are shown."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from backend.jobs.leases import TTL_SECONDS, database_time, has_ended
from backend.read.jobs import stamp
from backend.store.database import Store
from backend.store.tables import Worker
from backend.store.tables.base import utc


@dataclass(frozen=True)
class WorkerView:
    """A worker: where it is, on what it computes, since when, and for which job just now."""

    id: str
    host: str
    device: str
    started_at: str
    job: str | None


def list_workers(store: Store) -> tuple[WorkerView, ...]:
    """Return workers that live, the oldest first.

    A lease that ran out counts as the end of its worker, also where no other worker is there to
    mark it.
    """
    with store.session() as session:
        oldest = database_time(session) - timedelta(seconds=TTL_SECONDS)
        rows = session.scalars(
            select(Worker).where(Worker.state == "live").order_by(Worker.started_at, Worker.id)
        ).all()
        return tuple(
            WorkerView(row.id, row.host, row.device, stamp(row.started_at) or "", row.job_id)
            for row in rows
            if utc(row.heartbeat_at) >= oldest and not has_ended(store.settings.data_dir, row)
        )
