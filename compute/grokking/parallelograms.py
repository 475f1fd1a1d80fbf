"""Parallelograms of a representation of numbers, and the effective theory of their formation.

Source: arXiv:2205.10343, sections 3 and 4 and appendix. A network that adds by E_i + E_j can
generalise from i + n = j + m only where E_i + E_n = E_j + E_m, a parallelogram. Pairs are
unordered, i <= j < p, in the order (0, 0), (0, 1), ..., (p - 1, p - 1).

Conventions. A has a row e_i + e_n - e_j - e_m for every parallelogram i < j <= m < n, and
Z0 = sum_k |E_k|^2. The effective loss is |A E|^2 / Z0, its Hessian 2 A^T A / Z0. The paper, but not
its code, also divides the loss by the number of parallelograms, which scales times by that factor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

CLOSED_BELOW = 0.01
# Share of a representation's norm below which a mode is a rounding error.
MIN_MODE_NORM = 1e-14
PROGRESS_DRAWS = 20
RANK_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Parallelograms:
    """All parallelograms of p numbers on a line.

    Attributes:
        corners: numbers i, j, m, n with i + n = j + m and i < j <= m < n.
        outer: indices of the pairs (i, n).
        inner: indices of the pairs (j, m).
    """

    corners: Int[np.ndarray, "parallelograms 4"]
    outer: Int[np.ndarray, " parallelograms"]
    inner: Int[np.ndarray, " parallelograms"]

    def rows(self, p: int) -> Float[np.ndarray, "parallelograms p"]:
        """Return A, one row e_i + e_n - e_j - e_m per parallelogram."""
        eye = np.eye(p)
        i, j, m, n = self.corners.T
        rows: NDArray[np.float64] = eye[i] + eye[n] - eye[j] - eye[m]
        return rows


@cache
def pairs(p: int) -> Int[np.ndarray, "pairs 2"]:
    """Return all unordered pairs i <= j of p numbers."""
    return np.array(list(combinations_with_replacement(range(p), 2)), np.int64)


@cache
def parallelograms(p: int) -> Parallelograms:
    """Return P0, all parallelograms of p numbers.

    Raises:
        ValueError: p < 3.
    """
    if p < 3:
        raise ValueError(f"p = {p} has no parallelogram, want p >= 3")
    by_sum: dict[int, list[tuple[int, int, int]]] = {}
    for index, (i, j) in enumerate(pairs(p).tolist()):
        by_sum.setdefault(i + j, []).append((i, j, index))
    quadruples = [
        (i, j, m, n, outer, inner)
        for equal in by_sum.values()
        for i, n, outer in equal
        for j, m, inner in equal
        if i < j
    ]
    table = np.array(sorted(quadruples), np.int64)
    return Parallelograms(table[:, :4], table[:, 4], table[:, 5])


def parallelogram_mask(p: int, is_train: Bool[np.ndarray, " pairs"]) -> Bool[np.ndarray, " all"]:
    """Return which parallelograms have both pairs in the training set: P0(D)."""
    P0 = parallelograms(p)
    has_both: NDArray[np.bool_] = is_train[P0.outer] & is_train[P0.inner]
    return has_both


def training_rows(p: int, is_train: Bool[np.ndarray, " pairs"]) -> Float[np.ndarray, "rows p"]:
    """Return the rows of A of P0(D)."""
    rows: NDArray[np.float64] = parallelograms(p).rows(p)[parallelogram_mask(p, is_train)]
    return rows


def nullity(p: int, is_train: Bool[np.ndarray, " pairs"]) -> int:
    """Return n0, the dimension of the representations that close all of P0(D).

    n0 = 2, for translation and scale, means that the training set forces the numbers onto a line.
    """
    rows = training_rows(p, is_train)
    return p - int(np.linalg.matrix_rank(rows, tol=RANK_TOLERANCE)) if len(rows) else p


def normalise(E: Float[np.ndarray, "... p dim"]) -> Float[np.ndarray, "... p dim"]:
    """Return representations of zero mean and unit deviation (ddof 1), 0 where constant."""
    centred = E - E.mean(axis=-2, keepdims=True)
    spread = centred.std(axis=-2, ddof=1, keepdims=True)
    unit: NDArray[np.floating] = np.zeros_like(centred)
    np.divide(centred, spread, out=unit, where=spread > 0)
    return unit


def closed_mask(E: Float[np.ndarray, "... p dim"]) -> Bool[np.ndarray, "... parallelograms"]:
    """Return which parallelograms a representation closes.

    A parallelogram is closed if the mean over dimensions of (E_i + E_n - E_j - E_m)^2, normalised,
    is below `CLOSED_BELOW`. A constant representation closes none.
    """
    p = E.shape[-2]
    unit = normalise(E)
    errors = ((parallelograms(p).rows(p) @ unit) ** 2).mean(axis=-1)
    has_spread = (np.abs(unit) > 0).any(axis=(-1, -2))
    is_closed: NDArray[np.bool_] = (errors < CLOSED_BELOW) & has_spread[..., None]
    return is_closed


def rqi(E: Float[np.ndarray, "... p dim"]) -> Float[np.ndarray, "..."]:
    """Return the representation quality index, the share of closed parallelograms."""
    share: NDArray[np.float64] = np.asarray(closed_mask(E).mean(axis=-1))
    return share


def _explained_share(
    p: int, is_train: Bool[np.ndarray, " pairs"], is_closed: Bool[np.ndarray, " all"]
) -> float:
    """Return the share of pairs in the training set or closed with a pair of the training set."""
    P0 = parallelograms(p)
    is_explained = is_train.copy()
    is_explained[P0.outer[is_closed & is_train[P0.inner]]] = True
    is_explained[P0.inner[is_closed & is_train[P0.outer]]] = True
    return float(is_explained.mean())


def predicted_accuracy(
    is_train: Bool[np.ndarray, " pairs"], E: Float[np.ndarray, "p dim"]
) -> float:
    """Return the accuracy over all pairs that a representation explains.

    It explains training pairs, and pairs in a closed parallelogram with a training pair.
    """
    return _explained_share(len(E), is_train, closed_mask(E))


def ideal_accuracy(p: int, is_train: Bool[np.ndarray, " pairs"]) -> float:
    """Return the highest accuracy over all pairs that the training set can explain.

    As `predicted_accuracy`, with the parallelograms whose row is in the span of P0(D) closed.
    """
    rows = training_rows(p, is_train)
    if not len(rows):
        return float(is_train.mean())
    # A row is in the span of others if it is orthogonal to their null space.
    _, values, directions = np.linalg.svd(rows, full_matrices=True)
    rank = int((values > RANK_TOLERANCE).sum())
    outside = parallelograms(p).rows(p) @ directions[rank:].T
    return _explained_share(p, is_train, (outside**2).sum(axis=1) < RANK_TOLERANCE)


@dataclass(frozen=True)
class TimeScale:
    """Time in which the effective loss of a training set forms the representation.

    Attributes:
        lambda3: third smallest eigenvalue of A^T A, after translation and scale; 0 if n0 > 2.
        steps: 1 / (lr lambda3(H')) with H' = 2 A^T A / Z0 and Z0 = p - 1; None if infinite.
    """

    lambda3: float
    steps: float | None


def time_scale(p: int, is_train: Bool[np.ndarray, " pairs"], learning_rate: float) -> TimeScale:
    """Return the third eigenvalue and the predicted steps Z0 / (2 lr lambda3).

    Source: arXiv:2205.10343, section 3.2, without the division by |P0(D)|.

    Raises:
        ValueError: the learning rate is not positive.
    """
    if not learning_rate > 0:
        raise ValueError(f"learning rate {learning_rate:g}, want > 0")
    rows = training_rows(p, is_train)
    values = np.linalg.eigvalsh(rows.T @ rows)
    lambda3 = float(values[2]) if values[2] > RANK_TOLERANCE * p else 0.0
    # A rate near 0 can overflow to an infinite time.
    rate = 2 * learning_rate * lambda3
    steps = (p - 1) / rate if rate > 0 else np.inf
    return TimeScale(lambda3, float(steps) if np.isfinite(steps) else None)


@dataclass(frozen=True)
class EffectiveRun:
    """A representation under effective dynamics.

    Attributes:
        times: evaluated times, learning rate x steps.
        E: representations.
        loss: effective losses |A E|^2 / Z0.
    """

    times: Float[np.ndarray, " evals"]
    E: Float[np.ndarray, "evals p dim"]
    loss: Float[np.ndarray, " evals"]


def effective_dynamics(
    E: Float[np.ndarray, "p dim"],
    is_train: Bool[np.ndarray, " pairs"],
    times: Float[np.ndarray, " evals"],
) -> EffectiveRun:
    """Return the exact effective dynamics dE/dt = (2 l0 / Z0^2) E - (2 / Z0) A^T A E.

    Here l0 = |A E|^2. The dynamics conserves Z0 and the mean of E.

    Args:
        E: representation at time 0; its mean is subtracted.
        is_train: pairs of the training set.
        times: learning rate x steps, ascending.

    Raises:
        ValueError: E is constant, or times are negative or not ascending.
    """
    p = len(E)
    start = E.astype(np.float64) - E.mean(axis=0)
    z0 = float((start**2).sum())
    if not z0 > 0:
        raise ValueError("E has no spread: all numbers have the same representation")
    if len(times) == 0 or times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError("times must be ascending and at least 0")
    rows = training_rows(p, is_train)
    values, modes = np.linalg.eigh(rows.T @ rows)
    # The first term conserves the norm: decay every mode at its rate, then rescale to Z0.
    parts = modes.T @ start
    is_present = (parts**2).sum(axis=1) > (MIN_MODE_NORM * z0) ** 2
    slowest = values[is_present].min()
    shares = np.exp(-2 / z0 * np.outer(times, np.maximum(values - slowest, 0)))
    path = np.einsum("ik,tk,kd->tid", modes, shares * is_present, parts)
    path *= np.sqrt(z0 / (path**2).sum(axis=(1, 2)))[:, None, None]
    loss = ((rows @ path) ** 2).sum(axis=(1, 2)) / z0
    return EffectiveRun(times, path, loss)


@dataclass(frozen=True)
class CriticalFraction:
    """Share of random training sets that force the numbers onto a line.

    Attributes:
        sizes: training set sizes, in pairs.
        share: share of random training sets with n0 = 2.
        half_at: size at which the share crosses 1/2, linearly interpolated; None if it does not.
        fraction: `half_at` over the number of pairs.
    """

    sizes: Int[np.ndarray, " sizes"]
    share: Float[np.ndarray, " sizes"]
    half_at: float | None
    fraction: float | None


def critical_fraction(
    p: int,
    sizes: Int[np.ndarray, " sizes"],
    draws: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> CriticalFraction:
    """Estimate P(n0 = 2) over training set sizes from random training sets.

    Every draw is one random order of all pairs; a training set of size n is its first n pairs, so
    that the curve is monotonic. Source: arXiv:2205.10343, section 3.3.

    Args:
        p: number of numbers.
        sizes: training set sizes, ascending.
        draws: number of orders.
        seed: seed of the orders.
        on_progress: called with the draw every `PROGRESS_DRAWS` draws; raises to cancel.

    Raises:
        ValueError: sizes are not ascending, or not within 1 to the number of pairs.
    """
    count = len(pairs(p))
    if not len(sizes) or sizes[0] < 1 or sizes[-1] > count or (np.diff(sizes) <= 0).any():
        raise ValueError(f"sizes must be ascending within 1 to {count}, the pairs of {p} numbers")
    hits = np.zeros(len(sizes), np.int64)
    for draw in range(draws):
        if on_progress and draw % PROGRESS_DRAWS == 0:
            on_progress(draw)
        order = np.random.default_rng([seed, draw]).permutation(count)
        hits[np.searchsorted(sizes, min_pairs_for_line(p, order)) :] += 1
    share = hits / draws
    half = _half_crossing(sizes, share)
    return CriticalFraction(sizes, share, half, None if half is None else half / count)


def min_pairs_for_line(p: int, order: Int[np.ndarray, " pairs"]) -> int:
    """Return the smallest n for which the first n pairs of an order have n0 = 2."""
    low, high = 1, len(order)
    while low < high:
        middle = (low + high) // 2
        is_train = np.zeros(len(order), bool)
        is_train[order[:middle]] = True
        if nullity(p, is_train) == 2:
            high = middle
        else:
            low = middle + 1
    return low


def _half_crossing(
    sizes: Int[np.ndarray, " sizes"], share: Float[np.ndarray, " sizes"]
) -> float | None:
    above = np.flatnonzero(share >= 0.5)
    if not len(above) or above[0] == 0:
        return None
    i = int(above[0])
    weight = (0.5 - share[i - 1]) / (share[i] - share[i - 1])
    return float(sizes[i - 1] + weight * (sizes[i] - sizes[i - 1]))
