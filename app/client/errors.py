"""Exceptions of the client; an error response of the server is a `ProblemError`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from app.client.problems import FieldProblem, Problem
from app.client.types import JobView

PROBLEM_JSON = "application/problem+json"


class ClientError(Exception):
    """Base of all exceptions of this client, except ValueError for invalid arguments."""


class ServerUnreachableError(ClientError):
    """The server did not answer: wrong address, broken connection, or timeout."""


class UnexpectedAnswerError(ClientError):
    """This version of the client cannot read the response."""


class ProblemError(ClientError):
    """The server refused the request.

    Attributes:
        problem: the problem document.
        status: HTTP status.
        title: phrase of the status.
        detail: what is wrong with the request.
        remedy: what to do next.
        request_id: id of the request in the server's log.
        errors: invalid parameters (422).
    """

    def __init__(self, problem: Problem) -> None:
        remedy = f". {problem.remedy}" if problem.remedy else ""
        super().__init__(
            f"{problem.status} {problem.title}: {problem.detail}{remedy} "
            f"[request {problem.request_id}]"
        )
        self.problem = problem
        self.status = problem.status
        self.title = problem.title
        self.detail = problem.detail
        self.remedy = problem.remedy
        self.request_id = problem.request_id
        self.errors = problem.errors


class UnauthorizedError(ProblemError):
    """401: the token is missing, unknown, expired or revoked."""


class ForbiddenError(ProblemError):
    """403: the token's scope does not allow the request."""


class NotFoundError(ProblemError):
    """404: no such thing in the store."""


class ConflictError(ProblemError):
    """409: not computed yet, or it contradicts what is stored."""


class InvalidRequestError(ProblemError):
    """422: a parameter that cannot be used; `errors` names it."""


class UnavailableError(ProblemError):
    """503: the database is missing, busy or damaged; retried while the server sends Retry-After."""


_CLASSES: dict[int, type[ProblemError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidRequestError,
    503: UnavailableError,
}


def problem_error(
    status: int, path: str, request_id: str, document: Mapping[str, Any] | None
) -> ProblemError:
    """Return the exception of an error response.

    Args:
        status: HTTP status.
        path: path of the request.
        request_id: id in the response header, empty without one.
        document: problem document; None if the response is not one, as from a proxy.
    """
    phrases = {item.value: item.phrase for item in HTTPStatus}
    fields = document or {}
    problem = Problem(
        type=str(fields.get("type", "about:blank")),
        title=str(fields.get("title") or phrases.get(status, "Error")),
        status=status,
        detail=str(
            fields.get("detail") or "the response is not a problem document of this program"
        ),
        instance=str(fields.get("instance", path)),
        request_id=str(fields.get("request_id") or request_id or "unknown"),
        remedy=str(
            fields.get("remedy") or "" if document else "Check for a proxy before the server"
        ),
        errors=tuple(
            FieldProblem(str(error["parameter"]), str(error["problem"]), error.get("value"))
            for error in fields.get("errors", ())
        ),
    )
    return _CLASSES.get(status, ProblemError)(problem)


class JobError(ClientError):
    """A job ended without a result or in time; `job` is its last known state."""

    def __init__(self, job: JobView, message: str) -> None:
        super().__init__(f"job {job.id} ({job.kind}) {message}")
        self.job = job


class JobFailedError(JobError):
    """The job failed with a `problem` and a `remedy`; it can be resumed."""

    def __init__(self, job: JobView) -> None:
        self.problem = job.problem or "it failed"
        self.remedy = job.remedy or ""
        super().__init__(job, f"failed: {self.problem}. {self.remedy}".rstrip(". ") + ".")


class JobCancelledError(JobError):
    """The job was cancelled; committed units stay, and it can be resumed."""

    def __init__(self, job: JobView) -> None:
        super().__init__(job, "was cancelled; resume() continues it.")


class JobTimeoutError(JobError, TimeoutError):
    """The job did not end within the timeout of `wait`; it continues."""

    def __init__(self, job: JobView, seconds: float) -> None:
        super().__init__(job, f"is {job.state} after {seconds:g} s; it continues on the server.")
