"""The page of token search: sketch pad, filters, a map of curves and the list of matches."""

import json
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures.curves import SketchPad
from app.pages import search_parts as parts
from app.pages.addresses import Params, address, non_empty_params
from app.pages.scaling import ScalingChoice, scaling_choice
from app.pages.search_form import FIELDS, SearchForm
from app.pages.search_results import MatchRow, blocking_filters, export_links, match_rows
from app.requests.dependencies import MAX_EXPORT_ROWS, StoreDep
from app.requests.search import SearchQuery
from app.web.response_cache import do_not_cache
from app.web.templating import PageContext, render
from backend.errors import InvalidInputError, NotReadyError
from backend.search import search as searches
from backend.search.context import search_axis
from backend.search.filters import TEXT_SECONDS
from backend.search.request import SearchRequest
from backend.search.views import SearchResult
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
MAP = "/figures/curve-map"


@dataclass(frozen=True, kw_only=True)
class SearchPage(PageContext):
    """Variables of the search page.

    `view` is None without curves and for a query that cannot be answered (`refusal`); `pad` is
    None without curves. `plain_text_href` searches for a refused pattern as plain text;
    `blocking_filters` are to be cleared where nothing matches.
    """

    template: ClassVar[str] = "predictions.html"

    title: str = "Token search"
    section: str = "search"
    view: SearchResult | None
    refusal: InvalidInputError | None
    choice: ScalingChoice
    sources: list[str]
    form: dict[str, str]
    hidden_fields: list[tuple[str, str]]
    errors: dict[str, str]
    plain_text_href: str | None
    pad: SketchPad | None
    step_position: int
    presets: list[parts.Preset]
    chips: list[parts.Chip]
    legend: list[parts.LegendEntry]
    invariances: tuple[tuple[str, str, str], ...] = parts.INVARIANCES
    checked_invariances: list[str]
    checked_classes: list[str]
    suite_param: str | None
    sorts: tuple[str, ...] = parts.SORTS
    open_groups: dict[str, bool]
    rows: list[MatchRow]
    blocking_filters: list[parts.Chip]
    next_page: str | None
    first_page: str | None
    page_size: int = PAGE_SIZE
    exports: list[tuple[str, str]]
    max_export_rows: int = MAX_EXPORT_ROWS
    map_src: str | None
    shapes: str = json.dumps([entry.shape for entry in parts.CLASS_LEGEND])


@router.get("/predictions")
def search_page(
    request: Request, store: StoreDep, query: Annotated[SearchQuery, Query()]
) -> Response:
    """Search predictions by the shape of their curve, their text and their scores."""
    params = non_empty_params(request.query_params.multi_items())
    # All text searches of this page share one time limit.
    deadline = monotonic() + TEXT_SECONDS
    view, refusal = _search(store, params, query)
    if view is None or view.truncated or not view.n_matching:
        do_not_cache(request)  # time limits and the reasons for no match may change
    form = _form(store, params, query, view)
    pad = form.sketch_pad(view)
    next_cursor = view.next_cursor if view else None
    page = SearchPage(
        view=view,
        refusal=refusal,
        api=form.api_address() if view else "",
        choice=form.choice,
        sources=form.sources(),
        form=form.values,
        hidden_fields=form.hidden_fields(),
        errors={refusal.parameter: f"{refusal.problem}. {refusal.remedy}."}
        if refusal and refusal.parameter
        else {},
        plain_text_href=form.plain_text_href(refusal),
        pad=pad,
        step_position=form.step_position(pad),
        presets=parts.presets(params, len(pad.labels)) if pad else [],
        chips=parts.shape_chips(params, pad.labels if pad else ()) + parts.filter_chips(params),
        legend=parts.class_legend(params),
        checked_invariances=list(view.invariances) if view else form.sent_invariances(),
        checked_classes=form.all("cls"),
        suite_param=query.suite,
        open_groups=form.open_groups(),
        rows=match_rows(params, view) if view else [],
        blocking_filters=blocking_filters(store, form, view, deadline)
        if view and not view.n_matching
        else [],
        next_page=address(parts.PATH, params, cursor=next_cursor) if next_cursor else None,
        first_page=address(parts.PATH, params) if query.cursor else None,
        exports=export_links(form) if view else [],
        map_src=address(MAP, form.search_params) if view else None,
    )
    return render(request, page, 422 if refusal else 200)


def _search(
    store: Store, params: Params, query: SearchQuery
) -> tuple[SearchResult | None, InvalidInputError | None]:
    """Return the result, or the error of a field; neither where there are no curves."""
    try:
        return searches.search(store, query.request(limit=PAGE_SIZE)), None
    except InvalidInputError as error:
        if error.parameter not in FIELDS:
            raise
        return None, error
    except NotReadyError:
        if params:  # an empty page would hide that a named suite or corpus has no curves
            raise
        return None, None


def _form(
    store: Store, params: Params, query: SearchQuery, view: SearchResult | None
) -> SearchForm:
    corpus, suite = (view.corpus, view.suite) if view else (query.corpus, query.suite)
    choice = scaling_choice(store, corpus, suite)
    axis = None
    if choice.corpus and choice.suite:
        curves = SearchRequest(choice.corpus, choice.suite.id, query.axis, query.model)
        try:
            axis = search_axis(store, curves)
        except NotReadyError:
            if params:
                raise
    return SearchForm(params, query, choice, axis)
