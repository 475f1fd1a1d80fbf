"""The curves that a search request refers to, resolved in one place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.read.curve_index import CurveIndex, curve_index
from backend.read.curve_sets import find_curve_set
from backend.read.suite_rows import CurveRows, load_curve_rows
from backend.search.request import SearchRequest
from backend.search.views import SearchAxis
from backend.store.database import Store
from backend.store.memo import memoize_by_version
from backend.store.tables import CurveSet

if TYPE_CHECKING:
    from compute.curve_search import QueryCurve


@dataclass(frozen=True)
class SearchContext:
    """A request with its curve set, the labels of the axis and the index of the curves.

    The session is open while the search runs.
    """

    store: Store
    session: Session
    request: SearchRequest
    curve_set: CurveSet
    labels: tuple[str, ...]
    index: CurveIndex

    def query_curve(self) -> "QueryCurve | None":
        """Return the curve to search for, None without a shape.

        Raises:
            NotFoundError: an unknown example.
            InvalidInputError: a shape that cannot be used, by the name of its parameter.
        """
        from compute.curve_search import query_curve
        from compute.query_curves import preset_curve, sketched_curve

        shape, axis = self.request.shape, self.index.axis
        if shape is None:
            return None
        parameter = "sketch" if shape.sketch else "at" if shape.preset else "like"
        try:
            if shape.sketch:
                curve = sketched_curve(shape.sketch, axis)
            elif shape.preset:
                curve = preset_curve(shape.preset, axis, shape.at)
            else:
                curve = self.index.curve(self._example(shape.example))
            parameter = "inv"
            return query_curve(curve, axis, self.request.effective_invariances)
        except ValueError as error:
            raise InvalidInputError(str(error), "Change it and search again", parameter) from error

    def _example(self, example: int | None) -> int:
        if example is None or not 0 <= example < self.index.n_predictions:
            raise NotFoundError(
                f"there is no prediction {example} to search like",
                f"The corpus has predictions 0 to {self.index.n_predictions - 1}",
            )
        return example


@contextmanager
def search_context(store: Store, request: SearchRequest) -> Iterator[SearchContext]:
    """Resolve a request's corpus, suite and curve set, and open a session.

    Raises:
        NotFoundError: an unknown name.
        NotReadyError: there are no curves yet.
    """
    rows = _curve_rows(store, request)
    with store.session() as session:
        index = curve_index(store, session, rows.curve_set, rows.evaluations)
        yield SearchContext(store, session, request, rows.curve_set, rows.labels, index)


def _curve_rows(store: Store, request: SearchRequest) -> CurveRows:
    names = (request.corpus, request.suite, request.axis, request.model)

    def load() -> CurveRows:
        with store.session() as session:
            return load_curve_rows(session, find_curve_set(session, *names).id)

    return memoize_by_version(store, ("curves", *names), load)


def search_axis(store: Store, request: SearchRequest) -> SearchAxis:
    """Return the axis that a request searches along, without searching.

    Raises:
        NotFoundError, NotReadyError: as `search_context`.
    """
    rows = _curve_rows(store, request)
    means = [evaluation.mean_loss_nats for evaluation in rows.evaluations]
    assert None not in means, rows.curve_set.key
    return SearchAxis(
        "N" if rows.curve_set.axis == "N" else "S",
        rows.curve_set.model.name if rows.curve_set.model else None,
        tuple(rows.curve_set.axis_values),
        rows.labels,
        tuple(mean for mean in means if mean is not None),
    )
