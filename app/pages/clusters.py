"""Pages of a clustering and of one cluster."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.requests.dependencies import Id, StoreDep
from app.requests.pages import ClusterQuery, ContextQuery
from app.web.templating import query, render
from backend.corpora.heat_scales import MEASURES
from backend.quanta import clusterings
from backend.quanta import clusters as cluster_queries
from backend.quanta.views import ClusterPage, ClusterView, ContextPage

router = APIRouter(include_in_schema=False)

COLUMNS = (
    ("rank", "Rank", "1 = most predictions"),
    ("size", "Size", "predictions in the cluster"),
    ("coherence", "Coherence", "mean affinity within minus mean affinity to all others"),
    ("mean_loss", "Mean loss", "nats, under the checkpoint the predictions were selected with"),
    ("answer_entropy", "Entropy", "of the answer tokens, nats; 0 = always the same answer"),
    ("n_documents", "Documents", "distinct documents the members come from"),
    ("pattern_precision", "Pattern", "last token → answer, its precision and recall"),
)
CONTEXT_LENGTHS = ("32", "64", "128", "all")
ORDERS = ("similarity", "loss", "document")


@router.get("/clusterings/{clustering_id}")
def clustering(
    request: Request,
    store: StoreDep,
    clustering_id: Id,
    filters: Annotated[ClusterQuery, Query()],
) -> Response:
    """Show the clusters of a clustering and how their sizes fall with rank."""
    view = clusterings.clustering(store, clustering_id)
    page = clusterings.list_clusters(store, clustering_id, _filter(filters))
    siblings = sorted(view.siblings, key=lambda row: row.n_clusters)
    return render(
        request,
        "clustering.html",
        section="clusters",
        title=f"Clusters, n_clusters {view.n_clusters}",
        view=view,
        page=page,
        siblings=siblings,
        filters=filters,
        columns=COLUMNS,
        sort_links=_sort_links(filters),
        next_page=_next_page(filters, page),
        api=f"/api/v1/clusterings/{clustering_id}/clusters" + query(**filters.changed()),
    )


def _filter(filters: ClusterQuery) -> clusterings.ClusterFilter:
    return clusterings.ClusterFilter(**filters.model_dump())


def _sort_links(filters: ClusterQuery) -> dict[str, str]:
    """Return the address of each column's order; a second choice of a column turns it round."""
    links = {}
    for name, _, _ in COLUMNS:
        descending = not filters.descending if name == filters.sort else name != "rank"
        wanted: dict[str, Any] = {**filters.changed(), "sort": name, "descending": descending}
        links[name] = query(**wanted)
    return links


def _next_page(filters: ClusterQuery, page: ClusterPage) -> str | None:
    if page.next_cursor is None:
        return None
    return query(**filters.changed(), cursor=page.next_cursor)


@router.get("/clusters/{cluster_id}")
def cluster(
    request: Request,
    store: StoreDep,
    cluster_id: Id,
    shown: Annotated[ContextQuery, Query()],
) -> Response:
    """Show one cluster: contexts, curves, similarity, answers and a person's notes."""
    view = cluster_queries.cluster(store, cluster_id, members=1)
    page = _contexts(store, cluster_id, shown)
    next_page = query(**shown.changed(), cursor=page.next_cursor) if page.next_cursor else None
    return render(
        request,
        "cluster.html",
        section="clusters",
        title=_title(view),
        view=view,
        page=page,
        shown=shown,
        context_lengths=CONTEXT_LENGTHS,
        orders=ORDERS,
        next_page=next_page,
        filtered=_filtered(view, shown),
        scale=MEASURES["loss"].bounds,
        api=f"/api/v1/clusters/{cluster_id}",
        contexts_api=_contexts_api(cluster_id, shown),
    )


def _contexts(store: StoreDep, cluster_id: int, shown: ContextQuery) -> ContextPage:
    return cluster_queries.contexts(
        store,
        cluster_id,
        context=shown.context,
        order=shown.order,
        answer=shown.answer,
        last=shown.last,
        cursor=shown.cursor,
        limit=10 if shown.ctx == "all" else 20,
    )


def _contexts_api(cluster_id: int, shown: ContextQuery) -> str:
    wanted = query(context=shown.context, order=shown.order, answer=shown.answer, last=shown.last)
    return f"/api/v1/clusters/{cluster_id}/contexts{wanted}"


def _title(view: ClusterView) -> str:
    name = f"Cluster {view.row.rank} of {view.clustering.n_clusters}"
    return f"{name}: {view.annotation.label}" if view.annotation.label else name


def _filtered(view: ClusterView, shown: ContextQuery) -> str | None:
    """Return the text of the token that contexts are filtered by, None without a filter."""
    for wanted, counts in ((shown.answer, view.answers), (shown.last, view.last_tokens)):
        if wanted is not None:
            known = [count.token.text for count in counts if count.token.id == wanted]
            return known[0] if known else f"token {wanted}"
    return None
