"""The index of a curve set: all its curves laid out for search, built once and memory-mapped."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from backend.read.losses import loss_matrix
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import CurveSet, Evaluation
from compute.curve_layout import BLOCK, block_shape, fill_blocks

if TYPE_CHECKING:
    from compute.curve_search import NearestCurves, QueryCurve

# Up to this many losses, brute force is quicker than loading the compiled search.
MAX_BRUTE_FORCE_LOSSES = 20_000_000
# The compiled search inserts every near curve into a sorted list: quick only for short lists.
MAX_COMPILED_LIMIT = 20_000
_BLOCKS_PER_BATCH = 8_192
_log = logging.getLogger("quanta.search")


@dataclass(frozen=True)
class CurveIndex:
    """Curves of all predictions of a corpus along one axis, for search.

    `losses` has shape (predictions, points), nats; `blocks` holds the same losses in the layout of
    `compute.curve_block_search`.
    """

    axis: NDArray[np.float64]
    losses: NDArray[np.float16]
    blocks: NDArray[np.float16]

    @property
    def n_predictions(self) -> int:
        """Number of curves."""
        return len(self.losses)

    def rows(self, predictions: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the curves of some predictions, nats."""
        return self.losses[predictions]

    def curve(self, prediction: int) -> NDArray[np.float64]:
        """Return one curve, nats."""
        curve: NDArray[np.float64] = self.losses[prediction].astype(np.float64)
        return curve

    def nearest(
        self,
        query_curve: "QueryCurve",
        limit: int,
        mask: NDArray[np.bool_] | None = None,
        after: tuple[float, int] | None = None,
    ) -> "NearestCurves":
        """Return the nearest curves to a query curve.

        Arguments as in `compute.curve_search.nearest_by_brute_force`.
        """
        from compute.curve_search import nearest_by_brute_force

        if limit > MAX_COMPILED_LIMIT:
            return nearest_by_brute_force(self.losses, query_curve, limit, mask, after)
        search = compiled_search(wait=self.losses.size > MAX_BRUTE_FORCE_LOSSES)
        if search is None:
            return nearest_by_brute_force(self.losses, query_curve, limit, mask, after)
        nearest: NearestCurves = search(
            self.blocks, self.n_predictions, query_curve, limit, mask, after
        )
        return nearest

    def low_from(self, first: int, below: float) -> NDArray[np.bool_]:
        """Return which curves are below a loss at all points from `first` on, and at no other."""
        # The bits of float16 numbers >= 0 sort like the numbers; padding (NaN) sorts last.
        bits, edge = self.blocks.view(np.uint16), np.uint16(half_bits(below))
        mask = np.empty((len(bits), bits.shape[2]), np.bool_)
        for start in range(0, len(bits), _BLOCKS_PER_BATCH):
            is_low = bits[start : start + _BLOCKS_PER_BATCH] < edge
            part = is_low[:, first:].all(axis=1)
            part &= ~is_low[:, :first].any(axis=1)
            mask[start : start + _BLOCKS_PER_BATCH] = part
        return mask.reshape(-1)[: self.n_predictions]


def half_bits(value: float) -> int:
    """Return the bits of the smallest float16 that is >= value and >= 0."""
    if value <= 0:
        return 0
    with np.errstate(over="ignore"):
        half = np.array(value, np.float16)
    bits = int(half.view(np.uint16))
    return bits + 1 if float(half) < value else bits


def curve_index(
    store: Store,
    session: Session,
    curve_set: CurveSet,
    evaluations: Sequence[Evaluation] | None = None,
) -> CurveIndex:
    """Return the index of a finished curve set, from the cache.

    `evaluations` are those of the curve set, in the order of its axis; None to read them.
    """
    if evaluations is None:
        evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
    losses = loss_matrix(store, curve_set.corpus, evaluations)

    def fill(array: NDArray[Any]) -> None:
        fill_blocks(losses, array)

    name = cache_name(f"curve-blocks-{BLOCK}", *(e.key for e in evaluations))
    blocks = memory_map(store, name, block_shape(*losses.shape), "float16", fill)
    return CurveIndex(np.array(curve_set.axis_values), losses, blocks)


def compiled_search(*, wait: bool) -> "Callable[..., NearestCurves] | None":
    """Return the compiled search; None if it cannot be loaded, or is not yet and not `wait`.

    The first call starts to load it in the background, and compiles it once per machine.
    """
    loading = _loading()
    if not wait and not loading.done():
        return None
    return loading.result()


@lru_cache(maxsize=1)
def _loading() -> "Future[Callable[..., NearestCurves] | None]":
    pool = ThreadPoolExecutor(1, thread_name_prefix="load-search")
    future = pool.submit(load_search)
    pool.shutdown(wait=False)
    return future


def load_search() -> "Callable[..., NearestCurves] | None":
    """Load the compiled search, and compile it if needed; return None if that fails."""
    try:
        from compute.curve_block_search import load_compiled_search

        return load_compiled_search()
    except Exception:
        # No writable cache for compiled code, or an unknown processor: brute force works too.
        _log.exception("cannot load the compiled search; searching by brute force")
        return None
