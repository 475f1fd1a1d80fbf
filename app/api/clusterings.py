"""Clusterings: rank and frequency, lists of clusters, and comparisons."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from app.api.tables import Row, csv_response, text_of
from app.requests.dependencies import Cursor, Id, StoreDep
from backend.quanta import cluster_list, clusterings
from backend.quanta import comparison as compare
from backend.quanta.cluster_list import MAX_CLUSTERS, ClusterFilter, ClusterSort
from backend.quanta.comparison_views import Comparison
from backend.quanta.views import ClusteringRow, ClusteringView, ClusterPage, ClusterRow
from backend.schemas.parameters import MAX_INTEGER, NO_NUL
from backend.store.database import Store

MAX_CSV_ROWS = 10_000
CSV_HEADER = (
    *("id", "rank", "size", "n_documents", "coherence", "mean_cosine", "mean_loss_nats"),
    *("answer_entropy_nats", "top_answer", "top_answer_id", "top_answer_share"),
    *("pattern_last", "pattern_answer", "pattern_precision", "pattern_recall"),
    *("label", "tags", "example", "example_answer"),
)
Size = Annotated[int | None, Query(ge=0, le=MAX_INTEGER)]
Bound = Annotated[float | None, Query(ge=-1e9, le=1e9, allow_inf_nan=False)]

router = APIRouter(prefix="/api/v1/clusterings", tags=["quanta"])


@dataclass(frozen=True)
class ClusteringList:
    """All clusterings."""

    clusterings: tuple[ClusteringRow, ...]
    next_cursor: str | None = None


def _cluster_filter(
    *,
    sort: ClusterSort = "rank",
    descending: bool = False,
    min_size: Size = None,
    max_size: Size = None,
    min_coherence: Bound = None,
    max_coherence: Bound = None,
    min_loss: Bound = None,
    max_loss: Bound = None,
    min_entropy: Bound = None,
    max_entropy: Bound = None,
    answer: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=NO_NUL,
            description="Part of the most common answer or of the label",
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_CLUSTERS)] = 50,
) -> ClusterFilter:
    return ClusterFilter(**locals())  # the parameters are exactly its fields


@router.get("")
def list_clusterings(store: StoreDep) -> ClusteringList:
    """All clusterings, of every discovery and n_clusters."""
    return ClusteringList(clusterings.list_clusterings(store))


@router.get("/{clustering}")
def clustering_by_id(store: StoreDep, clustering: Id) -> ClusteringView:
    """One clustering: rank and frequency, scores, and its siblings with other n_clusters."""
    return clusterings.clustering(store, clustering)


@router.get(
    "/{clustering}/clusters",
    response_model=ClusterPage,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def list_clusters(
    store: StoreDep,
    clustering: Id,
    filters: Annotated[ClusterFilter, Depends(_cluster_filter)],
    format: Annotated[
        Literal["json", "csv"], Query(description="csv: all pages from the cursor on")
    ] = "json",
) -> ClusterPage | Response:
    """Clusters by rank or score, filtered."""
    if format == "json":
        return cluster_list.list_clusters(store, clustering, filters)
    filters = replace(filters, limit=MAX_CLUSTERS)
    first = cluster_list.list_clusters(store, clustering, filters)
    return csv_response(
        CSV_HEADER,
        _csv_pages(store, clustering, filters, first),
        f"clustering-{clustering}.csv",
        truncated=first.n_matching > MAX_CSV_ROWS,
    )


def _csv_pages(
    store: Store, clustering: int, filters: ClusterFilter, page: ClusterPage
) -> Iterator[list[Row]]:
    n_rows = len(page.clusters)
    yield [_csv_row(row) for row in page.clusters]
    while page.next_cursor is not None and n_rows < MAX_CSV_ROWS:
        page = cluster_list.list_clusters(
            store, clustering, replace(filters, cursor=page.next_cursor)
        )
        n_rows += len(page.clusters)
        yield [_csv_row(row) for row in page.clusters]


def _csv_row(row: ClusterRow) -> Row:
    return (
        *(row.id, row.rank, row.size, row.n_documents, row.coherence, row.mean_cosine),
        *(row.mean_loss_nats, row.answer_entropy_nats),
        *(text_of(row.top_answer), row.top_answer.id if row.top_answer else None),
        row.top_answer_share,
        *(text_of(row.pattern_last), text_of(row.pattern_answer)),
        *(row.pattern_precision, row.pattern_recall),
        *(row.label, "; ".join(row.tags)),
        *("".join(token.shown for token in row.example), text_of(row.example_answer)),
    )


@router.get("/{a}/compare/{b}")
def compare_clusterings(
    store: StoreDep,
    a: Id,
    b: Id,
    limit: Annotated[
        int, Query(ge=1, le=compare.MAX_RANKS, description="Ranks of the overlap matrix")
    ] = 100,
) -> Comparison:
    """Agreement of two clusterings: ARI, NMI, the overlap matrix and best matches."""
    return compare.compare(store, a, b, limit=limit)
