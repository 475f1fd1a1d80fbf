"""Scaling exponents of sparse parity, measured and predicted for finitely many quanta.

Source: arXiv:2303.13506, sections 2 and 3. The measured slope is the least-squares slope of log
loss against log x over a window. The predicted slope is that of the exact sum
L(n) = sum_{k > n} p_k over the m subtasks at the same x, linear between integers n; an unlearned
subtask costs 1 bit. The number n of learned subtasks at x follows the paper's law, with one
constant that is counted on the run and not fitted to the loss:

- N, width w: n = w / C; C is the geometric mean of w / (n_w + 1/2), where n_w subtasks are under
  0.1 bits at the end (the law's n lies between n_w and n_w + 1);
- S, steps s: p_n = tau / s; tau is the geometric mean of T_k p_k over the converged subtasks;
- D, sample D: p_n = tau / D; tau is the geometric mean of D p at n_D + 1/2, where n_D are under
  0.1 bits at the step of the lowest loss;

with p = p_1 n^-(alpha + 1) at a fractional n. The limit of infinitely many quanta, -alpha for N and
-alpha / (alpha + 1) for S and D, does not predict the slope of a few dozen.
Windows: N and D, where the loss is below 0.95 bits (published for D; for N all widths are); S, from
the first convergence to the last. Points where the law leaves less than one subtask are excluded.
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
_CURVE_POINTS = 60


class TooFewPointsError(ValueError):
    """There are too few points to fit a slope."""


@dataclass(frozen=True)
class FiniteSum:
    """Exact loss of a problem along one axis.

    Attributes:
        scale: C for N, tau for S and D.
    """

    problem: Problem
    axis: Axis
    scale: float

    def n_learned(self, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Return n at each x, fractional and not capped at m."""
        if self.axis == "N":
            return x / self.scale
        p_first = self.problem.frequencies()[0]
        n: NDArray[np.float64] = (x * p_first / self.scale) ** (1 / (self.problem.alpha + 1))
        return n

    def loss(self, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Return the loss at each x, bits."""
        p = self.problem.frequencies()
        remaining = np.concatenate([np.cumsum(p[::-1])[::-1], [0.0]])
        n = np.minimum(self.n_learned(x), len(p))
        loss: NDArray[np.float64] = np.interp(n, np.arange(len(p) + 1), remaining)
        return loss

    def has_remaining(self, x: Float[np.ndarray, " points"]) -> NDArray[np.bool_]:
        """Return where at least one subtask remains to be learned."""
        has_remaining: NDArray[np.bool_] = self.n_learned(x) <= self.problem.tasks - 1 + 1e-9
        return has_remaining

    def limit(self) -> float:
        """Return the slope for infinitely many quanta."""
        alpha = self.problem.alpha
        return -alpha if self.axis == "N" else -alpha / (alpha + 1)


@dataclass(frozen=True)
class Law:
    """Scaling exponent of a run along one axis, measured and predicted.

    Attributes:
        measured: slope of log loss against log x.
        predicted: slope of the finite sum over the same x.
        limit: slope for infinitely many quanta.
        intercept: log loss of the measured line at x = 1.
        window: first and last x of the fit.
        n_points: number of points of the fit.
        scale: C for N, tau for S and D.
        n_learned: the law's n at both ends of the window.
        curve_x: x of a curve over the window.
        curve_loss: finite sum at `curve_x`, bits.
    """

    axis: Axis
    measured: float
    predicted: float
    limit: float
    intercept: float
    window: tuple[float, float]
    n_points: int
    scale: float
    n_learned: tuple[float, float]
    curve_x: Float[np.ndarray, " curve"]
    curve_loss: Float[np.ndarray, " curve"]

    @property
    def ratio(self) -> float:
        """Return measured over predicted slope."""
        return self.measured / self.predicted

    @property
    def agrees(self) -> bool:
        """Return whether measured and predicted slope agree within 40 %."""
        return abs(self.ratio - 1) <= TOLERANCE


def fit_law(
    finite_sum: FiniteSum,
    x: Float[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    window: tuple[float, float] | None = None,
) -> Law:
    """Return the measured and the predicted slope over the same points.

    Args:
        finite_sum: loss of the problem, with its counted constant.
        x: widths, steps or sample sizes, with repeats.
        loss: loss at each x, bits.
        window: first and last x; None: where the loss is below 0.95 bits.

    Raises:
        TooFewPointsError: fewer than three different x in the window.
    """
    is_fitted = (loss > 0) & (x > 0) & finite_sum.has_remaining(x)
    if window is None:
        below = is_fitted & (loss < LEARNING_BITS)
        first = x[below].min() if below.any() else np.inf
        is_fitted &= x >= first
    else:
        is_fitted &= (x >= window[0]) & (x <= window[1])
    x, loss = x[is_fitted].astype(np.float64), loss[is_fitted].astype(np.float64)
    if len(np.unique(x)) < MIN_POINTS:
        raise TooFewPointsError(
            f"distinct points in the window: {len(np.unique(x))}; a slope needs {MIN_POINTS}"
        )
    measured = fitted_slope(x, loss)
    ends = float(x.min()), float(x.max())
    curve_x = np.geomspace(*ends, _CURVE_POINTS)
    first_n, last_n = finite_sum.n_learned(np.array(ends))
    return Law(
        axis=finite_sum.axis,
        measured=measured,
        predicted=fitted_slope(x, finite_sum.loss(x)),
        limit=finite_sum.limit(),
        intercept=float(np.mean(np.log(loss)) - measured * np.mean(np.log(x))),
        window=ends,
        n_points=len(x),
        scale=finite_sum.scale,
        n_learned=(float(first_n), float(last_n)),
        curve_x=curve_x,
        curve_loss=finite_sum.loss(curve_x),
    )


def width_law(
    problem: Problem,
    widths: Int[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    n_learned: Int[np.ndarray, " points"],
) -> Law:
    """Return the law of N: final losses over widths.

    Args:
        problem: problem of the run.
        widths: widths of the networks.
        loss: final losses, bits.
        n_learned: numbers of subtasks under 0.1 bits at the end.

    Raises:
        TooFewPointsError: as for `fit_law`, or no network has learned a subtask.
    """
    _check_learned(n_learned)
    x = widths.astype(np.float64)
    is_learning = loss < LEARNING_BITS
    capacity = _geometric_mean(x[is_learning] / (n_learned[is_learning] + 0.5))
    return fit_law(FiniteSum(problem, "N", capacity), x, loss)


def data_law(
    problem: Problem,
    samples: Int[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    n_learned: Int[np.ndarray, " points"],
) -> Law:
    """Return the law of D: lowest losses over sample sizes.

    Args:
        problem: problem of the run.
        samples: D of the networks.
        loss: lowest losses, bits.
        n_learned: numbers of subtasks under 0.1 bits at the step of the lowest loss.

    Raises:
        TooFewPointsError: as for `fit_law`, or no network has learned a subtask.
    """
    _check_learned(n_learned)
    x = samples.astype(np.float64)
    is_learning = loss < LEARNING_BITS
    p = problem.frequencies()[0] * (n_learned[is_learning] + 0.5) ** -(problem.alpha + 1)
    return fit_law(FiniteSum(problem, "D", _geometric_mean(x[is_learning] * p)), x, loss)


def steps_law(
    problem: Problem,
    steps: Int[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    convergence: Int[np.ndarray, "networks tasks"],
) -> Law:
    """Return the law of S: losses over steps, of all networks together.

    Args:
        problem: problem of the run.
        steps: evaluated steps of all networks.
        loss: loss at each, bits.
        convergence: convergence step of every subtask of every network, -1 for none.

    Raises:
        TooFewPointsError: as for `fit_law`, or fewer than three subtasks converged.
    """
    is_converged = convergence > 0
    n_converged = is_converged.any(axis=0).sum()
    if n_converged < MIN_POINTS:
        raise TooFewPointsError(f"converged subtasks: {n_converged}; a window needs {MIN_POINTS}")
    p = np.broadcast_to(problem.frequencies(), convergence.shape)
    scale = _geometric_mean(convergence[is_converged] * p[is_converged])
    window = float(convergence[is_converged].min()), float(convergence[is_converged].max())
    return fit_law(FiniteSum(problem, "S", scale), steps.astype(np.float64), loss, window)


def _check_learned(n_learned: Int[np.ndarray, " points"]) -> None:
    if not (n_learned > 0).any():
        raise TooFewPointsError("no network has learned a subtask")


def _geometric_mean(values: Float[np.ndarray, " n"]) -> float:
    if not len(values):
        raise TooFewPointsError(f"no loss is below {LEARNING_BITS} bits")
    return float(np.exp(np.mean(np.log(values))))
