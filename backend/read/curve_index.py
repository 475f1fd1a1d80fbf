"""All curves of a curve set, laid out for search: built from the store, mapped from the cache."""

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

# Plain comparison of so many losses takes less time than it takes to load the compiled search.
MAX_COMPARED = 20_000_000
# The compiled search puts each near curve in its place among those found: quick for pages only.
MAX_SORTED_IN = 20_000
_BLOCKS_AT_ONCE = 8_192
_log = logging.getLogger("quanta.search")


@dataclass(frozen=True)
class CurveIndex:
    """Curves of all predictions of a corpus along one axis.

    Attributes:
        axis: sizes or steps, ascending.
        losses: nats, (predictions, points).
        blocks: the same losses as `compute.curve_block_search` searches them.
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
        asked: "QueryCurve",
        limit: int,
        mask: NDArray[np.bool_] | None = None,
        after: tuple[float, int] | None = None,
    ) -> "NearestCurves":
        """Return the nearest curves; see `compute.curve_search.nearest_by_brute_force`."""
        from compute.curve_search import nearest_by_brute_force

        if limit > MAX_SORTED_IN:
            return nearest_by_brute_force(self.losses, asked, limit, mask, after)
        search = compiled_search(wait=self.losses.size > MAX_COMPARED)
        if search is None:
            return nearest_by_brute_force(self.losses, asked, limit, mask, after)
        found: NearestCurves = search(self.blocks, self.n_predictions, asked, limit, mask, after)
        return found

    def low_from(self, first: int, below: float) -> NDArray[np.bool_]:
        """Return which curves are below a loss from point `first` on and not below it before."""
        # Bits of float16 numbers >= 0 have the order of the numbers, filling (NaN) the last place.
        bits, edge = self.blocks.view(np.uint16), np.uint16(half_bits(below))
        mask = np.empty((len(bits), bits.shape[2]), np.bool_)
        for start in range(0, len(bits), _BLOCKS_AT_ONCE):
            is_low = bits[start : start + _BLOCKS_AT_ONCE] < edge
            part = is_low[:, first:].all(axis=1)
            part &= ~is_low[:, :first].any(axis=1)
            mask[start : start + _BLOCKS_AT_ONCE] = part
        return mask.reshape(-1)[: self.n_predictions]


def half_bits(value: float) -> int:
    """Return the bits of the least float16 that is >= value and >= 0."""
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
    """Return the index of a finished curve set, built once a content.

    Its `evaluations` are read from the store unless they are known.
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
    """Return the compiled search; None as long as it is not loaded, or if it cannot be.

    The first call begins to load it, compiling it where no call on this machine has done so.

    Args:
        wait: until it is loaded.
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
    """Return the compiled search, compiling it if need be; None if that is not possible."""
    try:
        from compute.curve_block_search import load_compiled_search

        return load_compiled_search()
    except Exception:
        # No place to keep compiled code, or a processor it does not know: slow, but it works.
        _log.exception("the compiled search is not available; searching by plain comparison")
        return None
