"""Tallies of a classification beside classes and scores, and the summary made from them."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.read import tallies
from backend.read.documents import read_chunk
from backend.store.arrays import MAX_LOSS_NATS
from backend.store.database import Store
from backend.store.tables import Corpus, CurveSet, Document

# Coarse histogram of a summary: losses in nats; the last bin holds all larger ones.
SUMMARY_BINS_PER_NAT, SUMMARY_NATS = 4, 12
HISTOGRAM_EDGES = np.append(
    np.arange(0, SUMMARY_NATS + 0.01, 1 / SUMMARY_BINS_PER_NAT), MAX_LOSS_NATS
)
WINDOW_PREDICTIONS = 1024  # bootstrap unit of a corpus without documents


def unit_sizes(session: Session, corpus: Corpus, chunk: int, n_predictions: int) -> NDArray[Any]:
    """Return the number of predictions of each document of a chunk, or of windows without them."""
    rows = session.scalars(
        select(Document.n_predictions)
        .where(Document.corpus_id == corpus.id, Document.chunk == chunk, Document.n_predictions > 0)
        .order_by(Document.index)
    ).all()
    sizes = np.array(rows, dtype=np.int64)
    if sizes.sum() == n_predictions:
        return sizes
    n_windows, rest = divmod(n_predictions, WINDOW_PREDICTIONS)
    return np.array([WINDOW_PREDICTIONS] * n_windows + [rest] * (rest > 0), dtype=np.int64)


def explained_by_induction(
    session: Session, corpus: Corpus, chunk: int, n_predictions: int
) -> NDArray[np.bool_] | None:
    """Return a mask of a chunk's predictions that induction explains; None without token ids."""
    from compute.selection import induction_mask

    if not corpus.has_text:
        return None
    mask = induction_mask(read_chunk(session, corpus, chunk).documents)
    return mask if len(mask) == n_predictions else None


def tally_arrays(
    losses: NDArray[np.float16],
    classes: NDArray[np.uint8],
    sizes: NDArray[Any],
    explained: NDArray[np.bool_] | None,
) -> dict[str, NDArray[Any]]:
    """Return the tallies of one chunk by name."""
    from compute import tallies as sums
    from compute.curve_classes import CURVE_CLASSES

    arrays: dict[str, NDArray[Any]] = {
        tallies.HISTOGRAM: sums.loss_histogram(losses),
        tallies.CLASSES: sums.class_sums(losses, classes, len(CURVE_CLASSES)),
        tallies.UNITS: sums.unit_sums(losses, sizes),
    }
    if explained is not None:
        arrays[tallies.INDUCTION] = sums.masked_sums(losses, explained)[None]
    return arrays


def _fit(store: Store, curve_set: CurveSet, mean_nats: NDArray[np.float64]) -> dict[str, Any]:
    """Return {"fit": …} or {"no_fit_reason": …}, numbers all finite."""
    from compute.power_law import fit_power_law

    x = np.array(curve_set.axis_values)
    try:
        resamples = tallies.resampled_means(store, curve_set)
        fit = fit_power_law(x, mean_nats, y_resamples=resamples, seed=0)
    except ValueError as error:
        return {"fit": None, "no_fit_reason": str(error)}
    if not np.isfinite([fit.exponent, fit.amplitude, fit.r_squared, *fit.interval]).all():
        return {"fit": None, "no_fit_reason": "the mean loss does not change along the axis"}
    fields = asdict(fit)
    del fields["amplitude_interval"], fields["floor_interval"]
    return {"fit": fields}


def _induction(session: Session, curve_set: CurveSet) -> dict[str, Any] | None:
    rows = list(tallies.parts(session, curve_set, tallies.INDUCTION))
    if len(rows) < curve_set.n_chunks:
        return None
    sums = np.sum(rows, axis=(0, 1))
    return {"n": int(sums[0]), "sums_nats": sums[1:].tolist()}


def summary(store: Store, session: Session, curve_set: CurveSet) -> dict[str, Any]:
    """Return the aggregates of a curve set of which all chunks are stored.

    `class_sums_nats` are sums over predictions at each point, so that differences and shares of
    the mean can be taken without rounding first.
    """
    from compute.curve_classes import CURVE_CLASSES
    from compute.tallies import coarser_histogram

    n = curve_set.corpus.n_predictions
    sums = tallies.total(session, curve_set, tallies.CLASSES)
    counts = tallies.total(session, curve_set, tallies.HISTOGRAM)
    mean_nats = sums[:, 1:].sum(axis=0) / sums[:, 0].sum()
    coarse = coarser_histogram(counts, SUMMARY_BINS_PER_NAT, SUMMARY_NATS)
    return {
        "classes": {name: int(sums[i, 0]) / n for i, name in enumerate(CURVE_CLASSES)},
        "class_counts": {name: int(sums[i, 0]) for i, name in enumerate(CURVE_CLASSES)},
        "class_sums_nats": {name: sums[i, 1:].tolist() for i, name in enumerate(CURVE_CLASSES)},
        "mean_nats": mean_nats.tolist(),
        "induction": _induction(session, curve_set),
        "histogram_edges": [*HISTOGRAM_EDGES[:-1].tolist(), None],
        "histograms": (coarse / n).tolist(),
        **_fit(store, curve_set, mean_nats),
    }
