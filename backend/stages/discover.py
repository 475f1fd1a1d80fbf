"""Discoveries: spectral clusterings of one similarity, from one eigendecomposition."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session, undefer

from backend.progress import WORK_LOG, Progress
from backend.read.document_offsets import DocumentOffsets
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses
from backend.read.similarities import clustering_labels, cosines, selection_indexes
from backend.schemas.discover import DiscoverParameters
from backend.stages.cluster_curves import fill_cluster_curves
from backend.stages.devices import Compute
from backend.stages.provenance import provenance
from backend.stages.select import select_predictions
from backend.stages.similarity import compute_similarity
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.lookup import evaluation_of
from backend.store.tables import (
    Cluster,
    Clustering,
    ClusterMember,
    Discovery,
    Similarity,
    SpectralArray,
)
from backend.store.tables.base import now

N_NEIGHBOURS = 8


@dataclass(frozen=True)
class _Members:
    """Facts of a selection's predictions that cluster scores are computed from, one a row."""

    predictions: NDArray[np.int64]
    documents: NDArray[np.int64]
    last_tokens: NDArray[np.int64]
    answers: NDArray[np.int64]
    losses: NDArray[np.float64]


def _members(session: Session, similarity: Similarity) -> _Members:
    selection = similarity.selection
    corpus = selection.corpus
    documents = read_all(session, corpus)
    indexes = selection_indexes(session, selection.id)
    places = DocumentOffsets.from_lengths([len(d) for d in documents]).locate(indexes)
    tokens = np.concatenate(documents).astype(np.int64)
    losses = evaluation_losses(session, evaluation_of(selection))[indexes]
    return _Members(
        predictions=indexes,
        documents=places.documents,
        last_tokens=tokens[places.tokens - 1],
        answers=tokens[places.tokens],
        losses=losses.astype(np.float64),
    )


def _discovery_row(
    session: Session, similarity: Similarity, params: DiscoverParameters, compute: Compute
) -> Discovery:
    parameters = {
        "n_clusters": sorted(set(params.n_clusters)),
        "n_init": params.n_init,
        "seed": params.seed,
        "affinity": "angular",
    }
    key = result_key("discovery", similarity=similarity.key, **parameters)
    row = session.scalars(select(Discovery).where(Discovery.key == key)).one_or_none()
    if row is None:
        checkpoint = evaluation_of(similarity.selection).checkpoint
        row = Discovery(
            key=key,
            name=f"{checkpoint.model.name} step {checkpoint.step}",
            similarity_id=similarity.id,
            parameters=parameters,
            completed_at=None,
            rank_frequency=None,
            provenance=provenance(device=compute.device, threads=compute.threads),
        )
        session.add(row)
        session.flush()
    return row


def _stored_spectrum(session: Session, discovery_id: int) -> dict[str, NDArray[Any]]:
    rows = session.scalars(
        select(SpectralArray)
        .where(SpectralArray.discovery_id == discovery_id)
        .options(undefer(SpectralArray.data))
    )
    return {row.name: arrays.read(row, f"{row.name} of discovery {discovery_id}") for row in rows}


def _embedding(
    store: Store, discovery: Discovery, affinity: NDArray[np.float64], compute: Compute
) -> Any:
    """Return the stored spectral embedding, or compute and store it."""
    from compute.spectral_clustering import SpectralEmbedding, spectral_embedding

    with store.session() as session:
        stored = _stored_spectrum(session, discovery.id)
    if stored:
        return SpectralEmbedding(stored["eigenvalues"], stored["coordinates"])
    WORK_LOG.info("eigendecomposition %s", discovery.key[:16])
    largest = max(discovery.parameters["n_clusters"])
    embedding = spectral_embedding(affinity, largest, device=compute.device)
    with store.begin() as session:
        for name in ("eigenvalues", "coordinates"):
            values = arrays.columns(getattr(embedding, name))
            session.add(SpectralArray(discovery_id=discovery.id, name=name, **values))
    return embedding


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cluster_rows(
    clustering_id: int,
    labels: NDArray[np.int32],
    members: _Members,
    affinity: NDArray[np.float64],
    cosine: NDArray[np.float32],
) -> list[dict[str, Any]]:
    from compute import cluster_scores as scores

    coherence = scores.coherence(affinity, labels)
    entropy = scores.answer_entropy(members.answers, labels)
    patterns = scores.best_two_token_pattern(members.last_tokens, members.answers, labels)
    neighbours = scores.cluster_neighbours(cosine, labels, N_NEIGHBOURS)
    rows = []
    for label, pattern in enumerate(patterns):
        rows_in = np.flatnonzero(labels == label)
        answers = Counter(members.answers[rows_in].tolist())
        top, count = min(answers.items(), key=lambda item: (-item[1], item[0]))
        near = zip(neighbours.indices[label], neighbours.mean_cosines[label], strict=True)
        rows.append(
            {
                "clustering_id": clustering_id,
                "rank": label + 1,
                "size": len(rows_in),
                "n_documents": len(set(members.documents[rows_in].tolist())),
                "coherence": _finite(coherence[label]),
                "mean_cosine": _mean_cosine(cosine, rows_in),
                "mean_loss_nats": float(members.losses[rows_in].mean()),
                "answer_entropy_nats": float(entropy[label]),
                "top_answer": top,
                "top_answer_share": count / len(rows_in),
                "pattern_last": pattern.last_token,
                "pattern_answer": pattern.answer,
                "pattern_precision": pattern.precision,
                "pattern_recall": pattern.recall,
                "neighbours": {str(int(i) + 1): float(c) for i, c in near if i >= 0},
            }
        )
    return rows


