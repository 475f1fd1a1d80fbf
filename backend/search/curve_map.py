"""The map of curves: sampled curves on their plane, with those that match the filters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.read.losses import curve_scores
from backend.search.context import search_context
from backend.search.filters import apply_filters
from backend.search.plane import curve_plane
from backend.search.request import SearchRequest
from backend.search.views import CurveMapSummary
from backend.store.database import Store

HASH_DIGITS = 12


@dataclass(frozen=True)
class CurveMap(CurveMapSummary):
    """Points of the map, one entry per sampled prediction, ascending by index.

    `x` and `y` are coordinates along the first two principal components, nats; `curve_class` is an
    index into `classes`, 255 for none.
    """

    index: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    curve_class: NDArray[np.uint8]
    matching: NDArray[np.bool_]


def curve_map(store: Store, request: SearchRequest) -> CurveMap:
    """Return the map of the curve set that a request searches; its shape and order do not matter.

    Raises:
        NotFoundError, InvalidInputError, NotReadyError: as `backend.search.search.search`.
    """
    from compute.curve_classes import CURVE_CLASSES

    with search_context(store, request) as context:
        curve_set, index = context.curve_set, context.index
        filtered = apply_filters(context)
        plane = curve_plane(store, curve_set, index)
        points = plane.project(index.rows(plane.sample)).astype(np.float32)
        n_sampled, mask = len(plane.sample), filtered.mask
        return CurveMap(
            corpus=curve_set.corpus.name,
            suite=curve_set.suite.name,
            axis="N" if curve_set.axis == "N" else "S",
            model=curve_set.model.name if curve_set.model else None,
            curves=curve_set.key[:HASH_DIGITS],
            n_predictions=index.n_predictions,
            n_matching=filtered.n_matching,
            truncated=filtered.truncated,
            shares=plane.shares,
            classes=CURVE_CLASSES,
            index=plane.sample,
            x=points[:, 0],
            y=points[:, 1],
            curve_class=curve_scores(store, curve_set, "curve_class")[plane.sample],
            matching=np.ones(n_sampled, np.bool_) if mask is None else mask[plane.sample],
        )
