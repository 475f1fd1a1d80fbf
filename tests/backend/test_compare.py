"""Agreement of clusterings against scikit-learn and closed cases."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sqlalchemy import select

from backend.errors import InvalidInputError, NotFoundError
from backend.quanta.comparison import (
    adjusted_rand_index,
    best_matches,
    compare,
    contingency,
    normalized_mutual_information,
)
from backend.settings import Settings
from backend.store import arrays
from backend.store.database import Store, open_store
from backend.store.tables import (
    Checkpoint,
    Cluster,
    Clustering,
    Corpus,
    Discovery,
    Evaluation,
    Model,
    Selection,
    Similarity,
    Suite,
    Tokenizer,
)
from backend.store.tables.base import now


@pytest.mark.parametrize(("n", "n_a", "n_b"), [(2, 2, 2), (50, 3, 7), (500, 40, 60), (9, 9, 1)])
def test_scores_equal_those_of_scikit_learn(n: int, n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(5):
        a, b = rng.integers(0, n_a, n), rng.integers(0, n_b, n)
        table = contingency(a, b, n_a, n_b)
        assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
        assert normalized_mutual_information(table) == pytest.approx(
            normalized_mutual_info_score(a, b), abs=1e-12
        )


def test_equal_partitions_score_one_whatever_their_names() -> None:
    a = np.array([0, 0, 1, 1, 2, 3])
    table = contingency(a, 3 - a, 4, 4)
    assert adjusted_rand_index(table) == 1
    assert normalized_mutual_information(table) == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 4])
def test_one_cluster_against_one_cluster_scores_one(n: int) -> None:
    table = np.array([[n]])
    assert adjusted_rand_index(table) == 1
    assert normalized_mutual_information(table) == 1


def test_scores_do_not_overflow_for_millions_of_predictions() -> None:
    table = np.diag([2_000_000, 1_000_000]).astype(np.int64)
    assert adjusted_rand_index(table) == 1


def test_counts_of_the_table_are_counts_of_pairs_of_labels() -> None:
    table = contingency(np.array([0, 0, 1]), np.array([2, 2, 0]), 2, 3)
    assert table.tolist() == [[0, 0, 2], [1, 0, 0]]


def test_matches_maximise_the_jaccard_index_and_say_whether_it_is_mutual() -> None:
    table = np.array([[8, 2, 0], [0, 1, 0], [0, 0, 0]])
    first, second = best_matches(table, [10, 11, 12], [20, 21, 22])
    assert (first.cluster_a, first.cluster_b, first.shared) == (10, 20, 8)
    assert first.jaccard == pytest.approx(0.8)
    assert first.mutual
    assert (second.cluster_a, second.cluster_b) == (11, 21)
    assert second.jaccard == pytest.approx(1 / 3)
    assert second.mutual


def _store_of(tmp_path: Path) -> Store:
    """Two selections of one corpus and one of another; a clustering of each."""
    store = open_store(Settings(data_dir=tmp_path, database_url=""))
    with store.begin() as session:
        tokenizer = Tokenizer(key="t", vocabulary_size=2, json=b"{}")
        suite = Suite(name="s", description="", tokenizer_key="t")
        model = Model(suite=suite, name="m", parameters=1, nonembedding_parameters=1, config={})
        checkpoint = Checkpoint(model=model, step=1, tokens_seen=1, key="c", location="")
        session.add_all([tokenizer, checkpoint])
        corpora = [_corpus(f"corpus-{i}", tokenizer) for i in range(2)]
        parts = [(0, [1, 3, 5, 7]), (0, [3, 5, 7, 9]), (1, [1, 3, 5, 7])]
        for i, (corpus, predictions) in enumerate(parts):
            session.add(_clustering(f"k{i}", corpora[corpus], checkpoint, predictions))
        session.flush()
        for clustering in session.scalars(select(Clustering)):
            session.add_all(_cluster(clustering.id, rank) for rank in (1, 2))
    return store


def _corpus(name: str, tokenizer: Tokenizer) -> Corpus:
    sizes = dict.fromkeys(
        ("max_tokens", "chunk_predictions", "n_documents", "n_tokens", "n_predictions", "n_chunks"),
        10,
    )
    return Corpus(key=name, name=name, tokenizer=tokenizer, prefix=[], provenance={}, **sizes)


def _clustering(
    key: str, corpus: Corpus, checkpoint: Checkpoint, predictions: list[int]
) -> Clustering:
    evaluation = Evaluation(
        key=key, corpus=corpus, checkpoint=checkpoint, n_chunks=1, provenance={}
    )
    selection = Selection(
        key=key,
        corpus=corpus,
        evaluation=evaluation,
        parameters={},
        size=4,
        n_under_threshold=4,
        n_induction=0,
        **arrays.columns(np.array(predictions)),
    )
    similarity = Similarity(
        key=key,
        selection=selection,
        checkpoint=checkpoint,
        measure="cosine",
        parameters={},
        size=4,
        stripe_rows=4,
        n_stripes=1,
        provenance={},
    )
    discovery = Discovery(
        key=key,
        name=key,
        similarity=similarity,
        parameters={},
        provenance={},
        completed_at=now(),
    )
    labels = arrays.columns(np.array([0, 0, 0, 1], dtype=np.int32))
    return Clustering(key=key, discovery=discovery, n_clusters=2, inertia=0.0, **labels)


def _cluster(clustering_id: int, rank: int) -> Cluster:
    scores = dict.fromkeys(
        ("mean_loss_nats", "answer_entropy_nats", "top_answer_share", "pattern_precision"), 0.5
    )
    tokens = dict.fromkeys(("top_answer", "pattern_last", "pattern_answer"), 0)
    return Cluster(
        clustering_id=clustering_id,
        rank=rank,
        size=3 if rank == 1 else 1,
        n_documents=1,
        pattern_recall=0.5,
        neighbours={},
        **scores,
        **tokens,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _store_of(tmp_path_factory.mktemp("compare"))


def test_a_clustering_agrees_with_itself(store: Store) -> None:
    same = compare(store, 1, 1)
    assert (same.n_common, same.ari, same.overlap) == (4, 1.0, ((3, 0), (0, 1)))
    assert same.nmi == pytest.approx(1)
    assert all(match.mutual and match.jaccard == 1 for match in same.matches)
    assert [match.cluster_a for match in same.matches] == [
        match.cluster_b for match in same.matches
    ]


def test_clusterings_of_two_selections_are_compared_where_they_overlap(store: Store) -> None:
    # Predictions 3, 5, 7 are labelled 0, 0, 1 by the first and 0, 0, 0 by the second.
    view = compare(store, 1, 2)
    assert (view.n_common, view.overlap) == (3, ((2, 0), (1, 0)))
    assert view.ari == pytest.approx(adjusted_rand_score([0, 0, 1], [0, 0, 0]))
    assert compare(store, 2, 1).overlap == ((2, 1), (0, 0))


def test_a_capped_overlap_says_so(store: Store) -> None:
    view = compare(store, 1, 1, limit=1)
    assert (view.overlap, view.truncated) == (((3,),), True)
    assert len(view.matches) == 2


def test_other_corpora_cannot_be_compared(store: Store) -> None:
    with pytest.raises(InvalidInputError) as raised:
        compare(store, 1, 3)
    assert raised.value.parameter == "b"
    with pytest.raises(NotFoundError):
        compare(store, 1, 99)
