"""Figures as JSON, fetched by the pages when a plot comes into view."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures.base import payload
from app.figures.curve_map import pack_curve_map
from app.figures.prediction import prediction_figure
from app.figures.quanta import band_figure, count_figure, rank_frequency_figure, similarity_figure
from app.figures.scaling import scaling_figures
from app.figures.theory import theory_figures
from app.requests.dependencies import CorpusName, Id, PredictionIndex, StoreDep
from app.requests.prediction import PredictionQuery
from app.requests.scaling import ScalingFiguresQuery
from app.requests.search import SearchQuery
from app.requests.theory import TheoryQuery
from app.web.response_cache import do_not_cache
from backend.corpora import predictions
from backend.quanta import clusterings, clusters
from backend.scaling.detail import scaling_detail
from backend.scaling.theory import measured_exponents, theory_laws
from backend.search.curve_map import curve_map

router = APIRouter(prefix="/figures", include_in_schema=False)


def _response(figures: Mapping[str, Any]) -> Response:
    return Response(payload(figures), media_type="application/json")


@router.get("/clusterings/{clustering_id}")
def clustering_figures(store: StoreDep, clustering_id: Id) -> Response:
    """Return the rank-frequency plot."""
    view = clusterings.clustering_rank_frequency(store, clustering_id)
    return _response({"rank": rank_frequency_figure(view)})


@router.get("/clusters/{cluster_id}")
def cluster_figures(store: StoreDep, cluster_id: Id) -> Response:
    """Return the curves and bars of a cluster."""
    view = clusters.cluster_plots(store, cluster_id)
    bands = {f"curve-{band.axis}-{band.model or 'all'}": band_figure(band) for band in view.curves}
    counts = {
        "answers": count_figure(view.answers, "answers"),
        "last": count_figure(view.last_tokens, "last tokens"),
    }
    return _response({**bands, **counts})


@router.get("/clusters/{cluster_id}/similarity")
def cluster_similarity(store: StoreDep, cluster_id: Id) -> Response:
    """Return the cosines between members."""
    return _response({"similarity": similarity_figure(clusters.sub_matrix(store, cluster_id))})


@router.get("/predictions/{corpus}/{index}")
def prediction_figures(
    store: StoreDep,
    corpus: CorpusName,
    index: PredictionIndex,
    query: Annotated[PredictionQuery, Query()],
) -> Response:
    """Return the curves of one prediction, one figure for each axis."""
    curves = query.select_curves(
        predictions.prediction_curves(store, corpus, index, suite=query.suite)
    )
    return _response(
        {
            f"curve-{axis}": prediction_figure(
                [curve for curve in curves if curve.axis == axis], query.plot_options()
            )
            for axis in sorted({curve.axis for curve in curves})
        }
    )


@router.get("/curve-map")
def curve_map_points(
    request: Request, store: StoreDep, query: Annotated[SearchQuery, Query()]
) -> Response:
    """Return the map of curves as bytes."""
    view = curve_map(store, query.request())
    if view.truncated:
        do_not_cache(request)
    return Response(pack_curve_map(view), media_type="application/octet-stream")


@router.get("/scaling")
def scaling(store: StoreDep, query: Annotated[ScalingFiguresQuery, Query()]) -> Response:
    """Return the figures of the Scaling page."""
    view = scaling_detail(store, query.request(query.suite, query.corpus))
    return _response(scaling_figures(view, query.unit))


@router.get("/theory")
def theory(query: Annotated[TheoryQuery, Query()]) -> Response:
    """Return the figures of the Theory page."""
    return _response(theory_figures(theory_laws(query.request()), measured_exponents()))
