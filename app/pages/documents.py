"""Pages of documents: the list of a corpus, and one document coloured by one value."""

import json
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.pages import heat_view
from app.requests.dependencies import CorpusName, Cursor, DocumentIndex, StoreDep
from app.requests.pages import HeatQuery, Name
from app.web.templating import query, render
from backend.corpora import corpora
from backend.corpora import heat as heats
from backend.corpora.heat_scales import scale_of
from backend.errors import NotReadyError
from backend.jobs.kinds.paste import MAX_TEXT
from backend.read.views import Heat

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50


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
    following = query(source=source, cursor=page.next_cursor) if page.next_cursor else None
    return render(
        request,
        "documents.html",
        section="documents",
        title=f"Documents of {corpus}",
        corpus=row,
        corpora=corpora.list_corpora(store),
        page=page,
        source=source,
        is_first=cursor is None,
        max_text=MAX_TEXT,
        next_page=following,
        api=f"/api/v1/corpora/{corpus}/documents" + query(source=source, cursor=cursor),
    )


@router.get("/documents/{corpus}/{index}")
def document(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    index: DocumentIndex,
    shown: Annotated[HeatQuery, Query()],
) -> Response:
    """Show every token of a document coloured by one value."""
    view = corpora.document(store, corpus, index)
    choices = [choice for choice in heats.heat_choices(store, corpus) if choice.models]
    frame, pending = _frame(store, corpus, index, shown.request()) if choices else (None, None)
    place = frame or (pending.place if pending else None)
    choice = heat_view.chosen(choices, place)
    api = f"/api/v1/corpora/{corpus}/documents/{index}"
    return render(
        request,
        "document.html",
        section="documents",
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
        shown=shown,
        targets=heat_view.common_targets(view),
        target=shown.target or heat_view.NEWLINE,
        to_target=lambda target: query(**shown.kept(place) | {"target": target}),
        names=heat_view.measures(choice, shown.measure),
        scale=scale_of(shown.measure, is_log=shown.log),
        notes_json=json.dumps(heat_view.SCALE_NOTES),
        note=heat_view.SCALE_NOTES[shown.scale_kind],
        max_text=MAX_TEXT,
        kept=query(**shown.kept(place)),
        api=api + ("/heat" + query(**shown.kept(place)) if place else ""),
    )


@dataclass(frozen=True)
class Pending:
    """Why a measure has no values yet; `place` is the checkpoint it would be shown under."""

    place: Heat
    problem: str
    remedy: str
    can_compute: bool


def _frame(
    store: StoreDep, corpus: str, index: int, wanted: heats.HeatRequest
) -> tuple[Heat | None, Pending | None]:
    try:
        return heats.heat(store, corpus, index, wanted), None
    except NotReadyError as error:
        if wanted.measure not in {"rank", "entropy", "p_token"}:
            raise
        # A checkpoint that is not evaluated at all is refused here again.
        plain = replace(wanted, measure="loss", low=None, high=None)
        place = heats.heat(store, corpus, index, plain)
        can_compute = wanted.measure == "p_token"
        return None, Pending(place, error.problem, error.remedy, can_compute)
