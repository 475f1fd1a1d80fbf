"""Token search: predictions by the shape of their curve, by filters, or both.

Matches have one exact order, ties by index. A cursor continues behind the last match of a page,
whatever its distance, and belongs to one query on one curve set.
"""

from dataclasses import dataclass

from backend.read.paging import check_limit
from backend.read.reader import find_reader
from backend.search.context import search_context
from backend.search.filters import TEXT_SECONDS, apply_filters
from backend.search.matches import Rows, describe_matches
from backend.search.order import cursor_after, parse_cursor, query_hash, top_rows
from backend.search.request import MAX_MATCHES, SearchRequest
from backend.search.views import SearchResult
from backend.store.database import Store


def search(
    store: Store, request: SearchRequest, text_seconds: float = TEXT_SECONDS
) -> SearchResult:
    """Return the requested page of matches; text filters have `text_seconds`.

    Raises:
        NotFoundError: an unknown name, document, cluster or example.
        InvalidInputError: a parameter that cannot be used, by its name.
        NotReadyError: there are no curves yet.
    """
    check_limit(request.limit, MAX_MATCHES)
    with search_context(store, request) as context:
        curve_set = context.curve_set
        query_curve = context.query_curve()
        query = query_hash(context)
        after = parse_cursor(request.cursor, query)
        filtered = apply_filters(context, text_seconds)
        # One row more than a page shows whether there is a next page.
        rows = top_rows(context, query_curve, filtered.mask, request.limit + 1, after)
        page = rows.first(request.limit)
        is_last = len(rows.indices) <= request.limit
        reader = find_reader(store, context.session, curve_set.corpus)
        return SearchResult(
            corpus=curve_set.corpus.name,
            suite=curve_set.suite.name,
            axis="N" if curve_set.axis == "N" else "S",
            model=curve_set.model.name if curve_set.model else None,
            x=tuple(curve_set.axis_values),
            labels=context.labels,
            query_nats=None if query_curve is None else tuple(query_curve.curve.tolist()),
            invariances=request.effective_invariances,
            sort=request.effective_sort,
            order=request.order,
            n_matching=filtered.n_matching,
            n_predictions=context.index.n_predictions,
            truncated=filtered.truncated,
            matches=describe_matches(context, reader, page),
            next_cursor=None if is_last else cursor_after(page, query),
        )


@dataclass(frozen=True)
class RankedRows:
    """Matches in order, without their texts and scores; see `SearchResult`."""

    curve_set: int
    rows: Rows
    n_matching: int
    truncated: str | None


def rank_predictions(
    store: Store, request: SearchRequest, limit: int | None, text_seconds: float
) -> RankedRows:
    """Return the first `limit` matches, all of them for None.

    Raises:
        NotFoundError, InvalidInputError, NotReadyError: as `search`.
    """
    with search_context(store, request) as context:
        query_curve = context.query_curve()
        filtered = apply_filters(context, text_seconds)
        n_rows = filtered.n_matching if limit is None else min(limit, filtered.n_matching)
        # At least 1: the search for nearest curves takes no limit of 0.
        rows = top_rows(context, query_curve, filtered.mask, max(1, n_rows))
        return RankedRows(context.curve_set.id, rows, filtered.n_matching, filtered.truncated)


def has_matches(store: Store, request: SearchRequest, text_seconds: float) -> bool:
    """Return whether a search has any match, with a time limit of its text filters.

    Raises:
        NotFoundError, InvalidInputError, NotReadyError: as `search`.
    """
    with search_context(store, request) as context:
        return apply_filters(context, text_seconds).n_matching > 0
