"""Discoveries: members are labels, ranks are sizes, and nothing is computed twice."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering
from sklearn.manifold import spectral_embedding
from sklearn.metrics import adjusted_rand_score
from sqlalchemy import select

from backend.errors import InvalidInputError
from backend.progress import Silent
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses, loss_matrix
from backend.read.similarities import clustering_labels, cosines, selection_indexes
from backend.schemas.discover import DiscoverParameters
from backend.stages import demo
from backend.stages import discover as stage
from backend.store.content_hash import content_hash
from backend.store.database import Store
from backend.store.tables import (
    Cluster,
    ClusterCurve,
    Clustering,
    ClusterMember,
    CurveSet,
    Discovery,
    Evaluation,
    Selection,
    Similarity,
)
from compute.rank_frequency import rank_frequency
from compute.selection import induction_mask
from compute.spectral_clustering import angular_affinity
from tests.stores import MINI, ONE_CORE, build_mini


def clusterings(store: Store) -> list[Clustering]:
    with store.session() as session:
        return list(session.scalars(select(Clustering).order_by(Clustering.n_clusters)))


def test_selected_predictions_are_under_the_maximum_loss_and_not_induction(
    mini_store: Store,
) -> None:
    with mini_store.session() as session:
        row = session.scalars(select(Selection)).one()
        indexes = selection_indexes(session, row.id)
        losses = evaluation_losses(session, row.evaluation)
        explained = induction_mask(read_all(session, row.corpus))
    under = losses.astype(np.float32) < row.parameters["max_loss_nats"]
    assert indexes.tolist() == np.flatnonzero(under & ~explained)[:: MINI.stride].tolist()
    assert (row.size, row.n_under_threshold) == (len(indexes), under.sum())
    assert row.n_induction == (under & explained).sum() > 0


def test_ranks_are_labels_plus_one_and_sizes_fall(mini_store: Store) -> None:
    for clustering in clusterings(mini_store):
        with mini_store.session() as session:
            labels = clustering_labels(session, clustering.id)
            clusters = session.scalars(
                select(Cluster).where(Cluster.clustering_id == clustering.id).order_by(Cluster.rank)
            ).all()
        sizes = np.bincount(labels, minlength=clustering.n_clusters)
        assert [c.rank for c in clusters] == list(range(1, clustering.n_clusters + 1))
        assert [c.size for c in clusters] == sizes.tolist()
        assert sorted(sizes.tolist(), reverse=True) == sizes.tolist()
        assert sizes.sum() == len(labels)


def test_members_are_the_labels_and_point_at_their_predictions(mini_store: Store) -> None:
    with mini_store.session() as session:
        chosen = selection_indexes(session, session.scalars(select(Selection.id)).one())
    for clustering in clusterings(mini_store):
        with mini_store.session() as session:
            labels = clustering_labels(session, clustering.id)
            rows = session.execute(
                select(Cluster.rank, ClusterMember)
                .join(Cluster, Cluster.id == ClusterMember.cluster_id)
                .where(Cluster.clustering_id == clustering.id)
                .order_by(Cluster.rank, ClusterMember.position)
            ).all()
        assert sorted(member.row for _, member in rows) == list(range(len(labels)))
        for rank, member in rows:
            assert labels[member.row] == rank - 1
            assert member.prediction == chosen[member.row]
        for rank in range(1, clustering.n_clusters + 1):
            positions = [member.position for r, member in rows if r == rank]
            assert positions == list(range(len(positions)))


def test_facts_of_a_cluster_are_those_of_its_members(mini_store: Store) -> None:
    with mini_store.session() as session:
        selection = session.scalars(select(Selection)).one()
        documents = read_all(session, selection.corpus)
        numbered = [(d, p) for d, ids in enumerate(documents) for p in range(1, len(ids))]
        losses = evaluation_losses(session, selection.evaluation).astype(np.float64)
        for cluster in session.scalars(select(Cluster)):
            predictions = session.scalars(
                select(ClusterMember.prediction).where(ClusterMember.cluster_id == cluster.id)
            ).all()
            homes = [numbered[p] for p in predictions]
            answers = [int(documents[d][p]) for d, p in homes]
            assert cluster.n_documents == len({d for d, _ in homes})
            assert cluster.mean_loss_nats == pytest.approx(losses[predictions].mean(), rel=1e-12)
            counts = {a: answers.count(a) for a in answers}
            assert counts[cluster.top_answer] == max(counts.values())
            assert cluster.top_answer_share == max(counts.values()) / len(answers)
            shares = np.array(list(counts.values())) / len(answers)
            entropy = -(shares * np.log(shares)).sum()
            assert cluster.answer_entropy_nats == pytest.approx(entropy, abs=1e-9)


def test_clusters_are_those_of_scikit_learn_on_the_same_affinity(mini_store: Store) -> None:
    with mini_store.session() as session:
        similarity = session.scalars(select(Similarity)).one()
    affinity = angular_affinity(np.asarray(cosines(mini_store, similarity)))

    def inertia(labels: NDArray[Any], embedding: NDArray[np.float64]) -> float:
        parts = [embedding[labels == label] for label in np.unique(labels)]
        return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))

    agreement = {}
    for clustering in clusterings(mini_store):
        n_clusters = clustering.n_clusters
        with mini_store.session() as session:
            labels = clustering_labels(session, clustering.id)
        theirs = [
            SpectralClustering(n_clusters, affinity="precomputed", n_init=30, random_state=seed)
            .fit(affinity)
            .labels_
            for seed in range(4)
        ]
        embedding = spectral_embedding(
            affinity, n_components=n_clusters, random_state=0, drop_first=False
        )
        # k-means has several nearly equal optima, between which scikit-learn's seeds differ too:
        # ours is as good as their best, and as close to one of theirs as they are to each other.
        best = min(inertia(reference, embedding) for reference in theirs)
        assert inertia(labels, embedding) <= 1.015 * best
        agreement[n_clusters] = max(adjusted_rand_score(reference, labels) for reference in theirs)
        pairs = [adjusted_rand_score(x, y) for x, y in combinations(theirs, 2)]
        assert agreement[n_clusters] >= min(pairs) - 0.02
    assert agreement[5] == 1


def test_rank_frequency_is_that_of_the_stored_sizes(mini_store: Store) -> None:
    with mini_store.session() as session:
        row = session.scalars(select(Discovery)).one()
        sizes = {
            c.n_clusters: np.bincount(clustering_labels(session, c.id)) for c in row.clusterings
        }
        assert row.rank_frequency is not None
        assert row.rank_frequency["envelope"] == rank_frequency(sizes).envelope.tolist()


def test_every_cluster_has_the_curves_of_its_members_on_every_axis(mini_store: Store) -> None:
    with mini_store.session() as session:
        clusters = list(session.scalars(select(Cluster.id)))
        for curve_set in session.scalars(select(CurveSet)):
            evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
            losses = loss_matrix(mini_store, curve_set.corpus, evaluations)
            for cluster in clusters:
                curve = session.get_one(ClusterCurve, (cluster, curve_set.id))
                members = session.scalars(
                    select(ClusterMember.prediction).where(ClusterMember.cluster_id == cluster)
                ).all()
                member_losses = losses[list(members)].astype(np.float64)
                np.testing.assert_allclose(curve.mean_nats, member_losses.mean(0), rtol=1e-12)
                np.testing.assert_allclose(curve.low_nats, np.percentile(member_losses, 10, axis=0))
                np.testing.assert_allclose(
                    curve.high_nats, np.percentile(member_losses, 90, axis=0)
                )


def test_building_again_computes_nothing(writable_store: Store, work_log: list[str]) -> None:
    before = content_hash(writable_store)
    build_mini(writable_store)
    assert work_log == []
    assert content_hash(writable_store) == before


class _InterruptedError(Exception):
    """Stands for whatever ends a run."""


def without_discovery(store: Store, *, keep: int) -> None:
    """Take all clusterings but the first `keep` out of a store, as if never computed."""
    with store.begin() as session:
        row = session.scalars(select(Discovery)).one()
        row.completed_at = row.rank_frequency = None
        for clustering in row.clusterings[keep:]:
            for cluster in session.scalars(
                select(Cluster).where(Cluster.clustering_id == clustering.id)
            ):
                for table in (ClusterMember, ClusterCurve):
                    for child in session.scalars(
                        select(table).where(table.cluster_id == cluster.id)
                    ):
                        session.delete(child)
                session.flush()
                session.delete(cluster)
            session.flush()
            session.delete(clustering)


def test_a_resumed_discovery_clusters_only_what_is_missing(
    writable_store: Store, work_log: list[str]
) -> None:
    before = content_hash(writable_store)
    without_discovery(writable_store, keep=1)
    build_mini(writable_store)
    assert not any(line.startswith(("similarity", "eigendecomposition")) for line in work_log)
    numbers = [line.split()[-1] for line in work_log if " n_clusters " in line]
    assert numbers == ["10", "20"]
    assert content_hash(writable_store) == before


def test_the_demo_counts_as_built_only_when_its_last_result_is_stored(
    writable_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends before the curves of the clusters are stored is continued."""
    before = content_hash(writable_store)
    without_discovery(writable_store, keep=1)

    def ends(*_: object) -> None:
        raise _InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr("backend.stages.discover.fill_cluster_curves", ends)
        with pytest.raises(_InterruptedError):
            build_mini(writable_store)
    assert not demo.is_built(writable_store, MINI)
    build_mini(writable_store)
    assert demo.is_built(writable_store, MINI)
    assert content_hash(writable_store) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_clusters": ()}, r"n_clusters is \(\)"),
        ({"n_clusters": (1,)}, r"n_clusters\[0\] is 1"),
        ({"n_clusters": (10**6,)}, r"n_clusters\[0\] is 1000000"),
        ({"n_clusters": (10**4,)}, r"n_clusters \[10000\] for \d+ predictions"),
        ({"n_init": 0}, "n_init is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"max_loss_nats": float("nan")}, "max_loss_nats is nan"),
        ({"max_loss_nats": float("inf")}, "max_loss_nats is inf"),
        ({"max_loss_nats": -1.0}, r"max_loss_nats is -1.0"),
        ({"max_loss_nats": 1e-7}, "predictions remain"),
        ({"stride": 0}, "stride is 0"),
        ({"limit": 1}, "limit is 1"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_computed(
    writable_store: Store,
    work_log: list[str],
    changes: dict[str, object],
    message: str,
) -> None:
    values = demo.discover_params(MINI).model_dump() | changes
    with pytest.raises(InvalidInputError, match=message):
        stage.discover(writable_store, DiscoverParameters.parse(values), ONE_CORE, Silent())
    assert not any(line.startswith(("similarity", "eigen", "cluster")) for line in work_log)
