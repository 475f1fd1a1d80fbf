"""The page of token search: a drawn curve, filters, a map of curves and the list of matches."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures import curves
from app.pages import search_parts as parts
from app.pages.addresses import SHAPE, Items, address, non_empty_params
from app.pages.scaling import ScalingChoice, scaling_choice
from app.requests.dependencies import MAX_EXPORT_ROWS, StoreDep
from app.requests.search import SearchQuery
from app.web.response_cache import do_not_cache
from app.web.templating import number, render, si
from backend.errors import InvalidInputError, NotReadyError
from backend.scaling import suites
from backend.scaling.views import ScalingView
from backend.search import search as searches
from backend.search.filters import TEXT_SECONDS
from backend.search.search import Match, SearchResult
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
API = "/api/v1/predictions"
MAP = "/figures/curve-map"
SCORES = ("drop", "sharpness", "emergence", "final")
FIELDS = (
    *("sketch", "preset", "at", "like", "axis", "model", "text", "regex", "token"),
    *("token_pattern", "source", "document", "published", "only_largest", "right"),
    *("cluster", "lasso", "lasso_of", "sort", "order", "zoom"),
    *(f"{score}_{end}" for score in SCORES for end in ("min", "max")),
)
# Groups of the form that are folded until one of their fields is asked for.
GROUPS = {
    "cls": ("cls",),
    "scores": (*FIELDS[-8:], "published", "only_largest", "right"),
    "axis": ("axis", "model", "corpus", "suite", "sort", "order"),
}
HIDDEN = ("preset", "at", "like", "cluster", "lasso", "lasso_of")
FORMATS = (("parquet", "Parquet"), ("arrow", "Arrow"), ("csv", "CSV"), ("json", "JSON"))
SORTS = ("distance", "index", *SCORES)
LEAST_TOP_NATS = 4.0
MAX_FILTERS_TRIED = 6  # filters tried one by one when nothing matches


@dataclass(frozen=True)
class MatchRow:
    """One match, ready to print."""

    match: Match
    drawn: curves.CurveDrawing
    kind: parts.LegendEntry | None
    facts: tuple[tuple[str, str], ...]
    href: str
    like: str
    place: str | None


@dataclass(frozen=True)
class SearchForm:
    """What was asked for: parameters as sent, the same checked, and what they are asked of."""

    items: Items
    asked: SearchQuery
    choice: ScalingChoice
    scaling: ScalingView | None

    @property
    def form(self) -> dict[str, str]:
        """The first value of every single field, an empty text where there is none."""
        sent = dict(reversed(self.items))
        return {name: sent.get(name, "") for name in FIELDS} | {"axis": self.asked.axis}

    @property
    def searched(self) -> Items:
        """The parameters that a search knows."""
        return [item for item in self.items if item[0] in SearchQuery.model_fields]

    def all(self, name: str) -> list[str]:
        """Return every value of a field that may repeat."""
        return [value for key, value in self.items if key == name]


@router.get("/predictions")
def search_page(
    request: Request, store: StoreDep, asked: Annotated[SearchQuery, Query()]
) -> Response:
    """Search predictions by the shape of their curve, their text and their scores."""
    items = non_empty_params(request.query_params.multi_items())
    # What is looked up in text has one limit, however many questions the page asks.
    ends = monotonic() + TEXT_SECONDS
    view: SearchResult | None = None
    refusal: InvalidInputError | None = None
    try:
        view = searches.search(store, asked.request(limit=PAGE_SIZE))
    except InvalidInputError as error:
        if error.parameter not in FIELDS:
            raise
        refusal = error
    except NotReadyError:
        if items:  # something was named that is not there; an empty page would hide that
            raise
    if view is None or view.truncated or not view.n_matching:
        do_not_cache(request)  # what fits into the time, and why nothing matches, may change
    question = _question(store, items, asked, view)
    return render(
        request,
        "predictions.html",
        422 if refusal else 200,
        section="search",
        title="Token search",
        view=view,
        banner=refusal,
        page_size=PAGE_SIZE,
        most_exported=MAX_EXPORT_ROWS,
        api=_api(question) if view else None,
        **_asked_context(question, view, refusal),
        **_found_context(store, question, view, ends),
    )


def _api(question: SearchForm) -> str:
    """Return the call that gives the list, without what says only how the page shows it."""
    cursor = question.asked.cursor
    return address(API, question.searched, **({"cursor": cursor} if cursor else {}))


def _question(
    store: Store, items: Items, asked: SearchQuery, view: SearchResult | None
) -> SearchForm:
    corpus, suite = (view.corpus, view.suite) if view else (asked.corpus, asked.suite)
    choice = scaling_choice(store, corpus, suite)
    scaling = None
    if choice.corpus and choice.suite:
        try:
            scaling = suites.scaling(store, choice.suite.id, choice.corpus, asked.axis, asked.model)
        except NotReadyError:
            if items:
                raise
    return SearchForm(items, asked, choice, scaling)


def _asked_context(
    question: SearchForm, view: SearchResult | None, refusal: InvalidInputError | None
) -> dict[str, Any]:
    """Return what the form, the presets and the chips need."""
    form, pad = question.form, _pad(question, view)
    hidden = [name for name in HIDDEN if form[name] and (name, form["preset"]) != ("at", "step")]
    return {
        "choice": question.choice,
        "sources": _sources(question.choice),
        "form": form,
        "hidden": [(name, form[name]) for name in hidden],
        "errors": {refusal.parameter: f"{refusal.problem}. {refusal.remedy}."} if refusal else {},
        "literal": _literal(question, refusal),
        "pad": pad,
        "at": int(form["at"]) if form["at"].isdigit() else len(pad.labels) // 2 + 1 if pad else 0,
        "presets": parts.presets(question.items, len(pad.labels)) if pad else [],
        "chips": _chips(question, pad),
        "kinds": parts.class_legend(question.items),
        "invariances": parts.INVARIANCES,
        "asked_inv": view.invariances if view else ",".join(question.all("inv")).split(","),
        "asked_classes": question.all("cls"),
        "asked_suite": question.asked.suite,
        "sorts": SORTS,
        "opened": {name: any(map(question.all, fields)) for name, fields in GROUPS.items()},
    }


def _sources(choice: ScalingChoice) -> list[str]:
    rows = [row for row in choice.corpora if row.id == choice.corpus]
    return [source.source for row in rows for source in row.sources]


def _literal(question: SearchForm, refusal: InvalidInputError | None) -> str | None:
    """Return the address that looks for the characters of a pattern that is none."""
    plain = {"regex": "text", "token_pattern": "token"}
    if refusal is None or refusal.parameter not in plain:
        return None
    name = refusal.parameter
    value = question.form[name]
    return address(parts.PATH, question.items, (name,), **{plain[name]: value})


def _knots(question: SearchForm, view: SearchResult | None) -> list[tuple[float, float]]:
    """Return the drawn curve, or the points of the preset or example that stands in for it."""
    if question.asked.sketch:
        try:
            shape = question.asked.shape()
        except InvalidInputError:  # said at its field
            return []
        return sorted((shape and shape.sketch) or ())
    if view and view.query_nats:
        return list(zip(view.x, view.query_nats, strict=True))
    return []


def _pad(question: SearchForm, view: SearchResult | None) -> curves.SketchPad | None:
    found = question.scaling
    if found is None:
        return None
    return curves.sketch_pad(found.axis, found.model, found.points, _knots(question, view))


def _chips(question: SearchForm, pad: curves.SketchPad | None) -> list[parts.Chip]:
    labels = pad.labels if pad else ()
    return parts.shape_chips(question.items, labels) + parts.filter_chips(question.items)


def _found_context(
    store: Store, question: SearchForm, view: SearchResult | None, ends: float
) -> dict[str, Any]:
    """Return what the list and the map need; `ends` is when text is not looked through any more."""
    items = question.items
    following = view.next_cursor if view else None
    return {
        "hits": _match_rows(question, view) if view else [],
        "clear": _blocking_filters(store, question, view, ends)
        if view and not view.n_matching
        else [],
        "next_page": address(parts.PATH, items, cursor=following) if following else None,
        "first_page": address(parts.PATH, items) if question.asked.cursor else None,
        "exports": [(words, _export(question, name)) for name, words in FORMATS] if view else [],
        "map_src": address(MAP, question.searched) if view else None,
        "shapes": json.dumps([kind.shape for kind in parts.CLASS_LEGEND]),
    }


def _export(question: SearchForm, name: str) -> str:
    return address(f"{API}/export", question.searched, format=name)


def _match_rows(question: SearchForm, view: SearchResult) -> list[MatchRow]:
    asked = view.query_nats
    highest = max((max(match.loss_nats) for match in view.matches), default=0.0)
    top = max(LEAST_TOP_NATS, highest, *(asked or (0.0,)))
    return [_match_row(question, view, match, top) for match in view.matches]


def _match_row(question: SearchForm, view: SearchResult, match: Match, top: float) -> MatchRow:
    suite = [item for item in question.items if item[0] == "suite"]
    here = f"/predictions/{view.corpus}/{match.index}"
    place = f"/documents/{view.corpus}/{match.document}"
    return MatchRow(
        match=match,
        drawn=curves.curve_drawing(view.x, match.loss_nats, view.query_nats, top),
        kind=parts.LEGEND_BY_CLASS.get(match.curve_class),
        facts=tuple(_facts(view, match)),
        href=address(here, suite),
        like=address(parts.PATH, question.items, (*SHAPE, "sort", "order"), like=match.index),
        place=None if match.document is None else address(place, suite),
    )


def _facts(view: SearchResult, match: Match) -> Sequence[tuple[str, str]]:
    scores = match.scores
    emergence = scores.emergence
    facts = [
        ("drop", number(scores.total_drop)),
        ("sharpness", number(scores.sharpness)),
        ("emergence", f"{view.axis} {si(emergence)}" if emergence is not None else "–"),
        ("final", f"{number(scores.final_loss)} nats"),
    ]
    if match.distance is not None:
        facts.insert(0, ("distance", number(match.distance, 3)))
    if match.shift:
        facts.append(("shift", f"{match.shift:+g}"))
    return facts


def _blocking_filters(
    store: Store, question: SearchForm, view: SearchResult, ends: float
) -> list[parts.Chip]:
    """Return the filters without which something would match; all of them if none alone helps."""
    chips = parts.filter_chips(question.items)
    if view.truncated:  # what was not looked through may match: no filter is to blame for certain
        return chips
    fields = SearchQuery.model_fields
    helpful = []
    for chip in chips[:MAX_FILTERS_TRIED]:
        changes = {name: fields[name].default for name in (*chip.fields, "cursor")}
        eased = question.asked.model_copy(update=changes)
        if searches.has_matches(store, eased.request(limit=1), max(0.0, ends - monotonic())):
            helpful.append(chip)
    return helpful or chips
