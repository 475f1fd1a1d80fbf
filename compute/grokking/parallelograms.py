"""Parallelograms of a representation of numbers, and what effective theory says of them.

Source: arXiv:2205.10343, sections 3 and 4 and appendix. A network that adds by E_i + E_j can
generalise from i + n = j + m only where E_i + E_n = E_j + E_m, a parallelogram. Pairs are
unordered, i <= j < p, in the order (0, 0), (0, 1), ..., (p - 1, p - 1).

Conventions. A has a row e_i + e_n - e_j - e_m for every parallelogram i < j <= m < n, and
Z0 = sum_k |E_k|^2. The effective loss is |A E|^2 / Z0, its Hessian 2 A^T A / Z0. The paper divides
the loss by the number of parallelograms as well; for times that is wrong by that factor (its code
does not), so it is left out here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

CLOSED_BELOW = 0.01
# Of a representation's norm: less is rounding, not a mode that it has.
PRESENT = 1e-14
PROGRESS_DRAWS = 20
RANK_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Parallelograms:
    """All parallelograms of p numbers on a line.

    Attributes:
        corners: numbers i, j, m, n with i + n = j + m and i < j <= m < n.
        outer: index of the pair (i, n) among all pairs.
        inner: index of the pair (j, m).
    """

    corners: Int[np.ndarray, "parallelograms 4"]
    outer: Int[np.ndarray, " parallelograms"]
    inner: Int[np.ndarray, " parallelograms"]

    def rows(self, p: int) -> Float[np.ndarray, "parallelograms p"]:
        """Return A, with a row e_i + e_n - e_j - e_m for each."""
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
        ValueError: p < 3, which has none.
    """
    if p < 3:
        raise ValueError(f"p = {p} has no parallelogram, want p >= 3")
    of_sum: dict[int, list[tuple[int, int, int]]] = {}
    for index, (i, j) in enumerate(pairs(p).tolist()):
        of_sum.setdefault(i + j, []).append((i, j, index))
    found = [
        (i, j, m, n, outer, inner)
        for same in of_sum.values()
        for i, n, outer in same
        for j, m, inner in same
        if i < j
    ]
    table = np.array(sorted(found), np.int64)
    return Parallelograms(table[:, :4], table[:, 4], table[:, 5])


def parallelogram_mask(p: int, is_train: Bool[np.ndarray, " pairs"]) -> Bool[np.ndarray, " all"]:
    """Return which parallelograms have both their pairs in a training set: P0(D)."""
    every = parallelograms(p)
    both: NDArray[np.bool_] = is_train[every.outer] & is_train[every.inner]
    return both


def nullity(p: int, is_train: Bool[np.ndarray, " pairs"]) -> int:
    """Return n0, the dimensions of representations that satisfy all of P0(D).

    2, translation and scale, means that the training set forces the numbers onto a line.
    """
    rows = parallelograms(p).rows(p)[parallelogram_mask(p, is_train)]
    return p - int(np.linalg.matrix_rank(rows, tol=RANK_TOLERANCE)) if len(rows) else p


def normalise(E: Float[np.ndarray, "... p dim"]) -> Float[np.ndarray, "... p dim"]:
    """Return representations with zero mean and unit standard deviation (ddof 1) in each dimension.

    One without spread is returned as zeros: it represents nothing.
    """
    centred = E - E.mean(axis=-2, keepdims=True)
    spread = centred.std(axis=-2, ddof=1, keepdims=True)
    unit: NDArray[np.floating] = np.zeros_like(centred)
    np.divide(centred, spread, out=unit, where=spread > 0)
    return unit


def closed_mask(E: Float[np.ndarray, "... p dim"]) -> Bool[np.ndarray, "... parallelograms"]:
    """Return which parallelograms a representation closes.

    Closed: the mean over dimensions of (E_i + E_n - E_j - E_m)^2, normalised, is under `IS_CLOSE`.
    A representation without spread closes none.
    """
    p = E.shape[-2]
    unit = normalise(E)
    off = ((parallelograms(p).rows(p) @ unit) ** 2).mean(axis=-1)
    has_spread = (np.abs(unit) > 0).any(axis=(-1, -2))
    closed: NDArray[np.bool_] = (off < CLOSED_BELOW) & has_spread[..., None]
    return closed


