"""Leases of workers: who is alive, who is given up, and that only the living commit.

A worker renews its lease every few seconds. Whoever finds one that ran out (the process was
killed, stopped, or cut off) marks it dead; its jobs then go to others. Should it go on after all,
its transactions find that it is dead and undo themselves. On one machine a killed worker is found
at once, since the operating system lets go of the lock of its file.

Times are the database's: clocks of machines differ.
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
IDLE_MS = 20_000
# A name is kept for a while after its jobs have gone on, to be seen in what it computed.
_KEPT = timedelta(days=7)
# Exit status of a worker that was given up while it was stopped or cut off.
LOST = 3
_log = logging.getLogger("quanta.jobs")
# Until when (monotonic) a worker judges no others by their leases, by its name.
_patient: dict[str, float] = {}


class LostLeaseError(QuantaError):
    """This worker was given up; others do its jobs."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(
            f"worker {worker_id} did not renew its lease in time and was given up",
            "Others go on with its jobs; start a new worker",
        )


def exit_on_lost_lease(error: LostLeaseError) -> NoReturn:
    """End this process, and what it computes: nothing that it does may count any more."""
    _log.error("%s", error)
    for process in active_children():
        process.kill()
    os._exit(LOST)


def database_time(session: Session) -> datetime:
    """Return the database's time, which is the same for all workers."""
    found: datetime = session.scalars(select(func.current_timestamp())).one()
    return utc(found)


def _lock_path(folder: Path, worker_id: str) -> Path:
    return folder / f"worker-{worker_id.replace(':', '-')}.lock"


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, None while another holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def register_worker(store: Store, device: str) -> str:
    """Take a name that nobody had before, with a lease, and hold its lock until the process ends.

    Returns:
        The worker's name.
    """
    worker_id = _new_name(store.settings.data_dir, device)
    with store.begin() as session:
        began = database_time(session)
        session.execute(
            delete(Worker).where(Worker.state == "gone", Worker.heartbeat_at < began - _KEPT)
        )
        known = set(session.scalars(select(Worker.id).where(Worker.state != "gone")))
        session.add(
            Worker(
                id=worker_id,
                host=socket.gethostname(),
                device=device,
                state="live",
                job_id=None,
                started_at=began,
                heartbeat_at=began,
            )
        )
    _tidy(store.settings.data_dir, known | {worker_id})
    remove_orphan_parts(store.settings.cache_dir)
    return worker_id


def _new_name(folder: Path, device: str) -> str:
    while True:
        worker_id = f"{socket.gethostname()}:{device}:{secrets.token_hex(4)}"
        # Another that tidies may have taken the file away before it was locked.
        if (
            _try_lock(_lock_path(folder, worker_id)) is not None
            and _lock_path(folder, worker_id).is_file()
        ):
            return worker_id


def _tidy(folder: Path, known: set[str]) -> None:
    """Remove lock files of workers that ended before they had a lease, or on another's watch."""
    kept = {_lock_path(folder, worker_id) for worker_id in known}
    for path in set(folder.glob("worker-*.lock")) - kept:
        with suppress(OSError):
            descriptor = _try_lock(path)
            if descriptor is not None:
                path.unlink()
                os.close(descriptor)


def renew_lease(store: Store, worker_id: str) -> None:
    """Renew a lease.

    Raises:
        LostLeaseError: it was given up.
    """
    # Not `begin`: its fence locks the row to read it, as a unit's does at the same time, and two
    # that then both want to write it would wait for each other.
    with store.session() as session:
        _note_gap(session, worker_id)
        renewed = session.execute(
            update(Worker)
            .where(Worker.id == worker_id, Worker.state == "live")
            .values(heartbeat_at=database_time(session))
        )
        session.commit()
        if renewed.rowcount != 1:  # type: ignore[attr-defined]
            raise LostLeaseError(worker_id)


def _note_gap(session: Session, own: str) -> None:
    """Judge nobody for a while if this worker could not renew its own lease in time.

    When the database comes back, all are late, and whoever looks first would give up the others.
    """
    seen = session.scalars(select(Worker.heartbeat_at).where(Worker.id == own)).one_or_none()
    if seen is not None and database_time(session) - utc(seen) > timedelta(
        seconds=2 * RENEW_SECONDS
    ):
        _patient[own] = time.monotonic() + TTL_SECONDS


