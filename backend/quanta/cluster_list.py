"""Lists of clusters: filtered, sorted and paged, each with an example and a curve."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.quanta.clusterings import finished_clustering, size_curve_set
from backend.quanta.views import ClusterPage, ClusterRow
from backend.read.paging import check_limit, paginate, parse_cursor
from backend.read.reader import Reader, find_reader
from backend.read.views import Token
from backend.store.database import Store
from backend.store.tables import Annotation, Cluster, ClusterCurve, ClusterMember, Selection

ClusterSort = Literal[
    "rank", "size", "coherence", "mean_loss", "answer_entropy", "n_documents", "pattern_precision"
]
EXAMPLE_TOKENS = 14
MAX_CLUSTERS = 200


@dataclass(frozen=True)
class ClusterFilter:
    """Filters, order and page of a list of clusters; bounds are inclusive, None is no bound.

    `answer` is part of the text of the most common answer, or of the label.
    """

    sort: ClusterSort = "rank"
    descending: bool = False
    min_size: int | None = None
    max_size: int | None = None
    min_coherence: float | None = None
    max_coherence: float | None = None
    min_loss: float | None = None
    max_loss: float | None = None
    min_entropy: float | None = None
    max_entropy: float | None = None
    answer: str | None = None
    cursor: str | None = None
    limit: int = 50


def _is_within(cluster: Cluster, filters: ClusterFilter) -> bool:
    bounds = (
        (cluster.size, filters.min_size, filters.max_size),
        (cluster.coherence, filters.min_coherence, filters.max_coherence),
        (cluster.mean_loss_nats, filters.min_loss, filters.max_loss),
        (cluster.answer_entropy_nats, filters.min_entropy, filters.max_entropy),
    )
    return all(
        (low is None or (value is not None and value >= low))
        and (high is None or (value is not None and value <= high))
        for value, low, high in bounds
    )


_SORT_KEYS: dict[str, Callable[[Cluster], float | None]] = {
    "rank": lambda c: c.rank,
    "size": lambda c: c.size,
    "coherence": lambda c: c.coherence,
    "mean_loss": lambda c: c.mean_loss_nats,
    "answer_entropy": lambda c: c.answer_entropy_nats,
    "n_documents": lambda c: c.n_documents,
    "pattern_precision": lambda c: c.pattern_precision,
}


def _sorted(rows: Sequence[tuple[Cluster, Any]], filters: ClusterFilter) -> list[Any]:
    """Sort clusters; those without a value are last in either order, ties are by rank."""
    if filters.sort not in _SORT_KEYS:
        raise InvalidInputError(
            f"sort {filters.sort!r}", f"Choose one of {', '.join(_SORT_KEYS)}", "sort"
        )
    value_of, sign = _SORT_KEYS[filters.sort], -1 if filters.descending else 1

    def sort_key(row: tuple[Cluster, Any]) -> tuple[bool, float, int]:
        value = value_of(row[0])
        return value is None, sign * (value or 0.0), row[0].rank

    return sorted(rows, key=sort_key)


def _examples(session: Session, clusters: Sequence[Cluster]) -> dict[int, int]:
    """Return the prediction of the most central member by cluster."""
    rows = session.execute(
        select(ClusterMember.cluster_id, ClusterMember.prediction).where(
            ClusterMember.cluster_id.in_([c.id for c in clusters]), ClusterMember.position == 0
        )
    )
    return {cluster: prediction for cluster, prediction in rows}


def _curves(
    session: Session, clusters: Sequence[Cluster], selection: Selection
) -> dict[int, list[float]]:
    curve_set = size_curve_set(session, selection)
    if curve_set is None:
        return {}
    rows = session.execute(
        select(ClusterCurve.cluster_id, ClusterCurve.mean_nats).where(
            ClusterCurve.cluster_id.in_([c.id for c in clusters]),
            ClusterCurve.curve_set_id == curve_set.id,
        )
    )
    return {cluster: mean for cluster, mean in rows}


def _cluster_row(
    cluster: Cluster,
    annotation: Annotation | None,
    reader: Reader | None,
    prediction: int,
    curve: Sequence[float],
) -> ClusterRow:
    values = reader.window(prediction, EXAMPLE_TOKENS).tokens if reader else ()
    tokens = tuple(value.token for value in values)
    token = reader.token_or_none if reader else _no_token
    return ClusterRow(
        id=cluster.id,
        rank=cluster.rank,
        size=cluster.size,
        n_documents=cluster.n_documents,
        coherence=cluster.coherence,
        mean_cosine=cluster.mean_cosine,
        mean_loss_nats=cluster.mean_loss_nats,
        answer_entropy_nats=cluster.answer_entropy_nats,
        top_answer=token(cluster.top_answer),
        top_answer_share=cluster.top_answer_share,
        pattern_last=token(cluster.pattern_last),
        pattern_answer=token(cluster.pattern_answer),
        pattern_precision=cluster.pattern_precision,
        pattern_recall=cluster.pattern_recall,
        label=annotation.label if annotation else "",
        tags=tuple(annotation.tags) if annotation else (),
        example=tokens[:-1],
        example_answer=tokens[-1] if tokens else None,
        example_prediction=prediction,
        curve_n=tuple(curve),
    )


def _no_token(_token_id: int | None) -> Token | None:
    return None


def cluster_rows(
    store: Store,
    session: Session,
    rows: Sequence[tuple[Cluster, Annotation | None]],
    selection: Selection,
) -> tuple[ClusterRow, ...]:
    """Return clusters of one selection as views."""
    reader = find_reader(store, session, selection.corpus)
    clusters = [cluster for cluster, _ in rows]
    examples = _examples(session, clusters)
    curves = _curves(session, clusters, selection)
    return tuple(
        _cluster_row(cluster, annotation, reader, examples[cluster.id], curves.get(cluster.id, ()))
        for cluster, annotation in rows
    )


def annotated_clusters(
    session: Session, clustering_id: int
) -> Sequence[tuple[Cluster, Annotation | None]]:
    """Return all clusters of a clustering by rank, with their annotations."""
    rows = session.execute(
        select(Cluster, Annotation)
        .outerjoin(Annotation, Annotation.cluster_id == Cluster.id)
        .where(Cluster.clustering_id == clustering_id)
        .order_by(Cluster.rank)
    )
    return [(cluster, annotation) for cluster, annotation in rows]


def list_clusters(store: Store, clustering_id: int, filters: ClusterFilter) -> ClusterPage:
    """Return a page of the clusters that match.

    Raises:
        NotFoundError: there is no such clustering.
        InvalidInputError: a filter out of range.
    """
    offset = parse_cursor(filters.cursor)
    check_limit(filters.limit, MAX_CLUSTERS)
    with store.session() as session:
        clustering = finished_clustering(session, clustering_id)
        selection = clustering.discovery.similarity.selection
        rows = [
            row for row in annotated_clusters(session, clustering_id) if _is_within(row[0], filters)
        ]
        if filters.answer:
            reader = find_reader(store, session, selection.corpus)
            rows = [row for row in rows if _matches_text(filters.answer, row, reader)]
        page, cursor = paginate(_sorted(rows, filters), offset, filters.limit)
        return ClusterPage(
            clusters=cluster_rows(store, session, page, selection),
            n_matching=len(rows),
            n_clusters=clustering.n_clusters,
            next_cursor=cursor,
        )


def _matches_text(text: str, row: tuple[Cluster, Annotation | None], reader: Reader | None) -> bool:
    cluster, annotation = row
    answer = reader.token_or_none(cluster.top_answer) if reader else None
    label = annotation.label if annotation else ""
    return (answer is not None and text in answer.text) or text.lower() in label.lower()
