"""Parameters of a token search: flat query parameters, or a JSON body.

Both become one `SearchRequest`. An empty field of a form is treated as absent.
"""

from collections.abc import Iterable
from dataclasses import fields
from math import isfinite
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.client.search_fields import CurveClass
from app.requests.dependencies import CURSOR_PATTERN
from app.requests.pages import Blank, EmptyAllowed
from backend.errors import InvalidInputError
from backend.read.views import Axis
from backend.schemas.json_numbers import number_check
from backend.schemas.parameters import MAX_INTEGER, MODEL_PATTERN, NAME_PATTERN, NO_NUL
from backend.search.request import (
    MAX_MATCHES,
    RIGHT_NATS,
    SEARCH_FORMULAS,
    SearchFilters,
    SearchRequest,
    Shape,
    sort_invariances,
)
from backend.search.text_filters import TextFilter
from backend.search.views import Invariance, Order, Preset, Sort

MAX_KNOTS = 16
MAX_CORNERS = 64
MAX_NATS = 1_000.0
MAX_SIZE = 1e18
InvarianceOrNone = Literal["level", "scale", "shift", "none"]
Published = Literal["monogenic", "polygenic"]
Name = Annotated[Annotated[str, Field(pattern=NAME_PATTERN)] | None, Blank]
ModelName = Annotated[Annotated[str, Field(pattern=MODEL_PATTERN)] | None, Blank]
Text = Annotated[Annotated[str, Field(max_length=1_000, pattern=NO_NUL)] | None, Blank]
Pairs = Annotated[Annotated[str, Field(max_length=4_000, pattern=r"^[0-9eE+.,:-]*$")] | None, Blank]
CurvesHash = Annotated[Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None, Blank]
Count = Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank]
Number = Annotated[Annotated[int, Field(ge=1, le=200)] | None, Blank]
Amount = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, Blank]
Nats = Annotated[float, Field(ge=0, le=MAX_NATS, allow_inf_nan=False)]
Limit = Annotated[int, Field(ge=1, le=MAX_MATCHES)]
Cursor = Annotated[Annotated[str, Field(pattern=CURSOR_PATTERN)] | None, Blank]
Knot = tuple[Annotated[float, Field(gt=0, le=MAX_SIZE)], Nats]


def _names(value: object) -> object:
    """Return repeated and comma-separated names as one list."""
    if value is None or isinstance(value, str):
        value = [value or ""]
    if not isinstance(value, list | tuple):
        return value
    return [
        name for part in value for name in (part.split(",") if isinstance(part, str) else [part])
    ]


def _non_empty(value: object) -> object:
    names = _names(value)
    return [name for name in names if name != ""] if isinstance(names, list) else names


def _formulas(names: Iterable[str], prefix: str = "") -> str:
    return ". ".join(f"{name}: {SEARCH_FORMULAS[prefix + name]}" for name in names)


