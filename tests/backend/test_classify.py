"""Curve sets: classes are those of compute.curve_classes on stored losses."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from backend.errors import NotReadyError
from backend.progress import Silent
from backend.read import tallies
from backend.read.losses import curve_scores as stored_scores
from backend.read.losses import evaluation_losses, loss_matrix
from backend.stages import classify as stage
from backend.stages.suites import add_suite
from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import Checkpoint, Corpus, CurveSet, Document, Evaluation, Suite
from compute.curve_classes import CURVE_CLASSES, DEFAULT_THRESHOLDS, curve_scores
from tests.stores import Pipeline, small_corpus, small_suite

Made = tuple[Store, Pipeline]


def curve_sets(built: Made) -> list[CurveSet]:
    store, pipeline = built
    with store.session() as session:
        rows = [session.get_one(CurveSet, i) for i in pipeline.curve_sets]
        assert all(row.corpus.name for row in rows)  # loaded for use after the session
        return rows


def losses_of(built: Made, curve_set: CurveSet) -> NDArray[np.float16]:
    store, _ = built
    with store.session() as session:
        columns = [
            evaluation_losses(session, session.get_one(Evaluation, i))
            for i in curve_set.evaluation_ids
        ]
    return np.stack(columns, axis=1)


def test_axes_are_sizes_at_the_last_step_and_the_steps_of_each_model(pipeline_store: Made) -> None:
    store, _ = pipeline_store
    by_size, by_step = curve_sets(pipeline_store)
    assert (by_size.axis, by_step.axis) == ("N", "S")
    with store.session() as session:
        homes = [session.get_one(Evaluation, i).checkpoint for i in by_size.evaluation_ids]
        assert [(c.model.name, c.step) for c in homes] == [("s1", 2000), ("s2", 2000), ("s3", 2000)]
        sizes = [float(c.model.nonembedding_parameters) for c in homes]
    assert by_size.axis_values == sizes == sorted(sizes)


def test_step_0_has_no_place_on_the_axis_of_steps(pipeline_store: Made) -> None:
    _, by_step = curve_sets(pipeline_store)
    assert by_step.axis_values == [64.0, 500.0, 2000.0]
    with pipeline_store[0].session() as session:
        steps = [session.get_one(Evaluation, i).checkpoint.step for i in by_step.evaluation_ids]
    assert steps == [64, 500, 2000]


def test_stored_classes_and_scores_are_those_of_the_stored_losses(pipeline_store: Made) -> None:
    store, _ = pipeline_store
    for curve_set in curve_sets(pipeline_store):
        losses = losses_of(pipeline_store, curve_set)
        scores = curve_scores(losses, np.array(curve_set.axis_values))
        for name, dtype in stage.SCORE_DTYPES.items():
            stored = stored_scores(store, curve_set, name)
            expected = np.asarray(getattr(scores, name))
            np.testing.assert_array_equal(stored, expected.astype(dtype), err_msg=name)


def test_the_mapped_matrix_is_the_stored_losses(pipeline_store: Made) -> None:
    store, pipeline = pipeline_store
    for curve_set in curve_sets(pipeline_store):
        with store.session() as session:
            evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
        matrix = loss_matrix(store, pipeline.corpus, evaluations)
        np.testing.assert_array_equal(matrix, losses_of(pipeline_store, curve_set))


def test_summary_equals_numpy_on_the_stored_losses(pipeline_store: Made) -> None:
    for curve_set in curve_sets(pipeline_store):
        losses = losses_of(pipeline_store, curve_set).astype(np.float64)
        summary: dict[str, Any] = curve_set.summary or {}
        np.testing.assert_allclose(summary["mean_nats"], losses.mean(0), rtol=1e-12)
        codes = curve_scores(losses, np.array(curve_set.axis_values)).curve_class
        for code, name in enumerate(CURVE_CLASSES):
            assert summary["classes"][name] == (codes == code).mean()
        for shares, column in zip(summary["histograms"], losses.T, strict=True):
            inside = [
                ((column >= low) & (column < high)).mean()
                for low, high in zip(stage.HISTOGRAM_EDGES, stage.HISTOGRAM_EDGES[1:], strict=False)
            ]
            np.testing.assert_allclose(shares, inside, atol=1e-12)


def test_units_of_the_bootstrap_are_documents(pipeline_store: Made) -> None:
    store, pipeline = pipeline_store
    for curve_set in curve_sets(pipeline_store):
        losses = losses_of(pipeline_store, curve_set)
        with store.session() as session:
            sums = tallies.units(session, curve_set)
            rows = session.scalars(
                select(Document)
                .where(Document.n_predictions > 0, Document.corpus_id == pipeline.corpus.id)
                .order_by(Document.index)
            ).all()
        assert len(sums) == len(rows)
        for row_sums, row in zip(sums, rows, strict=True):
            part = losses[row.first_prediction : row.first_prediction + row.n_predictions]
            assert row_sums.tolist() == [len(part), *part.astype(np.float64).sum(0)]


@pytest.mark.parametrize("fall", [1, 127, 128, 152])
def test_a_fall_late_on_an_axis_of_153_steps_is_stored_as_it_is(fall: int) -> None:
    """Pythia has 153 steps above 0, more than a signed byte counts."""
    losses = np.full((1, 153), 8.0, np.float16)
    losses[:, fall:] = 0.1
    curve_set = CurveSet(
        id=1,
        key="k",
        axis_values=[float(s) for s in range(1, 154)],
        thresholds=asdict(DEFAULT_THRESHOLDS),
    )
    rows = {row.name: row for row in stage._chunk_rows(curve_set, 0, losses, np.array([1]), None)}
    assert arrays.read(rows["published_monogenic"], "j").tolist() == [fall]
    assert arrays.read(rows["published_banded"], "j").tolist() == [fall]


def test_an_interrupted_classification_computes_only_what_is_missing(
    writable_store: Store, work_log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with writable_store.begin() as session:
        corpus, suite = session.scalars(select(Corpus)).one(), session.scalars(select(Suite)).one()
        curve_set = session.scalars(select(CurveSet).where(CurveSet.axis == "N")).one()
        old_summary, n_chunks = curve_set.summary, curve_set.n_chunks
        curve_set.completed_at = curve_set.summary = None
    stage.classify(writable_store, corpus, suite, Silent())
    assert work_log == []  # every chunk was there
    with writable_store.begin() as session:
        row = session.get_one(CurveSet, curve_set.id)
        assert row.summary == old_summary
        assert row.completed_at is not None
        from backend.store.tables import CurveChunk

        for chunk in session.scalars(
            select(CurveChunk).where(
                CurveChunk.curve_set_id == row.id, CurveChunk.chunk == n_chunks - 1
            )
        ):
            session.delete(chunk)
        row.completed_at = row.summary = None
    stage.classify(writable_store, corpus, suite, Silent())
    assert work_log == [f"classify {curve_set.key[:16]} chunk {n_chunks - 1}"]


def test_too_few_evaluations_are_refused_with_what_to_do(store: Store, tmp_path: Any) -> None:
    (tmp_path / "suite").mkdir()
    suite = add_suite(store, small_suite(tmp_path / "suite", s1=(2000,)), "small", "", Silent())
    corpus = small_corpus(store, documents=2)
    with pytest.raises(NotReadyError, match="quanta evaluate small first-2"):
        stage.classify(store, corpus, suite, Silent())
    with store.session() as session:
        assert session.scalars(select(Checkpoint)).one().step == 2000
        assert session.scalars(select(CurveSet)).all() == []


@pytest.mark.parametrize(
    ("last", "common", "step"),
    [
        ({1: 9, 2: 9, 3: 9}, {1, 9}, 9),
        ({1: 9, 2: 9, 3: 9, 4: 5}, {1, 5}, 9),  # one was interrupted: it is left out
        ({1: 9, 2: 9, 3: 9, 4: 20}, {9}, 9),  # one is ahead
        ({1: 9, 2: 9, 3: 9, 4: 20, 5: 20, 6: 20}, {9}, 20),  # as many: the later step
        ({1: 9, 2: 20, 3: 40}, {4, 9}, 9),  # trained for different times
        ({1: 9, 2: 20, 3: 40}, set(), None),
    ],
)
def test_sizes_are_compared_at_the_last_step_of_most(
    last: dict[int, int], common: set[int], step: int | None
) -> None:
    assert stage.size_step(last, common) == step
