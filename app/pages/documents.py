"""Pages of documents: the list of a corpus, and one document coloured by loss."""

import json
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.deps import (
    CorpusName,
    Cursor,
    DocumentIndex,
    OptionalModel,
    OptionalStep,
    OptionalSuite,
    StoreDep,
)
from app.pages.parameters import Name
from app.templating import query, render
from backend.queries import corpora
from backend.queries import heat as heats
from backend.queries.views import DocumentView, Heat, HeatChoices, HeatModel, Measure, TokenValue

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
UNITS = {"loss": "nats", "p": "probability"}


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
        next_page=following,
        api=f"/api/v1/corpora/{corpus}/documents" + query(source=source, cursor=cursor),
    )


@router.get("/documents/{corpus}/{index}")
def document(
    request: Request,
    store: StoreDep,
    corpus: CorpusName,
    index: DocumentIndex,
    suite: OptionalSuite = None,
    model: OptionalModel = None,
    step: OptionalStep = None,
    measure: Measure = "loss",
) -> Response:
    """Show every token of a document coloured by its loss or its probability."""
    view = corpora.document(store, corpus, index)
    choices = [choice for choice in heats.heat_choices(store, corpus) if choice.models]
    frame = None
    if choices:
        frame = heats.heat(
            store, corpus, index, suite=suite, model=model, step=step, measure=measure
        )
    choice = _chosen(choices, frame)
    api = f"/api/v1/corpora/{corpus}/documents/{index}"
    return render(
        request,
        "document.html",
        section="documents",
        title=f"Document {index} of {corpus}",
        view=view,
        choices=choices,
        choice=choice,
        models=_by_size(choice),
        frame=frame,
        values=_values(view, frame),
        levels=frame.classes if frame else (None,) * len(view.tokens),
        models_json=_models_json(choice),
        measure=measure,
        unit=UNITS[measure],
        api=api + ("/heat" + _heat_query(frame) if frame else ""),
    )


def _chosen(choices: list[HeatChoices], frame: Heat | None) -> HeatChoices | None:
    wanted = frame.suite if frame else None
    return next((choice for choice in choices if choice.suite == wanted), None)


def _values(view: DocumentView, frame: Heat | None) -> list[TokenValue]:
    values = frame.values if frame else (None,) * len(view.tokens)
    return [replace(item, value=one) for item, one in zip(view.tokens, values, strict=True)]


def _models_json(choice: HeatChoices | None) -> str:
    """Return the evaluated steps of every model, for the sliders."""
    return json.dumps({model.name: model.steps for model in _by_size(choice)})


def _by_size(choice: HeatChoices | None) -> list[HeatModel]:
    models = choice.models if choice else ()
    return sorted(models, key=lambda model: model.nonembedding_parameters)


def _heat_query(frame: Heat) -> str:
    return query(suite=frame.suite, model=frame.model, step=frame.step, measure=frame.measure)
