"""Prediction-major, memory-mapped caches in the data directory.

Each file is named by the hash of its contents, rebuilt from SQL if missing, and renamed when
complete, so that a partial file is never read. A suite that is being evaluated makes a new file
for each view; beyond `QUANTA_CACHE_GB` the least recently opened files are removed.
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
# A page opens dozens of caches; check at most this often that a file still exists.
RECHECK_SECONDS = 2.0
_open_arrays: dict[tuple[str, str], tuple[float, NDArray[Any]]] = {}
Fill = Callable[[NDArray[Any]], None]


def cache_name(kind: str, *keys: str) -> str:
    """Return the file name of a cache of the results named by `keys`, in this order."""
    return f"{kind}-{bytes_key('|'.join(keys).encode())[:32]}.npy"


def memory_map(
    store: Store, name: str, shape: tuple[int, ...], dtype: str, fill: Fill
) -> NDArray[Any]:
    """Return a read-only memory map; `fill` writes the array if the file is missing."""
    folder = store.settings.cache_dir
    key = (str(folder), name)
    checked_at, array = _open_arrays.get(key, (-math.inf, None))
    if array is not None and time.monotonic() - checked_at < RECHECK_SECONDS:
        return array
    array = _open_or_build(store, folder, name, shape, dtype, fill)
    if len(_open_arrays) >= MAX_OPEN:
        _open_arrays.clear()
    _open_arrays[key] = (time.monotonic(), array)
    return array


def _open_or_build(
    store: Store, folder: Path, name: str, shape: tuple[int, ...], dtype: str, fill: Fill
) -> NDArray[Any]:
    path = folder / name
    while True:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            remove_orphan_parts(folder)
            _build(path, shape, dtype, fill)
            _evict(folder, path, int(store.settings.cache_gb * 1e9))
        with suppress(FileNotFoundError):  # another process evicted it
            return _open(os.path.abspath(path))


def _evict(folder: Path, newest: Path, budget: int) -> None:
    """Remove the least recently opened files until at most `budget` bytes are left.

    Processes that have mapped a removed file can still read it.
    """
    files = []
    for path in folder.glob("*.npy"):
        with suppress(FileNotFoundError):  # another process evicts too
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files, key=lambda item: item[0]):
        if total <= budget:
            break
        if path != newest:
            path.unlink(missing_ok=True)
            _log.info("cache: %s removed, %d bytes", path.name, size)
            total -= size


@lru_cache(maxsize=MAX_OPEN)
def _open(path: str) -> NDArray[Any]:
    with suppress(OSError):  # a read-only disk, where nothing is evicted
        os.utime(path)
    # A plain array: indexing numpy's memmap subclass costs microseconds for each element.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def remove_orphan_parts(folder: Path) -> None:
    """Remove partial caches of ended programs; those being written are locked."""
    for part in folder.glob("*.part"):
        with suppress(OSError):  # removed or renamed meanwhile
            descriptor = os.open(part, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(descriptor)


def _create_part(path: Path) -> tuple[int, str]:
    """Return (locked descriptor, path) of a new temporary file beside a path."""
    while True:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have removed it before it was locked.
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)


def _build(path: Path, shape: tuple[int, ...], dtype: str, fill: Fill) -> None:
    handle, temporary = _create_part(path)
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
