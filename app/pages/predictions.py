"""The page of one prediction: its context, its curves, its class and the clusters it is in."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.requests.dependencies import CorpusName, PredictionIndex, StoreDep
from app.requests.prediction import CONTEXT, PredictionQuery
from app.web.templating import query, render
from backend.corpora import predictions
from backend.corpora.heat_scales import MEASURES
from backend.read.views import PredictionView
from backend.search import search
from backend.search.search import SearchResult

router = APIRouter(include_in_schema=False)

N_NEAREST = 10


@dataclass(frozen=True)
class Choice:
    """A link that shows the same otherwise."""

    text: str
    href: str
    is_current: bool


@router.get("/predictions/{corpus}/{index}")
def prediction(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    index: PredictionIndex,
    asked: Annotated[PredictionQuery, Query()],
) -> Response:
    """Show one prediction."""
    view = predictions.prediction(store, corpus, index, context=asked.ctx, suite=asked.suite)
    drawn = {curve.axis for curve in asked.chosen(view.curves)}
    context = asked.ctx if asked.ctx != CONTEXT else None
    return render(
        request,
        "prediction.html",
        section="documents",
        title=f"Prediction {index} of {corpus}",
        view=view,
        axes=[axis for axis in ("N", "S") if any(curve.axis == axis for curve in view.curves)],
        drawn=[axis for axis in ("N", "S") if axis in drawn],
        asked=asked,
        suite=asked.suite,
        kept=query(**asked.kept()),
        whole=query(**asked.kept(ctx=4096)),
        choices=_choices(asked, view),
        nearest=_nearest(store, view),
        src=f"/figures/predictions/{corpus}/{index}" + query(**asked.kept(ctx=CONTEXT, x="both")),
        scale=MEASURES["loss"].bounds,
        api=f"/api/v1/corpora/{corpus}/predictions/{index}"
        + query(suite=asked.suite, context=context),
    )


def _choices(asked: PredictionQuery, view: PredictionView) -> dict[str, list[Choice]]:
    """Return what can be chosen of the plots, by name."""
    path = f"/predictions/{view.corpus}/{view.index}"

    def choice(text: str, is_current: bool, **changes: object) -> Choice:
        return Choice(text, path + query(**asked.kept(**changes)), is_current)

    axes = {curve.axis for curve in view.curves}
    models = [curve.model for curve in view.curves if curve.axis == "S" and curve.model]
    chosen = asked.models or tuple(models)
    names = (("nats", "nats"), ("bits", "bits"), ("p", "probability"))
    found = {"Value": [choice(words, asked.y == y, y=y) for y, words in names]}
    found["Show"] = [
        choice("difference to the mean", asked.diff, diff=not asked.diff),
        choice("line fit", asked.fit, fit=not asked.fit),
    ]
    if not asked.diff:
        found["Show"].insert(0, choice("log scale", asked.log, log=not asked.log))
    if len(axes) > 1:
        words = (("both", "both"), ("size", "model size"), ("step", "training step"))
        found["Over"] = [choice(text, asked.x == x, x=x) for x, text in words]
    if len(models) > 1 and asked.x != "size":
        found["Models"] = [
            choice(name, name in chosen, models=_toggled(name, chosen, models)) for name in models
        ]
    return found


def _toggled(name: str, chosen: tuple[str, ...], models: list[str]) -> tuple[str, ...]:
    """Return the chosen models with one more or less; none stands for all of them."""
    left = tuple(one for one in models if (one in chosen) != (one == name))
    return () if len(left) == len(models) else left


def _nearest(store: StoreDep, view: PredictionView) -> SearchResult | None:
    """Return the predictions with the nearest curves, over size if there are such curves."""
    if not view.curves:
        return None
    wanted = search.Search(
        corpus=view.corpus,
        suite=view.suite,
        axis=view.curves[0].axis,
        shape=search.Shape(example=view.index),
        limit=N_NEAREST + 1,
    )
    return search.search(store, wanted)