class FilterFields(BaseModel):
    """Conditions on a prediction; all of them must hold."""

    text: Text = Field(default=None, description="Text that ends in the answer token")
    regex: Text = Field(
        default=None, description="RE2 expression whose match ends in the answer token"
    )
    token: Text = Field(default=None, description="The answer token exactly, or its id as #123")
    token_pattern: Text = Field(
        default=None, description="RE2 expression on the answer token alone"
    )
    source: Text = Field(
        default=None, description="Source of the document; * at its end matches any ending"
    )
    document: Count = Field(default=None, description="Index of the document")
    cls: Annotated[tuple[CurveClass, ...], EmptyAllowed(_non_empty)] = Field(
        default=(), description="Class of the curve; repeat it to match any of several"
    )
    drop_min: Amount = Field(default=None, description="Minimum total drop, nats")
    drop_max: Amount = Field(default=None, description="Maximum total drop, nats")
    sharpness_min: Amount = Field(default=None, description="Minimum sharpness")
    sharpness_max: Amount = Field(default=None, description="Maximum sharpness")
    emergence_min: Amount = Field(
        default=None, description="Minimum emergence, in units of the axis"
    )
    emergence_max: Amount = Field(
        default=None, description="Maximum emergence, in units of the axis"
    )
    final_min: Amount = Field(default=None, description="Minimum loss at the last point, nats")
    final_max: Amount = Field(default=None, description="Maximum loss at the last point, nats")
    published: Annotated[Published | None, Blank] = Field(
        default=None, description="Class by the published rule"
    )
    only_largest: Number = Field(
        default=None,
        description="Number k: right under each of the k largest models and no smaller one",
    )
    right: Annotated[Nats | None, Blank] = Field(
        default=None,
        description="A model is right where its loss is below this, nats; default ln 2 (p > 1/2)",
    )
    cluster: Count = Field(default=None, description="Id of a cluster that contains the prediction")
    lasso: Pairs = Field(
        default=None,
        description="Inside a polygon on the map: x:y of 3 to 64 corners, separated by commas",
    )
    lasso_of: CurvesHash = Field(
        default=None,
        description="`curves` of the map that the lasso was drawn on; any other map refuses it",
    )

    def filters(self) -> SearchFilters:
        """Return the filters of the search request.

        Raises:
            InvalidInputError: the lasso is not a polygon.
        """
        texts = {field.name: getattr(self, field.name) for field in fields(TextFilter)}
        return SearchFilters(
            text=TextFilter(**texts),
            classes=self.cls,
            drop=(self.drop_min, self.drop_max),
            sharpness=(self.sharpness_min, self.sharpness_max),
            emergence=(self.emergence_min, self.emergence_max),
            final=(self.final_min, self.final_max),
            published=self.published,
            only_largest=self.only_largest,
            right_nats=RIGHT_NATS if self.right is None else self.right,
            cluster=self.cluster,
            lasso=_pairs(self.lasso, "lasso", 3, MAX_CORNERS),
            lasso_of=self.lasso_of,
        )


def _pairs(
    value: str | None, parameter: str, min_points: int, max_points: int
) -> tuple[tuple[float, float], ...]:
    """Return the numbers of `x:y,x:y,…`."""
    if value is None:
        return ()
    try:
        pairs = [tuple(float(number) for number in part.split(":")) for part in value.split(",")]
        points = tuple((x, y) for x, y in pairs)
    except ValueError as error:
        raise InvalidInputError(
            f"{parameter} {value[:60]!r} is not a list of x:y pairs",
            "Write pairs such as 1e6:2.5,1e7:0.1",
            parameter,
        ) from error
    is_finite = all(isfinite(number) for point in points for number in point)
    if not is_finite or not min_points <= len(points) <= max_points:
        raise InvalidInputError(
            f"{parameter} has {len(points)} points{'' if is_finite else ', not all finite'}",
            f"Give {min_points} to {max_points} finite points",
            parameter,
        )
    return points