def rqi(E: Float[np.ndarray, "... p dim"]) -> Float[np.ndarray, "..."]:
    """Return the representation quality index: the share of all parallelograms that are closed."""
    share: NDArray[np.float64] = np.asarray(closed_mask(E).mean(axis=-1))
    return share


def _spread(
    p: int, is_train: Bool[np.ndarray, " pairs"], closed: Bool[np.ndarray, " all"]
) -> float:
    every = parallelograms(p)
    known = is_train.copy()
    known[every.outer[closed & is_train[every.inner]]] = True
    known[every.inner[closed & is_train[every.outer]]] = True
    return float(known.mean())


def predicted_accuracy(
    is_train: Bool[np.ndarray, " pairs"], E: Float[np.ndarray, "p dim"]
) -> float:
    """Return the accuracy over all pairs that a representation explains.

    Train pairs, and every other pair that is in a closed parallelogram with a train pair.
    """
    return _spread(len(E), is_train, closed_mask(E))


def ideal_accuracy(p: int, is_train: Bool[np.ndarray, " pairs"]) -> float:
    """Return the accuracy over all pairs that the training set alone can lead to.

    As `predicted_accuracy`, with the parallelograms that follow from those of P0(D): the ones whose
    row does not raise the rank of A.
    """
    rows = parallelograms(p).rows(p)
    chosen = rows[parallelogram_mask(p, is_train)]
    if not len(chosen):
        return float(is_train.mean())
    # A row follows from others if it has no part in their null space.
    _, values, directions = np.linalg.svd(chosen, full_matrices=True)
    rank = int((values > RANK_TOLERANCE).sum())
    outside = rows @ directions[rank:].T
    return _spread(p, is_train, (outside**2).sum(axis=1) < RANK_TOLERANCE)


@dataclass(frozen=True)
class TimeScale:
    """How fast the effective loss of a training set forms the representation.

    Attributes:
        lambda3: third smallest eigenvalue of A^T A, after translation and scale; 0 if n0 > 2.
        steps: 1 / (lr lambda3(H')) with H' = 2 A^T A / Z0 and Z0 = p - 1, None if it never forms.
    """

    lambda3: float
    steps: float | None


def time_scale(p: int, is_train: Bool[np.ndarray, " pairs"], learning_rate: float) -> TimeScale:
    """Return the third eigenvalue and the steps that it predicts, Z0 / (2 lr lambda3).

    Source: arXiv:2205.10343, section 3.2, without the division by |P0(D)|.

    Raises:
        ValueError: the learning rate is not positive.
    """
    if not learning_rate > 0:
        raise ValueError(f"learning rate {learning_rate:g}, want > 0")
    rows = parallelograms(p).rows(p)[parallelogram_mask(p, is_train)]
    values = np.linalg.eigvalsh(rows.T @ rows)
    lambda3 = float(values[2]) if values[2] > RANK_TOLERANCE * p else 0.0
    # A rate next to 0 takes longer than any number says.
    rate = 2 * learning_rate * lambda3
    steps = (p - 1) / rate if rate > 0 else np.inf
    return TimeScale(lambda3, float(steps) if np.isfinite(steps) else None)


@dataclass(frozen=True)
class EffectiveRun:
    """A representation under effective dynamics.

    Attributes:
        times: when it was looked at, learning rate x steps.
        E: the representation then.
        loss: effective loss |A E|^2 / Z0.
    """

    times: Float[np.ndarray, " looks"]
    E: Float[np.ndarray, "looks p dim"]
    loss: Float[np.ndarray, " looks"]


