"""Jobs: asking for what is not stored yet, and how far it is."""

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
    str, Query(pattern=f"^{_CURSOR.pattern}$", description="`next_cursor` of an earlier look")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]*$",
        description="The same key gives the same job again, whatever became of it; other "
        "parameters under it are refused. Leave it out and equal requests meet in one job",
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
    """Ask for a job; an equal one that is not failed is given back instead of a new one."""
    asked = body.parameters.model_dump(exclude_unset=True)
    view = queue.submit(store, body.kind, asked, idempotency_key, body.requires)
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
    """Jobs, newest first; long parameters are cut."""
    return job_table.list_jobs(
        store, left=parse_tail_cursor(cursor), limit=limit, state=state, kind=kind
    )


@router.get("/kinds")
def list_kinds() -> KindList:
    """Kinds of jobs, with the JSON schema of what each takes."""
    return kind_list()


@router.post("/estimate", responses=MUTATION_PROBLEMS)
def estimate_job(store: StoreDep, body: Annotated[AnyJob, Body()]) -> Estimate:
    """What a job would cost, and the equal one if there is one; nothing is queued."""
    asked = body.parameters.model_dump(exclude_unset=True)
    return estimates.estimate(store, body.kind, asked)


@router.get("/{job}")
def job_by_id(store: StoreDep, job: JobId) -> JobView:
    """One job: state, progress, and its result or what went wrong."""
    return job_table.get_job(store, job)


@router.post("/{job}/cancel", status_code=202, responses=MUTATION_PROBLEMS)
def cancel_job(store: StoreDep, job: JobId) -> JobView:
    """End a job; what is committed stays, and the job can be resumed. Twice is once.

    It is `cancelling` until its workers have stopped, which takes a moment.
    """
    return job_table.cancel(store, job)


@router.post("/{job}/resume", status_code=202, responses=MUTATION_PROBLEMS)
def resume_job(store: StoreDep, job: JobId) -> JobView:
    """Queue a failed or cancelled job again; what is committed is not computed again."""
    return queue.resume(store, job)


@router.get("/{job}/log")
def job_log(
    store: StoreDep,
    job: JobId,
    cursor: LogCursor = "0",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LogPage:
    """The last lines of a job's log after `cursor`, oldest first; for a look at what is new."""
    return read_log(store, job, after=int(cursor), limit=limit)


@router.get("/{job}/units")
def job_units(
    store: StoreDep,
    job: JobId,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> UnitPage:
    """Units of a job that are committed, newest first: by which worker, in how many seconds."""
    return list_units(store, job, left=parse_tail_cursor(cursor), limit=limit)


@router.get(
    "/{job}/file",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": FILE_SCHEMA}}}},
)
def job_file(store: StoreDep, job: JobId) -> FileResponse:
    """The file that a finished export made."""
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
    """Follow a job as server-sent events: `job` with its state as JSON at every change.

    With `cursor`, or where a browser comes back after its last event, also `log` with the lines
    after that one. The stream ends with the job, or after ten minutes: a client then asks again.
    """
    await run_in_threadpool(job_table.get_job, store, job)  # an unknown job is a 404
    known = last_event_id if last_event_id and _CURSOR.fullmatch(last_event_id) else cursor
    return StreamingResponse(
        events(request, store, job, None if known is None else int(known)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
