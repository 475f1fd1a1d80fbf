"""Histograms and sums of the losses of one chunk; chunks add up to exact aggregates.

Losses are float16, multiples of 2^-24 nats, so every sum is exact in float64 below 2^29 nats
(5·10^8). Rows of losses are predictions, columns points of an axis.
"""

import numpy as np
from jaxtyping import Bool, Float, Float16, Float64, Integer, UInt8, UInt32

# A power of two, so that bin edges below 16 nats are float16 values; the published histogram has
# bins of 0.01 bits from 0 to 30 bits (arXiv:2303.13506, section 5).
BINS_PER_NAT = 128
HISTOGRAM_NATS = 24
N_BINS = BINS_PER_NAT * HISTOGRAM_NATS + 1  # the last bin is open
Losses = Float[np.ndarray, "predictions points"]


def loss_histogram(
    losses: Float16[np.ndarray, "predictions points"],
) -> UInt32[np.ndarray, "points bins"]:
    """Return the number of losses in each bin of 1/128 nat; the last bin is open."""
    counts = np.empty((losses.shape[1], N_BINS), np.uint32)
    for point, column in enumerate(losses.T):
        bins = np.minimum(column.astype(np.float32) * BINS_PER_NAT, N_BINS - 1)
        counts[point] = np.bincount(bins.astype(np.int64), minlength=N_BINS)
    return counts


def coarser_histogram(
    counts: Integer[np.ndarray, "points bins"], bins_per_nat: int, up_to_nats: int
) -> Integer[np.ndarray, "points coarse_bins"]:
    """Merge bins into wider ones up to a loss, and one open bin above.

    Raises:
        ValueError: the wide bins are not multiples of the fine ones, or end beyond them.
    """
    width, rest = divmod(BINS_PER_NAT, bins_per_nat)
    if rest or not 0 < up_to_nats <= HISTOGRAM_NATS:
        raise ValueError(
            f"{bins_per_nat} bins per nat up to {up_to_nats} nats; want a divisor of "
            f"{BINS_PER_NAT} and at most {HISTOGRAM_NATS} nats"
        )
    starts = np.append(np.arange(0, up_to_nats * BINS_PER_NAT, width), up_to_nats * BINS_PER_NAT)
    return np.add.reduceat(counts.astype(np.int64), starts, axis=1)


def class_sums(
    losses: Losses, classes: UInt8[np.ndarray, " predictions"], n_classes: int
) -> Float64[np.ndarray, "n_classes columns"]:
    """Return the number of predictions of each class, and their summed losses at each point.

    Predictions of class `n_classes` and above (undefined) are skipped.
    """
    defined = classes < n_classes
    values, codes = losses[defined], classes[defined]
    counts = np.bincount(codes, minlength=n_classes).astype(np.float64)
    sums = [np.bincount(codes, column.astype(np.float64), n_classes) for column in values.T]
    return np.stack([counts, *sums], axis=1)


def unit_sums(
    losses: Losses, sizes: Integer[np.ndarray, " units"]
) -> Float64[np.ndarray, "units columns"]:
    """Return the number of predictions of consecutive units, and their summed losses.

    Raises:
        ValueError: the sizes do not add up to the predictions, or one is below 1.
    """
    if sizes.sum() != len(losses) or (sizes < 1).any():
        raise ValueError(
            f"sizes add up to {sizes.sum()} of {len(losses)} predictions; cover all, each size >= 1"
        )
    if not len(sizes):
        return np.zeros((0, 1 + losses.shape[1]))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(losses.astype(np.float64), starts, axis=0)
    return np.concatenate([sizes[:, None].astype(np.float64), sums], axis=1)


def masked_sums(
    losses: Losses, mask: Bool[np.ndarray, " predictions"]
) -> Float64[np.ndarray, " columns"]:
    """Return the number of predictions in a mask, and their summed losses."""
    sums = losses[mask].sum(axis=0, dtype=np.float64)
    return np.concatenate([[float(mask.sum())], sums])
