"""Imported labels: sizes, ranks and slope as plain numpy gives them; tokens exactly as given."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from backend.corpora import predictions
from backend.errors import InvalidInputError, NotFoundError
from backend.exchange.label_store import LabelsSpec, import_labels
from backend.exchange.labels import (
    SampleContext,
    build_vocabulary,
    read_contexts,
    read_labels,
    sort_labels_by_size,
    tokenizer_json,
)
from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent
from backend.quanta import cluster_list, clusterings, clusters, similarities
from backend.quanta import comparison as compare
from backend.quanta.cluster_list import ClusterFilter
from backend.quanta.contexts import list_contexts
from backend.quanta.views import Context
from backend.read.tokens import Vocabulary, parse_tokenizer
from backend.stages.classify import classify
from backend.store.content_hash import content_hash
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Base, Discovery
from tests.factories import planted_sizes
from tests.processes import quanta

WORDS = ["\n", " the", "▁of", "<0x0A>", "�", "", " ", "é", "</b>", "🜂", "\0", "<unk>", "a\tb"]


def labels_of(n_samples: int, *n_clusters: int, seed: int = 0) -> dict[str, Any]:
    """Labels of planted sizes, shuffled, each list beside something of no interest."""
    rng = np.random.default_rng(seed)
    result = {}
    for k in n_clusters:
        sizes = planted_sizes(k, n_samples)
        names = rng.permutation(k)
        labels = rng.permutation(np.repeat(names, sizes))
        result[str(k)] = [labels.tolist(), {"inertia": 1.5}, None]
    return result


def contexts_of(n_samples: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    indexes = np.sort(rng.choice(10**9, n_samples, replace=False))
    return {
        str(index): {
            "context": [WORDS[i] for i in rng.integers(0, len(WORDS), rng.integers(1, 30))],
            "answer": WORDS[rng.integers(0, len(WORDS))],
        }
        for index in indexes.tolist()
    }


def written(folder: Path, labels: Any, contexts: Any = None) -> LabelsSpec:
    folder.mkdir(exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(labels))
    if contexts is None:
        return LabelsSpec(folder / "labels.json", "published")
    (folder / "contexts.json").write_text(json.dumps(contexts))
    return LabelsSpec(folder / "labels.json", "published", folder / "contexts.json")


def all_contexts(store: Store, cluster: int) -> list[Context]:
    """Every member of a cluster, page after page."""
    matches: list[Context] = []
    cursor = None
    while True:
        page = list_contexts(store, cluster, limit=100, cursor=cursor)
        matches += page.contexts
        cursor = page.next_cursor
        if cursor is None:
            return matches


def plain_slope(labels: dict[str, Any]) -> tuple[float, list[int]]:
    """Envelope slope and window by plain numpy: the published window, else rank 5 to size 5."""
    ordered = [np.sort(np.unique(rows[0], return_counts=True)[1])[::-1] for rows in labels.values()]
    envelope = np.array(
        [max(s[r] for s in ordered if r < len(s)) for r in range(max(map(len, ordered)))]
    )
    window = [101, 1000]
    if len(envelope) < 1000:
        window = [5, int((envelope >= 5).sum())]
    ranks = np.arange(window[0], window[1] + 1)
    slope = np.polyfit(np.log(ranks), np.log(envelope[ranks - 1]), 1)[0]
    return float(slope), window


@pytest.mark.parametrize(("n_samples", "n_clusters"), [(900, (10, 30, 60)), (8000, (400, 1100))])
def test_sizes_and_slope_are_those_of_plain_numpy(
    any_store: Store, tmp_path: Path, n_samples: int, n_clusters: tuple[int, ...]
) -> None:
    labels = labels_of(n_samples, *n_clusters)
    result = import_labels(any_store, written(tmp_path / "f", labels), Silent())
    slope, window = plain_slope(labels)
    assert result.fit is not None
    assert result.fit["slope"] == pytest.approx(slope, rel=1e-9)
    assert [result.fit["first_rank"], result.fit["last_rank"]] == window
    assert result.fit["comparable_to_published"] == (window == [101, 1000])
    for k in n_clusters:
        number, sizes = result.clusterings[k]
        assert sizes == sorted(np.bincount(labels[str(k)][0]).tolist(), reverse=True)
        view = clusterings.clustering(any_store, number)
        assert view.rank_frequency.sizes[k] == tuple(sizes)
        assert (view.imported, view.n_clusters, view.size) == (True, k, n_samples)
        assert (view.similarity_id, view.inertia, view.n_coherent) == (None, None, None)


def test_members_are_the_samples_of_one_label_in_their_order(
    any_store: Store, tmp_path: Path
) -> None:
    labels = labels_of(300, 7, 12)
    result = import_labels(any_store, written(tmp_path / "f", labels), Silent())
    given = np.array(labels["7"][0])
    number, _ = result.clusterings[7]
    page = cluster_list.list_clusters(any_store, number, ClusterFilter())
    seen: list[int] = []
    for row in page.clusters:
        held = all_contexts(any_store, row.id)
        members = [item.prediction for item in held]
        assert members == sorted(members)
        assert len(set(given[members])) == 1
        assert len(held) == row.size
        assert all(item.tokens == () and item.answer is None for item in held)
        assert row.example_prediction == members[0]
        seen += members
    assert len(set(seen)) == len(seen) == 300


def test_tokens_are_shown_exactly_as_they_were_given(any_store: Store, tmp_path: Path) -> None:
    labels, contexts = labels_of(60, 4), contexts_of(60)
    result = import_labels(any_store, written(tmp_path / "f", labels, contexts), Silent())
    samples = list(contexts.items())
    for row in cluster_list.list_clusters(
        any_store, result.clusterings[4][0], ClusterFilter()
    ).clusters:
        for item in list_contexts(any_store, row.id, context=64, limit=100).contexts:
            name, sample = samples[item.row]
            texts = [value.token.text for value in item.tokens]
            assert texts == [*sample["context"], sample["answer"]]
            assert [value.token.shown for value in item.tokens] == texts
            assert item.answer is not None
            assert item.answer.text == sample["answer"]
            assert item.document_id == f"prediction {name}"
            assert (item.loss_nats, item.truncated) == (None, False)
            view = predictions.prediction(any_store, "published", item.prediction)
            assert view.token == item.answer
            assert view.curves == ()
            assert row.id in {single.cluster for single in view.clusters}


def test_answers_and_patterns_are_counted_from_the_contexts(store: Store, tmp_path: Path) -> None:
    labels, contexts = labels_of(200, 5), contexts_of(200)
    result = import_labels(store, written(tmp_path / "f", labels, contexts), Silent())
    given, answers = np.array(labels["5"][0]), [c["answer"] for c in contexts.values()]
    by_label = {
        tuple(np.flatnonzero(given == k)): [answers[i] for i in np.flatnonzero(given == k)]
        for k in range(5)
    }
    page = cluster_list.list_clusters(store, result.clusterings[5][0], ClusterFilter())
    for row in page.clusters:
        view = clusters.cluster(store, row.id)
        held = all_contexts(store, row.id)
        expected = by_label[tuple(item.row for item in held)]
        assert row.top_answer is not None
        assert expected.count(row.top_answer.text) == max(map(expected.count, expected))
        assert row.top_answer_share == max(map(expected.count, expected)) / row.size
        counts = np.array([expected.count(word) for word in set(expected)]) / row.size
        assert row.answer_entropy_nats == pytest.approx(-(counts * np.log(counts)).sum())
        assert sum(count.count for count in view.answers) <= row.size
        assert (row.coherence, row.mean_cosine, row.mean_loss_nats) == (None, None, None)
    chosen = page.clusters[0]
    assert chosen.top_answer is not None
    requested = ClusterFilter(answer=chosen.top_answer.text)
    names = cluster_list.list_clusters(store, result.clusterings[5][0], requested).clusters
    assert chosen.id in {row.id for row in names}


def test_two_imported_clusterings_compare_and_have_no_similarity(
    store: Store, tmp_path: Path
) -> None:
    labels = labels_of(300, 6, 9)
    labels["20"] = labels["6"]  # fewer clusters than asked for: the same partition
    result = import_labels(store, written(tmp_path / "f", labels), Silent())
    ids = {k: number for k, (number, _) in result.clusterings.items()}
    same = compare.compare(store, ids[6], ids[20])
    assert (same.ari, same.n_common) == (1.0, 300)
    assert all(match.jaccard == 1 for match in same.matches)
    assert compare.compare(store, ids[6], ids[9]).ari < 0.2
    cluster = cluster_list.list_clusters(store, ids[6], ClusterFilter()).clusters[0]
    with pytest.raises(NotFoundError, match="imported as labels"):
        clusters.sub_matrix(store, cluster.id)
    with store.session() as session:
        number = session.get_one(Discovery, result.discovery).similarity_id
    with pytest.raises(NotFoundError, match="imported as labels"):
        similarities.similarity(store, number)
    (row,) = similarities.list_selections(store)
    assert (row.imported, row.model, row.size) == (True, None, 300)


def test_losses_of_the_samples_give_imported_clusters_their_curves(
    any_store: Store, tmp_path: Path
) -> None:
    result = import_labels(any_store, written(tmp_path / "f", labels_of(300, 6)), Silent())
    losses = np.random.default_rng(0).gamma(1, 2, (300, 3))
    np.save(tmp_path / "x.npy", losses)
    models = [{"name": f"m{i}", "nonembedding_parameters": 10**i, "step": 1} for i in range(3)]
    (tmp_path / "m.json").write_text(json.dumps(models))
    spec = LossesSpec(tmp_path / "x.npy", tmp_path / "m.json", "nats", "sizes", result.corpus)
    import_losses(any_store, spec, Silent())
    with any_store.session() as session:
        corpus, suite = corpus_named(session, result.corpus), suite_named(session, "sizes")
    classify(any_store, corpus, suite, Silent())
    page = cluster_list.list_clusters(any_store, result.clusterings[6][0], ClusterFilter())
    view = clusters.cluster(any_store, page.clusters[0].id)
    members = [item.prediction for item in all_contexts(any_store, view.row.id)]
    (band,) = view.curves
    assert band.mean_nats == pytest.approx(losses[members].mean(0).tolist(), abs=0.02)


def test_an_equal_import_is_found_and_another_is_refused(any_store: Store, tmp_path: Path) -> None:
    labels, contexts = labels_of(80, 4, 8), contexts_of(80)
    spec = written(tmp_path / "a", labels, contexts)
    first = import_labels(any_store, spec, Silent())
    digest = content_hash(any_store)
    reordered = {"8": [labels["8"][0], "other things"], "4": labels["4"]}
    repeated = import_labels(any_store, written(tmp_path / "b", reordered, contexts), Silent())
    assert repeated == replace(first, created=False)
    changed = json.loads(json.dumps(labels))
    changed["4"][0][7] = (changed["4"][0][7] + 1) % 4
    retold = json.loads(json.dumps(contexts))
    next(iter(retold.values()))["answer"] = "something else"
    for i, other in enumerate([(changed, contexts), (labels, retold), (labels, None)]):
        with pytest.raises(InvalidInputError, match="published belongs to another corpus"):
            import_labels(any_store, written(tmp_path / f"c{i}", *other), Silent())
    assert content_hash(any_store) == digest


BAD_LABELS: list[tuple[Any, str]] = [
    ([], "not contain an object with labels"),
    ({}, "not contain an object with labels"),
    ({"four": [[0]]}, "n_clusters is 'four'"),
    ({"0": [[0]]}, "n_clusters is '0'"),
    ({"4": [0, 1]}, "n_clusters 4 has no list of labels"),
    ({"4": []}, "n_clusters 4 has no list of labels"),
    ({"4": [[]]}, "n_clusters 4 has no list of labels"),
    ({"4": [[0, 4]]}, "label of sample 1 is 4"),
    ({"4": [[0, -1]]}, "label of sample 1 is -1"),
    ({"4": [[0, 1.0]]}, r"label of sample 1 is 1\.0"),
    ({"4": [[True, 1]]}, "label of sample 0 is True"),
    ({"4": [[0, None]]}, "label of sample 1 is None"),
    ({"4": [[0, 1]], "2": [[0, 1, 1]]}, "n_clusters 4 has 2 labels, n_clusters 2 has 3"),
]


@pytest.mark.parametrize(("labels", "words"), BAD_LABELS)
def test_labels_of_another_form_are_refused(
    store: Store, tmp_path: Path, labels: Any, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        import_labels(store, written(tmp_path / "f", labels), Silent())
    assert nothing_stored(store)


def nothing_stored(store: Store) -> bool:
    with store.session() as session:
        tables = Base.metadata.tables.values()
        return not any(session.scalar(select(func.count()).select_from(t)) for t in tables)


BAD_CONTEXTS: list[tuple[Any, str]] = [
    ([], "not contain an object with contexts"),
    ({"1": {"context": ["a"], "answer": "b"}}, "has 1 contexts, the labels have 2 samples"),
    ({"1": {"context": ["a"], "answer": "b"}, "x": {}}, "prediction 'x'"),
    ({"1": {"context": ["a"], "answer": "b"}, "2": []}, "prediction '2' is"),
    ({"1": {"context": ["a"], "answer": "b"}, "2": {"context": [], "answer": "b"}}, "no context"),
    ({"1": {"context": ["a"], "answer": "b"}, "2": {"context": ["a"]}}, "answer is None"),
    ({"1": {"context": [3], "answer": "b"}, "2": {}}, "token 0 is 3, not a string"),
    ({"1": {"context": ["\ud800"], "answer": "b"}, "2": {}}, "unpaired surrogate"),
]


@pytest.mark.parametrize(("contexts", "words"), BAD_CONTEXTS)
def test_contexts_of_another_form_are_refused(
    store: Store, tmp_path: Path, contexts: Any, words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        import_labels(store, written(tmp_path / "f", {"2": [[0, 1]]}, contexts), Silent())
    assert nothing_stored(store)


def test_a_prediction_twice_is_refused_not_silently_dropped(tmp_path: Path) -> None:
    item = '{"context": ["a"], "answer": "b"}'
    path = tmp_path / "contexts.json"
    path.write_text(f'{{"7": {item}, "7": {item}}}')
    with pytest.raises(InvalidInputError, match="'7' occurs twice"):
        read_contexts(path, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["2", "5", "context", "answer"]), inner, max_size=3)
    ),
    max_leaves=15,
)
QUICK = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(JSON)
def test_no_json_makes_the_readers_fail_otherwise(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    with suppress(InvalidInputError):
        result = read_labels(path)
        assert {len(labels) for labels in result.values()} == {len(next(iter(result.values())))}
        assert all(0 <= labels.min() <= labels.max() < k for k, labels in result.items())
    n_samples = len(value) if isinstance(value, dict) else 1
    with suppress(InvalidInputError):
        assert len(read_contexts(path, n_samples)) == n_samples


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_renumbering_keeps_the_partition_and_sorts_it(labels: list[int]) -> None:
    ranks, sizes = sort_labels_by_size(np.array(labels, np.int32))
    assert sizes == np.bincount(ranks).tolist() == sorted(sizes, reverse=True)
    assert len({(a, b) for a, b in zip(labels, ranks.tolist(), strict=True)}) == len(set(labels))
    first = [ranks.tolist().index(k) for k in range(len(sizes))]
    assert all(
        a < b for a, b, s, t in zip(first, first[1:], sizes, sizes[1:], strict=False) if s == t
    )


TOKENS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(WORDS)


@settings(max_examples=150, deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=12), TOKENS)
def test_a_vocabulary_of_any_strings_gives_them_back(context: list[str], answer: str) -> None:
    vocabulary = build_vocabulary([SampleContext(0, tuple(context), answer)])
    read = Vocabulary(parse_tokenizer(tokenizer_json(vocabulary)))
    for token, number in vocabulary.items():
        assert read.text(number) == token
    ids = [vocabulary[token] for token in (*context, answer)]
    assert [token.shown for token in read.tokens(ids)] == [*context, answer]


def test_the_command_prints_sizes_and_slope(tmp_path: Path) -> None:
    labels = labels_of(500, 12, 25)
    spec = written(tmp_path / "f", labels, contexts_of(500))
    words = ["import", "labels", str(spec.labels), "--contexts", str(spec.contexts)]
    displayed = json.loads(quanta(tmp_path / "d", *words, "--name", "p", "--json").stdout)
    slope, window = plain_slope(labels)
    assert (displayed["envelope_slope"], displayed["slope_window"]) == (
        pytest.approx(slope),
        window,
    )
    for k in ("12", "25"):
        sizes = sorted(np.bincount(labels[k][0]).tolist(), reverse=True)
        assert displayed["clusterings"][k]["sizes"] == sizes
    repeated = json.loads(quanta(tmp_path / "d", *words, "--name", "p", "--json").stdout)
    assert repeated == {**displayed, "created": False}


def test_too_few_ranks_have_no_slope(store: Store, tmp_path: Path) -> None:
    result = import_labels(store, written(tmp_path / "f", {"2": [[0, 1, 1]]}), Silent())
    assert result.fit is None
    assert result.clusterings[2][1] == [2, 1]
