"""Results of the queries about sparse parity, without SQLAlchemy; losses are in bits."""

from dataclasses import dataclass
from typing import Any, Literal

from backend.experiments.views import CellRow, ExperimentRow

ParityAxis = Literal["N", "S", "D"]


@dataclass(frozen=True)
class ParityLaw:
    """One scaling law at one alpha; if it has no fit, `why_not` is the reason.

    Attributes:
        axis: N (final loss over width), S (loss over steps) or D (minimum loss over sample size).
        alpha: exponent of the frequencies.
        why_not: reason why there is no fit, None if there is one.
        measured: least-squares slope of log loss against log x.
        predicted: slope of the sum over the run's finite number of subtasks, at the same x.
        limit: slope for infinitely many subtasks.
        agrees: whether measured is within 40 % of predicted.
        window: smallest and largest x of the fit.
        n_points: points of the fit.
        scale: neurons of a subtask (N), or steps or samples times frequency (S, D).
        learned: subtasks learned by the law at both ends of the window.
        x: x of the points.
        loss: loss of the points, bits.
        drawn_x: x of the curves below.
        drawn_fit: fitted line, bits.
        drawn_sum: finite sum, bits.
        drawn_limit: line with the slope of the limit through the middle of the finite sum, bits.
    """

    axis: ParityAxis
    alpha: float
    why_not: str | None = None
    measured: float | None = None
    predicted: float | None = None
    limit: float | None = None
    agrees: bool | None = None
    window: tuple[float, float] | None = None
    n_points: int = 0
    scale: float | None = None
    learned: tuple[float, float] | None = None
    x: tuple[float, ...] = ()
    loss: tuple[float | None, ...] = ()
    drawn_x: tuple[float, ...] = ()
    drawn_fit: tuple[float, ...] = ()
    drawn_sum: tuple[float, ...] = ()
    drawn_limit: tuple[float, ...] = ()


@dataclass(frozen=True)
class ParityView:
    """A run of sparse parity with its cells and its scaling laws."""

    experiment: ExperimentRow
    cells: tuple[CellRow, ...]
    laws: tuple[ParityLaw, ...]


@dataclass(frozen=True)
class ParityCell:
    """A finished cell: losses in bits at each of `steps`, the most frequent subtask first.

    `law_steps` is the law T = constant / p through the measured convergence steps, None if no
    subtask converged.
    """

    experiment: str
    cell: int
    place: dict[str, Any]
    summary: dict[str, Any]
    steps: tuple[int, ...]
    loss: tuple[float | None, ...]
    train_loss: tuple[float | None, ...]
    task_loss: tuple[tuple[float | None, ...], ...]
    frequencies: tuple[float, ...]
    convergence_steps: tuple[int | None, ...]
    law_steps: tuple[float, ...] | None
