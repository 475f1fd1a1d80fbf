"""One prediction: its context, its curves with class and scores, the clusters that hold it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.corpora.corpora import document_row
from backend.corpora.views import Curve, Membership, PredictionView
from backend.errors import InvalidInputError
from backend.read.loss_blocks import SuiteLosses, losses_of
from backend.read.losses import SCORE_DTYPES, curve_scores
from backend.read.reader import Reader, check_prediction, find_reader
from backend.read.suite_rows import load_suite_rows
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
    "curve_class": "the first that holds: learned (max < 0.3), flat-high (min > 3, range < 1), "
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
    chosen = [losses.evaluations[column].checkpoint for column in columns]
    is_size = curve_set.axis == "N"
    code = int(curve_scores(store, curve_set, "curve_class")[index])
    return Curve(
        axis="N" if is_size else "S",
        suite=curve_set.suite.name,
        model=curve_set.model.name if curve_set.model else None,
        x=tuple(curve_set.axis_values),
        labels=tuple(c.model.name if is_size else str(c.step) for c in chosen),
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
    """Return everything known of one prediction, with up to `context` tokens before it.

    Raises:
        NotFoundError: an unknown name, or an index the corpus does not have.
        InvalidInputError: `context` out of range.
    """
    if not 1 <= context <= MAX_CONTEXT:
        raise InvalidInputError(
            f"context is {context}", f"Choose 1 to {MAX_CONTEXT} tokens", "context"
        )
    known = load_suite_rows(store, corpus, suite)
    home, family = known.corpus, known.suite
    check_prediction(home, index)
    with store.session() as session:
        held = losses_of(store, home, family, known.evaluations) if family else None
        # Values under the largest model at its last step: what the heat page shows first.
        losses = held.values[:, -1] if held else None
        shown = held.evaluations[-1].checkpoint if held else None
        read = find_reader(store, session, home)
        return PredictionView(
            corpus=corpus,
            index=index,
            suite=family.name if family else None,
            model=shown.model.name if shown else None,
            step=shown.step if shown else None,
            **(_in_text(session, read, index, context, losses) if read else _WITHOUT_TEXT),
            curves=tuple(_curve(store, one, held, index) for one in known.curve_sets)
            if held
            else (),
            formulas=FORMULAS,
            clusters=_memberships(session, home, index),
            previous=index - 1 if index else None,
            next=index + 1 if index + 1 < home.n_predictions else None,
        )


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
    session: Session, read: Reader, index: int, context: int, losses: NDArray[np.float16] | None
) -> dict[str, Any]:
    """Return where a prediction stands in its document, with the tokens around it."""
    place = read.locate(index)
    row = document_row(session, read.corpus, place.document)
    first = max(0, place.position - context)
    tokens = read.token_values(place.document, first, row.n_tokens, losses)
    end = place.position - first + 1
    return {
        "document": place.document,
        "document_id": row.external_id,
        "source": row.source,
        "license": row.license,
        "position": place.position,
        "token": tokens[end - 1].token,
        "context": tokens[:end],
        "following": tokens[end : end + FOLLOWING],
        "context_truncated": first > 0,
    }
