"""All curves of a curve set, laid out for search: built from the store, mapped from the cache."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from backend.db import Store
from backend.losses import loss_matrix
from backend.models import CurveSet, Evaluation

if TYPE_CHECKING:
    from compute.curve_search import AskedCurve, Nearest


@dataclass(frozen=True)
class CurveIndex:
    """Curves of all predictions of a corpus along one axis.

    Attributes:
        axis: sizes or steps, ascending.
        losses: nats, (predictions, points).
    """

    axis: NDArray[np.float64]
    losses: NDArray[np.float16]

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
        asked: "AskedCurve",
        limit: int,
        mask: NDArray[np.bool_] | None = None,
        after: tuple[float, int] | None = None,
    ) -> "Nearest":
        """Return the nearest curves; see `compute.curve_search.nearest_by_comparison`."""
        from compute.curve_search import nearest_by_comparison

        return nearest_by_comparison(self.losses, asked, limit, mask, after)

    def only_from(self, first: int, below: float) -> NDArray[np.bool_]:
        """Return which curves are below a loss from point `first` on and not below it before."""
        low = self.losses < np.float64(below)
        only: NDArray[np.bool_] = low[:, first:].all(axis=1) & ~low[:, :first].any(axis=1)
        return only


def curve_index(store: Store, session: Session, curve_set: CurveSet) -> CurveIndex:
    """Return the index of a finished curve set, built once a content."""
    evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
    losses = loss_matrix(store, curve_set.corpus, evaluations)
    return CurveIndex(np.array(curve_set.axis_values), losses)
