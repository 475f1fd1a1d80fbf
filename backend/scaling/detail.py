"""One scaling curve with its law, distribution of losses, classes, induction and subsets."""

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.read import tallies
from backend.read.clusters import cluster_predictions
from backend.read.curve_sets import find_curve_set
from backend.read.evaluations import evaluations_of
from backend.read.losses import loss_matrix
from backend.scaling.laws import MeanCurve, broken_law_fit, power_law_fit
from backend.scaling.suites import scaling_view
from backend.scaling.views import (
    ClassPart,
    InductionMean,
    LawFit,
    LossDistribution,
    PowerLaw,
    ScalingDetail,
    ScalingPoint,
    ScalingRequest,
    ScalingView,
)
from backend.store.database import Store
from backend.store.tables import Checkpoint, CurveSet, Evaluation

BINS_PER_NAT, UP_TO_NATS = 8, 16
MAX_ROWS = 16  # of p(L)
MISSING = "Run `quanta classify {} {}` again: an older version stored these curves"

Array = NDArray[np.float64]


def scaling_detail(store: Store, request: ScalingRequest) -> ScalingDetail:
    """Return a scaling curve with all data of the Scaling page.

    Raises:
        NotFoundError: an unknown name or cluster.
        InvalidInputError: an unknown axis or subset, or a window without points.
        NotReadyError: curves are not classified yet.
    """
    with store.session() as session:
        row = find_curve_set(session, request.corpus, request.suite, request.axis, request.model)
        curve, n_predictions = _mean_curve(store, session, row, request)
        power_law, law, reason = _laws(curve, request)
        base = scaling_view(session, row)
        inherited = {field.name: getattr(base, field.name) for field in fields(ScalingView)}
        inherited |= {"fit": power_law, "no_fit_reason": reason if power_law is None else None}
        has_tallies = tallies.has_tallies(session, row)
        missing = None if has_tallies else MISSING.format(request.suite, request.corpus)
        return ScalingDetail(
            **inherited,
            subset=request.subset,
            n_predictions=n_predictions,
            mean_nats=tuple(curve.y.tolist()),
            step_zero=_step_zero(session, row),
            law=law,
            no_law_reason=reason if law is None and request.fit != "none" else None,
            distribution=_distribution(store, row) if has_tallies else None,
            classes=_class_parts(row) if has_tallies else (),
            induction=_induction(row),
            missing=missing,
        )


def _laws(
    curve: MeanCurve, request: ScalingRequest
) -> tuple[PowerLaw | None, LawFit | None, str | None]:
    """Return (power law, law of `request.fit`, reason if there is none)."""
    if request.fit == "none":
        return None, None, "no fit was requested"
    power_law: PowerLaw | None = None
    law: LawFit | None = None
    reason = None
    try:
        power_law, law = power_law_fit(curve)
        if request.fit == "bnsl":
            law = None
            law = broken_law_fit(curve)
    except ValueError as error:
        reason = str(error)
    return power_law, law, reason


def _mean_curve(
    store: Store, session: Session, row: CurveSet, request: ScalingRequest
) -> tuple[MeanCurve, int]:
    """Return the mean curve of the subset and its number of predictions."""
    x = np.array(row.axis_values)
    is_used = np.ones(len(x), bool)
    if request.first is not None:
        is_used &= x >= request.first
    if request.last is not None:
        is_used &= x <= request.last
    if not is_used.any():
        raise InvalidInputError(
            f"no point lies from {request.first or 'the start'} to {request.last or 'the end'}",
            f"The axis has {x[0]:g} to {x[-1]:g}",
            "first" if request.first is not None else "last",
        )
    summary = row.summary or {}
    if request.subset == "all":
        y = np.array(summary["mean_nats"])
        resamples = tallies.resampled_means(store, row) if "class_sums_nats" in summary else None
        unit = "documents" if resamples is not None else "points"
        return MeanCurve(x, y, is_used, resamples, unit), row.corpus.n_predictions
    if request.subset.startswith("cluster:"):
        return _cluster_curve(store, session, row, request.subset, is_used)
    return _class_curve(row, request.subset, is_used)


