"""Who uses a data directory: every program that opened the store, or a restore alone.

The operating system lets go of a lock however its program ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import StoreBusyError

LOCK = "store.lock"


def lock_shared(folder: Path) -> int | None:
    """Note that this process uses the store; returns what to close when it no longer does.

    Returns:
        None where no file can be made.

    Raises:
        StoreBusyError: a restore is going on.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # a read-only disk: nobody restores there
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreBusyError(
            f"a backup is being restored into {folder}", "Wait until `quanta restore` has ended"
        ) from error
    return descriptor


@contextmanager
def lock_exclusive(folder: Path) -> Iterator[None]:
    """Keep every other program out until the end of the block.

    Raises:
        StoreBusyError: a server, a worker or another command uses the store.
    """
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise store_in_use(folder) from error
        yield
    finally:
        os.close(descriptor)


def store_in_use(folder: Path | str) -> StoreBusyError:
    """Return the refusal of what cannot be done while others use the store."""
    return StoreBusyError(
        f"a server, a worker or another quanta command uses {folder}",
        "End `quanta serve`, `quanta worker` and other commands on it, then run this again",
    )
