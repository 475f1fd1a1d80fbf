"""Selection of the predictions for quanta discovery (arXiv:2303.13506, section 5).

Predictions with a low loss, without those explained by induction, thinned by a stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer


@dataclass(frozen=True)
class Selection:
    """Selected predictions, and the effect of each filter.

    Attributes:
        indexes: indexes of the selected predictions, ascending.
        n_under_threshold: number of predictions with a loss below `max_loss_nats`.
        n_induction: how many of those the induction filter removes.
    """

    indexes: Int[np.ndarray, " selected"]
    n_under_threshold: int
    n_induction: int


def select_predictions(
    losses: Float[np.ndarray, " predictions"],
    explained: Bool[np.ndarray, " predictions"] | None,
    *,
    max_loss_nats: float,
    stride: int = 1,
    limit: int | None = None,
) -> Selection:
    """Select predictions with a loss below `max_loss_nats`, every `stride`-th, at most `limit`.

    Args:
        losses: nats, one per prediction.
        explained: `induction_mask` of the documents, None to keep induction.
        max_loss_nats: published 0.1 (arXiv:2303.13506, section 5).
        stride: keep every stride-th of the remaining predictions, published 50.
        limit: stop after this many, published 10,000.

    Raises:
        ValueError: a parameter is out of range, or fewer than two predictions remain.
    """
    if max_loss_nats <= 0 or stride < 1 or (limit is not None and limit < 2):
        raise ValueError(
            f"max_loss_nats {max_loss_nats}, stride {stride}, limit {limit}: want > 0, >= 1, >= 2"
        )
    # Comparing with a float16 array would round the threshold to float16.
    under = losses.astype(np.float64) < max_loss_nats
    is_candidate = under if explained is None else under & ~explained
    indexes = np.flatnonzero(is_candidate)[::stride][:limit]
    if len(indexes) < 2:
        raise ValueError(
            f"{len(indexes)} predictions remain under {max_loss_nats} nats; "
            "raise max_loss_nats, lower the stride or choose a larger model"
        )
    return Selection(
        indexes=indexes,
        n_under_threshold=int(under.sum()),
        n_induction=int(under.sum() - is_candidate.sum()),
    )


def induction_mask(
    documents: Sequence[Integer[np.ndarray, " _tokens"]],
) -> Bool[np.ndarray, " predictions"]:
    """Return which predictions induction explains, documents concatenated.

    The prediction at position p is explained if the trigram that ends at p also ends at an earlier
    position of the same (truncated) document. All trigrams are sorted at once; of equal trigrams in
    a document, all but the first are explained.
    """
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    explained = np.zeros(int(np.maximum(lengths - 1, 0).sum()), bool)
    if not explained.size:
        return explained
    ids = np.concatenate(list(documents)).astype(np.int64)
    document_index = np.repeat(np.arange(len(documents)), lengths)
    position = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ends = np.flatnonzero(position >= 2)
    keys = (document_index[ends], ids[ends - 2], ids[ends - 1], ids[ends])
    order, is_repeat = _find_repeats(keys)
    # A token at position p >= 1 is prediction number (tokens before it) - (documents up to it).
    n_first_tokens = np.cumsum(lengths > 0)
    prediction = ends - n_first_tokens[document_index[ends]]
    explained[prediction[order[1:][is_repeat]]] = True
    return explained


def _find_repeats(
    keys: tuple[Int[np.ndarray, " trigrams"], ...],
) -> tuple[Int[np.ndarray, " trigrams"], Bool[np.ndarray, " pairs"]]:
    """Return a stable sort order of key rows, and whether each row equals the one before it."""
    bits = [int(key.max(initial=0)).bit_length() for key in keys]
    if sum(bits) < 64:  # one integer per row sorts several times faster
        packed = np.zeros(len(keys[0]), np.int64)
        for key, width in zip(keys, bits, strict=True):
            packed = (packed << width) | key
        keys = (packed,)
    order = np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys[::-1])
    is_repeat = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        ordered = key[order]
        is_repeat &= ordered[1:] == ordered[:-1]
    return order, is_repeat
