"""Losses and exponents of the quantization model for finitely many quanta.

Source: arXiv:2303.13506, section 2. Quanta k = 1, 2, ... have frequencies of use p_k, and the loss
on a sample falls from b to a once its quantum is learned. In the limit of infinitely many quanta,
p_k = k^-(alpha + 1) / zeta(alpha + 1), L - a is proportional to n^-alpha for n learned quanta, and
alpha_N = alpha, alpha_D = alpha_S = alpha / (alpha + 1). For finitely many quanta the slopes are
steeper, much steeper for a few dozen: measurements on m subtasks are compared with sums over m.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

MAX_QUANTA = 1_000_000


def _check(alpha: float, a: float, b: float) -> None:
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha = {alpha:g}: want a finite number > 0")
    if not (np.isfinite(a) and np.isfinite(b) and 0 <= a < b):
        raise ValueError(f"a = {a:g}, b = {b:g} nats: want 0 <= a < b")


def zipf_frequencies(m: int, alpha: float) -> Float[np.ndarray, " quanta"]:
    """Return p_k of m quanta: proportional to k^-(alpha + 1), with sum 1.

    Raises:
        ValueError: m is not positive or too large, or alpha is not positive.
    """
    if not 1 <= m <= MAX_QUANTA:
        raise ValueError(f"m = {m}: want 1 to {MAX_QUANTA} quanta")
    _check(alpha, 0.0, 1.0)
    weights = np.arange(1, m + 1, dtype=np.float64) ** -(alpha + 1)
    p: NDArray[np.float64] = weights / weights.sum()
    return p


def loss_after(
    learned: Int[np.ndarray, " points"],
    frequencies: Float[np.ndarray, " quanta"],
    a: float = 0.0,
    b: float = 1.0,
) -> Float[np.ndarray, " points"]:
    """Return the mean loss after learning the n most frequent quanta: a + (b - a) sum_{k>n} p_k.

    Args:
        learned: n, between 0 and the number of quanta.
        frequencies: p_k, descending.
        a: loss of a learned quantum, nats.
        b: loss of an unlearned quantum, nats.
    """
    _check(1.0, a, b)
    remaining = np.concatenate([np.cumsum(frequencies[::-1])[::-1], [0.0]])
    loss: NDArray[np.float64] = a + (b - a) * remaining[learned]
    return loss


def fitted_slope(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    """Return the least-squares slope of log y against log x.

    Raises:
        ValueError: fewer than two points, or a value that is not positive.
    """
    if len(x) < 2 or not ((x > 0).all() and (y > 0).all()):
        raise ValueError("a slope needs at least two points with positive values")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@dataclass(frozen=True)
class FiniteSlopes:
    """Slopes of log loss for finitely many quanta.

    Attributes:
        over_number: slope against log n; limit -alpha.
        over_frequency: slope against log 1 / p_n, proportional to the data or steps that learn
            quantum n; limit -alpha / (alpha + 1).
    """

    over_number: float
    over_frequency: float


def finite_slopes(m: int, alpha: float, first: int = 2, last: int = 20) -> FiniteSlopes:
    """Return the slopes of exact sums over m quanta, for `first` to `last` learned quanta.

    Raises:
        ValueError: not 1 <= first < last < m.
    """
    if not 1 <= first < last < m:
        raise ValueError(f"first {first}, last {last} of {m} quanta: want 1 <= first < last < m")
    p = zipf_frequencies(m, alpha)
    n = np.arange(first, last + 1)
    loss = loss_after(n, p)
    return FiniteSlopes(fitted_slope(n.astype(np.float64), loss), fitted_slope(1 / p[n - 1], loss))


@dataclass(frozen=True)
class Law:
    """A scaling law of infinitely many quanta.

    Attributes:
        x: parameters, samples or steps.
        learned: number of learned quanta at each x.
        loss: exact sum, nats.
        limit: power law that the sum approaches, nats.
        exponent: exponent of the power law.
    """

    x: Float[np.ndarray, " points"]
    learned: Int[np.ndarray, " points"]
    loss: Float[np.ndarray, " points"]
    limit: Float[np.ndarray, " points"]
    exponent: float


@dataclass(frozen=True)
class Theory:
    """Settings of the quantization model.

    Attributes:
        alpha: p_k is proportional to k^-(alpha + 1).
        capacity: C, parameters per quantum.
        tau: samples of a quantum that are needed to learn it.
        first_steps: T, steps to learn the first quantum.
        a: loss of a learned quantum, nats.
        b: loss of an unlearned quantum, nats.
    """

    alpha: float = 0.4
    capacity: float = 1e4
    tau: float = 100.0
    first_steps: float = 100.0
    a: float = 0.5
    b: float = 5.0

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of range."""
        _check(self.alpha, self.a, self.b)
        for name in ("capacity", "tau", "first_steps"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value:g}: want a finite number > 0")

    def parameter_law(self, x: Float[np.ndarray, " points"]) -> Law:
        """Return L(N): n = N / C, exponent alpha."""
        return self._law(x, x / self.capacity, self.alpha)

    def data_law(self, x: Float[np.ndarray, " points"]) -> Law:
        """Return L(D), many epochs: quantum n is learned once D p_n >= tau."""
        n = (x / (self.tau * _zeta(self.alpha + 1))) ** (1 / (1 + self.alpha))
        return self._law(x, n, self.alpha / (1 + self.alpha))

    def step_law(self, x: Float[np.ndarray, " points"]) -> Law:
        """Return L(S), one epoch: quantum n is learned after T p_1 / p_n steps."""
        n = (x / self.first_steps) ** (1 / (1 + self.alpha))
        return self._law(x, n, self.alpha / (1 + self.alpha))

    def _law(
        self, x: Float[np.ndarray, " points"], n: Float[np.ndarray, " points"], exponent: float
    ) -> Law:
        if not len(x) or not (np.isfinite(x).all() and (x > 0).all()):
            raise ValueError("x: want finite numbers > 0")
        # The factor keeps a quantum that a rounding error would lose.
        learned = np.floor(np.minimum(n, 1e15) * (1 + 1e-12)).astype(np.int64)
        scale = (self.b - self.a) / _zeta(self.alpha + 1)
        loss = self.a + scale * _zeta(self.alpha + 1, learned + 1.0)
        limit = self.a + scale / self.alpha * n**-self.alpha
        return Law(x, learned, loss, limit, exponent)


