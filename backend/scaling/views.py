"""Views of suites and scaling curves; losses in nats (see backend/read/views.py)."""

from dataclasses import dataclass
from typing import Literal

from backend.read.views import Axis

FitKind = Literal["power", "bnsl", "none"]


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint, with its mean loss on the corpus if it is evaluated there.

    Without weights only its losses were imported: nothing more can be computed of it.
    """

    step: int
    key: str
    tokens_seen: int | None
    has_weights: bool
    evaluation: str | None
    mean_loss_nats: float | None
    share_under_tenth_nat: float | None


@dataclass(frozen=True)
class ModelRow:
    """One model of a suite; `nonembedding_parameters` is N. `parameters` is None if not known."""

    name: str
    parameters: int | None
    nonembedding_parameters: int
    architecture: str
    checkpoints: tuple[CheckpointRow, ...]


@dataclass(frozen=True)
class SuiteView:
    """A suite with everything evaluated on one corpus."""

    id: str
    description: str
    corpus: str | None
    has_weights: bool
    models: tuple[ModelRow, ...]


@dataclass(frozen=True)
class PowerLaw:
    """L = A x^-alpha fitted to the mean loss, with a bootstrap interval over documents."""

    alpha: float
    amplitude: float
    interval: tuple[float, float]
    level: float
    r_squared: float
    first: float
    last: float
    n_points: int
    n_bootstrap: int


@dataclass(frozen=True)
class ScalingPoint:
    """One checkpoint of a scaling curve; x is N or the step."""

    x: float
    label: str
    mean_loss_nats: float
    share_under_tenth_nat: float


@dataclass(frozen=True)
class ScalingView:
    """Mean loss along one axis (arXiv:2303.13506, section 5), with class shares.

    `histogram_edges` has one more entry than each row of `histograms` (one row a point: share of
    predictions by loss); the last edge is None, the last bin open. `class_shares` maps curve class
    to share.
    """

    suite: str
    corpus: str
    axis: Axis
    model: str | None
    points: tuple[ScalingPoint, ...]
    fit: PowerLaw | None
    no_fit_reason: str | None
    histogram_edges: tuple[float | None, ...]
    histograms: tuple[tuple[float, ...], ...]
    class_shares: dict[str, float]


@dataclass(frozen=True)
class ScalingRequest:
    """Parameters of a scaling curve with its law.

    `model` is for axis "S" (None: the largest). `first` and `last` bound x in the fit (None: no
    limit). `subset` is "all", a class of curves, or "cluster:ID".
    """

    suite: str
    corpus: str
    axis: str = "N"
    model: str | None = None
    fit: FitKind = "power"
    first: float | None = None
    last: float | None = None
    subset: str = "all"


@dataclass(frozen=True)
class LawParameter:
    """A fitted parameter by its name in the formula, with its interval; null: not finite."""

    name: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LawCurve:
    """A law along the axis: y in nats, and the interval of the curve at each x."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class LawFit:
    """A law fitted in log space to the points from `first` to `last`.

    `residuals` are ln(measured / law) at every point of the axis, in the fit or not. `interval_of`
    names the unit of the bootstrap. For broken laws, `choice` is the error of
    ln y on `n_held_out` held-out points with 0, 1, … breaks.
    """

    kind: str
    formula: str
    parameters: tuple[LawParameter, ...]
    level: float
    n_bootstrap: int
    interval_of: str
    first: float
    last: float
    n_points: int
    r_squared: float | None
    train_rmsle: float
    residuals: tuple[float, ...]
    curve: LawCurve
    choice: tuple[float, ...] = ()
    n_held_out: int = 0


@dataclass(frozen=True)
class LossDistribution:
    """p(L): shares of predictions by loss, one row for each of up to 16 points of the axis.

    `edges_nats` has one more entry than a row; the last is None, the last bin open. `indexes` are
    those of the rows in `points`, evenly spaced.
    """

    indexes: tuple[int, ...]
    edges_nats: tuple[float | None, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ClassPart:
    """One class of curves: its predictions, mean loss at each point, and part of the fall.

    `drop_nats[j]` is its contribution to the fall of the corpus mean from point j to j + 1; the
    contributions of all classes sum to the fall.
    """

    name: str
    n_predictions: int
    share: float
    mean_nats: tuple[float, ...] | None
    drop_nats: tuple[float, ...]


@dataclass(frozen=True)
class InductionMean:
    """Mean loss of predictions whose last three tokens already occurred in the document."""

    n_predictions: int
    share: float
    mean_nats: tuple[float, ...]


@dataclass(frozen=True)
class ScalingDetail(ScalingView):
    """A scaling curve with its law, distribution of losses, classes and induction.

    `mean_nats` is the mean over the subset at each point (`points` are of the whole corpus, and so
    is everything but `fit` and `law`); `step_zero` has no place on a log axis. `law` is null
    without a requested fit, or for `no_law_reason`. Data that an older version did not store is
    null or empty, and `missing` names the remedy.
    """

    subset: str
    n_predictions: int
    mean_nats: tuple[float, ...]
    step_zero: ScalingPoint | None
    law: LawFit | None
    no_law_reason: str | None
    distribution: LossDistribution | None
    classes: tuple[ClassPart, ...]
    induction: InductionMean | None
    missing: str | None
