"""A Python client of the HTTP API: `from app.client import Client`.

It needs only httpx2 and pyarrow, not the server. See "From Python" in README.md.
"""

from app.client import types
from app.client.client import Client
from app.client.errors import (
    ClientError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
    ProblemError,
    ServerUnreachableError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from app.client.jobs import Job
from app.client.paging import Listing
from app.client.problems import FieldProblem, Problem

__all__ = [
    "Client",
    "ClientError",
    "ConflictError",
    "FieldProblem",
    "ForbiddenError",
    "InvalidRequestError",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobTimeoutError",
    "Listing",
    "NotFoundError",
    "Problem",
    "ProblemError",
    "ServerUnreachableError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "types",
]
