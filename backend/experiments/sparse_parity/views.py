"""What the queries about sparse parity return; losses are bits."""

from dataclasses import dataclass
from typing import Any, Literal

from backend.experiments.views import CellRow, ExperimentRow

ParityAxis = Literal["N", "S", "D"]


@dataclass(frozen=True)
class ParityLaw:
    """One scaling law at one alpha; its numbers are None where `why_not` says why.

    Attributes:
        axis: N (final loss over width), S (loss over steps) or D (least loss over sample size).
        alpha: of the frequencies.
        measured: least-squares slope of log loss against log x.
        predicted: that of the sum over the run's finitely many subtasks, at the same x.
        limit: that for infinitely many.
        agrees: whether measured is within 40 % of predicted.
        scale: neurons a subtask takes (N), or steps or samples times frequency (S, D).
        learned: subtasks learned by the law at both ends of the window.
        x: of the points.
        loss: of the points, bits.
        drawn_x: x of the curves below.
        drawn_fit: measured line, bits.
        drawn_sum: finite sum, bits.
        drawn_limit: line of the limit's slope through the middle of the finite sum, bits.
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
    """A run of sparse parity: its cells, and the laws that they vary enough for."""

    experiment: ExperimentRow
    cells: tuple[CellRow, ...]
    laws: tuple[ParityLaw, ...]


@dataclass(frozen=True)
class ParityCell:
    """A finished cell: losses in bits at each of `steps`, subtasks from the most frequent on.

    `law_steps` is the guide T = constant / p through the measured convergence; None without any.
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
