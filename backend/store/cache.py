"""Prediction-major, memory-mapped caches under the data directory.

Never the truth: each file is named by the hash of what it holds, rebuilt from SQL if it is
missing, and written beside its name and then moved, so that a half-written file is never read. A
suite that is still being evaluated makes a new file for every view in between: beyond
`QUANTA_CACHE_GB`, what no process has opened for longest is removed.
"""

import fcntl
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.store.database import Store
from backend.store.keys import bytes_key

_log = logging.getLogger("quanta.cache")
MAX_OPEN = 512
# A page looks at dozens of them: that each is still there is asked now and then.
SEEN_SECONDS = 2.0
_seen: dict[tuple[str, str], tuple[float, NDArray[Any]]] = {}
Fill = Callable[[NDArray[Any]], None]


def cache_name(kind: str, *keys: str) -> str:
    """Return the file name of a cache that holds the results named by `keys`, in that order."""
    return f"{kind}-{bytes_key('|'.join(keys).encode())[:32]}.npy"


def memory_map(
    store: Store, name: str, shape: tuple[int, ...], dtype: str, fill: Fill
) -> NDArray[Any]:
    """Return a read-only memory map, built by `fill` (which writes into the array) if missing."""
    folder = store.settings.cache_dir
    place = (str(folder), name)
    seen, array = _seen.get(place, (-math.inf, None))
    if array is not None and time.monotonic() - seen < SEEN_SECONDS:
        return array
    array = _mapped(store, folder, name, shape, dtype, fill)
    if len(_seen) >= MAX_OPEN:
        _seen.clear()
    _seen[place] = (time.monotonic(), array)
    return array


def _mapped(
    store: Store, folder: Path, name: str, shape: tuple[int, ...], dtype: str, fill: Fill
) -> NDArray[Any]:
    path = folder / name
    while True:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            remove_orphan_parts(folder)
            _build(path, shape, dtype, fill)
            _evict(folder, path, int(store.settings.cache_gb * 1e9))
        with suppress(FileNotFoundError):  # another process made room just now
            return _opened(os.path.abspath(path))


def _evict(folder: Path, newest: Path, budget: int) -> None:
    """Remove the files opened longest ago until the others take no more than `budget` bytes.

    A process that has one mapped goes on reading it; the disk gets its bytes back afterwards.
    """
    found = []
    for path in folder.glob("*.npy"):
        with suppress(FileNotFoundError):  # another process evicts too
            facts = path.stat()
            found.append((facts.st_mtime_ns, facts.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found, key=lambda item: item[0]):
        if total <= budget:
            break
        if path != newest:
            path.unlink(missing_ok=True)
            _log.info("cache: %s removed, %d bytes", path.name, size)
            total -= size


@lru_cache(maxsize=MAX_OPEN)
def _opened(path: str) -> NDArray[Any]:
    with suppress(OSError):  # a read-only disk: then nothing is evicted either
        os.utime(path)
    # A plain view: indexing numpy's memmap subclass costs microseconds an element.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def remove_orphan_parts(folder: Path) -> None:
    """Remove parts of caches whose program has ended; one that is being written is locked."""
    for part in folder.glob("*.part"):
        with suppress(OSError):  # another removes it too, or its program has just moved it
            descriptor = os.open(part, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(descriptor)


def _part(path: Path) -> tuple[int, str]:
    """Return a new file beside a path, and the lock that says that it is being written."""
    while True:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Another may have found it between its making and its lock.
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)


def _build(path: Path, shape: tuple[int, ...], dtype: str, fill: Fill) -> None:
    handle, temporary = _part(path)
    try:
        array = np.lib.format.open_memmap(temporary, "w+", dtype=np.dtype(dtype), shape=shape)
        fill(array)
        array.flush()
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
