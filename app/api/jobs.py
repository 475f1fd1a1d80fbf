"""Jobs: submit, follow, cancel and resume them."""

import re
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from starlette.responses import Response

from app.api.job_bodies import AnyJob, KindList, kind_list
from app.api.job_events import events
from app.api.openapi import MUTATION_PROBLEMS
from app.requests.dependencies import Cursor, JobId, KindName, StoreDep
from backend.jobs import estimates, job_table, queue
from backend.jobs.job_log import list_units, read_log
from backend.read.job_views import Estimate, JobPage, JobView, LogPage, State, UnitPage
from backend.read.paging import parse_tail_cursor

FILE_SCHEMA = {"type": "string", "format": "binary"}
_CURSOR = re.compile(r"[0-9]{1,18}")
LogCursor = Annotated[
    str, Query(pattern=f"^{_CURSOR.pattern}$", description="`next_cursor` of an earlier response")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]*$",
        description="A key that returns the same job on a retry, in any state; other parameters "
        "with the same key are refused. Without a key, equal requests share one job",
    ),
]

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post("", status_code=202, responses=MUTATION_PROBLEMS)
def submit_job(
    store: StoreDep,
    response: Response,
    body: Annotated[AnyJob, Body()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Submit a job; an equal job that has not failed is returned instead of a new one."""
    params = body.parameters.model_dump(exclude_unset=True)
    view = queue.submit(store, body.kind, params, idempotency_key, body.requires)
    response.headers["Location"] = f"/api/v1/jobs/{view.id}"
    return view


@router.get("")
def list_jobs(
    store: StoreDep,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    state: Annotated[State | None, Query(description="Only jobs in this state")] = None,
    kind: Annotated[KindName | None, Query(description="Only jobs of this kind")] = None,
) -> JobPage:
    """List jobs, newest first; long parameters are cut."""
    return job_table.list_jobs(
        store, remaining=parse_tail_cursor(cursor), limit=limit, state=state, kind=kind
    )


@router.get("/kinds")
def list_kinds() -> KindList:
    """List the kinds of jobs, with the JSON schemas of their parameters."""
    return kind_list()


@router.post("/estimate", responses=MUTATION_PROBLEMS)
def estimate_job(store: StoreDep, body: Annotated[AnyJob, Body()]) -> Estimate:
    """Estimate the cost of a job without submitting it; also returns an equal job."""
    params = body.parameters.model_dump(exclude_unset=True)
    return estimates.estimate(store, body.kind, params)


@router.get("/{job}")
def job_by_id(store: StoreDep, job: JobId) -> JobView:
    """One job: state, progress, and its result or problem."""
    return job_table.get_job(store, job)


@router.post("/{job}/cancel", status_code=202, responses=MUTATION_PROBLEMS)
def cancel_job(store: StoreDep, job: JobId) -> JobView:
    """Cancel a job; committed units stay, and the job can be resumed. Can be repeated.

    The job is `cancelling` until its workers have stopped, which takes a moment.
    """
    return job_table.cancel(store, job)


@router.post("/{job}/resume", status_code=202, responses=MUTATION_PROBLEMS)
def resume_job(store: StoreDep, job: JobId) -> JobView:
    """Queue a failed or cancelled job again; committed units are not computed again."""
    return queue.resume(store, job)


@router.get("/{job}/log")
def job_log(
    store: StoreDep,
    job: JobId,
    cursor: LogCursor = "0",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LogPage:
    """The last lines of a job's log after `cursor`, oldest first."""
    return read_log(store, job, after=int(cursor), limit=limit)


@router.get("/{job}/units")
def job_units(
    store: StoreDep,
    job: JobId,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> UnitPage:
    """List the committed units of a job, newest first, with their workers and times."""
    return list_units(store, job, remaining=parse_tail_cursor(cursor), limit=limit)


@router.get(
    "/{job}/file",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": FILE_SCHEMA}}}},
)
def job_file(store: StoreDep, job: JobId) -> FileResponse:
    """Download the file of a finished export."""
    path = job_table.exported_file(store, job)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def job_events(
    request: Request,
    store: StoreDep,
    job: JobId,
    cursor: LogCursor | None = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """Follow a job by server-sent events: `job` with its view as JSON on every change.

    With `cursor`, or when a browser reconnects, also `log` with the lines after it. The stream ends
    with the job or after ten minutes; clients then reconnect.
    """
    await run_in_threadpool(job_table.get_job, store, job)  # an unknown job is a 404
    is_valid = last_event_id and _CURSOR.fullmatch(last_event_id)
    after = last_event_id if is_valid else cursor
    return StreamingResponse(
        events(request, store, job, None if after is None else int(after)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
