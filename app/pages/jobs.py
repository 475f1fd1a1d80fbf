"""Runs: jobs, what can be asked for, two of them side by side; and one job as it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from app.pages import job_form, job_views
from app.requests.dependencies import (
    CURSOR_PATTERN,
    CorpusName,
    DocumentIndex,
    JobId,
    KindName,
    StoreDep,
)
from app.requests.forms import FormFields
from app.requests.pages import Blank
from app.web.templating import query_string, render
from backend.errors import InvalidInputError, NotFoundError, QuantaError, StoreError
from backend.jobs import estimates, job_log, job_table, queue
from backend.jobs.clone import Clone, clone, clone_params
from backend.jobs.kinds.base import JobKind
from backend.jobs.kinds.registry import KINDS, find_kind
from backend.jobs.workers import list_workers
from backend.read.job_views import Estimate, JobView, Requires, State
from backend.read.paging import parse_tail_cursor

router = APIRouter(include_in_schema=False)

JOBS_A_PAGE, STEPS_SHOWN, OTHERS_SHOWN = 50, 50, 20
MAX_QUERY = 2_000
ON_FORM = {name: kind for name, kind in KINDS.items() if kind.has_form}
_Ids = Annotated[str, Field(pattern=r"^[A-Za-z0-9._,-]{0,140}$")]
_Kind = Annotated[KindName | None, Blank]


class RunsQuery(BaseModel):
    """Which jobs are listed, which two are compared, and what the form is filled in with.

    `new` is the kind that the form asks for, `of` (`from`) the job that it is filled in after;
    other parameters are fields of the form.
    """

    model_config = ConfigDict(extra="ignore")

    state: Annotated[State | None, Blank] = None
    kind: _Kind = None
    new: _Kind = None
    of: Annotated[_Ids | None, Blank] = Field(None, alias="from")
    cmp: list[_Ids] = []
    cursor: Annotated[Annotated[str, Field(pattern=CURSOR_PATTERN)] | None, Blank] = None


@dataclass(frozen=True)
class FormView:
    """The form of a kind; `problem` is of no field, `clone` says what a clone cannot say."""

    kind: JobKind
    fields: list[job_form.FormField]
    requires: Requires
    is_open: bool
    problem: str = ""
    estimate: Estimate | None = None
    clone: Clone | None = None


def _form(
    store: StoreDep,
    kind: JobKind,
    values: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    **known: Any,
) -> FormView:
    errors = errors or {}
    fields = job_form.fields_of(kind, job_form.choices(store), values, errors)
    names = {field.name for field in fields}
    return FormView(
        kind,
        fields,
        _requires(values),
        problem=" ".join(words for name, words in errors.items() if name not in names),
        **known,
    )


def _requires(values: Mapping[str, str]) -> Requires:
    return "cuda" if values.get("requires") == "cuda" else "any"


def _submitted(store: StoreDep, name: str, fields: Mapping[str, str], **known: Any) -> Response:
    asked = {**job_form.given(find_kind(name), fields), **known}
    job = queue.submit(store, name, asked, None, _requires(fields))
    return RedirectResponse(f"/jobs/{job.id}", 303)


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
def jobs(request: Request, store: StoreDep, asked: Annotated[RunsQuery, Query()]) -> Response:
    """Show jobs, newest first, and what can be asked for."""
    if len(asked.cmp) > 1:  # boxes that were ticked, sent without scripts
        ids = query_string(state=asked.state, kind=asked.kind, cmp=",".join(asked.cmp))
        return RedirectResponse(f"/jobs{ids}", 303)
    if asked.kind is not None:
        find_kind(asked.kind)
    return _page(request, store, asked, _asked_form(request, store, asked))


def _asked_form(request: Request, store: StoreDep, asked: RunsQuery) -> FormView:
    """Return the form that an address asks for: empty, filled in, or filled in after a job."""
    before = job_table.get_job(store, asked.of) if asked.of else None
    name = asked.new or (before.kind if before else asked.kind if asked.kind in ON_FORM else None)
    kind = find_kind(name or next(iter(ON_FORM)))
    if not kind.has_form:
        raise InvalidInputError(
            f"{kind.name} jobs have no form here", f"Choose from {', '.join(ON_FORM)}", "new"
        )
    known = clone(store, before) if before is not None and before.kind == kind.name else None
    values: dict[str, str] = {"requires": before.requires} if before else {}
    values |= job_form.entered(known.parameters) if known else {}
    values |= dict(request.query_params)
    return _form(store, kind, values, is_open=bool(asked.new or before), clone=known)


def _page(
    request: Request, store: StoreDep, asked: RunsQuery, form: FormView, status: int = 200
) -> Response:
    page = job_table.list_jobs(
        store,
        left=parse_tail_cursor(asked.cursor),
        limit=JOBS_A_PAGE,
        state=asked.state,
        kind=asked.kind,
    )
    workers = list_workers(store)
    return render(
        request,
        "jobs.html",
        status,
        section="jobs",
        title="Runs",
        page=page,
        rows=[job_views.row(job, workers) for job in page.jobs],
        workers=workers,
        form=form,
        cost=job_views.estimate_words(form.estimate) if form.estimate else [],
        kinds=ON_FORM,
        titles={name: kind.title for name, kind in KINDS.items()},
        marks=job_views.MARKS,
        asked=asked,
        compared=_compared(store, asked.cmp[0]) if any(asked.cmp) else None,
        link=job_views.result_link,
        api="/api/v1/jobs" + query_string(state=asked.state, kind=asked.kind, cursor=asked.cursor),
    )


def _compared(store: StoreDep, ids: str) -> job_views.Comparison:
    found = job_form.cut(ids)
    if len(found) != 2:
        raise InvalidInputError(
            f"cmp names {len(found)} jobs", "Choose two to compare: cmp=JOB,JOB", "cmp"
        )
    return job_views.compared(
        job_table.get_job(store, found[0]), job_table.get_job(store, found[1])
    )


@router.post("/jobs")
def submit_job(request: Request, store: StoreDep, fields: FormFields) -> Response:
    """Ask for a job, or for what it would cost, from the form of the runs page."""
    name, act = fields.pop("kind", ""), fields.pop("act", "run")
    kind = find_kind(name)
    if not kind.has_form:
        return _submitted(store, name, fields)
    asked, cost, status = job_form.given(kind, fields), None, 200
    errors = job_form.faults(kind, asked)
    try:
        if not errors and act == "estimate":
            cost = estimates.estimate(store, name, asked)
        elif not errors:
            return _submitted(store, name, fields)
    except StoreError:
        raise
    except QuantaError as error:
        errors = job_form.fault_of(error, fields)
        status = 200 if isinstance(error, InvalidInputError | NotFoundError) else 409
    if errors and status == 200:
        status = 422
    form = _form(store, kind, fields, errors, is_open=True, estimate=cost)
    return _page(request, store, RunsQuery.model_validate({}), form, status)


@router.post("/jobs/{job}/cancel")
def cancel(store: StoreDep, job: JobId, fields: FormFields) -> Response:
    """Cancel a job, from its page."""
    del fields  # read for the session's proof alone
    return RedirectResponse(f"/jobs/{job_table.cancel(store, job).id}", 303)


@router.post("/jobs/{job}/resume")
def resume(store: StoreDep, job: JobId, fields: FormFields) -> Response:
    """Resume a job, from its page."""
    del fields  # read for the session's proof alone
    return RedirectResponse(f"/jobs/{queue.resume(store, job).id}", 303)


def _clone_link(job: JobView) -> str | None:
    """Return the address of the form filled in after a job, None if there is none here."""
    if not KINDS[job.kind].has_form:
        return None
    own = {"new": job.kind, "from": job.id}
    whole = query_string(**own, **job_form.entered(clone_params(job)))
    return "/jobs" + (whole if len(whole) <= MAX_QUERY else query_string(**own))


@router.get("/jobs/{job}")
def job(request: Request, store: StoreDep, job: JobId) -> Response:
    """Show one job."""
    view = job_table.get_job(store, job)
    workers = list_workers(store)
    others = job_table.list_jobs(store, kind=view.kind, limit=OTHERS_SHOWN + 1).jobs
    return render(
        request,
        "job.html",
        section="jobs",
        title=KINDS[view.kind].title,
        job=view,
        row=job_views.row(view, workers),
        pace=job_views.pace(view),
        spent=job_views.spent(view),
        n_workers=len(workers),
        shown=job_views.parameter_lines(view),
        made=job_views.result_lines(view),
        result=job_views.result_link(view),
        steps=job_log.list_units(store, job, limit=STEPS_SHOWN),
        unit_words=job_views.unit_words,
        duration=job_views.duration,
        log=job_log.read_log(store, job),
        clone=_clone_link(view),
        others=[job_views.row(one, workers) for one in others if one.id != view.id],
        api=f"/api/v1/jobs/{view.id}",
    )