def _zeta(s: float, q: Float[np.ndarray, " points"] | float = 1.0) -> Float[np.ndarray, "..."]:
    """Return the Hurwitz zeta function, sum_{k >= 0} (k + q)^-s."""
    from scipy.special import zeta

    return np.asarray(zeta(s, q), np.float64)


@dataclass(frozen=True)
class PublishedPair:
    """Exponents that a study measured for parameters and for data."""

    source: str
    alpha_n: float
    alpha_d: float


_ROSENFELD = (
    (0.81, 0.34), (1.01, 0.22), (0.74, 0.56), (0.75, 0.61), (0.66, 0.53), (0.70, 0.51),
    (0.40, 1.16), (1.10, 0.83), (0.93, 0.54),
)  # fmt: skip
# From the appendix of arXiv:2303.13506.
PUBLISHED_PAIRS = (
    *(PublishedPair("Rosenfeld et al.", n, d) for n, d in _ROSENFELD),
    PublishedPair("Kaplan et al.", 0.076, 0.095),
    PublishedPair("Hoffmann et al.", 0.34, 0.28),
    PublishedPair("Ardalani et al.", 0.10, 4.0),
    *(PublishedPair("Gordon et al.", n, d) for n, d in ((0.11, 0.38), (0.13, 0.35), (0.12, 0.43))),
    PublishedPair("Droppo & Elibol", 0.016, 0.019),
)
