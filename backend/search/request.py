"""Search requests: the curve to search for, the filters, the order and the page."""

from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from backend.errors import InvalidInputError
from backend.read.views import Axis
from backend.search.text_filters import TextFilter
from backend.search.views import Invariance, Order, Preset, Sort
from compute.query_curves import PRESET_FORMULAS

# Descriptions of invariances and presets, for the OpenAPI document and the pages.
SEARCH_FORMULAS = {
    "level": "both curves lose their mean (weighted as the distance is)",
    "scale": "both lose their mean and are divided by their standard deviation; the distance is "
    "then 2 − 2 × correlation, and curves whose deviation is below 0.05 nats are never found",
    "shift": "least distance over shifts of the query curve by whole points, at most half of the "
    "axis and 16 points either way, its end values repeated; the shorter shift counts, then left",
    **{f"preset {name}": formula for name, formula in PRESET_FORMULAS.items()},
}

MAX_MATCHES = 200
# A loss below ln 2 is p > 1/2: certainly the model's first choice.
RIGHT_NATS = float(np.log(2))
# A preset describes how a curve falls, not how high it lies.
PRESET_INVARIANCES: tuple[Invariance, ...] = ("level",)
Range = tuple[float | None, float | None]
ANY: Range = (None, None)


# The repr of SearchFilters, of its TextFilter and of Shape is hashed into cursors
# (`backend.search.order.query_hash`): a renamed class or field makes every stored cursor invalid.
@dataclass(frozen=True)
class SearchFilters:
    """Conditions on a prediction; all of them must hold.

    Attributes:
        text: conditions on the document, the answer token and the text before it.
        classes: names of curve classes, any of them; empty for all.
        drop: (min, max) total drop, nats.
        sharpness: (min, max) sharpness.
        emergence: (min, max) emergence, in units of the axis; censored values never match.
        final: (min, max) final loss, nats.
        published: "monogenic" or "polygenic" by the published rule.
        only_largest: number k; right under each of the k largest models and no smaller one.
        right_nats: a model is right where its loss is below this value.
        cluster: id of a cluster that contains the prediction.
        lasso: corners of a polygon on the map of curves, in its units.
        lasso_of: prefix of the key of the curve set that the lasso was drawn on; None for any.
    """

    text: TextFilter = field(default_factory=TextFilter)
    classes: tuple[str, ...] = ()
    drop: Range = ANY
    sharpness: Range = ANY
    emergence: Range = ANY
    final: Range = ANY
    published: str | None = None
    only_largest: int | None = None
    right_nats: float = RIGHT_NATS
    cluster: int | None = None
    lasso: tuple[tuple[float, float], ...] = ()
    lasso_of: str | None = None


@dataclass(frozen=True)
class Shape:
    """A curve to search for: exactly one of a sketch, a preset and an example.

    Attributes:
        sketch: (axis value, nats), 2 to 16 knots.
        preset: name of a preset curve.
        at: for preset "step", the first low point, counted from 1.
        example: index of a prediction; its curve is searched for.
    """

    sketch: tuple[tuple[float, float], ...] | None = None
    preset: Preset | None = None
    at: int | None = None
    example: int | None = None


@dataclass(frozen=True)
class SearchRequest:
    """A token search; None stands for the default.

    Attributes:
        corpus: default: the first that has curves.
        suite: default: the first that has curves on the corpus.
        axis: model size or training step.
        model: of axis "S"; default: the largest that has curves.
        shape: the curve to search for, if any.
        invariances: differences that the distance ignores; default: "level" for a preset, else
            none.
        filters: conditions on a prediction.
        sort: default: "distance" with a shape, else "index".
        order: of `sort`; sorting by distance is always ascending.
        limit: most matches on a page, 1 to 200.
        cursor: `next_cursor` of the page before this one.
    """

    corpus: str | None = None
    suite: str | None = None
    axis: Axis = "N"
    model: str | None = None
    shape: Shape | None = None
    invariances: tuple[Invariance, ...] | None = None
    filters: SearchFilters = field(default_factory=SearchFilters)
    sort: Sort | None = None
    order: Order = "asc"
    limit: int = 50
    cursor: str | None = None

    @property
    def effective_invariances(self) -> tuple[Invariance, ...]:
        """The requested invariances, or the default ones of the shape."""
        if self.shape is None:
            return ()
        if self.invariances is not None:
            return self.invariances
        return PRESET_INVARIANCES if self.shape.preset else ()

    @property
    def effective_sort(self) -> Sort:
        """The requested sort key, or the default one.

        Raises:
            InvalidInputError: sort by distance without a shape.
        """
        if self.sort is None:
            return "distance" if self.shape else "index"
        if self.sort == "distance" and self.shape is None:
            raise InvalidInputError(
                "sort=distance needs a curve to measure from",
                "Give a sketch, a preset or an example, or choose another order",
                "sort",
            )
        return self.sort


def sort_invariances(names: tuple[str, ...]) -> tuple[Invariance, ...]:
    """Return the invariances among `names` in canonical order, so that equal requests are equal."""
    return tuple(name for name in get_args(Invariance) if name in names)