def live_workers(store: Store) -> set[str]:
    """Return the workers that have a lease."""
    with store.session() as session:
        return set(session.scalars(select(Worker.id).where(Worker.state == "live")))


def n_live_workers(store: Store, requires: str = "any") -> int:
    """Return how many workers have a lease, with a GPU if one is required."""
    query = select(func.count()).where(Worker.state == "live")
    if requires == "cuda":
        query = query.where(Worker.device == "cuda")
    with store.session() as session:
        return session.scalar(query) or 0


def make_fence(worker_id: str) -> Callable[[Session], None]:
    """Return a check for the start of a transaction: this worker is alive until it commits.

    The worker's row stays locked to the end of the transaction, so that giving the worker up waits
    for the commit, or comes before it and is seen.
    """

    def check(session: Session) -> None:
        if session.get_bind().dialect.name == "sqlite":
            # A write first: SQLite then has one writer, and cannot fail for a stale read.
            session.execute(
                update(Worker).where(Worker.id == worker_id).values(device=Worker.device)
            )
        else:
            # Locks of a worker that is stopped inside a transaction are not held for ever.
            session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"))
        state = session.scalars(
            select(Worker.state).where(Worker.id == worker_id).with_for_update(read=True)
        ).one_or_none()
        if state != "live":
            raise LostLeaseError(worker_id)

    return check


def expire_leases(store: Store, own: str) -> tuple[str, ...]:
    """Mark workers dead whose lease ran out or whose process has ended on this machine.

    Returns:
        Names of all dead workers whose jobs are still to be given to others.
    """
    with store.begin() as session:
        _note_gap(session, own)
        is_patient = time.monotonic() < _patient.get(own, 0)
        oldest = database_time(session) - timedelta(seconds=TTL_SECONDS)
        live = session.scalars(select(Worker).where(Worker.state == "live", Worker.id != own)).all()
        for worker in live:
            is_late = utc(worker.heartbeat_at) < oldest and not is_patient
            if is_late or has_ended(store.settings.data_dir, worker):
                _mark(session, worker.id, worker.heartbeat_at)
        return tuple(session.scalars(select(Worker.id).where(Worker.state == "dead")))


def _mark(session: Session, worker_id: str, seen: datetime) -> None:
    # One whose row is held commits just now: it lives, and nobody waits for its end.
    row = select(Worker.id).where(Worker.id == worker_id).with_for_update(skip_locked=True)
    if session.scalars(row).one_or_none() is None:
        return
    # Only as it was seen: a beat in between says that it lives.
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.state == "live", Worker.heartbeat_at == seen)
        .values(state="dead")
        .execution_options(synchronize_session=False)
    )


def has_ended(folder: Path, worker: Worker) -> bool:
    """Return whether a worker of this machine has ended: nobody holds the lock of its file."""
    path = _lock_path(folder, worker.id)
    if worker.host != socket.gethostname() or not path.is_file():
        return False
    descriptor = _try_lock(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def has_running_worker(folder: Path) -> bool:
    """Return whether any worker of this machine lives on a data directory."""
    for path in folder.glob("worker-*.lock"):
        descriptor = _try_lock(path)
        if descriptor is None:
            return True
        os.close(descriptor)
    return False


def release_lease(store: Store, worker_id: str) -> None:
    """Give oneself up: others may go on at once."""
    with store.session() as session:
        session.execute(update(Worker).where(Worker.id == worker_id).values(state="dead"))
        session.commit()


def retire_workers(store: Store, worker_ids: Sequence[str]) -> None:
    """Note that the jobs of dead workers have gone to others."""
    if not worker_ids:
        return
    with store.begin() as session:
        session.execute(update(Worker).where(Worker.id.in_(worker_ids)).values(state="gone"))
        session.execute(delete(Claim).where(Claim.worker.in_(worker_ids)))
    for worker_id in worker_ids:
        with suppress(OSError):
            _lock_path(store.settings.data_dir, worker_id).unlink()
