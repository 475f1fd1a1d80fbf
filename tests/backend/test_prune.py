"""Pruning removes what is old and unused, and nothing that anything refers to."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from backend.settings import Settings
from backend.store.database import Store, make_engine
from backend.store.tables import (
    Annotation,
    Base,
    Checkpoint,
    Cluster,
    Clustering,
    Corpus,
    CurveSet,
    Discovery,
    Evaluation,
    Job,
    Model,
    Selection,
    Similarity,
    Suite,
)
from tests.backend.pruning import ids, removed
from tests.rows import NEW, OLD, Builder, pasted


@pytest.fixture
def build(any_store: Store) -> Builder:
    return Builder(any_store)


def in_memory(folder: Path) -> Store:
    engine = make_engine("sqlite://")
    Base.metadata.create_all(engine)
    return Store(engine, Settings(data_dir=folder))


def counts(store: Store) -> dict[str, int]:
    with store.session() as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }


def test_without_yes_everything_is_shown_and_nothing_is_removed(build: Builder) -> None:
    home = build.corpus("home", OLD, "book")
    build.evaluation(home, OLD, done=False, chunk=OLD)
    build.job("measure", "failed", OLD, {"corpus": "home"})
    before = counts(build.store)
    displayed = removed(build.store, dry_run=True)
    assert displayed["unfinished evaluations"].count == 1
    assert displayed["unfinished evaluations"].rows == 3
    assert displayed["unfinished evaluations"].n_bytes == 16
    assert displayed["ended jobs"].count == 1
    assert counts(build.store) == before
    assert removed(build.store) == displayed
    assert sum(item.count for item in removed(build.store).values()) == 0


def test_only_evaluations_that_stopped_and_are_not_needed_go(build: Builder) -> None:
    home = build.corpus("home", OLD, "book")
    other = build.corpus("other", OLD, "book")
    gone = build.evaluation(home, OLD, done=False, chunk=OLD)
    retained = {
        build.evaluation(home, OLD, done=True, chunk=OLD),
        build.evaluation(home, NEW, done=False, chunk=None),
        build.evaluation(home, OLD, done=False, chunk=NEW),  # it goes on
        listed := build.evaluation(home, OLD, done=False, chunk=OLD),
        selected := build.evaluation(home, OLD, done=False, chunk=OLD),
        build.evaluation(other, OLD, done=False, chunk=OLD),  # a job needs it
    }
    build.curve_set(other, [listed])
    build.selection(home, selected)
    build.job("measure", "running", OLD, {"corpus": "other"})
    assert removed(build.store)["unfinished evaluations"].count == 1
    assert ids(build.store, Evaluation) == retained
    assert gone not in retained


def test_a_similarity_that_stopped_goes_unless_a_discovery_has_it(build: Builder) -> None:
    selection = build.selection(build.corpus("home", OLD, "book"), None)
    build.similarity(selection, OLD, done=False, stripe=OLD)
    retained = {
        build.similarity(selection, OLD, done=True, stripe=OLD),
        build.similarity(selection, OLD, done=False, stripe=NEW),
        used := build.similarity(selection, OLD, done=False, stripe=OLD),
    }
    cluster = build.annotated_cluster(used, None)
    assert removed(build.store)["unfinished similarities"].count == 1
    assert ids(build.store, Similarity) == retained
    assert ids(build.store, Cluster) == {cluster}
    assert ids(build.store, Selection) == {selection}


def test_open_and_young_jobs_stay(build: Builder) -> None:
    retained = {
        build.job("measure", "queued", OLD, {"corpus": "home"}),
        build.job("measure", "running", OLD, {"corpus": "home"}),
        build.job("measure", "finished", NEW, {"corpus": "home"}),
        build.job("measure", "failed", NEW, {"corpus": "home"}),
    }
    build.job("measure", "finished", OLD, {"corpus": "home"})
    build.job("paste", "failed", OLD, {"corpus": "home"})
    assert removed(build.store)["ended jobs"].count == 2
    assert ids(build.store, Job) == retained


def test_a_pasted_text_goes_with_all_that_was_computed_for_it(build: Builder) -> None:
    home = build.corpus("home", OLD, "book")
    name, parameters = pasted("some text")
    corpus = build.corpus(name, OLD)
    evaluation = build.evaluation(corpus, OLD, done=True, chunk=OLD)
    build.curve_set(corpus, [evaluation])
    build.target_loss(corpus, OLD)
    build.job("paste", "finished", OLD, parameters)
    build.job("measure", "finished", OLD, {"corpus": name})
    done = removed(build.store)
    assert done["pasted texts"].count == 1
    assert ids(build.store, Corpus) == {home}
    assert ids(build.store, Job) == set()
    left = {table: n for table, n in counts(build.store).items() if n}
    assert set(left) == {"corpus", "document", "suite", "model", "checkpoint"}


@pytest.mark.parametrize(
    "reason",
    ["young", "named alike", "open job", "young job", "young measure", "selection", "annotation",
     "another corpus's curves"],
)  # fmt: skip
def test_a_pasted_text_that_something_needs_stays(build: Builder, reason: str) -> None:
    name, parameters = pasted("some text")
    at = NEW if reason == "young" else OLD
    corpus = build.corpus(name, at, "book" if reason == "named alike" else "pasted")
    evaluation = build.evaluation(corpus, OLD, done=True, chunk=OLD)
    if reason == "open job":
        build.job("paste", "queued", OLD, parameters)
    if reason == "young job":
        build.job("measure", "finished", NEW, {"corpus": name})
    if reason == "young measure":
        build.target_loss(corpus, NEW)
    if reason == "selection":
        build.selection(corpus, evaluation)
    if reason == "annotation":
        other = build.selection(build.corpus("home", OLD, "book"), None)
        similarity = build.similarity(other, OLD, done=True, stripe=OLD)
        build.annotated_cluster(similarity, build.curve_set(corpus, [evaluation]))
    if reason == "another corpus's curves":
        build.curve_set(build.corpus("home", OLD, "book"), [evaluation])
    before = counts(build.store)
    assert removed(build.store)["pasted texts"].count == 0
    assert counts(build.store) == before


TIMES = st.sampled_from([OLD, NEW])
PICK = st.integers(0, 7)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """References between a few corpora, evaluations, curve sets, clusters and jobs."""
    some = {"min_size": 0, "max_size": 4}
    return {
        "corpora": draw(st.lists(st.tuples(st.booleans(), TIMES), min_size=1, max_size=4)),
        "evaluations": draw(st.lists(st.tuples(PICK, TIMES, st.booleans(), TIMES), **some)),
        "curve_sets": draw(st.lists(st.tuples(PICK, st.lists(PICK, max_size=3)), **some)),
        "selections": draw(st.lists(st.tuples(PICK, PICK), **some)),
        "similarities": draw(st.lists(st.tuples(PICK, TIMES, st.booleans(), TIMES), **some)),
        "clusters": draw(st.lists(st.tuples(PICK, PICK), max_size=2)),
        "jobs": draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["queued", "running", "finished", "failed"]), TIMES, PICK
                ),
                **some,
            )
        ),
        "targets": draw(st.lists(st.tuples(PICK, TIMES), max_size=2)),
    }


def picked(made: list[Any], number: int) -> Any:
    return made[number % len(made)] if made else None


def construct(build: Builder, graph: dict[str, Any]) -> list[int]:
    """Make the rows of a graph; returns its annotated clusters."""
    names = [
        pasted(f"text {i}")[0] if is_pasted else f"corpus-{i}"
        for i, (is_pasted, _) in enumerate(graph["corpora"])
    ]
    corpora = [
        build.corpus(name, at, "pasted" if is_pasted else "book")
        for name, (is_pasted, at) in zip(names, graph["corpora"], strict=True)
    ]
    evaluations = [
        build.evaluation(picked(corpora, c), at, done=done, chunk=chunk)
        for c, at, done, chunk in graph["evaluations"]
    ]
    curve_sets = [
        build.curve_set(picked(corpora, c), [picked(evaluations, e) for e in es if evaluations])
        for c, es in graph["curve_sets"]
    ]
    selections = [
        build.selection(picked(corpora, c), picked(evaluations, e)) for c, e in graph["selections"]
    ]
    similarities = [
        build.similarity(picked(selections, s), at, done=done, stripe=stripe)
        for s, at, done, stripe in graph["similarities"]
        if selections
    ]
    for state, at, c in graph["jobs"]:
        build.job("measure", state, at, {"corpus": picked(names, c)})
    for c, at in graph["targets"]:
        build.target_loss(picked(corpora, c), at)
    return [
        build.annotated_cluster(picked(similarities, s), picked(curve_sets, v))
        for s, v in graph["clusters"]
        if similarities
    ]


def dangling(store: Store) -> list[Any]:
    """References that do not resolve: foreign keys, listed evaluations, corpora of open jobs."""
    with store.session() as session:
        broken = [tuple(row) for row in session.connection().exec_driver_sql(
            "PRAGMA foreign_key_check"
        )]  # fmt: skip
        evaluations = set(session.scalars(select(Evaluation.id)))
        for listed in session.scalars(select(CurveSet.evaluation_ids)):
            broken += [e for e in listed if e not in evaluations]
        names = set(session.scalars(select(Corpus.name)))
        broken += [row.id for row in session.scalars(select(Job))
                   if row.parameters["corpus"] not in names]  # fmt: skip
    return broken


def finished(store: Store, table: Any) -> set[int]:
    with store.session() as session:
        return set(session.scalars(select(table.id).where(table.completed_at.is_not(None))))


@settings(max_examples=120, deadline=None)
@given(graphs())
def test_whatever_refers_to_whatever_nothing_that_is_referred_to_goes(
    graph: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = in_memory(Path(folder))
        clusters = construct(Builder(store), graph)
        assert dangling(store) == []
        retained = (Selection, Discovery, Clustering, Cluster, Suite, Model, Checkpoint)
        before = {table: ids(store, table) for table in retained}
        similarities = finished(store, Similarity)
        jobs = ids(store, Job)
        removed(store)
        assert dangling(store) == []
        assert {table: ids(store, table) for table in retained} == before
        assert similarities <= ids(store, Similarity)
        assert ids(store, Job) <= jobs
        with store.session() as session:
            assert set(session.scalars(select(Annotation.cluster_id))) == set(clusters)
        rows = counts(store)
        assert sum(item.count for item in removed(store).values()) == 0  # once is enough
        assert counts(store) == rows
        store.close()
