"""Claims: of two workers whose jobs share a part, one computes it and the other waits for it.

A claim counts for as long as its worker lives; what a dead one left is taken over.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from backend.store.database import Store
from backend.store.tables import Claim, Worker

POLL_SECONDS = 0.25


def _take(store: Store, name: str, worker_id: str) -> bool:
    """Take a claim unless another live worker holds it."""
    try:
        with store.begin() as session:
            row = session.scalars(
                select(Claim).where(Claim.name == name).with_for_update()
            ).one_or_none()
            if row is None:
                session.add(Claim(name=name, worker=worker_id))
                return True
            holder = session.get(Worker, row.worker)
            # Its own: of a computing process that was killed in the middle.
            if row.worker == worker_id or holder is None or holder.state != "live":
                row.worker = worker_id
                return True
            return False
    except IntegrityError:  # another was as quick
        return False


def claims(store: Store, worker_id: str) -> Callable[[str], AbstractContextManager[None]]:
    """Return what a worker's store claims with."""

    @contextmanager
    def claimed(name: str) -> Iterator[None]:
        while not _take(store, name, worker_id):
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with store.begin() as session:
                session.execute(delete(Claim).where(Claim.name == name, Claim.worker == worker_id))

    return claimed
