"""What the queries return: frozen dataclasses, the one source of every page and API route.

Ranks start at 1. Losses and entropies are nats. `None` stands for a number that is not finite or
not defined. A `Token` is always text for people; ids are beside it.
"""

from dataclasses import dataclass, field
from typing import Literal

Axis = Literal["N", "S"]
Measure = Literal["loss", "p"]


@dataclass(frozen=True)
class Token:
    """One token as shown.

    Attributes:
        text: its own text; for bytes that are only part of a character, the replacement sign.
        id: its id in the tokenizer.
        shown: what to print: as `text`, with every split character printed once, whole, at its
            first token; the other tokens of that character print nothing.
        part_of: ids of all tokens that share a split character with this one; empty if whole.
    """

    text: str
    id: int
    shown: str
    part_of: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenValue:
    """A token of a document with its prediction; the first token of a document has none.

    `value` is a loss in nats (or, on the heat page, the measure asked for), None if not known.
    """

    token: Token
    position: int
    prediction: int | None
    value: float | None


@dataclass(frozen=True)
class CorpusRow:
    """A corpus in a list; `id` is its name in URLs."""

    id: str
    key: str
    n_documents: int
    n_tokens: int
    n_predictions: int
    max_tokens: int
    prefix: tuple[int, ...]
    tokenizer_key: str
    vocabulary_size: int
    sources: tuple["SourceRow", ...]
    created_at: str


@dataclass(frozen=True)
class SourceRow:
    """Where documents of a corpus come from."""

    source: str
    license: str
    n_documents: int


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint, with its mean loss on the corpus if it is evaluated there."""

    step: int
    key: str
    tokens_seen: int | None
    evaluation: str | None
    mean_loss_nats: float | None
    share_under_tenth_nat: float | None


@dataclass(frozen=True)
class ModelRow:
    """One model of a suite; `nonembedding_parameters` is N."""

    name: str
    parameters: int
    nonembedding_parameters: int
    architecture: str
    checkpoints: tuple[CheckpointRow, ...]


@dataclass(frozen=True)
class SuiteView:
    """A suite with everything evaluated on one corpus."""

    id: str
    description: str
    corpus: str | None
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
class SelectionRow:
    """Predictions that QDG starts from."""

    id: int
    key: str
    corpus: str
    suite: str
    model: str
    step: int
    threshold_nats: float
    stride: int
    induction_filter: bool
    size: int
    n_under_threshold: int
    n_induction: int
    created_at: str


@dataclass(frozen=True)
class SimilarityView:
    """A cosine matrix: what it is of, and how its values spread (off the diagonal)."""

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
    inertia: float
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
    """One cluster in a list; `example` is the end of its most central member's context."""

    id: int
    rank: int
    size: int
    n_documents: int
    coherence: float | None
    mean_cosine: float | None
    mean_loss_nats: float
    answer_entropy_nats: float
    top_answer: Token
    top_answer_share: float
    pattern_last: Token
    pattern_answer: Token
    pattern_precision: float
    pattern_recall: float
    label: str
    tags: tuple[str, ...]
    example: tuple[Token, ...]
    example_answer: Token
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
    """A clustering with its siblings (same discovery, other n_clusters)."""

    id: int
    key: str
    n_clusters: int
    size: int
    inertia: float
    seed: int
    n_init: int
    affinity: str
    created_at: str
    similarity_id: int
    selection: SelectionRow
    siblings: tuple[ClusteringRow, ...]
    rank_frequency: RankFrequency
    n_coherent: int
    n_explained_by_pattern: int
    coherent_above: float


@dataclass(frozen=True)
class Context:
    """One member of a cluster in its document.

    `tokens` ends with the answer; `values` are losses under the selection's checkpoint.
    `truncated` says that the context starts later than the document does.
    """

    prediction: int
    row: int
    position: int
    document: int
    document_id: str
    source: str
    tokens: tuple[TokenValue, ...]
    answer: Token
    loss_nats: float
    truncated: bool