def _mean_cosine(cosine: NDArray[np.float32], rows: NDArray[np.intp]) -> float | None:
    n = len(rows)
    if n < 2:
        return None
    block = cosine[np.ix_(rows, rows)].astype(np.float64)
    return float((block.sum() - np.trace(block)) / (n * (n - 1)))


def _member_rows(
    clusters: dict[int, int],
    labels: NDArray[np.int32],
    order: NDArray[np.intp],
    predictions: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return rows of members; `clusters` maps label to cluster id, `order` is central first."""
    rows, position, previous = [], 0, -1
    for row in order.tolist():
        label = int(labels[row])
        position = position + 1 if label == previous else 0
        previous = label
        rows.append(
            {
                "cluster_id": clusters[label],
                "position": position,
                "row": row,
                "prediction": int(predictions[row]),
            }
        )
    return rows


def _store_clustering(
    session: Session, discovery: Discovery, result: Any, rows: dict[str, Any], members: _Members
) -> None:
    from compute.cluster_scores import order_by_centrality

    key = result_key("clustering", discovery=discovery.key, n_clusters=result.n_clusters)
    clustering = Clustering(
        key=key,
        discovery_id=discovery.id,
        n_clusters=result.n_clusters,
        inertia=result.inertia,
        **arrays.columns(result.labels.astype(np.int32)),
    )
    session.add(clustering)
    session.flush()
    cluster_rows = _cluster_rows(
        clustering.id, result.labels, members, rows["affinity"], rows["cosine"]
    )
    session.execute(insert(Cluster), cluster_rows)
    ids = session.execute(
        select(Cluster.rank, Cluster.id).where(Cluster.clustering_id == clustering.id)
    )
    by_label = {rank - 1: cluster_id for rank, cluster_id in ids}
    order = order_by_centrality(rows["cosine"], result.labels)
    session.execute(
        insert(ClusterMember), _member_rows(by_label, result.labels, order, members.predictions)
    )


def _missing(session: Session, discovery: Discovery) -> list[int]:
    done = session.scalars(
        select(Clustering.n_clusters).where(Clustering.discovery_id == discovery.id)
    ).all()
    return sorted(set(discovery.parameters["n_clusters"]) - set(done))


def _cluster_missing(
    store: Store, discovery: Discovery, missing: Sequence[int], compute: Compute, progress: Progress
) -> None:
    from compute.spectral_clustering import angular_affinity, cluster_embedding

    with store.session() as session:
        similarity = session.get_one(Similarity, discovery.similarity_id)
        members = _members(session, similarity)
    cosine = cosines(store, similarity)
    affinity = angular_affinity(np.asarray(cosine))
    shared = {"affinity": affinity, "cosine": np.asarray(cosine)}
    parameters = discovery.parameters
    total, n_missing = sum(parameters["n_clusters"]), sum(missing)
    with progress.task("cluster", total, unit="clusters", done=total - n_missing) as bar:
        embedding = _embedding(store, discovery, affinity, compute)
        for n_clusters in missing:
            WORK_LOG.info("cluster %s n_clusters %d", discovery.key[:16], n_clusters)
            result = cluster_embedding(
                embedding, n_clusters, n_init=parameters["n_init"], seed=parameters["seed"]
            )
            with store.begin() as session:
                _store_clustering(session, discovery, result, shared, members)
            bar.advance(n_clusters)


def _rank_frequency(session: Session, discovery_id: int) -> dict[str, Any]:
    from compute.rank_frequency import envelope_slope, rank_frequency

    rows = session.execute(
        select(Clustering.n_clusters, Clustering.id).where(Clustering.discovery_id == discovery_id)
    )
    sizes = {n: np.bincount(clustering_labels(session, i)) for n, i in rows}
    result = rank_frequency(sizes)
    try:
        fit: dict[str, Any] | None = asdict(envelope_slope(result.envelope))
    except ValueError:  # too few ranks for a slope; the plot then shows none
        fit = None
    return {"envelope": [int(size) for size in result.envelope], "fit": fit}


def discover(store: Store, params: DiscoverParameters, compute: Compute, progress: Progress) -> int:
    """Discover quanta under one checkpoint; stored results are not computed again.

    Returns:
        Id of the discovery.

    Raises:
        InvalidInputError: too few predictions are selected, or the losses were imported without
            weights.
    """
    similarity = compute_similarity(store, select_predictions(store, params), compute, progress)
    with store.begin() as session:
        row = _discovery_row(session, session.merge(similarity), params, compute)
    with store.claim(f"discover {row.id}"):
        with store.session() as session:
            missing = _missing(session, row)
        if missing:
            _cluster_missing(store, row, missing, compute, progress)
    # A discovery is marked as finished only when its curves are stored.
    fill_cluster_curves(store, progress)
    if row.completed_at is None:
        with store.begin() as session:
            attached = session.get_one(Discovery, row.id)
            attached.rank_frequency = _rank_frequency(session, row.id)
            attached.completed_at = now()
    return row.id
