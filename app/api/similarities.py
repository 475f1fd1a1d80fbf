"""Selections and the cosine matrices over them."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.api.arrow import DOCUMENTED, WantsArrow, matrix_stream
from app.requests.dependencies import Id, StoreDep
from backend.quanta import similarities
from backend.quanta.views import SelectionRow, SimilarityView
from backend.schemas.parameters import MAX_INTEGER

router = APIRouter(prefix="/api/v1", tags=["quanta"])


@dataclass(frozen=True)
class SelectionList:
    """All selections."""

    selections: tuple[SelectionRow, ...]
    next_cursor: str | None = None


@router.get("/selections")
def list_selections(store: StoreDep) -> SelectionList:
    """All selections of predictions for quanta discovery."""
    return SelectionList(similarities.list_selections(store))


@router.get(
    "/similarities/{similarity}",
    response_model=SimilarityView,
    responses={200: {"content": DOCUMENTED}},
)
def similarity_by_id(
    store: StoreDep,
    similarity: Id,
    arrow: WantsArrow,
    first: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="First row (Arrow)")] = 0,
    limit: Annotated[int, Query(ge=1, le=similarities.MAX_ROWS, description="Rows (Arrow)")] = 64,
) -> SimilarityView | Response:
    """A cosine matrix: its selection, mean and quantiles; as an Arrow stream, its rows."""
    if not arrow:
        return similarities.similarity(store, similarity)
    rows = similarities.similarity_rows(store, similarity, first, limit)
    size = rows.shape[1]
    truncated = first + len(rows) < size
    metadata = {"truncated": str(truncated).lower(), "size": str(size)}
    return matrix_stream("row", first, "cosine", rows, metadata)
