"""Jobs: asking for what is not stored yet, and how far it is."""

from typing import Annotated, cast

from fastapi import APIRouter, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.openapi import MUTATION_PROBLEMS
from app.deps import MAX_INTEGER, MODEL_PATTERN, NAME_PATTERN, Cursor, StoreDep
from backend.jobs import board
from backend.jobs.board import JobPage, JobView
from backend.jobs.kinds import Asked, Kind, Which
from backend.jobs.queue import submit
from backend.queries.reading import offset_of

NO_NUL = r"^[^\x00]*$"
MAX_SENT_TEXT = 200_000
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


class JobBody(BaseModel):
    """A job to run.

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
    view = submit(store, body.kind, asked, idempotency_key)
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
