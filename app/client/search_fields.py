"""Choices, and the filters and parameters of a search."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from backend.read.views import Axis
from backend.search.views import Order, Preset
from backend.search.views import Sort as SearchSort

ClusterSort = Literal[
    "rank", "size", "coherence", "mean_loss", "answer_entropy", "n_documents", "pattern_precision"
]
ContextOrder = Literal["similarity", "loss", "document"]
CurveClass = Literal[
    "learned", "flat-high", "monogenic", "polygenic", "inverse", "u-shaped", "hump", "irregular"
]
TableFormat = Literal["parquet", "arrow", "csv", "json"]
Points = Sequence[tuple[float, float]]


class SearchFilters(TypedDict, total=False):
    """Filters of predictions; /api of the server describes each.

    Attributes:
        text, regex: text or pattern that ends in the answer token.
        token, token_pattern: the answer token exactly, or a pattern of it.
        source, document, cluster: source, document and cluster of the prediction.
        cls: classes of curves, any of them.
        drop_min … final_max: bounds of scores, nats; emergence in units of the axis.
        published: class by the published rule.
        only_largest, right: loss below `right` nats only for this many largest models.
        lasso, lasso_of: polygon on the map with `curves` equal to `lasso_of`.
    """

    text: str
    regex: str
    token: str
    token_pattern: str
    source: str
    document: int
    cls: Sequence[CurveClass]
    drop_min: float
    drop_max: float
    sharpness_min: float
    sharpness_max: float
    emergence_min: float
    emergence_max: float
    final_min: float
    final_max: float
    published: Literal["monogenic", "polygenic"]
    only_largest: int
    right: float
    cluster: int
    lasso: Points
    lasso_of: str


class SearchParams(SearchFilters, total=False):
    """A search: filters, and at most one of `sketch`, `preset` and `like` as the curve.

    Attributes:
        corpus, suite, model: names; default the first with curves, and the largest model.
        axis: "N": model size, "S": training step.
        sketch: 2 to 16 points (axis value, nats).
        preset, at: a named curve, and the first low point of preset "step", from 1.
        like: index of the prediction with the query curve.
        inv: invariances of the distance.
        sort, order: default by distance for a query curve, else by index.
    """

    corpus: str
    suite: str
    axis: Axis
    model: str
    sketch: Points
    preset: Preset
    at: int
    like: int
    inv: Sequence[Literal["level", "scale", "shift", "none"]]
    sort: SearchSort
    order: Order
