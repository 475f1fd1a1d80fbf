"""Slopes of the loss on sparse parity, beside what finitely many quanta give.

Source: arXiv:2303.13506, sections 2 and 3. What is measured is the least-squares slope of log loss
against log x over a window. What is predicted is the same slope, over the same x, of the exact sum
L(n) = sum_{k > n} p_k over the m subtasks of the run, straight between whole n; a subtask that is
not learned costs 1 bit. How many are learned at x is the paper's law, with one constant that is
counted on the run, never fitted to the loss:

- N, width w: n = w / C; C is the geometric mean of w / (n_w + 1/2), where n_w subtasks are under
  0.1 bits at the end (the law's n lies between n_w and n_w + 1);
- S, steps s: p_n = tau / s; tau is the geometric mean of T_k p_k over the subtasks that converged;
- D, sample D: p_n = tau / D; tau is the geometric mean of D p at n_D + 1/2, where n_D are under
  0.1 bits at the step of the least loss;

with p at a number n that is not whole taken as p_1 n^-(alpha + 1). The limit of infinitely many
quanta, -alpha for N and -alpha / (alpha + 1) for S and D, is no prediction for a few dozen.
Windows: N and D, where the loss is below 0.95 bits (published for D; for N all widths are); S, from
the first convergence to the last. Where the law leaves less than one subtask, nothing is compared.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from compute.parity_problem import Problem
from compute.quanta_theory import fitted_slope

Axis = Literal["N", "S", "D"]
LEARNING_BITS = 0.95
MIN_POINTS = 3
TOLERANCE = 0.4
_DRAWN = 60


class TooFewPointsError(ValueError):
    """There is too little to fit a slope to."""


@dataclass(frozen=True)
class FiniteSum:
    """Exact sums over the subtasks of a problem, and where they are along one axis.

    Attributes:
        scale: C for N, tau for S and D.
    """

    problem: Problem
    axis: Axis
    scale: float

    def learned(self, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Return n at each x; not whole, and not capped at m."""
        if self.axis == "N":
            return x / self.scale
        p_first = self.problem.frequencies()[0]
        n: NDArray[np.float64] = (x * p_first / self.scale) ** (1 / (self.problem.alpha + 1))
        return n

    def loss(self, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Return the sum at each x, bits."""
        p = self.problem.frequencies()
        left = np.concatenate([np.cumsum(p[::-1])[::-1], [0.0]])
        n = np.minimum(self.learned(x), len(p))
        loss: NDArray[np.float64] = np.interp(n, np.arange(len(p) + 1), left)
        return loss

    def is_inside(self, x: Float[np.ndarray, " points"]) -> NDArray[np.bool_]:
        """Return where a subtask or more is left to learn."""
        inside: NDArray[np.bool_] = self.learned(x) <= self.problem.tasks - 1 + 1e-9
        return inside

    def limit(self) -> float:
        """Return the slope for infinitely many quanta."""
        alpha = self.problem.alpha
        return -alpha if self.axis == "N" else -alpha / (alpha + 1)


@dataclass(frozen=True)
class Law:
    """One scaling law of a run.

    Attributes:
        measured: slope of log loss against log x.
        predicted: that of the finite sum over the same x.
        limit: that for infinitely many quanta.
        level: of the measured line, log of its loss at x = 1.
        window: first and last x that count.
        n_points: that count.
        scale: C for N, tau for S and D.
        learned: n by the law at both ends of the window.
        drawn_x: x of a curve over the window.
        drawn_sum: finite sum there, bits.
    """

    axis: Axis
    measured: float
    predicted: float
    limit: float
    level: float
    window: tuple[float, float]
    n_points: int
    scale: float
    learned: tuple[float, float]
    drawn_x: Float[np.ndarray, " drawn"]
    drawn_sum: Float[np.ndarray, " drawn"]

    @property
    def ratio(self) -> float:
        """Return measured over predicted; 1 if they agree."""
        return self.measured / self.predicted

    @property
    def agrees(self) -> bool:
        """Return whether they agree to 40 %."""
        return abs(self.ratio - 1) <= TOLERANCE


def fit_law(
    sums: FiniteSum,
    x: Float[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    window: tuple[float, float] | None = None,
) -> Law:
    """Return measured and predicted slope over the same points.

    Args:
        sums: of the problem, with their constant.
        x: widths, steps or sample sizes; one may come more than once.
        loss: bits, at each.
        window: first and last x that may count; all whose loss is below 0.95 bits if None.

    Raises:
        TooFewError: fewer than three different x count.
    """
    counts = (loss > 0) & (x > 0) & sums.is_inside(x)
    if window is None:
        below = counts & (loss < LEARNING_BITS)
        first = x[below].min() if below.any() else np.inf
        counts &= x >= first
    else:
        counts &= (x >= window[0]) & (x <= window[1])
    x, loss = x[counts].astype(np.float64), loss[counts].astype(np.float64)
    if len(np.unique(x)) < MIN_POINTS:
        raise TooFewPointsError(
            f"points that count: {len(np.unique(x))}; a slope needs {MIN_POINTS}"
        )
    measured = fitted_slope(x, loss)
    ends = float(x.min()), float(x.max())
    drawn = np.geomspace(*ends, _DRAWN)
    first_n, last_n = sums.learned(np.array(ends))
    return Law(
        axis=sums.axis,
        measured=measured,
        predicted=fitted_slope(x, sums.loss(x)),
        limit=sums.limit(),
        level=float(np.mean(np.log(loss)) - measured * np.mean(np.log(x))),
        window=ends,
        n_points=len(x),
        scale=sums.scale,
        learned=(float(first_n), float(last_n)),
        drawn_x=drawn,
        drawn_sum=sums.loss(drawn),
    )


def width_law(
    problem: Problem,
    widths: Int[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    learned: Int[np.ndarray, " points"],
) -> Law:
    """Return the law of N: final losses over widths.

    Args:
        problem: what was asked.
        widths: of the networks.
        loss: bits, at the end.
        learned: subtasks under 0.1 bits then.

    Raises:
        TooFewError: as of `law`, or no subtask is learned anywhere.
    """
    _check_learned(learned)
    x = widths.astype(np.float64)
    begun = loss < LEARNING_BITS
    capacity = _geometric_mean(x[begun] / (learned[begun] + 0.5))
    return fit_law(FiniteSum(problem, "N", capacity), x, loss)


def data_law(
    problem: Problem,
    samples: Int[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    learned: Int[np.ndarray, " points"],
) -> Law:
    """Return the law of D: least losses over sample sizes.

    Args:
        problem: what was asked.
        samples: D of the networks.
        loss: bits, the least of each.
        learned: subtasks under 0.1 bits at that step.

    Raises:
        TooFewError: as of `law`, or no subtask is learned anywhere.
    """
    _check_learned(learned)
    x = samples.astype(np.float64)
    begun = loss < LEARNING_BITS
    p = problem.frequencies()[0] * (learned[begun] + 0.5) ** -(problem.alpha + 1)
    return fit_law(FiniteSum(problem, "D", _geometric_mean(x[begun] * p)), x, loss)


def steps_law(
    problem: Problem,
    steps: Int[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    convergence: Int[np.ndarray, "networks tasks"],
) -> Law:
    """Return the law of S: losses over steps, of all networks together.

    Args:
        problem: what was asked.
        steps: of the looks of all networks.
        loss: bits, at each.
        convergence: step of every subtask of every network, -1 where there is none.

    Raises:
        TooFewError: as of `law`, or fewer than three subtasks converged.
    """
    done = convergence > 0
    if done.any(axis=0).sum() < MIN_POINTS:
        raise TooFewPointsError(
            f"subtasks that converged: {done.any(axis=0).sum()}; a window needs {MIN_POINTS}"
        )
    expected = np.broadcast_to(problem.frequencies(), convergence.shape)
    scale = _geometric_mean(convergence[done] * expected[done])
    window = float(convergence[done].min()), float(convergence[done].max())
    return fit_law(FiniteSum(problem, "S", scale), steps.astype(np.float64), loss, window)


def _check_learned(learned: Int[np.ndarray, " points"]) -> None:
    if not (learned > 0).any():
        raise TooFewPointsError("no network has learned a subtask")


def _geometric_mean(values: Float[np.ndarray, " n"]) -> float:
    if not len(values):
        raise TooFewPointsError(f"no loss is below {LEARNING_BITS} bits")
    return float(np.exp(np.mean(np.log(values))))
