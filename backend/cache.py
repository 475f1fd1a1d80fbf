"""Prediction-major, memory-mapped caches under the data directory.

Never the truth: each file is named by the hash of what it holds, rebuilt from SQL if it is
missing, and written beside its name and then moved, so that a half-written file is never read.
"""

import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.db import Store
from backend.keys import bytes_key

Fill = Callable[[NDArray[Any]], None]


def cache_name(kind: str, *keys: str) -> str:
    """Return the file name of a cache that holds the results named by `keys`, in that order."""
    return f"{kind}-{bytes_key('|'.join(keys).encode())[:32]}.npy"


def memory_map(
    store: Store, name: str, shape: tuple[int, ...], dtype: str, fill: Fill
) -> NDArray[Any]:
    """Return a read-only memory map, built by `fill` (which writes into the array) if missing."""
    folder = store.settings.cache_dir
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _build(path, shape, dtype, fill)
    return _opened(path.resolve())


@lru_cache(maxsize=512)
def _opened(path: Path) -> NDArray[Any]:
    # A plain view: indexing numpy's memmap subclass costs microseconds an element.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _build(path: Path, shape: tuple[int, ...], dtype: str, fill: Fill) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        array = np.lib.format.open_memmap(temporary, "w+", dtype=np.dtype(dtype), shape=shape)
        fill(array)
        array.flush()
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