def effective_flow(
    p: int, E: Float[np.ndarray, "p dim"], is_train: Bool[np.ndarray, " pairs"]
) -> Float[np.ndarray, "p dim"]:
    """Return dE/dt = (2 l0 / Z0^2) E - (2 / Z0) A^T A E, the way down the effective loss.

    sum_k E_k and Z0 are conserved by it.
    """
    rows = parallelograms(p).rows(p)[parallelogram_mask(p, is_train)]
    off = rows @ E
    z0 = float((E**2).sum())
    down: NDArray[np.float64] = 2 * float((off**2).sum()) / z0**2 * E - 2 / z0 * (rows.T @ off)
    return down


def effective_dynamics(
    E: Float[np.ndarray, "p dim"],
    is_train: Bool[np.ndarray, " pairs"],
    times: Float[np.ndarray, " looks"],
) -> EffectiveRun:
    """Return a representation at times (learning rate x steps) under effective dynamics, exactly.

    Args:
        E: at time 0; its mean is taken out, which the dynamics keeps as it is.

    Raises:
        ValueError: E has no spread, or the times do not rise from >= 0.
    """
    p = len(E)
    start = E.astype(np.float64) - E.mean(axis=0)
    z0 = float((start**2).sum())
    if not z0 > 0:
        raise ValueError("E has no spread: all numbers are represented alike")
    if len(times) == 0 or times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError("times must rise from 0 or later")
    rows = parallelograms(p).rows(p)[parallelogram_mask(p, is_train)]
    values, modes = np.linalg.eigh(rows.T @ rows)
    # The first term only keeps the norm: every mode decays at its own rate, and the whole is
    # brought back to Z0.
    parts = modes.T @ start
    there = (parts**2).sum(axis=1) > (PRESENT * z0) ** 2
    slowest = values[there].min()
    shares = np.exp(-2 / z0 * np.outer(times, np.maximum(values - slowest, 0)))
    path = np.einsum("ik,tk,kd->tid", modes, shares * there, parts)
    path *= np.sqrt(z0 / (path**2).sum(axis=(1, 2)))[:, None, None]
    loss = ((rows @ path) ** 2).sum(axis=(1, 2)) / z0
    return EffectiveRun(times, path, loss)


@dataclass(frozen=True)
class CriticalFraction:
    """How often a random training set forces the numbers onto a line.

    Attributes:
        sizes: training set sizes, in pairs.
        share: of random training sets of that size with n0 = 2.
        half_at: size where the share crosses one half, linear between sizes; None if it does not.
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
    """Return P(n0 = 2) over training set sizes, by drawing training sets at random.

    Every draw is one random order of all pairs whose first n are the training set of size n, so
    that the curve rises as it must. arXiv:2205.10343, section 3.3. `watch` hears of the draws now
    and then, and may raise to cancel.

    Raises:
        ValueError: a size is not between 1 and the number of pairs, or they do not rise.
    """
    count = len(pairs(p))
    if not len(sizes) or sizes[0] < 1 or sizes[-1] > count or (np.diff(sizes) <= 0).any():
        raise ValueError(f"sizes must rise within 1 to {count}, the pairs of {p} numbers")
    hits = np.zeros(len(sizes), np.int64)
    for draw in range(draws):
        if on_progress and draw % PROGRESS_DRAWS == 0:
            on_progress(draw)
        order = np.random.default_rng([seed, draw]).permutation(count)
        hits[np.searchsorted(sizes, min_pairs_for_line(p, order)) :] += 1
    share = hits / draws
    half = _crossing(sizes, share)
    return CriticalFraction(sizes, share, half, None if half is None else half / count)


def min_pairs_for_line(p: int, order: Int[np.ndarray, " pairs"]) -> int:
    """Return how many of the first pairs of an order it takes until n0 = 2."""
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


def _crossing(sizes: Int[np.ndarray, " sizes"], share: Float[np.ndarray, " sizes"]) -> float | None:
    above = np.flatnonzero(share >= 0.5)
    if not len(above) or above[0] == 0:
        return None
    i = int(above[0])
    part = (0.5 - share[i - 1]) / (share[i] - share[i - 1])
    return float(sizes[i - 1] + part * (sizes[i] - sizes[i - 1]))
