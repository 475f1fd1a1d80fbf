"""What the calls return and take: frozen dataclasses with the names of the API's schemas.

Losses and entropies are nats, ranks start at 1, None stands for a number that is not finite or not
defined. A field that a newer server adds is left out.
"""

from dataclasses import dataclass
from typing import Any, Literal

from app.client.asked import (
    ClusterSort,
    ContextOrder,
    CurveClass,
    Invariance,
    Order,
    Points,
    Preset,
    SearchAsked,
    SearchFilters,
    SearchSort,
    TableFormat,
)
from backend.queries.quanta_views import (
    Annotation,
    ClusteringRow,
    ClusteringView,
    ClusterPage,
    ClusterRow,
    ClusterView,
    Context,
    ContextPage,
    Count,
    CurveBand,
    MemberCurve,
    Neighbour,
    RankFrequency,
    SelectionRow,
    SimilarityView,
    Slope,
    SubMatrix,
)
from backend.queries.scaling_views import (
    ClassPart,
    FitKind,
    InductionMean,
    LawCurve,
    LawFit,
    LawParameter,
    LossDistribution,
    ScalingDetail,
)
from backend.queries.views import (
    Axis,
    CheckpointRow,
    CorpusRow,
    Curve,
    DocumentPage,
    DocumentRow,
    DocumentView,
    Heat,
    Measure,
    Membership,
    ModelRow,
    PowerLaw,
    PredictionView,
    ScalingPoint,
    SourceRow,
    SuiteView,
    Token,
    TokenValue,
)

__all__ = [
    "Annotation",
    "Axis",
    "CheckpointRow",
    "ClassPart",
    "ClusterMatch",
    "ClusterPage",
    "ClusterRow",
    "ClusterSort",
    "ClusterView",
    "ClusteringRow",
    "ClusteringView",
    "Comparison",
    "Context",
    "ContextOrder",
    "ContextPage",
    "CorpusRow",
    "Count",
    "Curve",
    "CurveBand",
    "CurveClass",
    "CurveMap",
    "DocumentPage",
    "DocumentRow",
    "DocumentView",
    "Download",
    "FitKind",
    "Health",
    "Heat",
    "InductionMean",
    "Invariance",
    "JobPage",
    "JobState",
    "JobView",
    "LawCurve",
    "LawFit",
    "LawParameter",
    "LossDistribution",
    "Match",
    "MatchScores",
    "Measure",
    "MemberCurve",
    "Membership",
    "ModelRow",
    "Neighbour",
    "Order",
    "Points",
    "PowerLaw",
    "PredictionView",
    "Preset",
    "RankFrequency",
    "Readiness",
    "ScalingDetail",
    "ScalingPoint",
    "SearchAsked",
    "SearchFilters",
    "SearchResult",
    "SearchSort",
    "SelectionRow",
    "SimilarityView",
    "Slope",
    "SourceRow",
    "SubMatrix",
    "SuiteView",
    "TableFormat",
    "Token",
    "TokenValue",
]


JobState = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
Requires = Literal["any", "cuda"]


@dataclass(frozen=True)
class MatchScores:
    """Scores of a curve; None where one is not defined.

    Attributes:
        total_drop: nats.
        sharpness: share of the drop in one half-decade, 0 to 1.
        emergence: axis value at half of the drop.
        final_loss: nats.
    """

    total_drop: float | None
    sharpness: float | None
    emergence: float | None
    final_loss: float | None


@dataclass(frozen=True)
class Match:
    """One found prediction.

    `distance` is from the asked curve and `shift` the points it was moved by, None without a curve;
    `before` ends with the token before the answer.
    """

    index: int
    document: int | None
    distance: float | None
    shift: int | None
    curve_class: str
    scores: MatchScores
    loss_nats: tuple[float, ...]
    before: tuple[Token, ...]
    answer: Token | None
    after: tuple[Token, ...]


