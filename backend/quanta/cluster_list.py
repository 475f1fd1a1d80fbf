"""Lists of clusters: filtered, sorted and paged, each with an example and a curve."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.quanta.clusterings import finished_clustering, size_curve_set
from backend.quanta.views import (
    ClusterPage,
    ClusterRow,
)
from backend.read.paging import check_limit, paginate, parse_cursor
from backend.read.reader import Reader, find_reader
from backend.read.views import Token
from backend.store.database import Store
from backend.store.tables import (
    Annotation,
    Cluster,
    ClusterCurve,
    ClusterMember,
    Selection,
)

Sort = Literal[
    "rank",
    "size",
    "coherence",
    "mean_loss",
    "answer_entropy",
    "n_documents",
    "pattern_precision",
]
EXAMPLE_TOKENS = 14
MAX_CLUSTERS = 200


@dataclass(frozen=True)
class ClusterFilter:
    """Which clusters, in which order; bounds are inclusive, None leaves one out.

    `answer` is part of the most common answer's text, or of a person's label.
    """

    sort: Sort = "rank"
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


def _bounds(wanted: ClusterFilter) -> list[tuple[str, float | None, float | None]]:
    return [
        ("size", wanted.min_size, wanted.max_size),
        ("coherence", wanted.min_coherence, wanted.max_coherence),
        ("mean_loss_nats", wanted.min_loss, wanted.max_loss),
        ("answer_entropy_nats", wanted.min_entropy, wanted.max_entropy),
    ]


def _within(cluster: Cluster, wanted: ClusterFilter) -> bool:
    for name, low, high in _bounds(wanted):
        value = getattr(cluster, name)
        if low is None and high is None:
            continue
        if value is None or (low is not None and value < low):
            return False
        if high is not None and value > high:
            return False
    return True


_SORT_KEYS: dict[str, Callable[[Cluster], float | None]] = {
    "rank": lambda c: c.rank,
    "size": lambda c: c.size,
    "coherence": lambda c: c.coherence,
    "mean_loss": lambda c: c.mean_loss_nats,
    "answer_entropy": lambda c: c.answer_entropy_nats,
    "n_documents": lambda c: c.n_documents,
    "pattern_precision": lambda c: c.pattern_precision,
}


def _sorted(rows: Sequence[tuple[Cluster, Any]], wanted: ClusterFilter) -> list[Any]:
    """Sort; clusters without a value come last either way, ties by rank."""
    if wanted.sort not in _SORT_KEYS:
        raise InvalidInputError(
            f"sort {wanted.sort!r}", f"Choose one of {', '.join(_SORT_KEYS)}", "sort"
        )
    key, sign = _SORT_KEYS[wanted.sort], -1 if wanted.descending else 1

    def place(row: tuple[Cluster, Any]) -> tuple[bool, float, int]:
        value = key(row[0])
        return value is None, sign * (value or 0.0), row[0].rank

    return sorted(rows, key=place)


def _examples(session: Session, clusters: Sequence[Cluster]) -> dict[int, int]:
    """Return the most central member's prediction of each cluster."""
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
    read: Reader | None,
    prediction: int,
    curve: Sequence[float],
) -> ClusterRow:
    tokens = _example(read, prediction) if read else ()
    shown = read.token_or_none if read else _no_token
    return ClusterRow(
        id=cluster.id,
        rank=cluster.rank,
        size=cluster.size,
        n_documents=cluster.n_documents,
        coherence=cluster.coherence,
        mean_cosine=cluster.mean_cosine,
        mean_loss_nats=cluster.mean_loss_nats,
        answer_entropy_nats=cluster.answer_entropy_nats,
        top_answer=shown(cluster.top_answer),
        top_answer_share=cluster.top_answer_share,
        pattern_last=shown(cluster.pattern_last),
        pattern_answer=shown(cluster.pattern_answer),
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


def _example(read: Reader, prediction: int) -> tuple[Token, ...]:
    place = read.locate(prediction)
    first = max(0, place.position - EXAMPLE_TOKENS)
    return tuple(v.token for v in read.token_values(place.document, first, place.position + 1))


def cluster_rows(
    store: Store,
    session: Session,
    rows: Sequence[tuple[Cluster, Annotation | None]],
    selection: Selection,
) -> tuple[ClusterRow, ...]:
    """Return clusters of one selection as views."""
    read = find_reader(store, session, selection.corpus)
    clusters = [cluster for cluster, _ in rows]
    examples = _examples(session, clusters)
    curves = _curves(session, clusters, selection)
    return tuple(
        _cluster_row(cluster, annotation, read, examples[cluster.id], curves.get(cluster.id, ()))
        for cluster, annotation in rows
    )


def annotated_clusters(
    session: Session, clustering_id: int
) -> Sequence[tuple[Cluster, Annotation | None]]:
    """Return all clusters of a clustering by rank, with a person's words if there are any."""
    rows = session.execute(
        select(Cluster, Annotation)
        .outerjoin(Annotation, Annotation.cluster_id == Cluster.id)
        .where(Cluster.clustering_id == clustering_id)
        .order_by(Cluster.rank)
    )
    return [(cluster, annotation) for cluster, annotation in rows]


def list_clusters(store: Store, clustering_id: int, wanted: ClusterFilter) -> ClusterPage:
    """Return a page of the clusters that match.

    Raises:
        NotFoundError: there is no such clustering.
        InvalidInputError: a filter out of range.
    """
    offset = parse_cursor(wanted.cursor)
    check_limit(wanted.limit, MAX_CLUSTERS)
    with store.session() as session:
        home = finished_clustering(session, clustering_id)
        selection = home.discovery.similarity.selection
        rows = [r for r in annotated_clusters(session, clustering_id) if _within(r[0], wanted)]
        if wanted.answer:
            read = find_reader(store, session, selection.corpus)
            rows = [r for r in rows if _names(wanted.answer, r, read)]
        page, cursor = paginate(_sorted(rows, wanted), offset, wanted.limit)
        return ClusterPage(
            clusters=cluster_rows(store, session, page, selection),
            n_matching=len(rows),
            n_clusters=home.n_clusters,
            next_cursor=cursor,
        )


def _names(text: str, row: tuple[Cluster, Annotation | None], read: Reader | None) -> bool:
    cluster, annotation = row
    answer = read.token_or_none(cluster.top_answer) if read else None
    label = annotation.label if annotation else ""
    return (answer is not None and text in answer.text) or text.lower() in label.lower()
