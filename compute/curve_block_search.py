"""Exact nearest-curve search in block layout, compiled and multi-threaded.

Results equal those of `compute.curve_search.nearest_by_brute_force` bit for bit. Rows are
predictions, columns points of the axis; losses are float16, as stored. Needs numba.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float16, UInt8, UInt16, UInt64

from compute.curve_kernels import LEVELLED, PLAIN, SCALED, nearest_of_blocks
from compute.curve_layout import BLOCK
from compute.curve_search import (
    FLAT_STD_NATS,
    NearestCurves,
    QueryCurve,
    merge_nearest,
    query_curve,
)

# Work per task of a thread: long against the scheduling overhead, short against the whole search.
_BLOCKS_PER_TASK = 1_024
MAX_THREADS = 8


def nearest_in_blocks(
    blocks: Float16[np.ndarray, "blocks points width"],
    n_rows: int,
    query: QueryCurve,
    limit: int,
    mask: Bool[np.ndarray, " rows"] | None = None,
    after: tuple[float, int] | None = None,
    n_threads: int | None = None,
) -> NearestCurves:
    """Return the exact nearest curves, ties by index.

    Args:
        blocks: losses in nats, from `fill_blocks`.
        n_rows: number of curves in the blocks.
        query: curve to search for.
        limit: maximum number of results.
        mask: rows that may match; all by default.
        after: (distance, index) of the last result of the page before; results start behind it.
        n_threads: default one per core, at most 8.
    """
    selected = np.empty(0, np.uint8) if mask is None else np.ascontiguousarray(mask).view(np.uint8)
    bits = blocks.view(np.uint16)
    if selected.ctypes.data % 8:
        selected = selected.copy()  # a view as words must be aligned
    words = selected[: len(selected) // 8 * 8].view(np.uint64)
    # All arrays read-only: numba then compiles one specialization only.
    bits.flags.writeable = selected.flags.writeable = words.flags.writeable = False
    search = _SharedSearch(
        bits, n_rows, query, limit, selected, words, after or (-1.0, -1), itertools.count()
    )
    n_workers = max(1, min(n_threads or _n_cores(), -(-len(bits) // _BLOCKS_PER_TASK)))
    if n_workers == 1 or limit == 0:
        return search.run(0)
    return merge_nearest(list(_pool().map(search.run, range(n_workers))), limit)


@dataclass(frozen=True)
class _SharedSearch:
    """One search shared by several threads; each takes the next task when it is free."""

    bits: UInt16[np.ndarray, "blocks points width"]
    n_rows: int
    query: QueryCurve
    limit: int
    mask: UInt8[np.ndarray, " rows"]
    words: UInt64[np.ndarray, " words"]
    after: tuple[float, int]
    tasks: Iterator[int]

    def run(self, _worker: int) -> NearestCurves:
        """Return the nearest curves of the blocks that this thread searches."""
        query = self.query
        kind = SCALED if query.is_scaled else LEVELLED if query.is_levelled else PLAIN
        arguments = (query.shifted, query.weights, kind, FLAT_STD_NATS)
        indices, shifts = np.empty((2, self.limit), np.int64)
        distances = np.empty(self.limit)
        size = 0
        for task in self.tasks:
            first = task * _BLOCKS_PER_TASK
            if first >= len(self.bits) or self.limit == 0:
                break
            span = (first, min(first + _BLOCKS_PER_TASK, len(self.bits)), self.n_rows)
            results = (distances, indices, shifts)
            masks = (self.mask, self.words)
            size = nearest_of_blocks(self.bits, span, arguments, masks, self.after, results, size)
        return NearestCurves(indices[:size], distances[:size], query.shifts[shifts[:size]])


def _n_cores() -> int:
    # Only the cores that this process may use.
    return min(MAX_THREADS, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1)


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="curve-search")


def load_compiled_search() -> Callable[..., NearestCurves]:
    """Compile `nearest_in_blocks`, or load it from the cache, and return it."""
    blocks = np.zeros((1, 2, BLOCK), np.float16)
    query = query_curve(np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    nearest_in_blocks(blocks, BLOCK, query, 1)
    return nearest_in_blocks
