"""What can go wrong, as exceptions: every refusal of the server is a `ProblemError`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from app.client.problems import FieldProblem, Problem
from app.client.types import JobView

PROBLEM_JSON = "application/problem+json"


class ClientError(Exception):
    """Anything that this client raises, but for arguments that cannot be (ValueError)."""


class ServerUnreachableError(ClientError):
    """No answer: no server at this address, a connection that broke, or a timeout."""


class UnexpectedAnswerError(ClientError):
    """An answer that this version of the client cannot read."""


class ProblemError(ClientError):
    """The server refused; the request id names the request in its log.

    Attributes:
        problem: the problem document.
        status: HTTP status.
        title: its standard phrase.
        detail: what is wrong with this request.
        remedy: what to do next.
        request_id: under which the server logged the request.
        errors: what is wrong with each parameter (422).
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
    """401: a token is needed, or this one is unknown, expired or revoked."""


class ForbiddenError(ProblemError):
    """403: the token's scope is too small."""


class NotFoundError(ProblemError):
    """404: no such thing in the store."""


class ConflictError(ProblemError):
    """409: not computed yet, or it contradicts what is stored."""


class InvalidRequestError(ProblemError):
    """422: a parameter that cannot be used; `errors` names it."""


class UnavailableError(ProblemError):
    """503: the database is missing, busy or damaged; tried again while the server asks for it."""


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
    """Return the exception of a refusal.

    Args:
        status: HTTP status.
        path: what was asked for.
        request_id: of the answer's header, empty if it has none.
        document: the problem document; None if the answer is something else, as a proxy's is.
    """
    phrases = {one.value: one.phrase for one in HTTPStatus}
    sent = document or {}
    problem = Problem(
        type=str(sent.get("type", "about:blank")),
        title=str(sent.get("title") or phrases.get(status, "Error")),
        status=status,
        detail=str(sent.get("detail") or "the answer is no problem document of this program"),
        instance=str(sent.get("instance", path)),
        request_id=str(sent.get("request_id") or request_id or "unknown"),
        remedy=str(sent.get("remedy") or "" if document else "Look for a proxy before the server"),
        errors=tuple(
            FieldProblem(str(one["parameter"]), str(one["problem"]), one.get("value"))
            for one in sent.get("errors", ())
        ),
    )
    return _CLASSES.get(status, ProblemError)(problem)


class JobError(ClientError):
    """A job that was waited for and did not finish; `job` is its last known state."""

    def __init__(self, job: JobView, message: str) -> None:
        super().__init__(f"job {job.id} ({job.kind}) {message}")
        self.job = job


class JobFailedError(JobError):
    """The job failed: `problem` says why, `remedy` what to do next; it can be resumed."""

    def __init__(self, job: JobView) -> None:
        self.problem = job.problem or "it failed"
        self.remedy = job.remedy or ""
        super().__init__(job, f"failed: {self.problem}. {self.remedy}".rstrip(". ") + ".")


class JobCancelledError(JobError):
    """Somebody cancelled the job; what is committed stays, and it can be resumed."""

    def __init__(self, job: JobView) -> None:
        super().__init__(job, "was cancelled; resume() continues it.")


class JobTimeoutError(JobError, TimeoutError):
    """The job was not done in the time given to `wait`; it goes on."""

    def __init__(self, job: JobView, seconds: float) -> None:
        super().__init__(job, f"is {job.state} after {seconds:g} s; it goes on without us.")
