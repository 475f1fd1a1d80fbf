"""The quantization model in numbers: losses and exponents for finitely many quanta.

Source: arXiv:2303.13506, section 2. Quanta k = 1, 2, ... are used with frequencies p_k, and the
loss on a sample falls from b to a once its quantum is learned. In the limit of infinitely many,
p_k = k^-(alpha + 1) / zeta(alpha + 1), L - a goes as n^-alpha in the number n that are learned, and
alpha_N = alpha, alpha_D = alpha_S = alpha / (alpha + 1). With finitely many the slopes are steeper,
by far for a few dozen: what is measured on m subtasks is compared with the sum over m.
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
    """Return p_k of m quanta, proportional to k^-(alpha + 1), summing to 1.

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
    """Return the mean loss once the n most frequent quanta are learned: a + (b - a) sum_{k>n} p_k.

    Args:
        learned: n at every point, 0 to all.
        a: loss of a learned quantum, nats.
        b: loss of one that is not learned, nats.
    """
    _check(1.0, a, b)
    left = np.concatenate([np.cumsum(frequencies[::-1])[::-1], [0.0]])
    loss: NDArray[np.float64] = a + (b - a) * left[learned]
    return loss


def fitted_slope(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    """Return the least-squares slope of log y against log x.

    Raises:
        ValueError: fewer than two points, or one that is not positive.
    """
    if len(x) < 2 or not ((x > 0).all() and (y > 0).all()):
        raise ValueError("a slope needs two points or more, all positive")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@dataclass(frozen=True)
class FiniteSlopes:
    """Slopes of the loss for finitely many quanta, over the same quanta that were learned.

    Attributes:
        over_number: of L against n, in the limit -alpha.
        over_frequency: of L against 1 / p_n, the data or steps that quantum n takes; in the limit
            -alpha / (alpha + 1).
    """

    over_number: float
    over_frequency: float


def finite_slopes(m: int, alpha: float, first: int = 2, last: int = 20) -> FiniteSlopes:
    """Return the slopes of exact sums over m quanta, between `first` and `last` learned ones.

    Raises:
        ValueError: no two numbers of learned quanta between them with some loss left.
    """
    if not 1 <= first < last < m:
        raise ValueError(f"first {first}, last {last} of {m} quanta: want 1 <= first < last < m")
    p = zipf_frequencies(m, alpha)
    n = np.arange(first, last + 1)
    loss = loss_after(n, p)
    return FiniteSlopes(fitted_slope(n.astype(np.float64), loss), fitted_slope(1 / p[n - 1], loss))


@dataclass(frozen=True)
class Law:
    """A scaling law drawn from quanta.

    Attributes:
        x: parameters, samples or steps.
        learned: quanta learned at each.
        loss: exact sum, nats.
        limit: its power law in the limit, nats.
        exponent: of the limit.
    """

    x: Float[np.ndarray, " points"]
    learned: Int[np.ndarray, " points"]
    loss: Float[np.ndarray, " points"]
    limit: Float[np.ndarray, " points"]
    exponent: float


@dataclass(frozen=True)
class Theory:
    """What the simulator is set to.

    Attributes:
        alpha: p_k goes as k^-(alpha + 1).
        capacity: C, parameters that a quantum takes.
        threshold: tau, samples of a quantum that it takes to learn it.
        first_steps: T, steps that the first quantum takes.
        a: loss of a learned quantum, nats.
        b: loss of one that is not, nats.
    """

    alpha: float = 0.4
    capacity: float = 1e4
    threshold: float = 100.0
    first_steps: float = 100.0
    a: float = 0.5
    b: float = 5.0

    def __post_init__(self) -> None:
        """Raise ValueError, naming it, for a number out of range."""
        _check(self.alpha, self.a, self.b)
        for name in ("capacity", "threshold", "first_steps"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value:g}: want a finite number > 0")

    def over_parameters(self, x: Float[np.ndarray, " points"]) -> Law:
        """Return L(N): n = N / C, exponent alpha."""
        return self._law(x, x / self.capacity, self.alpha)

    def over_data(self, x: Float[np.ndarray, " points"]) -> Law:
        """Return L(D), many epochs: the n-th quantum needs tau samples, D p_n >= tau."""
        n = (x / (self.threshold * _zeta(self.alpha + 1))) ** (1 / (1 + self.alpha))
        return self._law(x, n, self.alpha / (1 + self.alpha))

    def over_steps(self, x: Float[np.ndarray, " points"]) -> Law:
        """Return L(S), one epoch: the n-th quantum needs T p_1 / p_n steps."""
        n = (x / self.first_steps) ** (1 / (1 + self.alpha))
        return self._law(x, n, self.alpha / (1 + self.alpha))

    def _law(
        self, x: Float[np.ndarray, " points"], n: Float[np.ndarray, " points"], exponent: float
    ) -> Law:
        if not len(x) or not (np.isfinite(x).all() and (x > 0).all()):
            raise ValueError("x: want finite numbers > 0")
        # A rounding error must not take the last quantum away.
        learned = np.floor(np.minimum(n, 1e15) * (1 + 1e-12)).astype(np.int64)
        whole = _zeta(self.alpha + 1)
        scale = (self.b - self.a) / whole
        loss = self.a + scale * _zeta(self.alpha + 1, learned + 1.0)
        limit = self.a + scale / self.alpha * n**-self.alpha
        return Law(x, learned, loss, limit, exponent)


def _zeta(s: float, q: Float[np.ndarray, " points"] | float = 1.0) -> Float[np.ndarray, "..."]:
    """Return sum_{k >= 0} (k + q)^-s (Hurwitz)."""
    from scipy.special import zeta

    return np.asarray(zeta(s, q), np.float64)


@dataclass(frozen=True)
class PublishedPair:
    """Exponents that one study measured for parameters and for data."""

    source: str
    alpha_n: float
    alpha_d: float


_ROSENFELD = (
    (0.81, 0.34), (1.01, 0.22), (0.74, 0.56), (0.75, 0.61), (0.66, 0.53), (0.70, 0.51),
    (0.40, 1.16), (1.10, 0.83), (0.93, 0.54),
)  # fmt: skip
# As collected in arXiv:2303.13506, appendix.
PUBLISHED_PAIRS = (
    *(PublishedPair("Rosenfeld et al.", n, d) for n, d in _ROSENFELD),
    PublishedPair("Kaplan et al.", 0.076, 0.095),
    PublishedPair("Hoffmann et al.", 0.34, 0.28),
    PublishedPair("Ardalani et al.", 0.10, 4.0),
    *(PublishedPair("Gordon et al.", n, d) for n, d in ((0.11, 0.38), (0.13, 0.35), (0.12, 0.43))),
    PublishedPair("Droppo & Elibol", 0.016, 0.019),
)
