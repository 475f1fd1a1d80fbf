"""The page of one prediction: its context, its curves, its class and the clusters it is in."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.deps import CorpusName, OptionalSuite, PredictionIndex, StoreDep
from app.templating import query, render
from backend.queries import predictions
from backend.queries.scales import MEASURES

router = APIRouter(include_in_schema=False)

CONTEXT = 128  # tokens before the predicted one


@router.get("/predictions/{corpus}/{index}")
def prediction(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    index: PredictionIndex,
    ctx: Annotated[int, Query(ge=1, le=4096)] = CONTEXT,
    suite: OptionalSuite = None,
) -> Response:
    """Show one prediction."""
    view = predictions.prediction(store, corpus, index, context=ctx, suite=suite)
    axes = [axis for axis in ("N", "S") if any(curve.axis == axis for curve in view.curves)]
    return render(
        request,
        "prediction.html",
        section="documents",
        title=f"Prediction {index} of {corpus}",
        view=view,
        axes=axes,
        ctx=ctx,
        suite=suite,
        kept=query(suite=suite, ctx=ctx if ctx != CONTEXT else None),
        scale=MEASURES["loss"].bounds,
        api=f"/api/v1/corpora/{corpus}/predictions/{index}"
        + query(suite=suite, context=ctx if ctx != CONTEXT else None),
    )
