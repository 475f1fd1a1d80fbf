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
    """The axis of a curve set with the corpus mean along it.

    Attributes:
        axis: "N" or "S".
        model: name of the model on axis "S".
        x: sizes or steps, ascending.
        labels: names of the points.
        mean_nats: mean loss of all predictions at each point.
    """

    axis: Axis
    model: str | None
    x: tuple[float, ...]
    labels: tuple[str, ...]
    mean_nats: tuple[float, ...]


@dataclass(frozen=True)
class MatchScores:
    """Scores of a curve; None where a score is undefined.

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
    """A prediction that matches a search.

    Attributes:
        index: of the prediction.
        document: index of its document; None, and no tokens, in a corpus without text.
        distance: to the query curve, nats² (a pure number if scale is ignored); None without a
            shape, or if the curve is too flat to compare.
        shift: points of the axis by which the query curve was shifted, right is positive.
        curve_class: name of its class.
        scores: of its curve.
        loss_nats: its curve.
        before: up to 32 tokens before the answer.
        answer: the predicted token.
        after: up to 8 tokens after it.
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

    Attributes:
        corpus: name of the corpus.
        suite: name of the suite.
        axis: "N" or "S".
        model: name of the model on axis "S".
        x: sizes or steps, ascending.
        labels: names of the points.
        query_nats: the query curve at these points, None without a shape.
        invariances: differences that the distance ignores.
        sort: sort key of the matches.
        order: "asc" or "desc".
        n_matching: number of predictions that match the filters, exactly.
        n_predictions: of the corpus.
        truncated: why a text filter is incomplete, None if it is complete.
        matches: the page.
        next_cursor: cursor of the next page, None on the last one.
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
