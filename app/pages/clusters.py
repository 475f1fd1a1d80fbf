"""Pages of a clustering and of one cluster."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.requests.dependencies import Id, StoreDep
from app.requests.pages import ClusterQuery, ContextQuery
from app.web.templating import PageContext, query_string, render
from backend.corpora.heat_scales import MEASURES
from backend.quanta import cluster_list, clusterings
from backend.quanta import clusters as cluster_queries
from backend.quanta.cluster_list import ClusterFilter
from backend.quanta.contexts import list_contexts
from backend.quanta.views import (
    ClusteringRow,
    ClusteringView,
    ClusterPage,
    ClusterView,
    ContextPage,
)

router = APIRouter(include_in_schema=False)

COLUMNS = (
    ("rank", "Rank", "1 = most predictions"),
    ("size", "Size", "predictions in the cluster"),
    ("coherence", "Coherence", "mean affinity within minus mean affinity to all others"),
    ("mean_loss", "Mean loss", "nats, under the checkpoint of the selection"),
    ("answer_entropy", "Entropy", "of the answer tokens, nats; 0 = always the same answer"),
    ("n_documents", "Documents", "distinct documents of the members"),
    ("pattern_precision", "Pattern", "last token → answer, its precision and recall"),
)
CONTEXT_LENGTHS = ("32", "64", "128", "all")
ORDERS = ("similarity", "loss", "document")


@dataclass(frozen=True, kw_only=True)
class ClusteringPage(PageContext):
    """Variables of the page of a clustering; `siblings` have another n_clusters."""

    template: ClassVar[str] = "clustering.html"

    section: str = "clusters"
    view: ClusteringView
    page: ClusterPage
    siblings: list[ClusteringRow]
    filters: ClusterQuery
    columns: tuple[tuple[str, str, str], ...] = COLUMNS
    sort_links: dict[str, str]
    next_page: str | None


@dataclass(frozen=True, kw_only=True)
class ClusterDetailPage(PageContext):
    """Variables of the page of one cluster; `filter_text` is the token contexts are filtered by."""

    template: ClassVar[str] = "cluster.html"

    section: str = "clusters"
    view: ClusterView
    page: ContextPage
    query: ContextQuery
    context_lengths: tuple[str, ...] = CONTEXT_LENGTHS
    orders: tuple[str, ...] = ORDERS
    next_page: str | None
    filter_text: str | None
    scale: tuple[float, float] = MEASURES["loss"].bounds
    contexts_api: str


@router.get("/clusterings/{clustering_id}")
def clustering(
    request: Request, store: StoreDep, clustering_id: Id, filters: Annotated[ClusterQuery, Query()]
) -> Response:
    """Show the clusters of a clustering and how their sizes fall with rank."""
    view = clusterings.clustering(store, clustering_id)
    page = cluster_list.list_clusters(store, clustering_id, ClusterFilter(**filters.model_dump()))
    context = ClusteringPage(
        title=f"Clusters, n_clusters {view.n_clusters}",
        view=view,
        page=page,
        siblings=sorted(view.siblings, key=lambda row: row.n_clusters),
        filters=filters,
        sort_links=_sort_links(filters),
        next_page=_next_page(filters, page.next_cursor),
        api=f"/api/v1/clusterings/{clustering_id}/clusters" + query_string(**filters.changed()),
    )
    return render(request, context)


def _sort_links(filters: ClusterQuery) -> dict[str, str]:
    """Return the address that sorts by each column; the current one reverses its order."""
    links = {}
    for name, _, _ in COLUMNS:
        descending = not filters.descending if name == filters.sort else name != "rank"
        parameters: dict[str, Any] = {**filters.changed(), "sort": name, "descending": descending}
        links[name] = query_string(**parameters)
    return links


def _next_page(query: ClusterQuery | ContextQuery, cursor: str | None) -> str | None:
    return query_string(**query.changed(), cursor=cursor) if cursor else None


@router.get("/clusters/{cluster_id}")
def cluster(
    request: Request, store: StoreDep, cluster_id: Id, query: Annotated[ContextQuery, Query()]
) -> Response:
    """Show one cluster: contexts, curves, similarity, answers and annotation."""
    view = cluster_queries.cluster(store, cluster_id, members=1)
    filters = query.filters()
    limit = 10 if query.ctx == "all" else 20
    page = list_contexts(store, cluster_id, **filters, cursor=query.cursor, limit=limit)
    context = ClusterDetailPage(
        title=_title(view),
        view=view,
        page=page,
        query=query,
        next_page=_next_page(query, page.next_cursor),
        filter_text=_filter_text(view, query),
        api=f"/api/v1/clusters/{cluster_id}",
        contexts_api=f"/api/v1/clusters/{cluster_id}/contexts" + query_string(**filters),
    )
    return render(request, context)


def _title(view: ClusterView) -> str:
    name = f"Cluster {view.row.rank} of {view.clustering.n_clusters}"
    return f"{name}: {view.annotation.label}" if view.annotation.label else name


def _filter_text(view: ClusterView, query: ContextQuery) -> str | None:
    """Return the text of the token that contexts are filtered by, None without a filter."""
    for token_id, counts in ((query.answer, view.answers), (query.last, view.last_tokens)):
        if token_id is not None:
            texts = [count.token.text for count in counts if count.token.id == token_id]
            return texts[0] if texts else f"token {token_id}"
    return None
