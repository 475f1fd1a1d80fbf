"""Curve sets: every prediction's curve along one axis, with class and scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import NotReadyError
from backend.progress import WORK_LOG, Progress
from backend.read.curve_index import compiled_search, curve_index
from backend.read.documents import chunk_spans
from backend.read.losses import SCORE_DTYPES, loss_matrix
from backend.stages.cluster_curves import fill_cluster_curves
from backend.stages.curve_tallies import (
    HISTOGRAM_EDGES,
    explained_by_induction,
    summary,
    tally_arrays,
    unit_sizes,
)
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.lookup import finished_evaluations
from backend.store.tables import Corpus, CurveChunk, CurveSet, Evaluation, Suite
from backend.store.tables.base import now

__all__ = ["HISTOGRAM_EDGES", "SCORE_DTYPES", "classify"]

MIN_POINTS = 3


@dataclass(frozen=True)
class _Axis:
    axis: str
    model_id: int | None
    values: tuple[float, ...]
    evaluations: tuple[Evaluation, ...]


def size_step(last: Mapping[int, int], common: set[int]) -> int | None:
    """Return the step at which sizes are compared.

    It is the last step of the largest number of models; of equally frequent steps the latest. One
    interrupted model is thus left out, and does not move all others back to its step. If fewer than
    MIN_POINTS models end at that step, it is the latest step that all models have.
    """
    counts = Counter(last.values())
    step, n_models = max(counts.items(), key=lambda item: (item[1], item[0]))
    if n_models >= MIN_POINTS:
        return step
    return max(common, default=None)


def _by_size(evaluations: Sequence[Evaluation]) -> _Axis | None:
    """Return the axis of sizes, every model at the same step."""
    by_model: dict[int, dict[int, Evaluation]] = {}
    for evaluation in evaluations:
        checkpoint = evaluation.checkpoint
        by_model.setdefault(checkpoint.model_id, {})[checkpoint.step] = evaluation
    if len(by_model) < MIN_POINTS:
        return None
    common = set.intersection(*(set(steps) for steps in by_model.values()))
    step = size_step({model: max(steps) for model, steps in by_model.items()}, common)
    if step is None:
        WORK_LOG.warning("no curves over size: the models have no step in common")
        return None
    chosen = [steps[step] for steps in by_model.values() if step in steps]
    for steps in by_model.values():
        if step not in steps:
            model = next(iter(steps.values())).checkpoint.model.name
            WORK_LOG.warning(
                "curves over size at step %d leave out %s: it has no such step", step, model
            )
    chosen.sort(key=lambda e: e.checkpoint.model.nonembedding_parameters)
    models = [e.checkpoint.model for e in chosen]
    for smaller, larger in pairwise(models):
        if smaller.nonembedding_parameters == larger.nonembedding_parameters:
            WORK_LOG.warning(
                "no curves over size: %s and %s have the same N", smaller.name, larger.name
            )
            return None
    sizes = tuple(float(model.nonembedding_parameters) for model in models)
    return _Axis("N", None, sizes, tuple(chosen)) if len(sizes) >= MIN_POINTS else None


def _by_step(evaluations: Sequence[Evaluation]) -> list[_Axis]:
    """Return one axis per model, without step 0, which a log axis cannot show."""
    by_model: dict[int, list[Evaluation]] = {}
    for evaluation in evaluations:
        if evaluation.checkpoint.step > 0:
            by_model.setdefault(evaluation.checkpoint.model_id, []).append(evaluation)
    return [
        _Axis("S", model, tuple(float(e.checkpoint.step) for e in rows), tuple(rows))
        for model, rows in by_model.items()
        if len(rows) >= MIN_POINTS
    ]


def _axes(session: Session, corpus: Corpus, suite: Suite) -> list[_Axis]:
    evaluations = finished_evaluations(session, corpus, suite)
    by_size = _by_size(evaluations)
    axes = ([by_size] if by_size else []) + _by_step(evaluations)
    if not axes:
        raise NotReadyError(
            f"suite {suite.name} has fewer than {MIN_POINTS} sizes of different N at one step, and "
            f"no model with {MIN_POINTS} steps after 0, evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}` for more of them",
        )
    return axes


def _curve_set(session: Session, corpus: Corpus, suite: Suite, axis: _Axis) -> CurveSet:
    from compute.curve_classes import DEFAULT_THRESHOLDS

    thresholds = asdict(DEFAULT_THRESHOLDS)
    key = result_key(
        "curve_set",
        axis=axis.axis,
        values=list(axis.values),
        evaluations=[e.key for e in axis.evaluations],
        thresholds=thresholds,
    )
    row = session.scalars(select(CurveSet).where(CurveSet.key == key)).one_or_none()
    if row is None:
        row = CurveSet(
            key=key,
            corpus=corpus,
            suite=suite,
            model_id=axis.model_id,
            axis=axis.axis,
            axis_values=list(axis.values),
            evaluation_ids=[e.id for e in axis.evaluations],
            thresholds=thresholds,
            n_chunks=corpus.n_chunks,
            completed_at=None,
            summary=None,
        )
        session.add(row)
        session.flush()
    return row


def _to_stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "float16":
        # Features of finite losses are finite, but slopes may exceed the range of float16.
        values = np.clip(values, -6.0e4, 6.0e4)
    array: NDArray[Any] = values.astype(dtype)
    return array


def _chunk_rows(
    curve_set: CurveSet,
    chunk: int,
    losses: NDArray[np.float16],
    sizes: NDArray[Any],
    explained: NDArray[np.bool_] | None,
) -> list[CurveChunk]:
    """Return class, scores and tallies of a chunk; `sizes` are predictions of each document."""
    from compute import curve_classes

    WORK_LOG.info("classify %s chunk %d", curve_set.key[:16], chunk)
    thresholds = curve_classes.CurveThresholds(**curve_set.thresholds)
    scores = curve_classes.curve_scores(losses, np.array(curve_set.axis_values), thresholds)
    stored = {
        name: _to_stored(getattr(scores, name), dtype) for name, dtype in SCORE_DTYPES.items()
    }
    stored |= tally_arrays(losses, scores.curve_class, sizes, explained)
    return [
        CurveChunk(curve_set_id=curve_set.id, chunk=chunk, name=name, **arrays.columns(array))
        for name, array in stored.items()
    ]


def _classify_curve_set(store: Store, curve_set_id: int, progress: Progress) -> None:
    with store.session() as session:
        curve_set = session.get_one(CurveSet, curve_set_id)
        corpus = curve_set.corpus
        if curve_set.completed_at is not None:
            return
        evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
        losses = loss_matrix(store, corpus, evaluations)
        of_model = f" of {curve_set.model.name}" if curve_set.model else ""
        title = f"classify curves over {curve_set.axis}{of_model}"
        spans = chunk_spans(session, corpus)
        done = set(
            session.scalars(
                select(CurveChunk.chunk)
                .where(CurveChunk.curve_set_id == curve_set_id, CurveChunk.name.in_(SCORE_DTYPES))
                .group_by(CurveChunk.chunk)
                .having(func.count() == len(SCORE_DTYPES))
            )
        )
    with progress.task(title, total=len(spans), unit="chunks", done=len(done)) as bar:
        for span in spans:
            if span.chunk in done:
                continue
            part = losses[span.first_prediction : span.first_prediction + span.n_predictions]
            with store.begin() as session:
                sizes = unit_sizes(session, corpus, span.chunk, span.n_predictions)
                explained = explained_by_induction(session, corpus, span.chunk, span.n_predictions)
                session.add_all(_chunk_rows(curve_set, span.chunk, part, sizes, explained))
            bar.advance()
    with store.begin() as session:
        row = session.get_one(CurveSet, curve_set_id)
        row.summary = summary(store, session, row)
        row.completed_at = now()


def _index(store: Store, curve_set_ids: Sequence[int]) -> None:
    """Build the search index of the curves and compile the search, so that no request waits."""
    with store.session() as session:
        for curve_set_id in curve_set_ids:
            curve_index(store, session, session.get_one(CurveSet, curve_set_id))
    compiled_search(wait=True)


def classify(store: Store, corpus: Corpus, suite: Suite, progress: Progress) -> list[int]:
    """Classify all curves of a suite on a corpus, over size and over the steps of each model.

    Returns:
        Ids of the curve sets, size first.

    Raises:
        NotReadyError: too few finished evaluations for any curve.
    """
    with store.begin() as session:
        corpus = session.get_one(Corpus, corpus.id)
        suite = session.get_one(Suite, suite.id)
        ids = [
            _curve_set(session, corpus, suite, axis).id for axis in _axes(session, corpus, suite)
        ]
    for curve_set_id in ids:
        with store.claim(f"classify {curve_set_id}"):
            _classify_curve_set(store, curve_set_id, progress)
    _index(store, ids)
    fill_cluster_curves(store, progress)
    return ids
