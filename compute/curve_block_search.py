"""Exact nearest curves among hundreds of millions: curves in blocks, searched by all cores.

Gives, to the last bit, what `compute.curve_search.nearest_by_brute_force` gives. Rows are
predictions, columns points of the axis; losses are float16 as the store keeps them. Needs numba.
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

# One turn of a thread: long beside the cost of taking it, short beside the whole.
_BLOCKS_A_TURN = 1_024
MAX_THREADS = 8


def nearest_in_blocks(
    blocks: Float16[np.ndarray, "blocks points width"],
    n_rows: int,
    asked: QueryCurve,
    limit: int,
    mask: Bool[np.ndarray, " rows"] | None = None,
    after: tuple[float, int] | None = None,
    n_threads: int | None = None,
) -> NearestCurves:
    """The nearest curves, exactly, ties by index.

    Args:
        blocks: losses in nats, from `fill_blocks`.
        n_rows: how many curves they hold.
        asked: what to search for.
        limit: how many to return at most.
        mask: which rows may be found; all by default.
        after: (distance, index) of the last one that was returned before; only what follows it in
            the order counts.
        n_threads: by default one a core, 8 at most.

    Returns:
        At most `limit` curves in order of (distance, index).
    """
    chosen = np.empty(0, np.uint8) if mask is None else np.ascontiguousarray(mask).view(np.uint8)
    bits = blocks.view(np.uint16)
    # One specialisation of the compiled code, whatever the arrays came from.
    if chosen.ctypes.data % 8:
        chosen = chosen.copy()  # words must lie on whole addresses
    words = chosen[: len(chosen) // 8 * 8].view(np.uint64)
    bits.flags.writeable = chosen.flags.writeable = words.flags.writeable = False
    task = _Task(bits, n_rows, asked, limit, chosen, words, after or (-1.0, -1), itertools.count())
    workers = max(1, min(n_threads or _cores(), -(-len(bits) // _BLOCKS_A_TURN)))
    if workers == 1 or limit == 0:
        return task.nearest(0)
    return merge_nearest(list(_pool().map(task.nearest, range(workers))), limit)


@dataclass(frozen=True)
class _Task:
    """One search that several threads share: each takes the next blocks as it gets free."""

    bits: UInt16[np.ndarray, "blocks points width"]
    n_rows: int
    asked: QueryCurve
    limit: int
    mask: UInt8[np.ndarray, " rows"]
    words: UInt64[np.ndarray, " words"]
    after: tuple[float, int]
    turns: Iterator[int]

    def nearest(self, _worker: int) -> NearestCurves:
        """The nearest curves of the blocks that this thread gets."""
        asked = self.asked
        kind = SCALED if asked.is_scaled else LEVELLED if asked.is_levelled else PLAIN
        query = (asked.shifted, asked.weights, kind, FLAT_STD_NATS)
        indices, shifts = np.empty((2, self.limit), np.int64)
        distances = np.empty(self.limit)
        size = 0
        for turn in self.turns:
            first = turn * _BLOCKS_A_TURN
            if first >= len(self.bits) or self.limit == 0:
                break
            span = (first, min(first + _BLOCKS_A_TURN, len(self.bits)), self.n_rows)
            found = (distances, indices, shifts)
            masks = (self.mask, self.words)
            size = nearest_of_blocks(self.bits, span, query, masks, self.after, found, size)
        return NearestCurves(indices[:size], distances[:size], asked.shifts[shifts[:size]])


def _cores() -> int:
    # Not the machine's: those that this process may use.
    return min(MAX_THREADS, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1)


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="curve-search")


def load_compiled_search() -> Callable[..., NearestCurves]:
    """`nearest_in_blocks`, ready: compiled or loaded, so that the first search does not wait."""
    blocks = np.zeros((1, 2, BLOCK), np.float16)
    asked = query_curve(np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    nearest_in_blocks(blocks, BLOCK, asked, 1)
    return nearest_in_blocks
