"""Token search: predictions by the shape of their curve, by filters, or both.

Found predictions come in one exact order, ties by index; a cursor continues behind the last one
that was given, whatever its distance, and belongs to one question on one set of curves.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.read.curve_index import CurveIndex, curve_index
from backend.read.curve_sets import curve_sets
from backend.read.paging import check_limit
from backend.read.reader import find_reader
from backend.read.suite_rows import CurveRows, load_curve_rows
from backend.read.views import Axis
from backend.search.curve_map import CurveMap, map_points
from backend.search.filters import TEXT_SECONDS, Mask, SearchFilters, apply_filters
from backend.search.matches import Rows, describe_matches
from backend.search.order import (
    cursor_after,
    parse_cursor,
    query_hash,
    rows_by_distance,
    rows_by_index,
    rows_by_score,
    with_distances,
)
from backend.search.views import Invariance, Match, MatchScores, Order, Preset, SearchResult, Sort
from backend.store.database import Store
from backend.store.lookup import corpus_named, model_named, suite_named
from backend.store.memo import memoize_by_version
from backend.store.tables import Corpus, CurveSet, Suite
from compute.curve_shapes import PRESET_FORMULAS

if TYPE_CHECKING:
    from compute.curve_search import QueryCurve

__all__ = [
    "SEARCH_FORMULAS",
    "Match",
    "MatchScores",
    "RankedRows",
    "SearchFilters",
    "SearchRequest",
    "SearchResult",
    "Shape",
    "curve_map",
    "has_matches",
    "rank_predictions",
    "search",
]

# Words on every choice, for the API's document and for pages.
SEARCH_FORMULAS = {
    "level": "both curves lose their mean (weighted as the distance is)",
    "scale": "both lose their mean and are divided by their standard deviation; the distance is "
    "then 2 − 2 × correlation, and curves whose deviation is below 0.05 nats are never found",
    "shift": "least distance over shifts of the asked curve by whole points, at most half of the "
    "axis and 16 points either way, its end values repeated; the shorter shift counts, then left",
    **{f"preset {name}": words for name, words in PRESET_FORMULAS.items()},
}

MAX_MATCHES = 200
# What a preset ignores unless the request says otherwise: how high it lies, not how far it falls.
PRESET_INVARIANCES: tuple[Invariance, ...] = ("level",)


@dataclass(frozen=True)
class Shape:
    """A curve to search for: exactly one of a sketch, a preset and an example.

    Attributes:
        sketch: (axis value, nats), 2 to 16 knots.
        preset: a named curve.
        at: for preset "step", the first low point, counted from 1.
        example: index of a prediction whose curve it is.
    """

    sketch: tuple[tuple[float, float], ...] | None = None
    preset: Preset | None = None
    at: int | None = None
    example: int | None = None


@dataclass(frozen=True)
class SearchRequest:
    """One question; None stands for the default.

    Attributes:
        corpus: by default the first that has curves.
        suite: by default the first that has curves on the corpus.
        axis: model size or training step.
        model: of axis "S"; by default the largest that has curves.
        shape: the curve to search for, if any.
        invariances: what the distance ignores; by default nothing, "level" for a preset.
        filters: what a prediction must have.
        sort: by default "distance" with a shape, else "index".
        order: of `sort`; the nearest always come first.
        limit: most matches on a page, 1 to 200.
        cursor: `next_cursor` of the page before this one.
    """

    corpus: str | None = None
    suite: str | None = None
    axis: Axis = "N"
    model: str | None = None
    shape: Shape | None = None
    invariances: tuple[Invariance, ...] | None = None
    filters: SearchFilters = field(default_factory=SearchFilters)
    sort: Sort | None = None
    order: Order = "asc"
    limit: int = 50
    cursor: str | None = None


def search(
    store: Store, request: SearchRequest, text_seconds: float = TEXT_SECONDS
) -> SearchResult:
    """Return the page of predictions that a question asks for, text within `text_seconds`.

    Raises:
        NotFoundError: an unknown name, document, cluster or example.
        InvalidInputError: a parameter that cannot be used, by its name.
        NotReadyError: there are no curves yet.
    """
    check_limit(request.limit, MAX_MATCHES)
    known = _known(store, request)
    curve_set = known.curve_set
    with store.session() as session:
        index = curve_index(store, session, curve_set, known.evaluations)
        asked = _asked(index, request)
        sort = _sort(request)
        invariances = _invariances(request)
        question = query_hash(
            curve_set.key, request.shape, invariances, request.filters, sort, request.order
        )
        place = parse_cursor(request.cursor, question)
        filtered = apply_filters(store, session, curve_set, index, request.filters, text_seconds)
        ask = _Asked(store, curve_set, index, asked, sort, request.order == "desc")
        # One more than a page: it says whether there is a next one.
        rows = ask.rows(filtered.mask, request.limit + 1, place)
        page = rows.first(request.limit)
        is_last = len(rows.indices) <= request.limit
        read = find_reader(store, session, curve_set.corpus)
        return SearchResult(
            corpus=curve_set.corpus.name,
            suite=curve_set.suite.name,
            axis="N" if curve_set.axis == "N" else "S",
            model=curve_set.model.name if curve_set.model else None,
            x=tuple(curve_set.axis_values),
            labels=known.labels,
            query_nats=None if asked is None else tuple(asked.curve.tolist()),
            invariances=invariances,
            sort=sort,
            order=request.order,
            n_matching=filtered.n_matching,
            n_predictions=index.n_predictions,
            truncated=filtered.truncated,
            matches=describe_matches(store, read, curve_set, index, page),
            next_cursor=None if is_last else cursor_after(page, question),
        )


@dataclass(frozen=True)
class RankedRows:
    """Found predictions without what is known of them; see `SearchResult`.

    Attributes:
        curve_set: id of the curves that were searched.
        rows: the predictions in order.
        n_matching: how many pass the filters, exactly.
        truncated: why a text filter is not whole, None if it is.
    """

    curve_set: int
    rows: Rows
    n_matching: int
    truncated: str | None


def rank_predictions(
    store: Store, request: SearchRequest, limit: int | None, text_seconds: float
) -> RankedRows:
    """Return the first `limit` predictions that a question asks for, all of them for None.

    Raises:
        NotFoundError, InvalidInputError, NotReadyError: as `search`.
    """
    known = _known(store, request)
    curve_set = known.curve_set
    with store.session() as session:
        index = curve_index(store, session, curve_set, known.evaluations)
        asked, sort = _asked(index, request), _sort(request)
        filtered = apply_filters(store, session, curve_set, index, request.filters, text_seconds)
    ask = _Asked(store, curve_set, index, asked, sort, request.order == "desc")
    # Never 0: the search of nearest curves wants a number of them.
    most = max(1, filtered.n_matching if limit is None else min(limit, filtered.n_matching))
    rows = ask.rows(filtered.mask, most, None)
    return RankedRows(curve_set.id, rows, filtered.n_matching, filtered.truncated)


def has_matches(store: Store, request: SearchRequest, text_seconds: float) -> bool:
    """Return whether a search finds anything within `text_seconds` of looking through text.

    Raises:
        NotFoundError, InvalidInputError, NotReadyError: as `search`.
    """
    known = _known(store, request)
    curve_set = known.curve_set
    with store.session() as session:
        index = curve_index(store, session, curve_set, known.evaluations)
        return (
            apply_filters(
                store, session, curve_set, index, request.filters, text_seconds
            ).n_matching
            > 0
        )


def curve_map(store: Store, request: SearchRequest) -> CurveMap:
    """Return the map of the curves that a question is about, with those that pass its filters.

    Raises:
        NotFoundError, InvalidInputError, NotReadyError: as `search`.
    """
    known = _known(store, request)
    curve_set = known.curve_set
    with store.session() as session:
        index = curve_index(store, session, curve_set, known.evaluations)
        filtered = apply_filters(store, session, curve_set, index, request.filters)
        return map_points(store, curve_set, index, filtered)


def _known(store: Store, request: SearchRequest) -> CurveRows:
    def make() -> CurveRows:
        with store.session() as session:
            return load_curve_rows(session, _curve_set(session, request).id)

    place = (request.corpus, request.suite, request.axis, request.model)
    return memoize_by_version(store, ("curves", *place), make)


def _curve_set(session: Session, request: SearchRequest) -> CurveSet:
    corpus, suite = _corpus_and_suite(session, request)
    model = model_named(suite, request.model).id if request.model and request.axis == "S" else None
    sets = curve_sets(session, corpus, suite)
    rows = [row for row in sets if row.axis == request.axis and model in {None, row.model_id}]
    if rows:
        return rows[-1]
    other = [row.axis for row in sets if row.axis != request.axis]
    raise NotReadyError(
        f"there are no curves of {request.model or suite.name} on {corpus.name} "
        f"over {request.axis}",
        f"Choose axis={other[0]}" if other else f"Run `quanta classify {suite.name} {corpus.name}`",
    )


def _corpus_and_suite(session: Session, request: SearchRequest) -> tuple[Corpus, Suite]:
    """Return those asked for; where a name is left out, the first ones that have curves."""
    corpus = corpus_named(session, request.corpus) if request.corpus else None
    suite = suite_named(session, request.suite) if request.suite else None
    if corpus is not None and suite is not None:
        return corpus, suite
    query = select(CurveSet).where(CurveSet.completed_at.is_not(None))
    if corpus is not None:
        query = query.where(CurveSet.corpus_id == corpus.id)
    if suite is not None:
        query = query.where(CurveSet.suite_id == suite.id)
    first = session.scalars(query.order_by(CurveSet.corpus_id, CurveSet.suite_id).limit(1)).first()
    if first is None:
        where = " ".join(name for name in (request.suite or "SUITE", request.corpus or "CORPUS"))
        raise NotReadyError("there are no curves to search yet", f"Run `quanta classify {where}`")
    return first.corpus, first.suite


def _invariances(request: SearchRequest) -> tuple[Invariance, ...]:
    if request.shape is None:
        return ()
    if request.invariances is not None:
        return request.invariances
    return PRESET_INVARIANCES if request.shape.preset else ()


def _asked(index: CurveIndex, request: SearchRequest) -> "QueryCurve | None":
    from compute.curve_search import query_curve
    from compute.curve_shapes import preset_curve, sketched_curve

    shape = request.shape
    if shape is None:
        return None
    name = "sketch" if shape.sketch else "at" if shape.preset else "like"
    try:
        if shape.sketch:
            curve = sketched_curve(shape.sketch, index.axis)
        elif shape.preset:
            curve = preset_curve(shape.preset, index.axis, shape.at)
        else:
            curve = index.curve(_example(index, shape.example))
        name = "inv"
        return query_curve(curve, index.axis, _invariances(request))
    except ValueError as error:
        raise InvalidInputError(str(error), "Change it and search again", name) from error


def _example(index: CurveIndex, example: int | None) -> int:
    if example is None or not 0 <= example < index.n_predictions:
        raise NotFoundError(
            f"there is no prediction {example} to search like",
            f"The corpus has predictions 0 to {index.n_predictions - 1}",
        )
    return example


def _sort(request: SearchRequest) -> Sort:
    if request.sort is None:
        return "distance" if request.shape else "index"
    if request.sort == "distance" and request.shape is None:
        raise InvalidInputError(
            "sort=distance needs a curve to measure from",
            "Give a sketch, a preset or an example, or choose another order",
            "sort",
        )
    return request.sort


@dataclass(frozen=True)
class _Asked:
    """What a page of rows is taken from."""

    store: Store
    curve_set: CurveSet
    index: CurveIndex
    asked: "QueryCurve | None"
    sort: Sort
    is_descending: bool

    def rows(self, mask: Mask | None, limit: int, after: tuple[float, int] | None) -> Rows:
        if self.sort == "distance":
            return self._nearest(mask, limit, after)
        if self.sort == "index":
            rows = rows_by_index(
                self.index.n_predictions, mask, limit, after, is_descending=self.is_descending
            )
        else:
            rows = rows_by_score(
                self.store,
                self.curve_set,
                self.sort,
                mask,
                limit,
                after,
                is_descending=self.is_descending,
            )
        return rows if self.asked is None else with_distances(rows, self.index, self.asked)

    def _nearest(self, mask: Mask | None, limit: int, after: tuple[float, int] | None) -> Rows:
        assert self.asked is not None, "checked with the sort order"
        if self.is_descending:
            raise InvalidInputError(
                "the nearest curves come first", "Leave order out, or sort by a score", "order"
            )
        return rows_by_distance(self.index, self.asked, mask, limit, after)
