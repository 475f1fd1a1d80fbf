"""Pages of documents: the list of a corpus, and one document coloured by one value."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.pages import heat_view
from app.requests.dependencies import CorpusName, Cursor, DocumentIndex, StoreDep
from app.requests.pages import HeatQuery, Name
from app.web.templating import PageContext, query_string, render
from backend.corpora import corpora
from backend.corpora import heat as heats
from backend.corpora.heat_scales import Scale, scale_of
from backend.corpora.views import (
    CorpusRow,
    DocumentPage,
    DocumentView,
    Heat,
    HeatChoices,
    HeatModel,
)
from backend.errors import NotReadyError
from backend.jobs.kinds.paste import MAX_TEXT
from backend.read.views import TokenValue

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50


@dataclass(frozen=True)
class Pending:
    """Why a measure has no values yet; `place` is the checkpoint that they will belong to."""

    place: Heat
    problem: str
    remedy: str
    can_compute: bool


@dataclass(frozen=True, kw_only=True)
class DocumentsPage(PageContext):
    """Variables of the list of documents of a corpus."""

    template: ClassVar[str] = "documents.html"

    section: str = "documents"
    corpus: CorpusRow
    corpora: tuple[CorpusRow, ...]
    page: DocumentPage
    source: str | None
    is_first: bool
    max_text: int = MAX_TEXT
    next_page: str | None


@dataclass(frozen=True, kw_only=True)
class DocumentHeatPage(PageContext):
    """Variables of a coloured document.

    `frame` holds the values of the measure, `place` the checkpoint they belong to; both are None
    where no suite is evaluated. `levels` are colour classes, one a token.
    """

    template: ClassVar[str] = "document.html"

    section: str = "documents"
    view: DocumentView
    choices: list[HeatChoices]
    choice: HeatChoices | None
    models: list[HeatModel]
    frame: Heat | None
    place: Heat | None
    pending: Pending | None
    values: list[TokenValue]
    levels: tuple[int | None, ...]
    bars: list[heat_view.Bar]
    models_json: str
    query: HeatQuery
    targets: list[heat_view.Target]
    target: str
    to_target: Callable[[str], str]
    names: dict[str, str]
    scale: Scale
    notes_json: str
    note: str
    view_query: str


@router.get("/documents/{corpus}")
def documents(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    cursor: Cursor = None,
    source: Name = None,
) -> Response:
    """List the documents of a corpus."""
    row = corpora.corpus(store, corpus)
    page = corpora.list_documents(
        store, corpus, cursor=cursor, limit=PAGE_SIZE, source=source or None
    )
    next_page = query_string(source=source, cursor=page.next_cursor) if page.next_cursor else None
    context = DocumentsPage(
        title=f"Documents of {corpus}",
        corpus=row,
        corpora=corpora.list_corpora(store),
        page=page,
        source=source,
        is_first=cursor is None,
        next_page=next_page,
        api=f"/api/v1/corpora/{corpus}/documents" + query_string(source=source, cursor=cursor),
    )
    return render(request, context)


@router.get("/documents/{corpus}/{index}")
def document(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    index: DocumentIndex,
    query: Annotated[HeatQuery, Query()],
) -> Response:
    """Show every token of a document coloured by one value."""
    view = corpora.document(store, corpus, index)
    choices = [choice for choice in heats.heat_choices(store, corpus) if choice.models]
    frame, pending = _frame(store, corpus, index, query.request()) if choices else (None, None)
    place = frame or (pending.place if pending else None)
    choice = heat_view.choice_of_suite(choices, place)
    api = f"/api/v1/corpora/{corpus}/documents/{index}"
    view_parameters = query.view_parameters(place)
    context = DocumentHeatPage(
        title=f"Document {index} of {corpus}",
        view=view,
        choices=choices,
        choice=choice,
        models=heat_view.by_size(choice),
        frame=frame,
        place=place,
        pending=pending,
        values=heat_view.with_values(view, frame),
        levels=frame.classes if frame else (None,) * len(view.tokens),
        bars=heat_view.bars(frame) if frame else [],
        models_json=heat_view.models_json(choice),
        query=query,
        targets=heat_view.common_targets(view),
        target=query.target or heat_view.NEWLINE,
        to_target=lambda target: query_string(**view_parameters | {"target": target}),
        names=heat_view.measures(choice, query.measure),
        scale=scale_of(query.measure, is_log=query.log),
        notes_json=json.dumps(heat_view.SCALE_NOTES),
        note=heat_view.SCALE_NOTES[query.scale_kind],
        view_query=query_string(**view_parameters),
        api=api + ("/heat" + query_string(**view_parameters) if place else ""),
    )
    return render(request, context)


def _frame(
    store: StoreDep, corpus: str, index: int, heat_request: heats.HeatRequest
) -> tuple[Heat | None, Pending | None]:
    try:
        return heats.heat(store, corpus, index, heat_request), None
    except NotReadyError as error:
        if heat_request.measure not in {"rank", "entropy", "p_token"}:
            raise
        # Raises again where the checkpoint has no evaluation at all.
        plain = replace(heat_request, measure="loss", low=None, high=None)
        place = heats.heat(store, corpus, index, plain)
        can_compute = heat_request.measure == "p_token"
        return None, Pending(place, error.problem, error.remedy, can_compute)