@dataclass(frozen=True)
class Count:
    """A token and how often it occurs."""

    token: Token
    count: int


@dataclass(frozen=True)
class CurveBand:
    """Members' curves along one axis: mean, 10-90 % band and up to 50 single curves."""

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
    """Cosines between members, in order of `predictions`; `n_members` may be larger (a sample)."""

    predictions: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    n_members: int


@dataclass(frozen=True)
class Neighbour:
    """A nearby cluster of the same clustering, by mean cosine."""

    id: int
    rank: int
    size: int
    mean_cosine: float
    top_answer: Token


@dataclass(frozen=True)
class Annotation:
    """A person's words on a cluster."""

    label: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    updated_at: str | None = None


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


@dataclass(frozen=True)
class ContextPage:
    """Contexts of a cluster."""

    contexts: tuple[Context, ...]
    n_members: int
    next_cursor: str | None


@dataclass(frozen=True)
class Curve:
    """One prediction's curve along one axis, with class and scores and the corpus mean.

    `scores` maps score name to value; `formulas` maps score name to how it is computed.
    `step_zero_nats` is the loss at step 0, which has no place on a log axis (axis "S" only).
    """

    axis: Axis
    suite: str
    model: str | None
    x: tuple[float, ...]
    labels: tuple[str, ...]
    loss_nats: tuple[float, ...]
    mean_nats: tuple[float, ...]
    step_zero_nats: float | None
    curve_class: str
    scores: dict[str, float | int | bool | None]


@dataclass(frozen=True)
class Membership:
    """A cluster that holds a prediction."""

    cluster: int
    rank: int
    size: int
    n_clusters: int
    clustering: int
    coherence: float | None
    label: str


@dataclass(frozen=True)
class PredictionView:
    """Everything known of one prediction; `context` ends with the predicted token."""

    corpus: str
    index: int
    document: int
    document_id: str
    source: str
    license: str
    position: int
    token: Token
    context: tuple[TokenValue, ...]
    following: tuple[TokenValue, ...]
    context_truncated: bool
    curves: tuple[Curve, ...]
    formulas: dict[str, str]
    clusters: tuple[Membership, ...]
    previous: int | None
    next: int | None


@dataclass(frozen=True)
class DocumentView:
    """A document with its tokens and prediction indexes."""

    corpus: str
    index: int
    id: str
    source: str
    license: str
    n_tokens: int
    is_cut: bool
    tokens: tuple[TokenValue, ...]
    first_prediction: int | None
    previous: int | None
    next: int | None


@dataclass(frozen=True)
class Heat:
    """One value a token under one checkpoint; the first token's value is None.

    `scale` is the locked (low, high) of the measure, the same for every model, step and document;
    `classes` are colour classes 0..63 on that scale (None where there is no value).
    """

    corpus: str
    document: int
    suite: str
    model: str
    step: int
    measure: Measure
    values: tuple[float | None, ...]
    classes: tuple[int | None, ...]
    scale: tuple[float, float]
    mean: float | None


@dataclass(frozen=True)
class HeatChoices:
    """Models and steps with a finished evaluation on the corpus, models by size."""

    suite: str
    models: tuple["HeatModel", ...]


@dataclass(frozen=True)
class HeatModel:
    """A model and its evaluated steps, ascending."""

    name: str
    nonembedding_parameters: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class DocumentRow:
    """A document in a list."""

    index: int
    id: str
    source: str
    license: str
    n_tokens: int
    first_prediction: int | None


@dataclass(frozen=True)
class DocumentPage:
    """A page of documents."""

    documents: tuple[DocumentRow, ...]
    n_documents: int
    next_cursor: str | None


@dataclass(frozen=True)
class Overview:
    """The first page: what the store holds."""

    corpora: tuple[CorpusRow, ...]
    suites: tuple[SuiteView, ...]
    scaling: tuple[ScalingView, ...]
    clusterings: tuple[ClusteringRow, ...]
    default_clustering: int | None
    rank_frequency: RankFrequency | None
    highlights: tuple[ClusterRow, ...] = field(default=())
