"""The page of one prediction: its context, curves, class and clusters."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.requests.dependencies import CorpusName, PredictionIndex, StoreDep
from app.requests.prediction import CONTEXT, PredictionQuery
from app.web.templating import PageContext, query_string, render
from backend.corpora import predictions
from backend.corpora.heat_scales import MEASURES
from backend.corpora.views import PredictionView
from backend.search import search
from backend.search.request import SearchRequest, Shape
from backend.search.views import SearchResult

router = APIRouter(include_in_schema=False)

N_NEAREST = 10


@dataclass(frozen=True)
class Choice:
    """A link to the same prediction with one option changed."""

    text: str
    href: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class PredictionPage(PageContext):
    """Variables of the page of one prediction.

    `axes` have curves, `plot_axes` are drawn; `src` is the address of the figures.
    """

    template: ClassVar[str] = "prediction.html"

    section: str = "documents"
    view: PredictionView
    axes: list[str]
    plot_axes: list[str]
    query: PredictionQuery
    view_query: str
    full_context_query: str
    choices: dict[str, list[Choice]]
    nearest: SearchResult | None
    src: str
    scale: tuple[float, float] = MEASURES["loss"].bounds


@router.get("/predictions/{corpus}/{index}")
def prediction(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    index: PredictionIndex,
    query: Annotated[PredictionQuery, Query()],
) -> Response:
    """Show one prediction."""
    view = predictions.prediction(store, corpus, index, context=query.ctx, suite=query.suite)
    plot_axes = {curve.axis for curve in query.select_curves(view.curves)}
    context = query.ctx if query.ctx != CONTEXT else None
    page = PredictionPage(
        title=f"Prediction {index} of {corpus}",
        view=view,
        axes=[axis for axis in ("N", "S") if any(curve.axis == axis for curve in view.curves)],
        plot_axes=[axis for axis in ("N", "S") if axis in plot_axes],
        query=query,
        view_query=query_string(**query.changed()),
        full_context_query=query_string(**query.changed(ctx=4096)),
        choices=_choices(query, view),
        nearest=_nearest(store, view),
        src=f"/figures/predictions/{corpus}/{index}"
        + query_string(**query.changed(ctx=CONTEXT, x="both")),
        api=f"/api/v1/corpora/{corpus}/predictions/{index}"
        + query_string(suite=query.suite, context=context),
    )
    return render(request, page)


def _choices(query: PredictionQuery, view: PredictionView) -> dict[str, list[Choice]]:
    """Return the options of the plots as links, by name."""
    path = f"/predictions/{view.corpus}/{view.index}"

    def choice(text: str, is_current: bool, **changes: object) -> Choice:
        return Choice(text, path + query_string(**query.changed(**changes)), is_current)

    axes = {curve.axis for curve in view.curves}
    models = [curve.model for curve in view.curves if curve.axis == "S" and curve.model]
    selected = query.models or tuple(models)
    names = (("nats", "nats"), ("bits", "bits"), ("p", "probability"))
    choices = {"Value": [choice(words, query.y == y, y=y) for y, words in names]}
    choices["Show"] = [
        choice("difference to the mean", query.diff, diff=not query.diff),
        choice("line fit", query.fit, fit=not query.fit),
    ]
    if not query.diff:
        choices["Show"].insert(0, choice("log scale", query.log, log=not query.log))
    if len(axes) > 1:
        words = (("both", "both"), ("size", "model size"), ("step", "training step"))
        choices["Over"] = [choice(text, query.x == x, x=x) for x, text in words]
    if len(models) > 1 and query.x != "size":
        choices["Models"] = [
            choice(name, name in selected, models=_toggled(name, selected, models))
            for name in models
        ]
    return choices


def _toggled(name: str, selected: tuple[str, ...], models: list[str]) -> tuple[str, ...]:
    """Return the selected models with `name` added or removed; empty means all models."""
    toggled = tuple(model for model in models if (model in selected) != (model == name))
    return () if len(toggled) == len(models) else toggled


def _nearest(store: StoreDep, view: PredictionView) -> SearchResult | None:
    """Return the predictions with the nearest curves, over size where curves exist."""
    if not view.curves:
        return None
    request = SearchRequest(
        corpus=view.corpus,
        suite=view.suite,
        axis=view.curves[0].axis,
        shape=Shape(example=view.index),
        limit=N_NEAREST + 1,
    )
    return search.search(store, request)
