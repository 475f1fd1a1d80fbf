"""One cluster: scores, curves, cosines between members, annotation."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.quanta.cluster_list import cluster_rows
from backend.quanta.clusterings import clustering_row, selection_suite
from backend.quanta.contexts import Member, find_cluster, list_members
from backend.quanta.similarities import selection_row
from backend.quanta.views import (
    Annotation,
    ClusterPlots,
    ClusterView,
    Count,
    CurveBand,
    MemberCurve,
    Neighbour,
    SubMatrix,
)
from backend.read.curve_sets import curve_sets
from backend.read.paging import check_limit
from backend.read.reader import Reader, find_reader
from backend.read.similarities import cosines
from backend.read.suite_losses import SuiteLosses, suite_losses
from backend.read.values import format_utc
from backend.store.database import Store
from backend.store.tables import Annotation as AnnotationRow
from backend.store.tables import Cluster, ClusterCurve, ClusterMember, CurveSet, Selection
from backend.store.tables.base import now

MAX_MEMBERS = 500
MAX_SUB_MATRIX = 500
MAX_COUNTS = 12


def _top_tokens(reader: Reader | None, ids: Sequence[int | None]) -> tuple[Count, ...]:
    if reader is None:
        return ()
    counts = Counter(token for token in ids if token is not None)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_COUNTS]
    return tuple(Count(reader.token(token), count) for token, count in top)


def _neighbours(session: Session, reader: Reader | None, cluster: Cluster) -> tuple[Neighbour, ...]:
    ranks = {int(rank): value for rank, value in cluster.neighbours.items()}
    rows = session.scalars(
        select(Cluster).where(
            Cluster.clustering_id == cluster.clustering_id, Cluster.rank.in_(ranks)
        )
    )
    neighbours = []
    for row in rows:
        answer = reader.token_or_none(row.top_answer) if reader else None
        neighbours.append(Neighbour(row.id, row.rank, row.size, ranks[row.rank], answer))
    return tuple(sorted(neighbours, key=lambda n: -n.mean_cosine))


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


def _id_by_rank_offset(session: Session, cluster: Cluster, offset: int) -> int | None:
    return session.scalar(
        select(Cluster.id).where(
            Cluster.clustering_id == cluster.clustering_id, Cluster.rank == cluster.rank + offset
        )
    )


def _annotation(row: AnnotationRow | None) -> Annotation:
    if row is None:
        return Annotation()
    return Annotation(row.label, row.note, tuple(row.tags), format_utc(row.updated_at))


def cluster(store: Store, cluster_id: int, *, members: int = 50) -> ClusterView:
    """Return a cluster with curves of up to `members` members, the most central ones.

    Raises:
        NotFoundError: there is none with that id.
        InvalidInputError: `members` out of range.
    """
    if not 1 <= members <= MAX_MEMBERS:
        raise InvalidInputError(f"members is {members}", f"Choose 1 to {MAX_MEMBERS}", "members")
    with store.session() as session:
        row, selection = find_cluster(session, cluster_id)
        reader = find_reader(store, session, selection.corpus)
        annotation = session.get(AnnotationRow, cluster_id)
        plots = _plots(store, session, row, selection, members)
        largest = session.scalar(
            select(Cluster.size).where(
                Cluster.clustering_id == row.clustering_id, Cluster.rank == 1
            )
        )
        return ClusterView(
            row=cluster_rows(store, session, [(row, annotation)], selection)[0],
            clustering=clustering_row(row.clustering, largest or 0),
            selection=selection_row(selection),
            previous=_id_by_rank_offset(session, row, -1),
            next=_id_by_rank_offset(session, row, 1),
            answers=plots.answers,
            last_tokens=plots.last_tokens,
            neighbours=_neighbours(session, reader, row),
            annotation=_annotation(annotation),
            curves=plots.curves,
            has_similarity=not row.clustering.discovery.similarity.is_imported,
            has_text=reader is not None,
        )


def cluster_plots(store: Store, cluster_id: int, *, members: int = 50) -> ClusterPlots:
    """Return what the plots of a cluster show, with curves of the `members` most central members.

    Raises:
        NotFoundError: there is none with that id.
    """
    with store.session() as session:
        return _plots(store, session, *find_cluster(session, cluster_id), members)


def _plots(
    store: Store, session: Session, row: Cluster, selection: Selection, members: int
) -> ClusterPlots:
    reader = find_reader(store, session, selection.corpus)
    rows = list_members(session, reader, row.id)
    return ClusterPlots(
        curves=_bands(store, session, row, selection, rows[:members]),
        answers=_top_tokens(reader, [member.answer for member in rows]),
        last_tokens=_top_tokens(reader, [member.last for member in rows]),
    )


def _bands(
    store: Store, session: Session, row: Cluster, selection: Selection, members: Sequence[Member]
) -> tuple[CurveBand, ...]:
    suite = selection_suite(session, selection)
    if suite is None:
        return ()
    losses = suite_losses(store, session, selection.corpus, suite)
    bands = [
        _band(session, row, curve_set, losses, [member.prediction for member in members])
        for curve_set in curve_sets(session, selection.corpus, suite)
    ]
    return tuple(band for band in bands if band is not None)


def sub_matrix(store: Store, cluster_id: int, *, limit: int = 200) -> SubMatrix:
    """Return cosines between a cluster's members, sorted by the leading eigenvector.

    Of more than `limit` members it samples `limit`, evenly from the most to the least central.

    Raises:
        NotFoundError: there is no such cluster, or it was imported without gradients.
        InvalidInputError: a limit out of range.
    """
    from compute.cluster_scores import order_by_leading_eigenvector

    check_limit(limit, MAX_SUB_MATRIX)
    with store.session() as session:
        row, _ = find_cluster(session, cluster_id)
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
    sample = np.linspace(0, len(members) - 1, min(limit, len(members))).astype(int)
    rows = np.array([members[i][0] for i in sample])
    values = np.asarray(cosines(store, similarity)[np.ix_(rows, rows)], np.float64)
    order = order_by_leading_eigenvector(values)
    return SubMatrix(
        predictions=tuple(members[sample[i]][1] for i in order),
        values=tuple(tuple(line) for line in values[np.ix_(order, order)].round(4).tolist()),
        n_members=row.size,
    )


def annotate(
    store: Store, cluster_id: int, label: str, note: str, tags: Sequence[str]
) -> Annotation:
    """Set the label, note and tags of a cluster; empty values clear them.

    Raises:
        NotFoundError: there is no such cluster.
    """
    with store.begin() as session:
        find_cluster(session, cluster_id)
        row = session.get(AnnotationRow, cluster_id)
        if row is None:
            row = AnnotationRow(cluster_id=cluster_id, label="", note="", tags=[])
            session.add(row)
        row.label, row.note, row.tags, row.updated_at = label, note, list(tags), now()
        session.flush()
        return _annotation(row)
