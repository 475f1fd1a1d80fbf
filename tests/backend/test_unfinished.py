"""A discovery that is not finished is nowhere shown as one."""

import pytest
from sqlalchemy import select

from backend.corpora import predictions
from backend.errors import NotFoundError
from backend.quanta import cluster_list, clusterings, clusters, overview
from backend.quanta import comparison as compare
from backend.quanta.cluster_list import ClusterFilter
from backend.quanta.contexts import list_contexts
from backend.store.database import Store
from backend.store.tables import Cluster, ClusterMember, Discovery


@pytest.fixture
def unfinished(writable_store: Store) -> Store:
    """The miniature demo as a kill during clustering leaves it."""
    with writable_store.begin() as session:
        for discovery in session.scalars(select(Discovery)):
            discovery.completed_at = None
    return writable_store


def test_an_unfinished_discovery_is_not_listed(unfinished: Store) -> None:
    assert clusterings.list_clusterings(unfinished) == ()
    view = overview.overview(unfinished)
    assert view.clusterings == ()
    assert view.default_clustering is None
    assert view.rank_frequency is None


def test_no_token_names_a_cluster_of_an_unfinished_discovery(unfinished: Store) -> None:
    with unfinished.session() as session:
        member = session.scalars(select(ClusterMember)).first()
        assert member is not None
    corpus = overview.overview(unfinished).corpora[0].id
    assert predictions.prediction(unfinished, corpus, member.prediction).clusters == ()


def test_clusterings_of_an_unfinished_discovery_are_not_found(unfinished: Store) -> None:
    with unfinished.session() as session:
        cluster = session.scalars(select(Cluster)).first()
        assert cluster is not None
    home = cluster.clustering_id
    with pytest.raises(NotFoundError):
        clusterings.clustering(unfinished, home)
    with pytest.raises(NotFoundError):
        cluster_list.list_clusters(unfinished, home, ClusterFilter())
    with pytest.raises(NotFoundError):
        compare.compare(unfinished, home, home)
    for query in (clusters.cluster, list_contexts, clusters.sub_matrix):
        with pytest.raises(NotFoundError):
            query(unfinished, cluster.id)
