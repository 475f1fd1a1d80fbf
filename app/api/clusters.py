"""Clusters: members in their documents, cosines between them, and annotations."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from app.api.openapi import MUTATION_PROBLEMS
from app.api.tables import Row, csv_response, text_of
from app.requests.dependencies import Cursor, Id, StoreDep
from backend.quanta import clusters
from backend.quanta.contexts import MAX_CONTEXT, MAX_CONTEXTS, ContextOrder, list_contexts
from backend.quanta.views import Annotation, ClusterView, Context, ContextPage, SubMatrix
from backend.schemas.parameters import MAX_INTEGER, NO_NUL

MAX_CSV_ROWS = 10_000
MAX_PAGE_TOKENS = 32_768
CSV_HEADER = (
    *("prediction", "row", "position", "document", "document_id", "source"),
    *("context", "answer", "answer_id", "loss_nats", "truncated"),
)
TokenId = Annotated[int | None, Query(ge=0, le=MAX_INTEGER)]
# PostgreSQL refuses NUL in text.
Tag = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=NO_NUL)]

router = APIRouter(prefix="/api/v1/clusters", tags=["quanta"])


class AnnotationBody(BaseModel):
    """Label, note and tags of a cluster; omitted ones become empty."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"label": "newline at line width", "note": "", "tags": ["layout"]}]
        },
    )

    label: str = Field(default="", max_length=120, pattern=NO_NUL)
    note: str = Field(default="", max_length=10_000, pattern=NO_NUL)
    tags: tuple[Tag, ...] = Field(default=(), max_length=20)


@router.get("/{cluster}")
def cluster_by_id(
    store: StoreDep,
    cluster: Id,
    members: Annotated[int, Query(ge=1, le=50, description="Members in each band")] = 50,
) -> ClusterView:
    """One cluster: scores, answers, curves, neighbours and annotation."""
    return clusters.cluster(store, cluster, members=members)


@router.get(
    "/{cluster}/contexts",
    response_model=ContextPage,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def cluster_contexts(
    store: StoreDep,
    cluster: Id,
    *,
    order: ContextOrder = "similarity",
    context: Annotated[
        int, Query(ge=1, le=MAX_CONTEXT, description="Tokens before the answer")
    ] = 64,
    answer: TokenId = None,
    last: TokenId = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_CONTEXTS)] = 20,
    format: Annotated[
        Literal["json", "csv"], Query(description="csv: all pages from the cursor on")
    ] = "json",
) -> ContextPage | Response:
    """Members in their documents, all or those with one answer or one token before it.

    A page has at most 32,768 tokens: fewer rows for long contexts.
    """

    def page(cursor: str | None, limit: int) -> ContextPage:
        return list_contexts(
            store,
            cluster,
            context=context,
            order=order,
            answer=answer,
            last=last,
            cursor=cursor,
            limit=limit,
        )

    max_rows = min(MAX_CONTEXTS, MAX_PAGE_TOKENS // (context + 1))
    if format == "json":
        return page(cursor, min(limit, max_rows))
    first = page(cursor, max_rows)

    def pages() -> Iterator[list[Row]]:
        current, n_rows = first, len(first.contexts)
        yield [_csv_row(item) for item in current.contexts]
        while current.next_cursor is not None and n_rows < MAX_CSV_ROWS:
            current = page(current.next_cursor, max_rows)
            n_rows += len(current.contexts)
            yield [_csv_row(item) for item in current.contexts]

    truncated = first.n_members > MAX_CSV_ROWS
    return csv_response(CSV_HEADER, pages(), f"cluster-{cluster}.csv", truncated=truncated)


def _csv_row(item: Context) -> Row:
    text = "".join(value.token.shown for value in item.tokens[:-1])
    return (
        *(item.prediction, item.row, item.position, item.document, item.document_id, item.source),
        *(text, text_of(item.answer), item.answer.id if item.answer else None),
        *(item.loss_nats, item.truncated),
    )


@router.get("/{cluster}/similarity")
def cluster_similarity(
    store: StoreDep, cluster: Id, limit: Annotated[int, Query(ge=1, le=200)] = 200
) -> SubMatrix:
    """Cosines between a cluster's members; a sample of at most `limit`."""
    return clusters.sub_matrix(store, cluster, limit=limit)


@router.put("/{cluster}/annotation", responses=MUTATION_PROBLEMS)
def annotate_cluster(store: StoreDep, cluster: Id, body: AnnotationBody) -> Annotation:
    """Replace a cluster's label, note and tags."""
    return clusters.annotate(store, cluster, body.label, body.note, body.tags)
