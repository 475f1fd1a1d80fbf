"""Stored sums of curve sets: one array per chunk, added up to exact aggregates.

In arrays of sums the first column is a number of predictions, the others are sums of losses (nats)
at the points of the axis.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.store import arrays
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import CurveChunk, CurveSet

HISTOGRAM = "tally_histogram"  # uint32 (points, bins)
CLASSES = "tally_classes"  # float64 (classes, 1 + points)
UNITS = "tally_units"  # float64 (documents, 1 + points)
INDUCTION = "tally_induction"  # float64 (1, 1 + points), absent without tokens
TALLIES = (HISTOGRAM, CLASSES, UNITS, INDUCTION)

N_RESAMPLES = 1000


def parts(session: Session, curve_set: CurveSet, name: str) -> Iterator[NDArray[Any]]:
    """Yield the tally `name` of every chunk, in order."""
    rows = session.scalars(
        select(CurveChunk)
        .where(CurveChunk.curve_set_id == curve_set.id, CurveChunk.name == name)
        .order_by(CurveChunk.chunk)
        .options(undefer(CurveChunk.data))
        .execution_options(yield_per=8)
    )
    for row in rows:
        yield arrays.read(row, f"{name} of curve set {curve_set.key[:12]}")
        session.expunge(row)


def total(session: Session, curve_set: CurveSet, name: str) -> NDArray[Any]:
    """Return the sum of the tally `name` over all chunks; counts in int64."""
    result: NDArray[Any] | None = None
    for part in parts(session, curve_set, name):
        wide = part.astype(np.int64 if part.dtype.kind == "u" else np.float64)
        result = wide if result is None else result + wide
    assert result is not None, (curve_set.key, name)
    return result


def has_tallies(session: Session, curve_set: CurveSet) -> bool:
    """Return whether a curve set has tallies; older versions stored none."""
    first = select(CurveChunk.chunk).where(
        CurveChunk.curve_set_id == curve_set.id, CurveChunk.name == HISTOGRAM
    )
    return session.execute(first.limit(1)).first() is not None


def histogram(store: Store, curve_set: CurveSet, n_bins: int) -> NDArray[np.int64]:
    """Return the number of predictions in each loss bin, shape (points, n_bins)."""

    def fill(array: NDArray[Any]) -> None:
        with store.session() as session:
            array[:] = total(session, curve_set, HISTOGRAM)

    shape = (len(curve_set.axis_values), n_bins)
    return memory_map(store, cache_name("histogram", curve_set.key), shape, "int64", fill)


def units(session: Session, curve_set: CurveSet) -> NDArray[np.float64]:
    """Return the sums of every bootstrap unit (document), in order."""
    return np.concatenate(list(parts(session, curve_set, UNITS)))


def resampled_means(store: Store, curve_set: CurveSet) -> NDArray[np.float64]:
    """Return bootstrap means over documents (nats), seed 0.

    Rows are resamples, columns points of the axis.
    """

    def fill(array: NDArray[Any]) -> None:
        from compute.power_law import resampled_means as resampled

        with store.session() as session:
            sums = units(session, curve_set)
        means = sums[:, 1:] / sums[:, :1]
        # Resamples with a mean of 0 are left out; NaN marks their rows.
        drawn = resampled(means, sums[:, 0], n_bootstrap=len(array), seed=0)
        array[:] = np.nan
        array[: len(drawn)] = drawn

    shape = (N_RESAMPLES, len(curve_set.axis_values))
    name = cache_name("resampled-means", curve_set.key)
    stored = memory_map(store, name, shape, "float64", fill)
    finite: NDArray[np.float64] = stored[np.isfinite(stored).all(axis=1)]
    return finite