class SearchQuery(FilterFields):
    """Query parameters of a token search; all are optional."""

    model_config = ConfigDict(extra="ignore")

    corpus: Name = Field(default=None, description="Corpus; default: the first with curves")
    suite: Name = Field(default=None, description="Suite; default: the first with curves")
    axis: Annotated[Axis, EmptyAllowed(lambda value: value or "N")] = Field(
        default="N", description="N: model size; S: training step"
    )
    model: ModelName = Field(default=None, description="Model of axis S; default: the largest")
    sketch: Pairs = Field(
        default=None, description="Search for this curve: x:y of 2 to 16 knots, y in nats"
    )
    preset: Annotated[Preset | None, Blank] = Field(
        default=None,
        description=f"Search for a preset curve. {_formulas(get_args(Preset), 'preset ')}",
    )
    at: Number = Field(default=None, description="For preset=step: the first low point, from 1")
    like: Count = Field(default=None, description="Search for the curve of this prediction")
    inv: Annotated[tuple[InvarianceOrNone, ...], EmptyAllowed(_non_empty)] = Field(
        default=(),
        description="Differences that the distance ignores; default: level for a preset. "
        + _formulas(get_args(Invariance)),
    )
    sort: Annotated[Sort | None, Blank] = Field(
        default=None, description="Default: distance with a sketch, preset or like, else index"
    )
    order: Annotated[Order, EmptyAllowed(lambda value: value or "asc")] = "asc"
    limit: Limit = 50
    cursor: Cursor = Field(default=None, description="`next_cursor` of the page before this one")

    def shape(self) -> Shape | None:
        """Return the curve to search for.

        Raises:
            InvalidInputError: more than one curve, or an unreadable sketch.
        """
        names = [name for name in ("sketch", "preset", "like") if getattr(self, name) is not None]
        if len(names) > 1:
            raise InvalidInputError(
                f"{' and '.join(names)} are both given", "Choose one curve to search for", names[1]
            )
        if not names:
            return None
        sketch = _pairs(self.sketch, "sketch", 2, MAX_KNOTS) or None
        return Shape(sketch, self.preset, self.at, self.like)

    def request(self, limit: int | None = None) -> SearchRequest:
        """Return the search request, with another `limit` if one is given.

        Raises:
            InvalidInputError: parameters that contradict each other, by their name.
        """
        return SearchRequest(
            corpus=self.corpus,
            suite=self.suite,
            axis=self.axis,
            model=self.model,
            shape=self.shape(),
            invariances=sort_invariances(self.inv) if self.inv else None,
            filters=self.filters(),
            sort=self.sort,
            order=self.order,
            limit=limit or self.limit,
            cursor=self.cursor,
        )


class ShapeBody(BaseModel):
    """The curve to search for: one of sketch, preset and example."""

    model_config = ConfigDict(extra="forbid")

    _numbers = number_check(allows_text=False)

    sketch: Annotated[tuple[Knot, ...], Field(min_length=2, max_length=MAX_KNOTS)] | None = Field(
        default=None, description="(axis value, nats) of 2 to 16 knots"
    )
    preset: Preset | None = Field(default=None, description="A preset curve")
    at: Number = Field(default=None, description="For preset step: the first low point, from 1")
    example: Count = Field(default=None, description="Index of a prediction")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        curves = [self.sketch, self.preset, self.example]
        if sum(curve is not None for curve in curves) != 1:
            raise ValueError("give exactly one of sketch, preset and example")
        return self


class FiltersBody(FilterFields):
    """Conditions on a prediction; names as in GET /api/v1/predictions."""

    model_config = ConfigDict(extra="forbid")

    _numbers = number_check(allows_text=False)


class SearchBody(BaseModel):
    """A token search as JSON; all members are optional."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "shape": {"sketch": [[2e4, 6.0], [2e5, 5.5], [6e5, 0.2]]},
                    "invariances": ["level", "scale"],
                    "filters": {"cls": ["monogenic"], "final_max": 0.5},
                    "limit": 100,
                },
                {"axis": "S", "shape": {"preset": "step", "at": 3}, "invariances": ["shift"]},
                {"filters": {"only_largest": 2}},
            ]
        },
    )

    _numbers = number_check(allows_text=False)

    corpus: Name = None
    suite: Name = None
    axis: Axis = "N"
    model: ModelName = None
    shape: ShapeBody | None = None
    invariances: tuple[Invariance, ...] | None = Field(default=None, max_length=3)
    filters: FiltersBody = Field(default_factory=FiltersBody)
    sort: Sort | None = None
    order: Order = "asc"
    limit: Limit = 50
    cursor: Cursor = None

    def request(self) -> SearchRequest:
        """Return the search request.

        Raises:
            InvalidInputError: parameters that contradict each other, by their name.
        """
        shape = self.shape
        return SearchRequest(
            corpus=self.corpus,
            suite=self.suite,
            axis=self.axis,
            model=self.model,
            shape=Shape(shape.sketch, shape.preset, shape.at, shape.example) if shape else None,
            invariances=None if self.invariances is None else sort_invariances(self.invariances),
            filters=self.filters.filters(),
            sort=self.sort,
            order=self.order,
            limit=self.limit,
            cursor=self.cursor,
        )
