"""Types of results and parameters: frozen dataclasses with the names of the API's schemas.

Losses and entropies are in nats, ranks start at 1, None is a number that is not finite or not
defined. Fields that a newer server adds are ignored.
"""

from dataclasses import dataclass
from typing import Any

from app.client.search_fields import (
    ClusterSort,
    ContextOrder,
    CurveClass,
    Points,
    SearchFilters,
    SearchParams,
    TableFormat,
)
from backend.corpora.views import (
    CorpusRow,
    Curve,
    DocumentPage,
    DocumentRow,
    DocumentView,
    Heat,
    Measure,
    Membership,
    PredictionView,
    SourceRow,
)
from backend.experiments.grokking.views import (
    EffectiveTheory,
    GridAxis,
    PhaseCell,
    PhaseComparison,
    PhaseDiagramView,
    PhasePair,
)
from backend.experiments.sparse_parity.views import ParityAxis, ParityCell, ParityLaw, ParityView
from backend.experiments.views import (
    ArrayInfo,
    CellDetail,
    CellRow,
    ExperimentDetail,
    ExperimentPage,
    ExperimentRow,
    PresetView,
)
from backend.quanta.comparison_views import ClusterMatch, Comparison
from backend.quanta.views import (
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
from backend.read.job_views import (
    DoneUnit,
    Estimate,
    JobPage,
    JobView,
    LogLine,
    LogPage,
    Requires,
    UnitPage,
)
from backend.read.job_views import State as JobState
from backend.read.views import Axis, Token, TokenValue
from backend.scaling.theory_views import (
    ExponentLine,
    ExponentPair,
    Exponents,
    FiniteExponents,
    TheoryAxis,
    TheoryLaw,
    TheoryLaws,
    TheoryRequest,
)
from backend.scaling.views import (
    CheckpointRow,
    ClassPart,
    FitKind,
    InductionMean,
    LawCurve,
    LawFit,
    LawParameter,
    LossDistribution,
    ModelRow,
    PowerLaw,
    ScalingDetail,
    ScalingPoint,
    SuiteView,
)
from backend.search.views import (
    CurveMapSummary,
    Invariance,
    Match,
    MatchScores,
    Order,
    Preset,
    SearchResult,
)
from backend.search.views import Sort as SearchSort

# fmt: off
__all__ = [
    "Annotation", "ArrayInfo", "Axis", "CellDetail", "CellRow", "CheckpointRow", "ClassPart",
    "ClusterMatch", "ClusterPage", "ClusterRow", "ClusterSort", "ClusterView", "ClusteringRow",
    "ClusteringView", "Comparison", "Context", "ContextOrder", "ContextPage", "CorpusRow", "Count",
    "Curve", "CurveBand", "CurveClass", "CurveMap", "DocumentPage", "DocumentRow", "DocumentView",
    "DoneUnit", "Download", "EffectiveTheory", "Estimate", "ExperimentDetail", "ExperimentPage",
    "ExperimentRow", "ExponentLine", "ExponentPair", "Exponents", "FiniteExponents", "FitKind",
    "GridAxis", "Health", "Heat", "InductionMean", "Invariance", "JobPage", "JobState", "JobView",
    "KindView", "LawCurve", "LawFit", "LawParameter", "LogLine", "LogPage", "LossDistribution",
    "Match", "MatchScores", "Measure", "MemberCurve", "Membership", "ModelRow", "Neighbour",
    "Order", "ParityAxis", "ParityCell", "ParityLaw", "ParityView", "PhaseCell", "PhaseComparison",
    "PhaseDiagramView", "PhasePair", "Points", "PowerLaw", "PredictionView", "Preset", "PresetView",
    "RankFrequency", "Readiness", "Requires", "ScalingDetail", "ScalingPoint", "SearchFilters",
    "SearchParams", "SearchResult", "SearchSort", "SelectionRow", "SimilarityView", "Slope",
    "SourceRow", "SubMatrix", "SuiteView", "TableFormat", "TheoryAxis", "TheoryLaw", "TheoryLaws",
    "TheoryRequest", "Token", "TokenValue", "UnitPage",
]
# fmt: on


@dataclass(frozen=True)
class CurveMap(CurveMapSummary):
    """At most 20,000 sampled curves on their two principal components.

    `points` is a `pyarrow.Table` of index, x, y, curve_class (a code of `classes`) and matching.
    """

    points: Any


@dataclass(frozen=True)
class KindView:
    """A kind of job; `parameters` is the JSON schema of its parameters."""

    name: str
    title: str
    summary: str
    unit: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Health:
    """Liveness of the server."""

    status: str
    version: str


@dataclass(frozen=True)
class Readiness:
    """Readiness of the server; its database is at `revision`, the newest."""

    status: str
    revision: str


@dataclass(frozen=True)
class Download:
    """A downloaded file; `truncated` if there are more rows than it holds."""

    path: str
    truncated: bool
