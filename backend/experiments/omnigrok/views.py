"""Results of the queries about Omnigrok, without SQLAlchemy."""

from dataclasses import dataclass
from typing import Literal

from backend.experiments.grokking.views import Phase
from backend.experiments.views import ExperimentRow

SphereLoss = Literal["best", "final"]
"""Loss of a point of the landscape: the lowest of the training, or that of the last step."""


@dataclass(frozen=True)
class OmnigrokCell:
    """One network; numbers are None until it is finished, steps also if never reached.

    `phase` is its label at the published gap; `test_only` flags a test step without a train step.
    """

    cell: int
    alpha: float
    weight_decay: float
    n_train: int
    seed: int
    phase: Phase | None
    test_only: bool
    train_step: int | None
    test_step: int | None
    train_loss: float | None
    test_loss: float | None
    test_accuracy: float | None
    initial_norm: float | None
    final_norm: float | None
    test_norm: float | None


@dataclass(frozen=True)
class LandscapePoint:
    """Medians over seeds of the losses on the sphere of one initial size."""

    alpha: float
    norm: float
    train_loss: float
    test_loss: float


@dataclass(frozen=True)
class Landscape:
    """The reduced landscape of one training-set size.

    `zone` holds the smallest and largest alpha around the lowest test loss with at most twice it.
    """

    n_train: int
    loss: SphereLoss
    points: tuple[LandscapePoint, ...]
    best: LandscapePoint
    zone: tuple[float, float]


@dataclass(frozen=True)
class DecayPoint:
    """One weight decay of one seed: its steps, and the norm at the test step."""

    cell: int
    weight_decay: float
    seed: int
    is_finished: bool
    train_step: int | None
    test_step: int | None
    product: float | None
    norm: float | None


@dataclass(frozen=True)
class DecayLaw:
    """Weight decay against time at one initial size: decay x step is constant.

    `critical_norm` w_c is the median norm at which test accuracy was reached. Decay alone,
    w0 exp(-lr wd t), reaches it after `rate` / wd steps, rate = ln(w0 / w_c) / lr.
    """

    alpha: float
    n_train: int
    learning_rate: float
    initial_norm: float | None
    critical_norm: float | None
    rate: float | None
    points: tuple[DecayPoint, ...]

    @property
    def has_steps(self) -> bool:
        """Whether any point has a step to draw."""
        return any(point.train_step or point.test_step for point in self.points)


@dataclass(frozen=True)
class OmnigrokView:
    """A run at one training-set size; `sizes` are all sizes of the run."""

    experiment: ExperimentRow
    sizes: tuple[int, ...]
    n_train: int
    train_threshold: float
    test_threshold: float
    cells: tuple[OmnigrokCell, ...]
    landscape: Landscape | None
    law: DecayLaw | None
