"""Views of selections, similarities, clusterings and clusters (see backend/read/views.py)."""

from dataclasses import dataclass, field

from backend.corpora.views import CorpusRow
from backend.read.views import Axis, Token, TokenValue
from backend.scaling.views import ScalingView, SuiteView


@dataclass(frozen=True)
class SelectionRow:
    """Predictions that QDG clusters; for imported labels all but corpus and size is None."""

    id: int
    key: str
    imported: bool
    corpus: str
    suite: str | None
    model: str | None
    step: int | None
    max_loss_nats: float | None
    stride: int | None
    induction_filter: bool | None
    size: int
    n_under_threshold: int | None
    n_induction: int | None
    created_at: str


@dataclass(frozen=True)
class SimilarityView:
    """A cosine matrix: its selection and parameters, mean and quantiles off the diagonal."""

    id: int
    key: str
    selection: SelectionRow
    measure: str
    parameter_names: tuple[str, ...]
    n_parameters: int
    size: int
    mean: float
    quantiles: dict[str, float]
    created_at: str


@dataclass(frozen=True)
class ClusteringRow:
    """One clustering in a list."""

    id: int
    key: str
    discovery: int
    n_clusters: int
    size: int
    largest: int
    inertia: float | None
    imported: bool
    name: str
    created_at: str


@dataclass(frozen=True)
class Slope:
    """Fitted log-log slope of the envelope over ranks first..last."""

    slope: float
    intercept: float
    first_rank: int
    last_rank: int
    n_points: int
    comparable_to_published: bool


@dataclass(frozen=True)
class RankFrequency:
    """Sizes by rank for every n_clusters, the envelope, its slope and the theory's.

    `theory_slope` is -(1 + alpha_N) with the suite's own alpha_N, None without a fit.
    """

    sizes: dict[int, tuple[int, ...]]
    envelope: tuple[int, ...]
    fit: Slope | None
    theory_slope: float | None
    alpha_n: float | None
    published_slope: float
    published_theory_slope: float


@dataclass(frozen=True)
class ClusterRow:
    """One cluster in a list; `example` is the end of its most central member's context.

    Imported clusters have no gradients, hence no coherence; their members are in the order of the
    samples. Without text there is no answer, no pattern and no example, only its index.
    """

    id: int
    rank: int
    size: int
    n_documents: int | None
    coherence: float | None
    mean_cosine: float | None
    mean_loss_nats: float | None
    answer_entropy_nats: float | None
    top_answer: Token | None
    top_answer_share: float | None
    pattern_last: Token | None
    pattern_answer: Token | None
    pattern_precision: float | None
    pattern_recall: float | None
    label: str
    tags: tuple[str, ...]
    example: tuple[Token, ...]
    example_answer: Token | None
    example_prediction: int
    curve_n: tuple[float, ...]


@dataclass(frozen=True)
class ClusterPage:
    """A page of clusters; `next_cursor` is None at the end."""

    clusters: tuple[ClusterRow, ...]
    n_matching: int
    n_clusters: int
    next_cursor: str | None


@dataclass(frozen=True)
class ClusteringView:
    """A clustering with its siblings (same discovery, other n_clusters).

    An imported one has neither similarity nor k-means: their fields are None.
    """

    id: int
    key: str
    name: str
    imported: bool
    n_clusters: int
    size: int
    inertia: float | None
    seed: int | None
    n_init: int | None
    affinity: str | None
    created_at: str
    similarity_id: int | None
    selection: SelectionRow
    siblings: tuple[ClusteringRow, ...]
    rank_frequency: RankFrequency
    n_coherent: int | None
    n_explained_by_pattern: int | None
    coherent_above: float


@dataclass(frozen=True)
class Context:
    """One member of a cluster in its document.

    `tokens` ends with the answer; values are losses under the selection's checkpoint. `truncated`:
    the document has more tokens before the context. In a corpus without text, position, document
    and answer are None and there are no tokens.
    """

    prediction: int
    row: int
    position: int | None
    document: int | None
    document_id: str
    source: str
    tokens: tuple[TokenValue, ...]
    answer: Token | None
    loss_nats: float | None
    truncated: bool


@dataclass(frozen=True)
class Count:
    """A token and its number of occurrences."""

    token: Token
    count: int


@dataclass(frozen=True)
class CurveBand:
    """Members' curves along one axis: mean, 10-90 % band and up to 50 members."""

    axis: Axis
    suite: str
    model: str | None
    x: tuple[float, ...]
    labels: tuple[str, ...]
    mean_nats: tuple[float, ...]
    low_nats: tuple[float, ...]
    high_nats: tuple[float, ...]
    members: tuple["MemberCurve", ...]
    n_members: int


@dataclass(frozen=True)
class MemberCurve:
    """One member's curve."""

    prediction: int
    loss_nats: tuple[float, ...]


@dataclass(frozen=True)
class SubMatrix:
    """Cosines between members, in order of `predictions`, a sample of the `n_members`."""

    predictions: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    n_members: int


@dataclass(frozen=True)
class Neighbour:
    """A similar cluster of the same clustering, by mean cosine."""

    id: int
    rank: int
    size: int
    mean_cosine: float
    top_answer: Token | None


@dataclass(frozen=True)
class Annotation:
    """A person's label, note and tags of a cluster."""

    label: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    updated_at: str | None = None


@dataclass(frozen=True)
class ClusterPlots:
    """What the plots of a cluster show: curves, and its most common answers and last tokens."""

    curves: tuple[CurveBand, ...]
    answers: tuple[Count, ...]
    last_tokens: tuple[Count, ...]


@dataclass(frozen=True)
class ClusterView:
    """A cluster without its contexts; `previous` and `next` are ids by rank, None at the ends."""

    row: ClusterRow
    clustering: ClusteringRow
    selection: SelectionRow
    previous: int | None
    next: int | None
    answers: tuple[Count, ...]
    last_tokens: tuple[Count, ...]
    neighbours: tuple[Neighbour, ...]
    annotation: Annotation
    curves: tuple[CurveBand, ...]
    has_similarity: bool
    has_text: bool


@dataclass(frozen=True)
class ContextPage:
    """Contexts of a cluster."""

    contexts: tuple[Context, ...]
    n_members: int
    next_cursor: str | None


@dataclass(frozen=True)
class Overview:
    """Contents of the store, for the first page."""

    corpora: tuple[CorpusRow, ...]
    suites: tuple[SuiteView, ...]
    scaling: tuple[ScalingView, ...]
    clusterings: tuple[ClusteringRow, ...]
    default_clustering: int | None
    rank_frequency: RankFrequency | None
    highlights: tuple[ClusterRow, ...] = field(default=())
