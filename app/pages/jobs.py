"""Pages of jobs: the list, the form of a kind, two jobs side by side, and one job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

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
from app.web.templating import PageContext, query_string, render
from backend.errors import InvalidInputError, NotFoundError, QuantaError, StoreError
from backend.jobs import estimates, job_log, job_table, queue
from backend.jobs.clone import Clone, clone, clone_params
from backend.jobs.kinds.base import JobKind
from backend.jobs.kinds.registry import KINDS, find_kind
from backend.jobs.workers import WorkerView, list_workers
from backend.read.job_views import Estimate, JobPage, JobView, LogPage, Requires, State, UnitPage
from backend.read.paging import parse_tail_cursor

router = APIRouter(include_in_schema=False)

PAGE_SIZE, MAX_UNITS, MAX_OTHERS = 50, 50, 20
MAX_QUERY = 2_000
FORM_KINDS = {name: kind for name, kind in KINDS.items() if kind.has_form}
_Ids = Annotated[str, Field(pattern=r"^[A-Za-z0-9._,-]{0,140}$")]
_Kind = Annotated[KindName | None, Blank]


class JobsQuery(BaseModel):
    """Filters of the list, two jobs to compare, and the kind or the job to fill the form from.

    `new` is the kind of the form, `source` (`from`) the job that is cloned; other parameters are
    fields of the form.
    """

    model_config = ConfigDict(extra="ignore")

    state: Annotated[State | None, Blank] = None
    kind: _Kind = None
    new: _Kind = None
    source: Annotated[_Ids | None, Blank] = Field(None, alias="from")
    cmp: list[_Ids] = []
    cursor: Annotated[Annotated[str, Field(pattern=CURSOR_PATTERN)] | None, Blank] = None


@dataclass(frozen=True)
class FormView:
    """The form of a kind; `problem` is an error of no field, `clone` how a clone would differ."""

    kind: JobKind
    fields: list[job_form.FormField]
    requires: Requires
    is_open: bool
    problem: str = ""
    estimate: Estimate | None = None
    clone: Clone | None = None


@dataclass(frozen=True, kw_only=True)
class JobsPage(PageContext):
    """Variables of the list of jobs."""

    template: ClassVar[str] = "jobs.html"

    title: str = "Jobs"
    section: str = "jobs"
    page: JobPage
    rows: list[job_views.Row]
    workers: tuple[WorkerView, ...]
    form: FormView
    cost: list[str]
    kinds: dict[str, JobKind]
    titles: dict[str, str]
    marks: dict[str, str]
    query: JobsQuery
    comparison: job_views.Comparison | None
    result_link: Callable[[JobView], str | None] = job_views.result_link


@dataclass(frozen=True, kw_only=True)
class JobDetailPage(PageContext):
    """Variables of the page of one job."""

    template: ClassVar[str] = "job.html"

    section: str = "jobs"
    job: JobView
    row: job_views.Row
    rate: str
    elapsed: str
    n_workers: int
    params: dict[str, str]
    results: dict[str, str]
    result: str | None
    units: UnitPage
    unit_text: Callable[[str], str] = job_views.unit_text
    duration: Callable[[float | None], str] = job_views.duration
    log: LogPage
    clone: str | None
    others: list[job_views.Row]


def _form(
    store: StoreDep,
    kind: JobKind,
    values: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    **options: Any,
) -> FormView:
    errors = errors or {}
    fields = job_form.form_fields(kind, job_form.list_choices(store), values, errors)
    names = {field.name for field in fields}
    return FormView(
        kind,
        fields,
        _requires(values),
        problem=" ".join(message for name, message in errors.items() if name not in names),
        **options,
    )


def _requires(values: Mapping[str, str]) -> Requires:
    return "cuda" if values.get("requires") == "cuda" else "any"


def _submit(
    store: StoreDep, name: str, params: Mapping[str, Any], fields: Mapping[str, str]
) -> Response:
    job = queue.submit(store, name, params, None, _requires(fields))
    return RedirectResponse(f"/jobs/{job.id}", 303)


@router.post("/documents/{corpus}/{index}/measure")
def measure(
    store: StoreDep, corpus: CorpusName, index: DocumentIndex, fields: FormFields
) -> Response:
    """Submit a job for p(chosen token) over a document, from a form."""
    params = job_form.parse_form(KINDS["measure"], fields) | {"corpus": corpus, "document": index}
    return _submit(store, "measure", params, fields)


@router.post("/documents/{corpus}/paste")
def paste(store: StoreDep, corpus: CorpusName, fields: FormFields) -> Response:
    """Submit a job that evaluates pasted text, from a form."""
    params = job_form.parse_form(KINDS["paste"], fields) | {"corpus": corpus}
    return _submit(store, "paste", params, fields)


@router.get("/jobs")
def jobs(request: Request, store: StoreDep, query: Annotated[JobsQuery, Query()]) -> Response:
    """Show jobs, newest first, and the form of a new job."""
    if len(query.cmp) > 1:  # two checkboxes, sent without scripts
        pair = query_string(state=query.state, kind=query.kind, cmp=",".join(query.cmp))
        return RedirectResponse(f"/jobs{pair}", 303)
    if query.kind is not None:
        find_kind(query.kind)
    return _page(request, store, query, _query_form(request, store, query))


def _query_form(request: Request, store: StoreDep, query: JobsQuery) -> FormView:
    """Return the form of a query: empty, with values, or cloned from a job."""
    source = job_table.get_job(store, query.source) if query.source else None
    listed = query.kind if query.kind in FORM_KINDS else next(iter(FORM_KINDS))
    kind = find_kind(query.new or (source.kind if source else listed))
    if not kind.has_form:
        raise InvalidInputError(
            f"{kind.name} jobs have no form here", f"Choose from {', '.join(FORM_KINDS)}", "new"
        )
    values: dict[str, str] = {"requires": source.requires} if source else {}
    copy = clone(store, source) if source is not None and source.kind == kind.name else None
    values |= job_form.format_values(copy.params) if copy else {}
    values |= job_form.use_current_names(kind, request.query_params)
    return _form(store, kind, values, is_open=bool(query.new or source), clone=copy)


def _page(
    request: Request, store: StoreDep, query: JobsQuery, form: FormView, status: int = 200
) -> Response:
    filters = {"state": query.state, "kind": query.kind}
    page = job_table.list_jobs(
        store,
        remaining=parse_tail_cursor(query.cursor),
        limit=PAGE_SIZE,
        state=query.state,
        kind=query.kind,
    )
    workers = list_workers(store)
    context = JobsPage(
        page=page,
        rows=[job_views.row(job, workers) for job in page.jobs],
        workers=workers,
        form=form,
        cost=job_views.estimate_parts(form.estimate) if form.estimate else [],
        kinds=FORM_KINDS,
        titles={name: kind.title for name, kind in KINDS.items()},
        marks=job_views.MARKS,
        query=query,
        comparison=_comparison(store, query.cmp[0]) if any(query.cmp) else None,
        api="/api/v1/jobs" + query_string(**filters, cursor=query.cursor),
    )
    return render(request, context, status)


def _comparison(store: StoreDep, ids: str) -> job_views.Comparison:
    job_ids = job_form.split_list(ids)
    if len(job_ids) != 2:
        raise InvalidInputError(
            f"cmp names {len(job_ids)} jobs", "Choose two to compare: cmp=JOB,JOB", "cmp"
        )
    return job_views.compare(*(job_table.get_job(store, job_id) for job_id in job_ids))


@router.post("/jobs")
def submit_job(request: Request, store: StoreDep, fields: FormFields) -> Response:
    """Submit or estimate a job, from the form of the jobs page."""
    name, act = fields.pop("kind", ""), fields.pop("act", "run")
    kind = find_kind(name)
    params, cost, status = job_form.parse_form(kind, fields), None, 200
    if not kind.has_form:
        return _submit(store, name, params, fields)
    errors = job_form.field_errors(kind, params)
    try:
        if not errors and act == "estimate":
            cost = estimates.estimate(store, name, params)
        elif not errors:
            return _submit(store, name, params, fields)
    except StoreError:
        raise
    except QuantaError as error:
        errors = job_form.error_by_field(error, fields)
        status = 200 if isinstance(error, InvalidInputError | NotFoundError) else 409
    if errors and status == 200:
        status = 422
    form = _form(store, kind, fields, errors, is_open=True, estimate=cost)
    return _page(request, store, JobsQuery.model_validate({}), form, status)


@router.post("/jobs/{job}/cancel")
def cancel(store: StoreDep, job: JobId, fields: FormFields) -> Response:
    """Cancel a job, from its page."""
    del fields  # read only for the CSRF token
    return RedirectResponse(f"/jobs/{job_table.cancel(store, job).id}", 303)


@router.post("/jobs/{job}/resume")
def resume(store: StoreDep, job: JobId, fields: FormFields) -> Response:
    """Resume a job, from its page."""
    del fields  # read only for the CSRF token
    return RedirectResponse(f"/jobs/{queue.resume(store, job).id}", 303)


def _clone_link(job: JobView) -> str | None:
    """Return the URL of the form that clones a job, None for a kind without a form."""
    if not KINDS[job.kind].has_form:
        return None
    source = {"new": job.kind, "from": job.id}
    full = query_string(**source, **job_form.format_values(clone_params(job)))
    return "/jobs" + (full if len(full) <= MAX_QUERY else query_string(**source))


@router.get("/jobs/{job}")
def job(request: Request, store: StoreDep, job: JobId) -> Response:
    """Show one job."""
    view = job_table.get_job(store, job)
    workers = list_workers(store)
    others = job_table.list_jobs(store, kind=view.kind, limit=MAX_OTHERS + 1).jobs
    context = JobDetailPage(
        title=KINDS[view.kind].title,
        job=view,
        row=job_views.row(view, workers),
        rate=job_views.rate_text(view),
        elapsed=job_views.elapsed(view),
        n_workers=len(workers),
        params=job_views.param_texts(view),
        results=job_views.result_texts(view),
        result=job_views.result_link(view),
        units=job_log.list_units(store, job, limit=MAX_UNITS),
        log=job_log.read_log(store, job),
        clone=_clone_link(view),
        others=[job_views.row(other, workers) for other in others if other.id != view.id],
        api=f"/api/v1/jobs/{view.id}",
    )
    return render(request, context)
