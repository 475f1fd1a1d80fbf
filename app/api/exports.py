"""The matches of a token search as a streamed file: Parquet, Arrow, CSV or JSON."""

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from app.requests.dependencies import MAX_EXPORT_ROWS, StoreDep
from app.requests.search import SearchQuery
from backend.exchange.exports import predictions_table
from backend.exchange.table_files import Format, iter_bytes
from backend.search.filters import TEXT_SECONDS
from backend.search.search import rank_predictions

MAX_CONTEXT = 64
MEDIA_TYPES: dict[Format, str] = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
# JSON is documented by its model, below.
_DOCUMENTED: dict[str, Any] = {
    "text/csv": {"schema": {"type": "string"}},
    "application/vnd.apache.parquet": _BINARY,
    "application/vnd.apache.arrow.file": _BINARY,
}

router = APIRouter(prefix="/api/v1/predictions", tags=["search"])


class ExportedRows(BaseModel):
    """Matches, one row each; `metadata` names the corpus, the suite, the axis and the units."""

    metadata: dict[str, str]
    rows: tuple[dict[str, Any], ...]


class ExportQuery(SearchQuery):
    """A token search and the format of its file; `limit` and `cursor` are ignored."""

    format: Format = Field(default="json", description=f"One of {', '.join(get_args(Format))}")
    context: Annotated[int, Field(ge=0, le=MAX_CONTEXT)] = Field(
        default=32, description="Tokens before each answer; 0 omits all text"
    )


@router.get("/export", response_model=ExportedRows, responses={200: {"content": _DOCUMENTED}})
def export_predictions(
    store: StoreDep, query: Annotated[ExportQuery, Query()]
) -> StreamingResponse:
    """Return all matches, at most 20,000 rows; the header X-Truncated is set if there are more."""
    ranked = rank_predictions(store, query.request(), MAX_EXPORT_ROWS, TEXT_SECONDS)
    table = predictions_table(store, ranked, context=query.context)
    headers = {"Content-Disposition": f'attachment; filename="predictions.{query.format}"'}
    if ranked.truncated or ranked.n_matching > table.n_rows:
        headers["X-Truncated"] = "true"
    return StreamingResponse(
        iter_bytes(table, query.format), media_type=MEDIA_TYPES[query.format], headers=headers
    )
