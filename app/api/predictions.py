"""Token search by the shape of curves, text and scores; the map of curves."""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.api.arrow import DOCUMENTED, WantsArrow, table_stream
from app.api.openapi import MUTATION_PROBLEMS
from app.requests.dependencies import StoreDep
from app.requests.search import SearchBody, SearchQuery
from app.web.response_cache import do_not_cache
from backend.search import search
from backend.search.curve_map import curve_map
from backend.search.views import CurveMapSummary, SearchResult

MAP_COLUMNS = ("index", "x", "y", "curve_class", "matching")

router = APIRouter(prefix="/api/v1/predictions", tags=["search"])


@dataclass(frozen=True)
class MapPoints(CurveMapSummary):
    """The map of curves; every list has one entry per sampled prediction.

    `classes` names the codes in `curve_class`; `shares` is the share of variance along x and y;
    `curves` identifies the map: send it as `lasso_of` with a lasso drawn on it.
    """

    index: tuple[int, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    curve_class: tuple[int, ...]
    matching: tuple[bool, ...]


@router.get("")
def search_predictions(
    request: Request, store: StoreDep, query: Annotated[SearchQuery, Query()]
) -> SearchResult:
    """Search predictions by curve, text and scores; with a curve, the nearest come first."""
    result = search.search(store, query.request())
    if result.truncated:
        do_not_cache(request)
    return result


@router.post("/search", responses=MUTATION_PROBLEMS)
def search_predictions_by_body(store: StoreDep, query: SearchBody) -> SearchResult:
    """Search with a JSON body; nothing is stored."""
    return search.search(store, query.request())


@router.get("/map", response_model=MapPoints, responses={200: {"content": DOCUMENTED}})
def map_of_curves(
    request: Request, store: StoreDep, query: Annotated[SearchQuery, Query()], arrow: WantsArrow
) -> MapPoints | Response:
    """Return at most 20,000 sampled curves on their two principal components, with the matches."""
    points = curve_map(store, query.request())
    if points.truncated:
        do_not_cache(request)
    summary = dict(vars(points))
    columns = {name: summary.pop(name) for name in MAP_COLUMNS}
    if arrow:
        return table_stream(columns, {"about": orjson.dumps(summary).decode()})
    lists: dict[str, Any] = {name: tuple(values.tolist()) for name, values in columns.items()}
    return MapPoints(**summary, **lists)
