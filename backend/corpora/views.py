"""Views of corpora, documents, predictions and heat; losses in nats (see backend/read/views.py)."""

from dataclasses import dataclass
from typing import Literal

from backend.read.views import Axis, Token, TokenValue

Measure = Literal["loss", "p", "rank", "entropy", "difference", "p_token"]


@dataclass(frozen=True)
class CorpusRow:
    """A corpus in a list; `id` is its name in URLs.

    Without text (`has_text` false) it has no documents and no tokens: predictions are known by
    index only.
    """

    id: str
    key: str
    n_documents: int
    n_tokens: int
    n_predictions: int
    max_tokens: int
    prefix: tuple[int, ...]
    has_text: bool
    tokenizer_key: str | None
    vocabulary_size: int | None
    sources: tuple["SourceRow", ...]
    created_at: str


@dataclass(frozen=True)
class SourceRow:
    """A source of documents, with its licence."""

    source: str
    license: str
    n_documents: int


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
    """A cluster of a prediction."""

    cluster: int
    rank: int
    size: int
    n_clusters: int
    clustering: int
    coherence: float | None
    label: str


@dataclass(frozen=True)
class PredictionView:
    """One prediction with its curves and clusters; `context` ends with the predicted token.

    In a corpus without text, document, position and token are None and the context is empty. The
    values of the context are losses under `model` of `suite` at `step`.
    """

    corpus: str
    index: int
    suite: str | None
    model: str | None
    step: int | None
    document: int | None
    document_id: str
    source: str
    license: str
    position: int | None
    token: Token | None
    context: tuple[TokenValue, ...]
    following: tuple[TokenValue, ...]
    context_truncated: bool
    curves: tuple[Curve, ...]
    formulas: dict[str, str]
    clusters: tuple[Membership, ...]
    previous: int | None
    next: int | None


@dataclass(frozen=True)
class Heat:
    """One value for each token under one checkpoint; that of the first token is None.

    `scale` is the (low, high) of the colours: the measure's own, the same for every model, step and
    document, unless the request sets it or unlocks it; `classes` are colour classes 0..63 on it
    (None where there is no value), on a log scale if `is_log`, dark at both ends and neutral in
    the middle if `is_diverging`.

    `measure` "difference" is the loss less that of `other_model` at `other_step`, nats: negative
    where the first is better. "p_token" is the probability of `target` in the token's place.
    Values have four significant digits, ranks are integers.
    `histogram` counts values in equal parts of `bounds` (of its logarithm if `is_log`); values
    beyond an end count in its last part.
    """

    corpus: str
    document: int
    suite: str
    model: str
    step: int
    measure: Measure
    unit: str
    values: tuple[int | float | None, ...]
    classes: tuple[int | None, ...]
    scale: tuple[float, float]
    bounds: tuple[float, float]
    is_log: bool
    is_diverging: bool
    histogram: tuple[int, ...]
    mean: float | None
    other_model: str | None = None
    other_step: int | None = None
    target: Token | None = None


@dataclass(frozen=True)
class HeatModel:
    """A model and its evaluated steps, ascending."""

    name: str
    nonembedding_parameters: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class HeatChoices:
    """Models and steps with a finished evaluation on the corpus, models by size.

    Without weights only loss, p and difference are available.
    """

    suite: str
    has_weights: bool
    models: tuple["HeatModel", ...]
