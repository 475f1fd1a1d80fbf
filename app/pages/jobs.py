"""One job: how far it is, and the way to what it made."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.api.jobs import JobId
from app.deps import CorpusName, Cursor, DocumentIndex, StoreDep
from app.forms import FormFields
from app.templating import render
from backend.jobs import board, queue
from backend.jobs.kinds import KINDS, JobKind, kind_named
from backend.jobs.views import Requires
from backend.queries.corpora import list_corpora
from backend.queries.reading import offset_of
from backend.queries.suites import list_suites

router = APIRouter(include_in_schema=False)

JOBS_A_PAGE, MOST_SHOWN = 50, 60


def _given(fields: dict[str, str], kind: JobKind, **known: Any) -> dict[str, Any]:
    """Return a form's fields as parameters; empty ones are left out, lists are cut at commas."""
    given: dict[str, Any] = dict(known)
    for name, about in kind.schema.model_json_schema()["properties"].items():
        if name not in known and fields.get(name):
            kinds = {about.get("type"), *(one.get("type") for one in about.get("anyOf", ()))}
            given[name] = _items(fields[name]) if "array" in kinds else fields[name]
    return given


def _submitted(store: StoreDep, name: str, fields: dict[str, str], **known: Any) -> Response:
    kind = kind_named(name)
    asked = _given(fields, kind, **known)
    requires: Requires = "cuda" if fields.get("requires") == "cuda" else "any"
    return RedirectResponse(f"/jobs/{queue.submit(store, name, asked, None, requires).id}", 303)


@router.post("/documents/{corpus}/{index}/measure")
def measure(
    store: StoreDep, corpus: CorpusName, index: DocumentIndex, fields: FormFields
) -> Response:
    """Ask for p(chosen token) over a document, from a form."""
    return _submitted(store, "measure", fields, corpus=corpus, document=index)


@router.post("/documents/{corpus}/paste")
def paste(store: StoreDep, corpus: CorpusName, fields: FormFields) -> Response:
    """Ask for an evaluation of pasted text, from a form."""
    return _submitted(store, "paste", fields, corpus=corpus)


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
        names={name: kind.title for name, kind in KINDS.items()},
        suites=list_suites(store, None),
        corpora=list_corpora(store),
        api="/api/v1/jobs",
    )


@router.post("/jobs")
def submit_job(store: StoreDep, fields: FormFields) -> Response:
    """Ask for a job from the form of the runs page."""
    return _submitted(store, fields.pop("kind", ""), fields)


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
        title=kind_named(view.kind).title,
        job=view,
        shown={name: _words(value) for name, value in view.parameters.items()},
        api=f"/api/v1/jobs/{view.id}",
    )
