"""Jobs: asking for what is not stored yet, and how far it is."""

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.job_events import events
from app.api.openapi import MUTATION_PROBLEMS
from app.deps import MAX_INTEGER, MODEL_PATTERN, NAME_PATTERN, Cursor, StoreDep
from backend.jobs import board, queue
from backend.jobs.board import JobPage, JobView
from backend.jobs.kinds import Asked, Kind, Which
from backend.queries.reading import offset_of

NO_NUL = r"^[^\x00]*$"
MAX_SENT_TEXT = 200_000
Number = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id of a job")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]*$",
        description="The same key gives the same job again; leave it out and equal requests do",
    ),
]

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


class JobParameters(BaseModel):
    """What a job is asked; which of it a kind needs, its description says."""

    model_config = ConfigDict(extra="forbid")

    corpus: str | None = Field(None, pattern=NAME_PATTERN)
    document: int | None = Field(None, ge=0, le=MAX_INTEGER)
    target: str | None = Field(None, max_length=200, pattern=NO_NUL)
    text: str | None = Field(None, max_length=MAX_SENT_TEXT)
    suite: str | None = Field(None, pattern=NAME_PATTERN)
    model: str | None = Field(None, pattern=MODEL_PATTERN)
    step: int | None = Field(None, ge=0, le=MAX_INTEGER)
    checkpoints: Which | None = None
    models: list[Annotated[str, Field(pattern=MODEL_PATTERN)]] | None = Field(None, max_length=100)
    steps: list[Number] | None = Field(None, max_length=1000)
    measures: list[Literal["rank", "entropy"]] | None = Field(None, max_length=2)
    threshold_nats: float | None = Field(None, gt=0, le=100, allow_inf_nan=False)
    induction_filter: bool | None = None
    stride: int | None = Field(None, ge=1, le=MAX_INTEGER)
    limit: int | None = Field(None, ge=10, le=100_000)
    n_clusters: list[Annotated[int, Field(ge=2, le=100_000)]] | None = Field(None, max_length=200)
    n_init: int | None = Field(None, ge=1, le=1000)
    seed: Number | None = None


class JobBody(BaseModel):
    """A job to run.

    `evaluate`: losses of every token of `corpus` under the checkpoints of `suite` (of `models` and
    `steps` only, if given), with the `measures` beside them. `classify`: every prediction's curve
    over size and step, of what is evaluated. `discover`: quanta under one checkpoint (`model`,
    `step`; the largest and last if left out): predictions under `threshold_nats`, without what
    induction explains unless `induction_filter` is false, every `stride`-th, at most `limit`;
    clustered for each of `n_clusters` from `n_init` starts drawn by `seed`.
    `measure`: p(`target`) in the place of every token of `document` of `corpus`, under the
    checkpoints "one" (`model`, `step`), "final" (each model's last), "steps" (of `model`) or "all".
    `paste`: `text` becomes a corpus of one document, evaluated under every final checkpoint, or
    with checkpoints "all" under every one.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "measure",
                    "parameters": {
                        "corpus": "demo",
                        "document": 0,
                        "target": "⏎",
                        "checkpoints": "final",
                    },
                }
            ]
        },
    )

    kind: Kind
    parameters: JobParameters


@router.post("", status_code=202, responses=MUTATION_PROBLEMS)
def submit_job(
    store: StoreDep, response: Response, body: JobBody, idempotency_key: IdempotencyKey = None
) -> JobView:
    """Ask for a job; an equal one that is not failed is given back instead of a new one."""
    asked = cast(Asked, body.parameters.model_dump(exclude_none=True))
    view = queue.submit(store, body.kind, asked, idempotency_key)
    response.headers["Location"] = f"/api/v1/jobs/{view.id}"
    return view


@router.get("")
def list_jobs(
    store: StoreDep, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> JobPage:
    """Jobs, newest first; long parameters are cut."""
    return board.list_jobs(store, offset=offset_of(cursor), limit=limit)


@router.get("/{job}")
def job_by_id(store: StoreDep, job: JobId) -> JobView:
    """One job: state, progress, and its result or what went wrong."""
    return board.job(store, job)


@router.post("/{job}/cancel", status_code=202, responses=MUTATION_PROBLEMS)
def cancel_job(store: StoreDep, job: JobId) -> JobView:
    """End a job; what is committed stays, and the job can be resumed. Twice is once.

    It is `cancelling` until its workers have stopped, which takes a moment.
    """
    return board.cancel(store, job)


@router.post("/{job}/resume", status_code=202, responses=MUTATION_PROBLEMS)
def resume_job(store: StoreDep, job: JobId) -> JobView:
    """Queue a failed or cancelled job again; what is committed is not computed again."""
    return queue.resume(store, job)


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def job_events(request: Request, store: StoreDep, job: JobId) -> StreamingResponse:
    """Follow a job as server-sent events: `job` with its state as JSON at every change.

    The stream ends with the job, or after ten minutes: a client then asks again.
    """
    first = await run_in_threadpool(board.job, store, job)  # an unknown job is a 404
    return StreamingResponse(
        events(request, store, first),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
