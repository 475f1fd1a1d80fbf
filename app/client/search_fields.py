"""What the calls take: choices, and the fields of a search."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from backend.read.views import Axis
from backend.search.views import Order, Preset
from backend.search.views import Sort as SearchSort

ClusterSort = Literal[
    "rank",
    "size",
    "coherence",
    "mean_loss",
    "answer_entropy",
    "n_documents",
    "pattern_precision",
]
ContextOrder = Literal["similarity", "loss", "document"]
CurveClass = Literal[
    "learned",
    "flat-high",
    "monogenic",
    "polygenic",
    "inverse",
    "u-shaped",
    "hump",
    "irregular",
]
TableFormat = Literal["parquet", "arrow", "csv", "json"]
Points = Sequence[tuple[float, float]]


class SearchFilters(TypedDict, total=False):
    """What a prediction must have to be found; the meaning of each is at /api of the server.

    Attributes:
        text, regex: what ends in the answer token.
        token, token_pattern: the answer token exactly, or an expression on it.
        source, document, cluster: where it stands.
        cls: any of these classes.
        drop_min … final_max: bounds of scores, nats; emergence in units of the axis.
        published: holds by the published rule.
        only_largest, right: right (loss below `right`) under so many largest models only.
        lasso, lasso_of: inside a polygon on the map whose `curves` are `lasso_of`.
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
        corpus, suite, model: names; default: the first with curves, the largest.
        axis: "N": model size, "S": training step.
        sketch: 2 to 16 points (axis value, nats).
        preset, at: a named curve, and the first low point of preset "step", from 1.
        like: index of a prediction.
        inv: what the distance ignores.
        sort, order: default: by distance if a curve is searched for, else by index.
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
