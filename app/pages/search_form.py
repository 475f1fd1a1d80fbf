"""The form of the search page: fields as sent, the sketch pad, hidden fields and open groups."""

from dataclasses import dataclass

from app.figures import curves
from app.pages.addresses import Params, address
from app.pages.scaling import ScalingChoice
from app.pages.search_parts import API, PATH, SCORES
from app.requests.search import SearchQuery
from backend.errors import InvalidInputError
from backend.search.views import SearchAxis, SearchResult

_BOUNDS = tuple(f"{score}_{end}" for score in SCORES for end in ("min", "max"))
FIELDS = (
    *("sketch", "preset", "at", "like", "axis", "model", "text", "regex", "token"),
    *("token_pattern", "source", "document", "published", "only_largest", "right"),
    *("cluster", "lasso", "lasso_of", "sort", "order", "zoom", *_BOUNDS),
)
# Groups of the form that are folded unless one of their fields has a value.
GROUPS = {
    "cls": ("cls",),
    "scores": (*_BOUNDS, "published", "only_largest", "right"),
    "axis": ("axis", "model", "corpus", "suite", "sort", "order"),
}
HIDDEN = ("preset", "at", "like", "cluster", "lasso", "lasso_of")
# The field that takes the characters of a pattern as they are.
PLAIN_TEXT_FIELDS = {"regex": "text", "token_pattern": "token"}


@dataclass(frozen=True)
class SearchForm:
    """A search as the page was requested.

    Attributes:
        params: query parameters that have a value, as sent.
        query: the same parameters, validated.
        choice: corpora, suites and models to choose from, and the chosen ones.
        axis: of the curves that are searched; None if there are none.
    """

    params: Params
    query: SearchQuery
    choice: ScalingChoice
    axis: SearchAxis | None

    @property
    def values(self) -> dict[str, str]:
        """The first value of every single field, an empty text where there is none."""
        sent = dict(reversed(self.params))
        return {name: sent.get(name, "") for name in FIELDS} | {"axis": self.query.axis}

    @property
    def search_params(self) -> Params:
        """The parameters of the search itself, without those of the page."""
        return [param for param in self.params if param[0] in SearchQuery.model_fields]

    def all(self, name: str) -> list[str]:
        """Return every value of a field that may repeat."""
        return [value for key, value in self.params if key == name]

    def sent_invariances(self) -> list[str]:
        """Return the invariances as sent, repeated or separated by commas."""
        return ",".join(self.all("inv")).split(",")

    def api_address(self) -> str:
        """Return the API call that returns the same matches."""
        cursor = self.query.cursor
        return address(API, self.search_params, **({"cursor": cursor} if cursor else {}))

    def sources(self) -> list[str]:
        """Return the sources of the chosen corpus."""
        rows = [row for row in self.choice.corpora if row.id == self.choice.corpus]
        return [source.source for row in rows for source in row.sources]

    def hidden_fields(self) -> list[tuple[str, str]]:
        """Return the fields without an input; the step of a preset has a visible one."""
        values = self.values
        is_step = values["preset"] == "step"
        names = [name for name in HIDDEN if values[name] and not (name == "at" and is_step)]
        return [(name, values[name]) for name in names]

    def open_groups(self) -> dict[str, bool]:
        """Return which groups of the form are unfolded."""
        return {name: any(map(self.all, fields)) for name, fields in GROUPS.items()}

    def plain_text_href(self, refusal: InvalidInputError | None) -> str | None:
        """Return the address that searches for the characters of a refused pattern."""
        name = refusal.parameter if refusal else None
        if name not in PLAIN_TEXT_FIELDS:
            return None
        plain = {PLAIN_TEXT_FIELDS[name]: self.values[name]}
        return address(PATH, self.params, (name,), **plain)

    def step_position(self, pad: curves.SketchPad | None) -> int:
        """Return the first low point of a step: as sent, or the middle of the axis."""
        at = self.values["at"]
        return int(at) if at.isdigit() else len(pad.labels) // 2 + 1 if pad else 0

    def sketch_pad(self, view: SearchResult | None) -> curves.SketchPad | None:
        """Return the sketch pad with the query curve of `view`; None without curves."""
        return curves.sketch_pad(self.axis, self._knots(view)) if self.axis else None

    def _knots(self, view: SearchResult | None) -> list[tuple[float, float]]:
        """Return the knots of the sketch, or the points of the preset or example instead."""
        if self.query.sketch:
            try:
                shape = self.query.shape()
            except InvalidInputError:  # its field shows the error
                return []
            knots = sorted((shape and shape.sketch) or ())
            # The pad has a log axis; a search refuses such a sketch.
            return knots if all(x > 0 for x, _ in knots) else []
        if view and view.query_nats:
            return list(zip(view.x, view.query_nats, strict=True))
        return []
