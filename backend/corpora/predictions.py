"""One prediction: its context, its curves with class and scores, its clusters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.corpora.corpora import document_row
from backend.corpora.views import Curve, Membership, PredictionView
from backend.errors import InvalidInputError
from backend.read.losses import SCORE_DTYPES, curve_scores
from backend.read.reader import Reader, check_prediction, find_reader
from backend.read.suite_losses import SuiteLosses, losses_of
from backend.read.suite_rows import SuiteRows, load_suite_rows
from backend.read.values import finite_or_none
from backend.store.database import Store
from backend.store.tables import (
    Annotation,
    Cluster,
    Clustering,
    ClusterMember,
    Corpus,
    CurveSet,
    Discovery,
    Selection,
    Similarity,
)

MAX_CONTEXT = 4_096
FOLLOWING = 32
FORMULAS = {
    "curve_class": "the first that applies: learned (max < 0.3), flat-high (min > 3, range < 1), "
    "monogenic (drop ≥ 2, sharpness ≥ 0.7), polygenic (drop ≥ 1, sharpness < 0.7), inverse "
    "(last − first ≥ 1), u-shaped or hump (an interior extreme ≥ 1 beyond both ends), irregular; "
    "drop and sharpness of the decreasing isotonic fit, nats",
    "total_drop": "first − last value of the decreasing isotonic fit, nats",
    "sharpness": "largest share of the total drop inside one half-decade of the axis, the fit "
    "linear in log axis between points",
    "emergence": "axis value where the fit has fallen by half of the total drop, linear in log "
    "axis",
    "emergence_censored": "−1: below 0.3 nats from the first point on; +1: fell by less than 1 nat "
    "and ends at or above 0.3; 0: measured",
    "final_loss": "loss at the last point, nats",
    "monotonicity": "Spearman correlation of loss with axis; −1 falls at every step",
    "largest_rise": "largest later loss minus an earlier one, nats",
    "slope": "least-squares slope of the loss on ln axis, nats",
    "r_squared": "share of variance that this line explains",
    "published_monogenic": "first point j such that every loss before is > 5 nats and every loss "
    "from j on is < 0.3 nats (arXiv:2303.13506, section 5); none: no such point",
    "published_banded": "first point j such that all earlier losses lie in one 0.7-nat band, all "
    "later in another, lower edges more than 2 nats apart; none: no such point",
    "published_polygenic": "slope < −0.3 nats per e-fold and R² > 0.98 (arXiv:2303.13506)",
}
_INDEXES = {"published_monogenic", "published_banded"}


def _score(name: str, value: Any) -> float | int | bool | None:
    if name in _INDEXES:
        return int(value) if value >= 0 else None
    if name == "published_polygenic":
        return bool(value)
    if name == "emergence_censored":
        return int(value)
    return finite_or_none(value)


def _step_zero(losses: SuiteLosses, curve_set: CurveSet, index: int) -> float | None:
    for column, evaluation in enumerate(losses.evaluations):
        checkpoint = evaluation.checkpoint
        if checkpoint.model_id == curve_set.model_id and checkpoint.step == 0:
            return float(losses.values[index, column])
    return None


def _curve(store: Store, curve_set: CurveSet, losses: SuiteLosses, index: int) -> Curve:
    from compute.curve_classes import class_name

    columns = losses.columns(curve_set.evaluation_ids)
    checkpoints = [losses.evaluations[column].checkpoint for column in columns]
    is_size = curve_set.axis == "N"
    code = int(curve_scores(store, curve_set, "curve_class")[index])
    return Curve(
        axis="N" if is_size else "S",
        suite=curve_set.suite.name,
        model=curve_set.model.name if curve_set.model else None,
        x=tuple(curve_set.axis_values),
        labels=tuple(c.model.name if is_size else str(c.step) for c in checkpoints),
        loss_nats=tuple(np.asarray(losses.values[index, columns], np.float64).tolist()),
        mean_nats=tuple((curve_set.summary or {})["mean_nats"]),
        step_zero_nats=None if is_size else _step_zero(losses, curve_set, index),
        curve_class=class_name(code),
        scores={
            name: _score(name, curve_scores(store, curve_set, name)[index])
            for name in SCORE_DTYPES
            if name != "curve_class"
        },
    )


def _memberships(session: Session, corpus: Corpus, index: int) -> tuple[Membership, ...]:
    rows = session.execute(
        select(Cluster, Clustering.n_clusters, Annotation.label)
        .join(ClusterMember, ClusterMember.cluster_id == Cluster.id)
        .join(Clustering, Clustering.id == Cluster.clustering_id)
        .join(Discovery, Discovery.id == Clustering.discovery_id)
        .join(Similarity, Similarity.id == Discovery.similarity_id)
        .join(Selection, Selection.id == Similarity.selection_id)
        .outerjoin(Annotation, Annotation.cluster_id == Cluster.id)
        .where(
            ClusterMember.prediction == index,
            Selection.corpus_id == corpus.id,
            Discovery.completed_at.is_not(None),
        )
        .order_by(Discovery.id, Clustering.n_clusters)
    )
    return tuple(
        Membership(
            cluster=cluster.id,
            rank=cluster.rank,
            size=cluster.size,
            n_clusters=n_clusters,
            clustering=cluster.clustering_id,
            coherence=cluster.coherence,
            label=label or "",
        )
        for cluster, n_clusters, label in rows
    )


def prediction(
    store: Store, corpus: str, index: int, *, context: int = 128, suite: str | None = None
) -> PredictionView:
    """Return one prediction with its curves and clusters, and up to `context` tokens before it.

    Raises:
        NotFoundError: an unknown name, or an index the corpus does not have.
        InvalidInputError: `context` out of range.
    """
    if not 1 <= context <= MAX_CONTEXT:
        raise InvalidInputError(
            f"context is {context}", f"Choose 1 to {MAX_CONTEXT} tokens", "context"
        )
    rows = load_suite_rows(store, corpus, suite)
    check_prediction(rows.corpus, index)
    losses = _losses(store, rows)
    # The context has the losses of the largest model at its last step, as heat has by default.
    checkpoint = losses.evaluations[-1].checkpoint if losses else None
    column = losses.values[:, -1] if losses else None
    with store.session() as session:
        reader = find_reader(store, session, rows.corpus)
        return PredictionView(
            corpus=corpus,
            index=index,
            suite=rows.suite.name if rows.suite else None,
            model=checkpoint.model.name if checkpoint else None,
            step=checkpoint.step if checkpoint else None,
            **(_in_text(session, reader, index, context, column) if reader else _WITHOUT_TEXT),
            curves=_curves(store, rows, losses, index),
            formulas=FORMULAS,
            clusters=_memberships(session, rows.corpus, index),
            previous=index - 1 if index else None,
            next=index + 1 if index + 1 < rows.corpus.n_predictions else None,
        )


def prediction_curves(
    store: Store, corpus: str, index: int, *, suite: str | None = None
) -> tuple[Curve, ...]:
    """Return the curves of one prediction: over size, then over the steps of each model.

    Raises:
        NotFoundError: an unknown name, or an index the corpus does not have.
    """
    rows = load_suite_rows(store, corpus, suite)
    check_prediction(rows.corpus, index)
    return _curves(store, rows, _losses(store, rows), index)


def _losses(store: Store, rows: SuiteRows) -> SuiteLosses | None:
    return losses_of(store, rows.corpus, rows.suite, rows.evaluations) if rows.suite else None


def _curves(
    store: Store, rows: SuiteRows, losses: SuiteLosses | None, index: int
) -> tuple[Curve, ...]:
    if losses is None:
        return ()
    return tuple(_curve(store, curve_set, losses, index) for curve_set in rows.curve_sets)


_WITHOUT_TEXT: dict[str, Any] = {
    "document": None,
    "document_id": "",
    "source": "",
    "license": "",
    "position": None,
    "token": None,
    "context": (),
    "following": (),
    "context_truncated": False,
}


def _in_text(
    session: Session, reader: Reader, index: int, context: int, losses: NDArray[np.float16] | None
) -> dict[str, Any]:
    """Return the document and position of a prediction, with the tokens around it."""
    window = reader.window(index, context, FOLLOWING, losses)
    row = document_row(session, reader.corpus, window.place.document)
    end = window.answer + 1
    return {
        "document": row.index,
        "document_id": row.external_id,
        "source": row.source,
        "license": row.license,
        "position": window.place.position,
        "token": window.tokens[window.answer].token,
        "context": window.tokens[:end],
        "following": window.tokens[end:],
        "context_truncated": window.place.position > context,
    }
