"""Members of a cluster in their documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.quanta.clusterings import finished_clustering, selection_suite
from backend.quanta.views import Context, ContextPage
from backend.read.document_offsets import Place
from backend.read.paging import check_limit, paginate, parse_cursor
from backend.read.reader import Reader, find_reader
from backend.read.suite_losses import suite_losses
from backend.store.database import Store
from backend.store.tables import Cluster, ClusterMember, Document, Selection

ContextOrder = Literal["similarity", "loss", "document"]
ORDERS = ("similarity", "loss", "document")
MAX_CONTEXT = 4_096
MAX_CONTEXTS = 100


@dataclass(frozen=True)
class Member:
    """A member of a cluster; in a corpus without text all but row and prediction is None."""

    row: int
    prediction: int
    place: Place | None = None
    last: int | None = None
    answer: int | None = None


def find_cluster(session: Session, cluster_id: int) -> tuple[Cluster, Selection]:
    """Return a cluster of a finished discovery and its selection.

    Raises:
        NotFoundError: there is none with that id.
    """
    cluster = session.get(Cluster, cluster_id)
    if cluster is None:
        raise NotFoundError(
            f"there is no cluster {cluster_id}",
            "A clustering lists its clusters: GET /api/v1/clusterings/{id}/clusters",
        )
    clustering = finished_clustering(session, cluster.clustering_id)
    return cluster, clustering.discovery.similarity.selection


def list_members(session: Session, reader: Reader | None, cluster_id: int) -> list[Member]:
    """Return members, most central first; imported ones in the order of the samples."""
    rows = session.execute(
        select(ClusterMember.row, ClusterMember.prediction)
        .where(ClusterMember.cluster_id == cluster_id)
        .order_by(ClusterMember.position)
    ).all()
    if reader is None:
        return [Member(row, prediction) for row, prediction in rows]
    places = reader.locate_many(np.array([prediction for _, prediction in rows], np.int64))
    columns = (
        places.documents,
        places.positions,
        reader.tokens[places.tokens - 1],
        reader.tokens[places.tokens],
    )
    return [
        Member(row, prediction, Place(document, position), last, answer)
        for (row, prediction), document, position, last, answer in zip(
            rows, *(column.tolist() for column in columns), strict=True
        )
    ]


def _sorted(members: list[Member], order: str, losses: NDArray[np.float16] | None) -> list[Member]:
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
    losses = suite_losses(store, session, selection.corpus, suite)
    evaluation = selection.evaluation
    return losses.column(evaluation.id) if evaluation else losses.values[:, -1]


def _context(
    reader: Reader | None,
    member: Member,
    documents: Mapping[int, Document],
    losses: NDArray[np.float16] | None,
    length: int,
) -> Context:
    place = member.place
    document = documents[place.document] if place else None
    tokens = reader.window(member.prediction, length, losses=losses).tokens if reader else ()
    return Context(
        prediction=member.prediction,
        row=member.row,
        position=place.position if place else None,
        document=place.document if place else None,
        document_id=document.external_id if document else "",
        source=document.source if document else "",
        tokens=tokens,
        answer=tokens[-1].token if tokens else None,
        loss_nats=None if losses is None else float(losses[member.prediction]),
        truncated=place is not None and place.position > length,
    )


def _documents(session: Session, corpus_id: int, members: Sequence[Member]) -> dict[int, Document]:
    indexes = {member.place.document for member in members if member.place}
    rows = session.scalars(
        select(Document).where(Document.corpus_id == corpus_id, Document.index.in_(indexes))
    )
    return {row.index: row for row in rows}


def list_contexts(
    store: Store,
    cluster_id: int,
    *,
    context: int = 64,
    order: ContextOrder = "similarity",
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
    offset = parse_cursor(cursor)
    check_limit(limit, MAX_CONTEXTS)
    if not 1 <= context <= MAX_CONTEXT:
        raise InvalidInputError(f"context is {context}", f"Choose 1 to {MAX_CONTEXT}", "context")
    if order not in ORDERS:
        raise InvalidInputError(f"order {order!r}", f"Choose one of {', '.join(ORDERS)}", "order")
    with store.session() as session:
        _, selection = find_cluster(session, cluster_id)
        reader = find_reader(store, session, selection.corpus)
        losses = _losses(store, session, selection)
        members = [
            member
            for member in list_members(session, reader, cluster_id)
            if answer in {None, member.answer} and last in {None, member.last}
        ]
        page, next_cursor = paginate(_sorted(members, order, losses), offset, limit)
        documents = _documents(session, selection.corpus_id, page)
    return ContextPage(
        contexts=tuple(_context(reader, m, documents, losses, context) for m in page),
        n_members=len(members),
        next_cursor=next_cursor,
    )
