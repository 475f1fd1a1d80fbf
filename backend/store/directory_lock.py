"""Lock of a data directory: shared by programs that open the store, exclusive for a restore.

The operating system releases the lock when the program ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import StoreBusyError

LOCK = "store.lock"


def lock_shared(folder: Path) -> int | None:
    """Lock the store for use; return the descriptor to close, None if there can be no lock file.

    Raises:
        StoreBusyError: a restore is running.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # a read-only disk, where no restore can run
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
    """Lock out every other program until the end of the block.

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
    """Return the error of an operation that needs exclusive use of the store."""
    return StoreBusyError(
        f"a server, a worker or another quanta command uses {folder}",
        "Stop `quanta serve`, `quanta worker` and other commands on it, then run this again",
    )
