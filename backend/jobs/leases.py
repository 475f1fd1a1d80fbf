"""Leases of workers: which workers are live, and that only live workers commit.

A worker renews its lease every few seconds. Any worker marks another one dead if its lease has
expired (killed, suspended, or cut off), and continues its jobs. A worker that was marked dead and
runs again is fenced: its transactions see its state and roll back. On the same machine a killed
worker is detected at once, because the operating system releases its file lock.

Times are the database's, because clocks of machines differ.
"""

import fcntl
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from multiprocessing import active_children
from pathlib import Path
from typing import NoReturn

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from backend.errors import QuantaError
from backend.store.cache import remove_orphan_parts
from backend.store.database import Store
from backend.store.tables import Claim, Worker
from backend.store.tables.base import utc

RENEW_SECONDS, TTL_SECONDS = 5.0, 30.0
IDLE_TRANSACTION_MS = 20_000
# Rows of ended workers are kept for a while: units and log lines name them.
_RETENTION = timedelta(days=7)
# Exit status of a worker that lost its lease.
EXIT_LEASE_LOST = 3
_log = logging.getLogger("quanta.jobs")
# End of a worker's grace period on the monotonic clock, by worker.
_grace_ends: dict[str, float] = {}


class LostLeaseError(QuantaError):
    """This worker lost its lease; other workers continue its jobs."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"worker {worker_id} did not renew its lease in time",
            "Other workers continue its jobs; start a new worker",
        )


def exit_on_lost_lease(error: LostLeaseError) -> NoReturn:
    """End this process and its children, so that nothing they compute is committed."""
    _log.error("%s", error)
    for process in active_children():
        process.kill()
    os._exit(EXIT_LEASE_LOST)


def database_time(session: Session) -> datetime:
    """Return the database's time, which is the same for all workers."""
    time_: datetime = session.scalars(select(func.current_timestamp())).one()
    return utc(time_)


def _lock_path(folder: Path, worker_id: str) -> Path:
    return folder / f"worker-{worker_id.replace(':', '-')}.lock"


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, None if another process holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def register_worker(store: Store, device: str) -> str:
    """Create a worker with a lease, and hold its file lock until the process ends.

    Returns:
        The worker's name, never used before.
    """
    worker_id = _lock_new_name(store.settings.data_dir, device)
    with store.begin() as session:
        started = database_time(session)
        session.execute(
            delete(Worker).where(Worker.state == "gone", Worker.heartbeat_at < started - _RETENTION)
        )
        others = set(session.scalars(select(Worker.id).where(Worker.state != "gone")))
        session.add(
            Worker(
                id=worker_id,
                host=socket.gethostname(),
                device=device,
                state="live",
                job_id=None,
                started_at=started,
                heartbeat_at=started,
            )
        )
    _remove_stale_locks(store.settings.data_dir, others | {worker_id})
    remove_orphan_parts(store.settings.cache_dir)
    return worker_id


def _lock_new_name(folder: Path, device: str) -> str:
    while True:
        worker_id = f"{socket.gethostname()}:{device}:{secrets.token_hex(4)}"
        path = _lock_path(folder, worker_id)
        # Another worker may remove the file as stale before it is locked.
        if _try_lock(path) is not None and path.is_file():
            return worker_id


def _remove_stale_locks(folder: Path, worker_ids: set[str]) -> None:
    """Remove unlocked lock files of workers other than `worker_ids`."""
    in_use = {_lock_path(folder, worker_id) for worker_id in worker_ids}
    for path in set(folder.glob("worker-*.lock")) - in_use:
        with suppress(OSError):
            descriptor = _try_lock(path)
            if descriptor is not None:
                path.unlink()
                os.close(descriptor)


def renew_lease(store: Store, worker_id: str) -> None:
    """Renew a lease.

    Raises:
        LostLeaseError: the worker was marked dead.
    """
    # Not `begin`: its fence takes a shared lock of the row, as a unit's transaction does at the
    # same time, and both would deadlock when they write it.
    with store.session() as session:
        _check_outage(session, worker_id)
        renewed = session.execute(
            update(Worker)
            .where(Worker.id == worker_id, Worker.state == "live")
            .values(heartbeat_at=database_time(session))
        )
        session.commit()
        if renewed.rowcount != 1:  # type: ignore[attr-defined]
            raise LostLeaseError(worker_id)


