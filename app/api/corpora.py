"""Corpora, their documents, predictions and losses."""

from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from app.api.arrow import DOCUMENTED, WantsArrow, matrix_stream
from app.requests import dependencies as deps
from backend.corpora import corpora, heat, predictions
from backend.corpora.views import (
    CorpusRow,
    DocumentPage,
    DocumentView,
    Heat,
    Measure,
    PredictionView,
)
from backend.errors import InvalidInputError
from backend.read import suite_losses as losses
from backend.schemas.parameters import MAX_INTEGER, NO_NUL

MAX_JSON_ROWS = 1_000

router = APIRouter(prefix="/api/v1/corpora", tags=["corpora"])


@dataclass(frozen=True)
class CorpusList:
    """All corpora."""

    corpora: tuple[CorpusRow, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class LossColumn:
    """The checkpoint of one column."""

    model: str
    step: int


@dataclass(frozen=True)
class LossRows:
    """Losses (nats) of predictions `first` … under every evaluated checkpoint, one column each.

    `truncated`: the corpus has more predictions after the last row.
    """

    corpus: str
    suite: str
    first: int
    columns: tuple[LossColumn, ...]
    values: tuple[tuple[float, ...], ...]
    truncated: bool


@router.get("")
def list_corpora(store: deps.StoreDep) -> CorpusList:
    """All corpora."""
    return CorpusList(corpora.list_corpora(store))


@router.get("/{corpus}")
def corpus_by_name(store: deps.StoreDep, corpus: deps.CorpusName) -> CorpusRow:
    """One corpus."""
    return corpora.corpus(store, corpus)


@router.get("/{corpus}/documents")
def list_documents(
    store: deps.StoreDep,
    corpus: deps.CorpusName,
    cursor: deps.Cursor = None,
    limit: Annotated[int, Query(ge=1, le=corpora.MAX_DOCUMENTS)] = 50,
    source: Annotated[str | None, Query(max_length=200, pattern=NO_NUL)] = None,
) -> DocumentPage:
    """Documents in order, all or those of one source."""
    return corpora.list_documents(store, corpus, cursor=cursor, limit=limit, source=source)


@router.get("/{corpus}/documents/{document}")
def document_by_index(
    store: deps.StoreDep, corpus: deps.CorpusName, document: deps.DocumentIndex
) -> DocumentView:
    """One document: its tokens as strings and ids, with their prediction indexes."""
    return corpora.document(store, corpus, document)


@router.get("/{corpus}/documents/{document}/heat")
def document_heat(
    store: deps.StoreDep,
    corpus: deps.CorpusName,
    document: deps.DocumentIndex,
    *,
    suite: deps.OptionalSuite = None,
    model: deps.OptionalModel = None,
    step: deps.OptionalStep = None,
    measure: Annotated[Measure, Query(description="Value of each token")] = ("loss"),
    other_model: deps.OtherModel = None,
    other_step: deps.OtherStep = None,
    target: deps.Target = None,
    lo: deps.ScaleEnd = None,
    hi: deps.ScaleEnd = None,
    lock: deps.Lock = True,
    log: deps.LogScale = False,
) -> Heat:
    """One value for each token under one checkpoint, on a scale shared by all checkpoints.

    409 if the measure is not computed yet: POST /api/v1/jobs with kind measure computes the
    probability of a token.
    """
    request = heat.HeatRequest(
        suite=suite,
        model=model,
        step=step,
        measure=measure,
        other_model=other_model,
        other_step=other_step,
        target=target,
        low=lo,
        high=hi,
        is_locked=lock,
        is_log=log,
    )
    return heat.heat(store, corpus, document, request)


@router.get("/{corpus}/predictions/{prediction}")
def prediction_by_index(
    store: deps.StoreDep,
    corpus: deps.CorpusName,
    prediction: deps.PredictionIndex,
    suite: deps.OptionalSuite = None,
    context: Annotated[
        int, Query(ge=1, le=predictions.MAX_CONTEXT, description="Tokens before it")
    ] = 128,
) -> PredictionView:
    """One prediction: context, curves over size and step, class, scores and clusters."""
    return predictions.prediction(store, corpus, prediction, context=context, suite=suite)


@router.get("/{corpus}/losses", response_model=LossRows, responses={200: {"content": DOCUMENTED}})
def corpus_losses(
    store: deps.StoreDep,
    corpus: deps.CorpusName,
    *,
    suite: deps.SuiteQuery,
    arrow: WantsArrow,
    first: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="First prediction")] = 0,
    limit: Annotated[
        int, Query(ge=1, le=losses.MAX_ROWS, description="Rows; at most 1,000 as JSON")
    ] = MAX_JSON_ROWS,
) -> LossRows | Response:
    """Losses of consecutive predictions under every checkpoint, as JSON or an Arrow stream."""
    if not arrow and limit > MAX_JSON_ROWS:
        raise InvalidInputError(
            f"limit {limit} is more than the {MAX_JSON_ROWS:,} rows that JSON gives",
            "Ask for format=arrow, or page with `first`",
            parameter="limit",
        )
    block = losses.losses(store, corpus, suite, first, limit)
    columns = tuple(LossColumn(model, step) for model, step in block.columns)
    end = first + len(block.values)
    truncated = end < corpora.corpus(store, corpus).n_predictions
    if not arrow:
        rows = tuple(tuple(row) for row in block.values.tolist())
        return LossRows(corpus, suite, first, columns, rows, truncated)
    metadata = {"columns": orjson.dumps(columns).decode(), "truncated": str(truncated).lower()}
    return matrix_stream("prediction", first, "loss_nats", block.values, metadata)
