"""One job: how far it is, and the way to what it made."""

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from app.api.jobs import JobId, JobParameters
from app.deps import CorpusName, DocumentIndex, StoreDep
from app.forms import FormFields
from app.templating import render
from backend.errors import InvalidInputError
from backend.jobs import board
from backend.jobs.kinds import Asked, Kind
from backend.jobs.queue import submit

router = APIRouter(include_in_schema=False)

NAMES = {"measure": "p(chosen token)", "paste": "Your own text"}


def _asked(fields: dict[str, str], **known: Any) -> Asked:
    names = [name for name in JobParameters.model_fields if name not in known]
    given = {name: fields[name] for name in names if name in fields}
    try:
        parameters = JobParameters.model_validate({**given, **known})
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        raise InvalidInputError(
            f"{name}: {fault['msg']}", "Correct it and send the form again", name
        ) from error
    return cast(Asked, parameters.model_dump(exclude_none=True))


def _submitted(store: StoreDep, kind: Kind, asked: Asked) -> Response:
    return RedirectResponse(f"/jobs/{submit(store, kind, asked).id}", 303)


@router.post("/documents/{corpus}/{index}/measure")
def measure(
    store: StoreDep, corpus: CorpusName, index: DocumentIndex, fields: FormFields
) -> Response:
    """Ask for p(chosen token) over a document, from a form."""
    return _submitted(store, "measure", _asked(fields, corpus=corpus, document=index))


@router.post("/documents/{corpus}/paste")
def paste(store: StoreDep, corpus: CorpusName, fields: FormFields) -> Response:
    """Ask for an evaluation of pasted text, from a form."""
    return _submitted(store, "paste", _asked(fields, corpus=corpus))


@router.get("/jobs/{job}")
def job(request: Request, store: StoreDep, job: JobId) -> Response:
    """Show one job."""
    view = board.job(store, job)
    return render(
        request,
        "job.html",
        section="documents",
        title=NAMES[view.kind],
        job=view,
        api=f"/api/v1/jobs/{view.id}",
    )