def _class_curve(row: CurveSet, subset: str, is_used: NDArray[np.bool_]) -> tuple[MeanCurve, int]:
    summary = row.summary or {}
    counts, sums = summary.get("class_counts", {}), summary.get("class_sums_nats", {})
    if subset not in counts:
        classes = ", ".join(counts) or "none yet: classify again"
        raise InvalidInputError(
            f"there is no subset {subset!r}",
            f"Choose all, cluster:ID, or a class: {classes}",
            "subset",
        )
    if not counts[subset]:
        raise InvalidInputError(
            f"no prediction is {subset} along {row.axis}", "Choose another subset", "subset"
        )
    y = np.array(sums[subset]) / counts[subset]
    return MeanCurve(np.array(row.axis_values), y, is_used, None, "points"), counts[subset]


def _cluster_curve(
    store: Store, session: Session, row: CurveSet, subset: str, is_used: NDArray[np.bool_]
) -> tuple[MeanCurve, int]:
    from compute.power_law import resampled_means

    number = int(subset.removeprefix("cluster:") or 0)
    members = cluster_predictions(session, row.corpus, number, "subset")
    losses = loss_matrix(store, row.corpus, evaluations_of(session, row))[np.array(members)]
    nats = losses.astype(np.float64)
    resamples, x = resampled_means(nats, seed=0), np.array(row.axis_values)
    curve = MeanCurve(x, nats.mean(axis=0), is_used, resamples, "members of the cluster")
    return curve, len(members)


def _step_zero(session: Session, row: CurveSet) -> ScalingPoint | None:
    if row.axis != "S":
        return None
    evaluation = session.scalars(
        select(Evaluation)
        .join(Checkpoint)
        .where(
            Checkpoint.model_id == row.model_id,
            Checkpoint.step == 0,
            Evaluation.corpus_id == row.corpus_id,
            Evaluation.completed_at.is_not(None),
        )
    ).first()
    if evaluation is None:
        return None
    mean, share = evaluation.mean_loss_nats, evaluation.share_under_tenth_nat
    return None if mean is None or share is None else ScalingPoint(0.0, "0", mean, share)


def _distribution(store: Store, row: CurveSet) -> LossDistribution:
    from compute.tallies import N_BINS, coarser_histogram

    counts = tallies.histogram(store, row, N_BINS)
    n = len(counts)
    indexes = np.unique(np.linspace(0, n - 1, min(n, MAX_ROWS)).round().astype(int))
    coarse = coarser_histogram(counts[indexes], BINS_PER_NAT, UP_TO_NATS)
    edges = np.arange(0, UP_TO_NATS * BINS_PER_NAT + 1) / BINS_PER_NAT
    return LossDistribution(
        indexes=tuple(indexes.tolist()),
        edges_nats=(*edges.tolist(), None),
        shares=tuple(tuple(counts) for counts in (coarse / row.corpus.n_predictions).tolist()),
    )


def _class_parts(row: CurveSet) -> tuple[ClassPart, ...]:
    summary = row.summary or {}
    total = row.corpus.n_predictions
    parts = []
    for name, count in summary["class_counts"].items():
        sums = np.array(summary["class_sums_nats"][name])
        parts.append(
            ClassPart(
                name=name,
                n_predictions=count,
                share=count / total,
                mean_nats=tuple((sums / count).tolist()) if count else None,
                drop_nats=tuple((-np.diff(sums) / total).tolist()),
            )
        )
    return tuple(parts)


def _induction(row: CurveSet) -> InductionMean | None:
    stored = (row.summary or {}).get("induction")
    if not stored or not stored["n"]:
        return None
    means = np.array(stored["sums_nats"]) / stored["n"]
    share = stored["n"] / row.corpus.n_predictions
    return InductionMean(stored["n"], share, tuple(means.tolist()))
