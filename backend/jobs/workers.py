"""Views of live workers."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from backend.jobs.leases import TTL_SECONDS, database_time, has_exited
from backend.read.jobs import to_iso
from backend.store.database import Store
from backend.store.tables import Worker
from backend.store.tables.base import utc


@dataclass(frozen=True)
class WorkerView:
    """A worker, its host and device, its start, and the job of its current unit."""

    id: str
    host: str
    device: str
    started_at: str
    job: str | None


def list_workers(store: Store) -> tuple[WorkerView, ...]:
    """Return live workers, the oldest first.

    A worker with an expired lease is not listed, even before another worker marks it dead.
    """
    with store.session() as session:
        oldest = database_time(session) - timedelta(seconds=TTL_SECONDS)
        rows = session.scalars(
            select(Worker).where(Worker.state == "live").order_by(Worker.started_at, Worker.id)
        ).all()
        return tuple(
            WorkerView(row.id, row.host, row.device, to_iso(row.started_at) or "", row.job_id)
            for row in rows
            if utc(row.heartbeat_at) >= oldest and not has_exited(store.settings.data_dir, row)
        )
