"""Contents of the store, for the first page."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.corpora.corpora import corpus_rows
from backend.quanta.cluster_list import annotated_clusters, cluster_rows
from backend.quanta.clusterings import clustering_rows, is_coherent, rank_frequency
from backend.quanta.views import ClusteringRow, ClusterRow, Overview
from backend.read.curve_sets import curve_sets
from backend.scaling.suites import scaling_view, suite_view
from backend.store.database import Store
from backend.store.lookup import corpus_named
from backend.store.tables import Clustering, Corpus, Suite

N_HIGHLIGHTS = 6
# Fine enough that a cluster is one skill, coarse enough that it has several members.
PREFERRED_N_CLUSTERS = 100


def _default(rows: list[ClusteringRow]) -> int | None:
    """Return the clustering nearest to 100 clusters of the newest discovery."""
    if not rows:
        return None
    newest = max(row.discovery for row in rows)
    siblings = [row for row in rows if row.discovery == newest]
    return min(siblings, key=lambda row: abs(row.n_clusters - PREFERRED_N_CLUSTERS)).id


def _highlights(store: Store, session: Session, clustering: Clustering) -> tuple[ClusterRow, ...]:
    """Return the most coherent clusters, no two with the same most common answer."""
    selection = clustering.discovery.similarity.selection
    rows = [row for row in annotated_clusters(session, clustering.id) if is_coherent(row[0])]
    rows.sort(key=lambda row: -(row[0].coherence or 0))
    answers: set[int | None] = set()
    highlights = []
    for row in rows:
        if row[0].top_answer not in answers:
            answers.add(row[0].top_answer)
            highlights.append(row)
    return cluster_rows(store, session, highlights[:N_HIGHLIGHTS], selection)


def overview(store: Store, corpus: str | None = None) -> Overview:
    """Return the contents of the store, with scaling curves on one corpus or on all.

    Raises:
        NotFoundError: there is no such corpus.
    """
    with store.session() as session:
        corpora = (
            [corpus_named(session, corpus)]
            if corpus
            else list(session.scalars(select(Corpus).order_by(Corpus.id)))
        )
        suites = list(session.scalars(select(Suite).order_by(Suite.id)))
        clusterings = clustering_rows(session)
        default = _default(clusterings)
        clustering = session.get(Clustering, default) if default else None
        return Overview(
            corpora=corpus_rows(session),
            suites=tuple(suite_view(session, suite, None) for suite in suites),
            scaling=tuple(
                scaling_view(session, curve_set)
                for row in corpora
                for suite in suites
                for curve_set in curve_sets(session, row, suite)
            ),
            clusterings=tuple(clusterings),
            default_clustering=default,
            rank_frequency=rank_frequency(session, clustering.discovery) if clustering else None,
            highlights=_highlights(store, session, clustering) if clustering else (),
        )
