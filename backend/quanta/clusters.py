"""One cluster: scores, contexts, curves, sub-matrix, annotation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.quanta.clusterings import (
    cluster_rows,
    clustering_row,
    finished_clustering,
    selection_suite,
)
from backend.quanta.similarities import selection_row
from backend.quanta.views import (
    Annotation,
    ClusterView,
    Context,
    ContextPage,
    Count,
    CurveBand,
    MemberCurve,
    Neighbour,
    SubMatrix,
)
from backend.read.curve_sets import curve_sets
from backend.read.loss_blocks import SuiteLosses, suite_losses
from backend.read.reader import Place, Reader, limited, offset_of, paged, reader_if_text, stamp
from backend.read.similarities import cosines
from backend.store.database import Store
from backend.store.tables import Annotation as AnnotationRow
from backend.store.tables import Cluster, ClusterCurve, ClusterMember, CurveSet, Document, Selection
from backend.store.tables.base import now

Order = Literal["similarity", "loss", "document"]
ORDERS = ("similarity", "loss", "document")
MAX_CONTEXT = 4_096
MAX_CONTEXTS = 100
MAX_MEMBERS = 500
MAX_SUB_MATRIX = 500


@dataclass(frozen=True)
class _Member:
    row: int
    prediction: int
    place: Place | None = None  # None, and no tokens: the corpus has no text
    last: int | None = None
    answer: int | None = None


def _found(session: Session, cluster_id: int) -> tuple[Cluster, Selection]:
    cluster = session.get(Cluster, cluster_id)
    if cluster is None:
        raise NotFoundError(
            f"there is no cluster {cluster_id}",
            "A clustering lists its clusters: GET /api/v1/clusterings/{id}/clusters",
        )
    clustering = finished_clustering(session, cluster.clustering_id)
    return cluster, clustering.discovery.similarity.selection


def _members(session: Session, read: Reader | None, cluster_id: int) -> list[_Member]:
    """Return members, the most central first; imported ones in the order of the samples."""
    rows = session.execute(
        select(ClusterMember.row, ClusterMember.prediction)
        .where(ClusterMember.cluster_id == cluster_id)
        .order_by(ClusterMember.position)
    ).all()
    if read is None:
        return [_Member(row, prediction) for row, prediction in rows]
    predictions = np.array([prediction for _, prediction in rows])
    documents = np.searchsorted(read.predictions, predictions, side="right") - 1
    positions = predictions - read.predictions[documents] + 1
    at = read.starts[documents] + positions
    facts = zip(
        rows,
        documents.tolist(),
        positions.tolist(),
        read.tokens[at - 1].tolist(),
        read.tokens[at].tolist(),
        strict=True,
    )
    return [
        _Member(row, prediction, Place(document, position), last, answer)
        for (row, prediction), document, position, last, answer in facts
    ]


def _counts(read: Reader | None, ids: Sequence[int | None], most: int = 12) -> tuple[Count, ...]:
    if read is None:
        return ()
    known = Counter(token for token in ids if token is not None)
    counted = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Count(read.token(token), count) for token, count in counted[:most])


def _neighbours(session: Session, read: Reader | None, cluster: Cluster) -> tuple[Neighbour, ...]:
    ranks = {int(rank): value for rank, value in cluster.neighbours.items()}
    rows = session.scalars(
        select(Cluster).where(
            Cluster.clustering_id == cluster.clustering_id, Cluster.rank.in_(ranks)
        )
    )
    found = [
        Neighbour(
            row.id,
            row.rank,
            row.size,
            ranks[row.rank],
            read.token_if(row.top_answer) if read else None,
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda n: -n.mean_cosine))


def _band(
    session: Session,
    cluster: Cluster,
    curve_set: CurveSet,
    losses: SuiteLosses,
    predictions: Sequence[int],
) -> CurveBand | None:
    stored = session.get(ClusterCurve, (cluster.id, curve_set.id))
    if stored is None:
        return None
    columns = losses.columns(curve_set.evaluation_ids)
    checkpoints = [losses.evaluations[column].checkpoint for column in columns]
    values = np.asarray(losses.values[np.array(predictions)][:, columns], np.float64)
    is_size = curve_set.axis == "N"
    return CurveBand(
        axis="N" if is_size else "S",
        suite=curve_set.suite.name,
        model=curve_set.model.name if curve_set.model else None,
        x=tuple(curve_set.axis_values),
        labels=tuple(c.model.name if is_size else str(c.step) for c in checkpoints),
        mean_nats=tuple(stored.mean_nats),
        low_nats=tuple(stored.low_nats),
        high_nats=tuple(stored.high_nats),
        members=tuple(
            MemberCurve(prediction, tuple(row))
            for prediction, row in zip(predictions, values.tolist(), strict=True)
        ),
        n_members=cluster.size,
    )


def _beside(session: Session, cluster: Cluster, by: int) -> int | None:
    return session.scalar(
        select(Cluster.id).where(
            Cluster.clustering_id == cluster.clustering_id, Cluster.rank == cluster.rank + by
        )
    )


def _annotation(row: AnnotationRow | None) -> Annotation:
    if row is None:
        return Annotation()
    return Annotation(row.label, row.note, tuple(row.tags), stamp(row.updated_at))


def cluster(store: Store, cluster_id: int, *, members: int = 50) -> ClusterView:
    """Return a cluster with curves of up to `members` members, the most central ones.

    Raises:
        NotFoundError: there is none with that id.
        InvalidInputError: `members` out of range.
    """
    if not 1 <= members <= MAX_MEMBERS:
        raise InvalidInputError(f"members is {members}", f"Choose 1 to {MAX_MEMBERS}", "members")
    with store.session() as session:
        row, selection = _found(session, cluster_id)
        read = reader_if_text(store, session, selection.corpus)
        held = _members(session, read, cluster_id)
        annotation = session.get(AnnotationRow, cluster_id)
        shown = [member.prediction for member in held[:members]]
        largest = session.scalar(
            select(Cluster.size).where(
                Cluster.clustering_id == row.clustering_id, Cluster.rank == 1
            )
        )
        return ClusterView(
            row=cluster_rows(store, session, [(row, annotation)], selection)[0],
            clustering=clustering_row(row.clustering, largest or 0),
            selection=selection_row(selection),
            previous=_beside(session, row, -1),
            next=_beside(session, row, 1),
            answers=_counts(read, [m.answer for m in held]),
            last_tokens=_counts(read, [m.last for m in held]),
            neighbours=_neighbours(session, read, row),
            annotation=_annotation(annotation),
            curves=_bands(store, session, row, selection, shown),
            has_similarity=not row.clustering.discovery.similarity.is_imported,
            has_text=read is not None,
        )


def _bands(
    store: Store, session: Session, row: Cluster, selection: Selection, shown: Sequence[int]
) -> tuple[CurveBand, ...]:
    suite = selection_suite(session, selection)
    if suite is None:
        return ()
    losses = suite_losses(store, session, selection.corpus, suite)
    bands = [
        _band(session, row, curve_set, losses, shown)
        for curve_set in curve_sets(session, selection.corpus, suite)
    ]
    return tuple(band for band in bands if band is not None)


def _ordered(
    members: list[_Member], order: str, losses: NDArray[np.float16] | None
) -> list[_Member]:
    if order == "loss" and losses is not None:
        return sorted(members, key=lambda m: (float(losses[m.prediction]), m.prediction))
    if order == "document":
        return sorted(members, key=lambda m: m.prediction)
    return members


def _losses(store: Store, session: Session, selection: Selection) -> NDArray[np.float16] | None:
    """Return losses under the selection's checkpoint; for imported labels, the largest model's."""
    suite = selection_suite(session, selection)
    if suite is None:
        return None
    found = suite_losses(store, session, selection.corpus, suite)
    evaluation = selection.evaluation
    return found.column(evaluation.id) if evaluation else found.values[:, -1]


def _context(
    read: Reader | None,
    member: _Member,
    documents: Mapping[int, Document],
    losses: NDArray[np.float16] | None,
    length: int,
) -> Context:
    place = member.place
    loss = None if losses is None else float(losses[member.prediction])
    if read is None or place is None:
        return Context(
            prediction=member.prediction,
            row=member.row,
            position=None,
            document=None,
            document_id="",
            source="",
            tokens=(),
            answer=None,
            loss_nats=loss,
            truncated=False,
        )
    document = documents[place.document]
    first = max(0, place.position - length)
    tokens = read.shown(place.document, first, place.position + 1, losses)
    return Context(
        prediction=member.prediction,
        row=member.row,
        position=place.position,
        document=place.document,
        document_id=document.external_id,
        source=document.source,
        tokens=tokens,
        answer=tokens[-1].token,
        loss_nats=loss,
        truncated=first > 0,
    )


def _documents(session: Session, corpus_id: int, members: Sequence[_Member]) -> dict[int, Document]:
    wanted = {member.place.document for member in members if member.place}
    rows = session.scalars(
        select(Document).where(Document.corpus_id == corpus_id, Document.index.in_(wanted))
    )
    return {row.index: row for row in rows}


def contexts(
    store: Store,
    cluster_id: int,
    *,
    context: int = 64,
    order: Order = "similarity",
    answer: int | None = None,
    last: int | None = None,
    cursor: str | None = None,
    limit: int = 20,
) -> ContextPage:
    """Return a page of a cluster's contexts, with losses under the selection's checkpoint.

    Raises:
        NotFoundError: there is no such cluster.
        InvalidInputError: a parameter out of range.
    """
    offset = offset_of(cursor)
    limited(limit, MAX_CONTEXTS)
    if not 1 <= context <= MAX_CONTEXT:
        raise InvalidInputError(f"context is {context}", f"Choose 1 to {MAX_CONTEXT}", "context")
    if order not in ORDERS:
        raise InvalidInputError(f"order {order!r}", f"Choose {', '.join(ORDERS)}", "order")
    with store.session() as session:
        _, selection = _found(session, cluster_id)
        read = reader_if_text(store, session, selection.corpus)
        losses = _losses(store, session, selection)
        held = [
            member
            for member in _members(session, read, cluster_id)
            if answer in {None, member.answer} and last in {None, member.last}
        ]
        page, following = paged(_ordered(held, order, losses), offset, limit)
        documents = _documents(session, selection.corpus_id, page)
    return ContextPage(
        contexts=tuple(_context(read, m, documents, losses, context) for m in page),
        n_members=len(held),
        next_cursor=following,
    )


def sub_matrix(store: Store, cluster_id: int, *, limit: int = 200) -> SubMatrix:
    """Return cosines between a cluster's members, ordered so that alike ones are neighbours.

    Of more than `limit` members it takes `limit`, evenly from the most to the least central.

    Raises:
        NotFoundError: there is no such cluster, or it was imported without gradients.
        InvalidInputError: a limit out of range.
    """
    from compute.cluster_scores import order_by_leading_eigenvector

    limited(limit, MAX_SUB_MATRIX)
    with store.session() as session:
        row, _ = _found(session, cluster_id)
        similarity = row.clustering.discovery.similarity
        if similarity.is_imported:
            raise NotFoundError(
                f"cluster {cluster_id} was imported as labels: there are no gradients to compare",
                "Only `quanta discover` computes similarities of gradients",
            )
        members = session.execute(
            select(ClusterMember.row, ClusterMember.prediction)
            .where(ClusterMember.cluster_id == cluster_id)
            .order_by(ClusterMember.position)
        ).all()
    chosen = np.linspace(0, len(members) - 1, min(limit, len(members))).astype(int)
    rows = np.array([members[i][0] for i in chosen])
    values = np.asarray(cosines(store, similarity)[np.ix_(rows, rows)], np.float64)
    order = order_by_leading_eigenvector(values)
    return SubMatrix(
        predictions=tuple(members[chosen[i]][1] for i in order),
        values=tuple(tuple(line) for line in values[np.ix_(order, order)].round(4).tolist()),
        n_members=row.size,
    )


def annotate(
    store: Store, cluster_id: int, label: str, note: str, tags: Sequence[str]
) -> Annotation:
    """Set a person's label, note and tags for a cluster; empty ones remove them.

    Raises:
        NotFoundError: there is no such cluster.
    """
    with store.begin() as session:
        _found(session, cluster_id)
        row = session.get(AnnotationRow, cluster_id)
        if row is None:
            row = AnnotationRow(cluster_id=cluster_id, label="", note="", tags=[])
            session.add(row)
        row.label, row.note, row.tags, row.updated_at = label, note, list(tags), now()
        session.flush()
        return _annotation(row)
