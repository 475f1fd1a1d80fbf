"""Suites with their evaluations on a corpus, and scaling curves of the mean loss."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.read.evaluations import evaluations_of, list_evaluations
from backend.read.views import Axis
from backend.scaling.views import (
    CheckpointRow,
    ModelRow,
    PowerLaw,
    ScalingPoint,
    ScalingView,
    SuiteView,
)
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.memo import memoize_by_version
from backend.store.tables import Corpus, CurveSet, Evaluation, Model, Suite

CurveAxes = tuple[tuple[Axis, str | None], ...]  # axis, and model of an axis of steps


def _model_row(model: Model, evaluations: dict[int, Evaluation]) -> ModelRow:
    rows = []
    for checkpoint in model.checkpoints:
        evaluation = evaluations.get(checkpoint.id)
        rows.append(
            CheckpointRow(
                step=checkpoint.step,
                key=checkpoint.key,
                tokens_seen=checkpoint.tokens_seen,
                has_weights=checkpoint.location is not None,
                evaluation=evaluation.key if evaluation else None,
                mean_loss_nats=evaluation.mean_loss_nats if evaluation else None,
                share_under_tenth_nat=evaluation.share_under_tenth_nat if evaluation else None,
            )
        )
    return ModelRow(
        name=model.name,
        parameters=model.parameters,
        nonembedding_parameters=model.nonembedding_parameters,
        architecture=str((model.config.get("architectures") or ["unknown"])[0]),
        checkpoints=tuple(rows),
    )


def _default_corpus(session: Session, suite: Suite) -> Corpus | None:
    for corpus in session.scalars(select(Corpus).order_by(Corpus.id)):
        if list_evaluations(session, corpus, suite):
            return corpus
    return None


def suite_view(session: Session, suite: Suite, corpus: Corpus | None) -> SuiteView:
    """Return a suite with its evaluations on one corpus (None: the first with an evaluation)."""
    corpus = corpus or _default_corpus(session, suite)
    finished = list_evaluations(session, corpus, suite) if corpus else ()
    by_checkpoint = {evaluation.checkpoint_id: evaluation for evaluation in finished}
    return SuiteView(
        id=suite.name,
        description=suite.description,
        corpus=corpus.name if corpus else None,
        has_weights=any(c.location is not None for m in suite.models for c in m.checkpoints),
        models=tuple(_model_row(model, by_checkpoint) for model in suite.models),
    )


def list_suites(store: Store, corpus: str | None) -> tuple[SuiteView, ...]:
    """Return all suites.

    Raises:
        NotFoundError: there is no such corpus.
    """

    def load() -> tuple[SuiteView, ...]:
        with store.session() as session:
            corpus_row = corpus_named(session, corpus) if corpus else None
            suites = session.scalars(select(Suite).order_by(Suite.id)).all()
            return tuple(suite_view(session, suite, corpus_row) for suite in suites)

    return memoize_by_version(store, ("suites", corpus), load)


def suite(store: Store, name: str, corpus: str | None) -> SuiteView:
    """Return one suite.

    Raises:
        NotFoundError: there is no such suite or corpus.
    """

    def load() -> SuiteView:
        with store.session() as session:
            corpus_row = corpus_named(session, corpus) if corpus else None
            return suite_view(session, suite_named(session, name), corpus_row)

    return memoize_by_version(store, ("suite", name, corpus), load)


def list_curve_axes(store: Store) -> dict[tuple[str, str], CurveAxes]:
    """Return the axes of all curves by (suite, corpus): size first, then steps by model size."""
    return memoize_by_version(store, "curve axes", lambda: _curve_axes(store))


def _curve_axes(store: Store) -> dict[tuple[str, str], CurveAxes]:
    statement = (
        select(Suite.name, Corpus.name, CurveSet.axis, Model.name)
        .select_from(CurveSet)
        .join(Suite, Suite.id == CurveSet.suite_id)
        .join(Corpus, Corpus.id == CurveSet.corpus_id)
        .outerjoin(Model, Model.id == CurveSet.model_id)
        .where(CurveSet.completed_at.is_not(None))
        .order_by(CurveSet.axis, Model.nonembedding_parameters, Model.id)
    )
    axes: dict[tuple[str, str], dict[tuple[Axis, str | None], None]] = {}  # dicts as ordered sets
    with store.session() as session:
        for suite, corpus, axis, model in session.execute(statement):
            axes.setdefault((suite, corpus), {})["N" if axis == "N" else "S", model] = None
    return {names: tuple(curves) for names, curves in axes.items()}


def power_law(fit: dict[str, Any] | None) -> PowerLaw | None:
    """Return a stored fit as a view."""
    if fit is None:
        return None
    return PowerLaw(
        alpha=fit["exponent"],
        amplitude=fit["amplitude"],
        interval=(fit["interval"][0], fit["interval"][1]),
        level=fit["level"],
        r_squared=fit["r_squared"],
        first=fit["window"][0],
        last=fit["window"][1],
        n_points=fit["n_points"],
        n_bootstrap=fit["n_bootstrap"],
    )


def _points(session: Session, curve_set: CurveSet) -> tuple[ScalingPoint, ...]:
    points = []
    evaluations = evaluations_of(session, curve_set)
    for x, evaluation in zip(curve_set.axis_values, evaluations, strict=True):
        checkpoint = evaluation.checkpoint
        label = checkpoint.model.name if curve_set.axis == "N" else str(checkpoint.step)
        assert evaluation.mean_loss_nats is not None, evaluation.key
        assert evaluation.share_under_tenth_nat is not None, evaluation.key
        points.append(
            ScalingPoint(x, label, evaluation.mean_loss_nats, evaluation.share_under_tenth_nat)
        )
    return tuple(points)


def scaling_view(session: Session, curve_set: CurveSet) -> ScalingView:
    """Return a finished curve set as a scaling curve of the mean loss."""
    summary = curve_set.summary or {}
    return ScalingView(
        suite=curve_set.suite.name,
        corpus=curve_set.corpus.name,
        axis="N" if curve_set.axis == "N" else "S",
        model=curve_set.model.name if curve_set.model else None,
        points=_points(session, curve_set),
        fit=power_law(summary.get("fit")),
        no_fit_reason=summary.get("no_fit_reason"),
        histogram_edges=tuple(summary.get("histogram_edges", ())),
        histograms=tuple(tuple(row) for row in summary.get("histograms", ())),
        class_shares=summary.get("classes", {}),
    )
