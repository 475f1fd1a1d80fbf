"""The list of matches on the search page, with its exports and its advice where nothing matches."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from app.figures import curves
from app.pages import search_parts as parts
from app.pages.addresses import SHAPE, Params, address
from app.pages.search_form import SearchForm
from app.requests.search import SearchQuery
from app.web.templating import number, si
from backend.search import search as searches
from backend.search.views import Match, SearchResult
from backend.store.database import Store

FORMATS = (("parquet", "Parquet"), ("arrow", "Arrow"), ("csv", "CSV"), ("json", "JSON"))
MIN_TOP_NATS = 4.0
MAX_FILTERS_TRIED = 6


@dataclass(frozen=True)
class MatchRow:
    """A match, ready to print; `like` searches for its curve, `document` is None without text."""

    match: Match
    drawing: curves.CurveDrawing
    entry: parts.LegendEntry | None
    facts: tuple[tuple[str, str], ...]
    href: str
    like: str
    document: str | None


def match_rows(params: Params, view: SearchResult) -> list[MatchRow]:
    """Return the matches of a page, their curves drawn on one scale."""
    highest = max((max(match.loss_nats) for match in view.matches), default=0.0)
    top = max(MIN_TOP_NATS, highest, *(view.query_nats or (0.0,)))
    suite = [param for param in params if param[0] == "suite"]
    return [
        MatchRow(
            match=match,
            drawing=curves.curve_drawing(view.x, match.loss_nats, view.query_nats, top),
            entry=parts.LEGEND_BY_CLASS.get(match.curve_class),
            facts=tuple(_facts(view, match)),
            href=address(f"/predictions/{view.corpus}/{match.index}", suite),
            like=address(parts.PATH, params, (*SHAPE, "sort", "order"), like=match.index),
            document=None
            if match.document is None
            else address(f"/documents/{view.corpus}/{match.document}", suite),
        )
        for match in view.matches
    ]


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


def export_links(form: SearchForm) -> list[tuple[str, str]]:
    """Return (name of the format, address) of every export of a search."""
    path = f"{parts.API}/export"
    return [(title, address(path, form.search_params, format=name)) for name, title in FORMATS]


def blocking_filters(
    store: Store, form: SearchForm, view: SearchResult, deadline: float
) -> list[parts.Chip]:
    """Return the filters without which something would match; all of them if no single one helps.

    Args:
        store: the store.
        form: the search.
        view: its result, without a match.
        deadline: time (of `monotonic`) after which no more text is searched.
    """
    chips = parts.filter_chips(form.params)
    if view.truncated:  # text that was not searched may match: no filter is certain to block
        return chips
    fields = SearchQuery.model_fields
    helpful = []
    for chip in chips[:MAX_FILTERS_TRIED]:
        changes = {name: fields[name].default for name in (*chip.fields, "cursor")}
        relaxed = form.query.model_copy(update=changes).request(limit=1)
        if searches.has_matches(store, relaxed, max(0.0, deadline - monotonic())):
            helpful.append(chip)
    return helpful or chips
