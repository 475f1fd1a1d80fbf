"""Views of search results: plain data without a database."""

from dataclasses import dataclass
from typing import Literal

from backend.read.views import Axis, Token

Invariance = Literal["level", "scale", "shift"]
Preset = Literal["step", "smooth", "inverse", "u", "hump", "late", "early", "flat"]
Sort = Literal["distance", "index", "drop", "sharpness", "emergence", "final"]
Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class SearchAxis:
    """The axis of a curve set (sizes or steps, ascending) with the corpus mean along it."""

    axis: Axis
    model: str | None
    x: tuple[float, ...]
    labels: tuple[str, ...]
    mean_nats: tuple[float, ...]


@dataclass(frozen=True)
class MatchScores:
    """Scores of a curve; None where a score is undefined.

    `total_drop` and `final_loss` in nats; `sharpness` is the share of the drop in one half-decade,
    `emergence` the axis value at half of the drop.
    """

    total_drop: float | None
    sharpness: float | None
    emergence: float | None
    final_loss: float | None


@dataclass(frozen=True)
class Match:
    """A prediction that matches a search, with up to 32 tokens before and 8 after its answer.

    `distance` to the query curve is in nats² (a pure number if scale is ignored), None without a
    shape, or if the curve is too flat to compare. `shift` is the number of points of the axis by
    which the query curve was shifted, right is positive. In a corpus without text `document` is
    None and there are no tokens.
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
    """A page of matches, in order.

    `x` are sizes or steps, ascending; `query_nats` is the query curve at these points, None without
    a shape. `invariances` are differences that the distance ignores. `n_matching` counts the
    predictions that match the filters, exactly, of all `n_predictions`; `truncated` tells why a
    text filter is incomplete, None if it is complete.
    """

    corpus: str
    suite: str
    axis: Axis
    model: str | None
    x: tuple[float, ...]
    labels: tuple[str, ...]
    query_nats: tuple[float, ...] | None
    invariances: tuple[Invariance, ...]
    sort: Sort
    order: Order
    n_matching: int
    n_predictions: int
    truncated: str | None
    matches: tuple[Match, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class CurveMapSummary:
    """A map of at most 20,000 sampled curves on their two principal components.

    `shares` are the shares of the variance along x and y. `curves` is the hash of the curve set; a
    lasso drawn on this map sends it as `lasso_of`. `n_matching` counts predictions that match the
    filters, sampled or not. `truncated` tells why a text filter is incomplete, None if it is not.
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