@dataclass(frozen=True)
class SearchResult:
    """A page of found predictions, in order; `x` and `labels` are the points of all their curves.

    `query_nats` is the asked curve at these points, `invariances` what the distance ignored;
    `n_matching` counts exactly. `truncated` says why a text filter is not whole, None if it is.
    """

    corpus: str
    suite: str
    axis: Axis
    model: str | None
    x: tuple[float, ...]
    labels: tuple[str, ...]
    query_nats: tuple[float, ...] | None
    invariances: tuple[Invariance, ...]
    sort: SearchSort
    order: Order
    n_matching: int
    n_predictions: int
    truncated: str | None
    matches: tuple[Match, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class CurveMap:
    """At most 20,000 sampled curves on their two principal components.

    `points` is a `pyarrow.Table` of index, x, y, curve_class (a code of `classes`) and matching;
    `shares` are of the variance along x and y; `curves` is what a lasso on this map is sent with,
    as `lasso_of`.
    """

    corpus: str
    suite: str
    axis: Axis
    model: str | None
    curves: str
    n_predictions: int
    n_matching: int
    truncated: str | None
    shares: tuple[float, float]
    classes: tuple[str, ...]
    points: Any


@dataclass(frozen=True)
class ClusterMatch:
    """A cluster of a and the cluster of b that is most like it, by Jaccard index."""

    cluster_a: int
    rank_a: int
    size_a: int
    cluster_b: int
    rank_b: int
    size_b: int
    shared: int
    jaccard: float
    mutual: bool


@dataclass(frozen=True)
class Comparison:
    """Agreement of clusterings a and b over the `n_common` predictions that both hold.

    `overlap[i][j]` counts predictions in rank i + 1 of a and rank j + 1 of b.
    """

    a: int
    b: int
    n_clusters_a: int
    n_clusters_b: int
    n_common: int
    ari: float
    nmi: float
    overlap: tuple[tuple[int, ...], ...]
    truncated: bool
    matches: tuple[ClusterMatch, ...]


@dataclass(frozen=True)
class JobView:
    """A job as the server shows it; `done` of `total` units are committed.

    `activity` is what is done just now, `part` of `parts` how far that is. `fraction` is of the
    whole job, `rate` in units a second, `seconds_left` what remains at that pace; None while
    nothing is known. `requires` says which workers may do it.
    """

    id: str
    kind: str
    state: JobState
    parameters: dict[str, Any]
    done: int
    total: int | None
    unit: str
    attempt: int
    requires: Requires
    activity: str | None
    part: int | None
    parts: int | None
    fraction: float | None
    rate: float | None
    seconds_left: float | None
    result: dict[str, Any] | None
    problem: str | None
    remedy: str | None
    page: str | None
    created_at: str
    started_at: str | None
    updated_at: str
    finished_at: str | None


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log; `id` grows with time."""

    id: int
    at: str
    text: str


@dataclass(frozen=True)
class LogPage:
    """Lines of a job's log, oldest first; `next_cursor` begins a later look."""

    lines: tuple[LogLine, ...]
    next_cursor: str


@dataclass(frozen=True)
class DoneUnit:
    """A unit of a job that is committed: by which worker, in how many seconds."""

    unit: str
    worker: str
    seconds: float
    finished_at: str


@dataclass(frozen=True)
class UnitPage:
    """Committed units of a job, newest first."""

    units: tuple[DoneUnit, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class KindView:
    """A kind of job; `parameters` is the JSON schema of what it takes."""

    name: str
    title: str
    summary: str
    unit: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """What a job would cost; `seconds` of one worker, None if none of its kind has finished."""

    kind: str
    parameters: dict[str, Any]
    units: int | None
    unit: str
    work: float
    work_unit: str
    seconds: float | None
    past_jobs: int
    equal: JobView | None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Health:
    """The server answers."""

    status: str
    version: str


@dataclass(frozen=True)
class Readiness:
    """The database answers and is at `revision`, the newest."""

    status: str
    revision: str


@dataclass(frozen=True)
class Download:
    """A file that was written; `truncated` says that there are more rows than it holds."""

    path: str
    truncated: bool
