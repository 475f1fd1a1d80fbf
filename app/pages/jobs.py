"""One job: how far it is, and the way to what it made."""

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from app.api.jobs import JobId, JobParameters
from app.deps import CorpusName, Cursor, DocumentIndex, StoreDep
from app.forms import FormFields
from app.templating import render
from backend.errors import InvalidInputError
from backend.jobs import board, queue
from backend.jobs.kinds import Asked, Kind
from backend.queries.corpora import list_corpora
from backend.queries.reading import offset_of
from backend.queries.suites import list_suites

router = APIRouter(include_in_schema=False)

JOBS_A_PAGE, MOST_SHOWN = 50, 60
FORM_KINDS = ("evaluate", "classify", "discover")
LISTS = ("models", "steps", "n_clusters")

NAMES = {
    "evaluate": "Evaluation",
    "classify": "Classes of curves",
    "discover": "Discovery of quanta",
    "measure": "p(chosen token)",
    "paste": "Your own text",
}


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
    return RedirectResponse(f"/jobs/{queue.submit(store, kind, asked).id}", 303)


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


@router.get("/jobs")
def jobs(request: Request, store: StoreDep, cursor: Cursor = None) -> Response:
    """Show jobs, newest first, and what can be asked for."""
    page = board.list_jobs(store, offset=offset_of(cursor), limit=JOBS_A_PAGE)
    return render(
        request,
        "jobs.html",
        section="jobs",
        title="Runs",
        page=page,
        names=NAMES,
        suites=list_suites(store, None),
        corpora=list_corpora(store),
        api="/api/v1/jobs",
    )


@router.post("/jobs")
def submit_job(store: StoreDep, fields: FormFields) -> Response:
    """Ask for a job from the form of the runs page."""
    kind = fields.pop("kind", "")
    if kind not in FORM_KINDS:
        raise InvalidInputError(f"kind {kind!r}", f"Choose from {', '.join(FORM_KINDS)}", "kind")
    lists = {name: _items(fields.pop(name)) for name in LISTS if fields.get(name)}
    return _submitted(
        store, cast(Kind, kind), _asked({k: v for k, v in fields.items() if v}, **lists)
    )


def _words(value: Any) -> str:
    """Return a parameter as people write it; places as model:step, long lists cut."""
    if not isinstance(value, list):
        return str(value)
    parts = [":".join(map(str, v)) if isinstance(v, list) else str(v) for v in value]
    return ", ".join(parts[:MOST_SHOWN]) + (", …" if len(parts) > MOST_SHOWN else "")


def _items(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@router.post("/jobs/{job}/cancel")
def cancel(store: StoreDep, job: JobId, fields: FormFields) -> Response:
    """Cancel a job, from its page."""
    del fields  # read for the session's proof alone
    return RedirectResponse(f"/jobs/{board.cancel(store, job).id}", 303)


@router.post("/jobs/{job}/resume")
def resume(store: StoreDep, job: JobId, fields: FormFields) -> Response:
    """Resume a job, from its page."""
    del fields  # read for the session's proof alone
    return RedirectResponse(f"/jobs/{queue.resume(store, job).id}", 303)


@router.get("/jobs/{job}")
def job(request: Request, store: StoreDep, job: JobId) -> Response:
    """Show one job."""
    view = board.job(store, job)
    return render(
        request,
        "job.html",
        section="jobs",
        title=NAMES[view.kind],
        job=view,
        shown={name: _words(value) for name, value in view.parameters.items()},
        api=f"/api/v1/jobs/{view.id}",
    )