def _check_outage(session: Session, worker_id: str) -> None:
    """Start a grace period, in which this worker expires no lease, after its own outage.

    When the database comes back, all leases are late, and the first worker would expire the others.
    """
    renewed_at = session.scalars(
        select(Worker.heartbeat_at).where(Worker.id == worker_id)
    ).one_or_none()
    longest = timedelta(seconds=2 * RENEW_SECONDS)
    if renewed_at is not None and database_time(session) - utc(renewed_at) > longest:
        _grace_ends[worker_id] = time.monotonic() + TTL_SECONDS


def live_workers(store: Store) -> set[str]:
    """Return the names of live workers."""
    with store.session() as session:
        return set(session.scalars(select(Worker.id).where(Worker.state == "live")))


def n_live_workers(store: Store, requires: str = "any") -> int:
    """Return the number of live workers, of those with a GPU if it is required."""
    query = select(func.count()).where(Worker.state == "live")
    if requires == "cuda":
        query = query.where(Worker.device == "cuda")
    with store.session() as session:
        return session.scalar(query) or 0


def make_fence(worker_id: str) -> Callable[[Session], None]:
    """Return a check for the start of a transaction: the worker is live until it commits.

    The worker's row is locked until the end of the transaction, so that `expire_leases` waits for
    the commit, or comes first and is seen.
    """

    def check(session: Session) -> None:
        if session.get_bind().dialect.name == "sqlite":
            # Write first: SQLite then has one writer, and cannot fail because of a stale read.
            session.execute(
                update(Worker).where(Worker.id == worker_id).values(device=Worker.device)
            )
        else:
            # A worker that is suspended inside a transaction must not hold its locks for ever.
            session.execute(
                text(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_TRANSACTION_MS}")
            )
        state = session.scalars(
            select(Worker.state).where(Worker.id == worker_id).with_for_update(read=True)
        ).one_or_none()
        if state != "live":
            raise LostLeaseError(worker_id)

    return check


def expire_leases(store: Store, worker_id: str) -> tuple[str, ...]:
    """Mark other workers dead if their lease or their process on this machine has ended.

    Args:
        store: store of the workers.
        worker_id: worker that calls.

    Returns:
        Names of all dead workers with jobs that are not recovered yet.
    """
    with store.begin() as session:
        _check_outage(session, worker_id)
        in_grace = time.monotonic() < _grace_ends.get(worker_id, 0)
        oldest = database_time(session) - timedelta(seconds=TTL_SECONDS)
        others = select(Worker).where(Worker.state == "live", Worker.id != worker_id)
        for worker in session.scalars(others).all():
            has_expired = utc(worker.heartbeat_at) < oldest and not in_grace
            if has_expired or has_exited(store.settings.data_dir, worker):
                _mark_dead(session, worker.id, worker.heartbeat_at)
        return tuple(session.scalars(select(Worker.id).where(Worker.state == "dead")))


def _mark_dead(session: Session, worker_id: str, renewed_at: datetime) -> None:
    # A worker with a locked row is committing, so it is live: skip it.
    row = select(Worker.id).where(Worker.id == worker_id).with_for_update(skip_locked=True)
    if session.scalars(row).one_or_none() is None:
        return
    # Only if the lease has not been renewed since it was read.
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.state == "live", Worker.heartbeat_at == renewed_at)
        .values(state="dead")
        .execution_options(synchronize_session=False)
    )


def has_exited(folder: Path, worker: Worker) -> bool:
    """Return whether a worker of this machine has ended: no process holds its file lock."""
    path = _lock_path(folder, worker.id)
    if worker.host != socket.gethostname() or not path.is_file():
        return False
    descriptor = _try_lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def has_running_worker(folder: Path) -> bool:
    """Return whether a worker of this machine runs on a data directory."""
    for path in folder.glob("worker-*.lock"):
        descriptor = _try_lock(path)
        if descriptor is None:
            return True
        os.close(descriptor)
    return False


def release_lease(store: Store, worker_id: str) -> None:
    """Mark the calling worker dead, so that others continue its jobs at once."""
    with store.session() as session:
        session.execute(update(Worker).where(Worker.id == worker_id).values(state="dead"))
        session.commit()


def retire_workers(store: Store, worker_ids: Sequence[str]) -> None:
    """Mark dead workers as gone after their jobs were recovered, and delete their claims."""
    if not worker_ids:
        return
    with store.begin() as session:
        session.execute(update(Worker).where(Worker.id.in_(worker_ids)).values(state="gone"))
        session.execute(delete(Claim).where(Claim.worker.in_(worker_ids)))
    for worker_id in worker_ids:
        with suppress(OSError):
            _lock_path(store.settings.data_dir, worker_id).unlink()
