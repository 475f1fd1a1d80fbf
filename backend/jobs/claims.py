"""Claims: if two jobs share a part, one worker computes it and the other waits.

A claim holds while its worker is live; the claim of a dead worker is taken over.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from backend.store.database import Store
from backend.store.tables import Claim, Worker

POLL_SECONDS = 0.25


def _try_claim(store: Store, name: str, worker_id: str) -> bool:
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
            # The worker's own claim is left by a child process that was killed.
            if row.worker == worker_id or holder is None or holder.state != "live":
                row.worker = worker_id
                return True
            return False
    except IntegrityError:  # another worker inserted the claim at the same time
        return False


def claims(store: Store, worker_id: str) -> Callable[[str], AbstractContextManager[None]]:
    """Return the function with which a worker's store claims a name."""

    @contextmanager
    def claim(name: str) -> Iterator[None]:
        while not _try_claim(store, name, worker_id):
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with store.begin() as session:
                session.execute(delete(Claim).where(Claim.name == name, Claim.worker == worker_id))

    return claim
