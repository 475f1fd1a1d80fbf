"""Which predictions quanta discovery starts from (arXiv:2303.13506, section 5).

Predictions that the model gets right, less those that plain induction explains, thinned by a
stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer


@dataclass(frozen=True)
class Selection:
    """Chosen prediction indexes, ascending, and how many each rule left.

    Attributes:
        indexes: of the chosen predictions, in the given order of predictions.
        n_under_threshold: predictions with a loss below the threshold.
        n_induction: how many of those the induction filter dropped.
    """

    indexes: Int[np.ndarray, " chosen"]
    n_under_threshold: int
    n_induction: int


def document_induction_mask(
    tokens: Integer[np.ndarray, " tokens"],
) -> Bool[np.ndarray, " predictions"]:
    """Return which predictions of one document plain induction explains.

    Prediction p (1 <= p < n) is explained if the trigram that ends at p also ends at some p' < p
    of the same, cut document.
    """
    explained = np.zeros(max(len(tokens) - 1, 0), bool)
    seen: set[tuple[int, int, int]] = set()
    ids = tokens.tolist()
    for position in range(2, len(ids)):
        trigram = (ids[position - 2], ids[position - 1], ids[position])
        explained[position - 1] = trigram in seen
        seen.add(trigram)
    return explained


def select_predictions(
    losses: Float[np.ndarray, " predictions"],
    explained: Bool[np.ndarray, " predictions"] | None,
    *,
    threshold_nats: float,
    stride: int = 1,
    limit: int | None = None,
) -> Selection:
    """Return predictions under the threshold, every `stride`-th, at most `limit`.

    Args:
        losses: nats, one a prediction.
        explained: what `document_induction_mask` says, None to keep those predictions.
        threshold_nats: published 0.1 (arXiv:2303.13506, section 5).
        stride: keep every stride-th of those left, published 50.
        limit: stop after this many, published 10,000.

    Raises:
        ValueError: a parameter out of range, or fewer than two predictions left.
    """
    if threshold_nats <= 0 or stride < 1 or (limit is not None and limit < 2):
        raise ValueError(
            f"threshold {threshold_nats}, stride {stride}, limit {limit}: want > 0, >= 1, >= 2"
        )
    # In float64: a float16 array would round the threshold, not only the losses.
    under = losses.astype(np.float64) < threshold_nats
    kept = under if explained is None else under & ~explained
    indexes = np.flatnonzero(kept)[::stride][:limit]
    if len(indexes) < 2:
        raise ValueError(
            f"{len(indexes)} predictions are left under {threshold_nats} nats; "
            "raise the threshold, lower the stride or take a larger model"
        )
    return Selection(
        indexes=indexes,
        n_under_threshold=int(under.sum()),
        n_induction=int(under.sum() - kept.sum()),
    )


def induction_mask(
    documents: Sequence[Integer[np.ndarray, " _tokens"]],
) -> Bool[np.ndarray, " predictions"]:
    """Return `document_induction_mask` of every document, joined in order.

    All trigrams are sorted at once: of equal ones in a document, all but the first are explained.
    """
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    explained = np.zeros(int(np.maximum(lengths - 1, 0).sum()), bool)
    if not explained.size:
        return explained
    ids = np.concatenate(list(documents)).astype(np.int64)
    home = np.repeat(np.arange(len(documents)), lengths)
    position = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ends = np.flatnonzero(position >= 2)
    keys = (home[ends], ids[ends - 2], ids[ends - 1], ids[ends])
    order, again = _repeats(keys)
    # A token at position p >= 1 is prediction number (tokens before it) - (documents up to it).
    with_first = np.cumsum(lengths > 0)
    prediction = ends - with_first[home[ends]]
    explained[prediction[order[1:][again]]] = True
    return explained


def _repeats(
    keys: tuple[Int[np.ndarray, " trigrams"], ...],
) -> tuple[Int[np.ndarray, " trigrams"], Bool[np.ndarray, " pairs"]]:
    """Return a stable order of rows of keys, and whether each row in it equals the one before."""
    bits = [int(key.max(initial=0)).bit_length() for key in keys]
    if sum(bits) < 64:  # one number a row sorts several times faster
        packed = np.zeros(len(keys[0]), np.int64)
        for key, width in zip(keys, bits, strict=True):
            packed = (packed << width) | key
        keys = (packed,)
    order = np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    again = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        ordered = key[order]
        again &= ordered[1:] == ordered[:-1]
    return order, again
