"""Error responses: RFC 9457 problem documents for the API, an HTML page for pages."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.client.problems import FieldProblem, Problem
from app.web.login_redirect import login_url
from backend.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotReadyError,
    QuantaError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from backend.jobs.kinds.registry import KINDS
from backend.store.database_errors import as_store_error

PROBLEM_JSON = "application/problem+json"
MAX_VALUE_LENGTH = 200
MAX_FIELDS = 20
RETRY_SECONDS = "5"
_API_PREFIXES = ("/api/", "/figures/", "/healthz", "/readyz", "/metrics", "/static/")
_STATUS: dict[type[QuantaError], int] = {
    NotFoundError: 404,
    InvalidInputError: 422,
    NotReadyError: 409,
    ConflictError: 409,
    StoreError: 503,
}
_REMEDIES = {
    400: "Correct the request and send it again",
    403: "Load the page again, and send its form again",
    404: "See /api for all pages and routes",
    405: "Use one of the methods in the Allow header",
    413: "Send less in one request",
}
# Phrases that differ between versions of Python.
_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
_log = logging.getLogger("quanta.errors")


@dataclass(frozen=True)
class Refusal:
    """An error response that is not yet bound to a request."""

    status: int
    detail: str
    remedy: str
    errors: tuple[FieldProblem, ...] = ()
    headers: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        """The status's standard phrase."""
        return _TITLES.get(self.status) or HTTPStatus(self.status).phrase


def is_api(path: str) -> bool:
    """Return whether errors on `path` are problem documents instead of HTML."""
    return path.startswith(_API_PREFIXES)


def request_id(request: Request) -> str:
    """Return the id under which the request is logged."""
    return str(getattr(request.state, "request_id", "-"))


def _clean(text: str) -> str:
    # A lone surrogate is legal in JSON text but has no UTF-8 form.
    return text.encode("utf-8", "replace").decode()


def _display_value(value: object) -> str | None:
    return None if value is None else _clean(str(value)[:MAX_VALUE_LENGTH])


def problem(request: Request, refusal: Refusal) -> Problem:
    """Return the problem document of a refusal."""
    slug = refusal.title.lower().replace(" ", "-").replace("'", "")
    return Problem(
        type=f"urn:quanta-explorer:problem:{slug}",
        title=refusal.title,
        status=refusal.status,
        detail=_clean(refusal.detail),
        instance=_clean(request.url.path),
        request_id=request_id(request),
        remedy=_clean(refusal.remedy),
        errors=refusal.errors,
    )


def _document(request: Request, refusal: Refusal) -> Response:
    content: dict[str, Any] = asdict(problem(request, refusal))
    if not content["errors"]:
        del content["errors"]
    return Response(orjson.dumps(content), refusal.status, media_type=PROBLEM_JSON)


def _page(request: Request, refusal: Refusal) -> Response:
    from app.web.templating import ErrorPage, render

    page = ErrorPage(
        title=refusal.title,
        code=refusal.status,
        problem=_clean(refusal.detail),
        remedy=_clean(refusal.remedy),
        request_id=request_id(request),
        login=login_url(request) if refusal.status == HTTPStatus.UNAUTHORIZED else None,
        has_query=bool(request.url.query),
        method=request.method,
    )
    response: Response = render(request, page, refusal.status)
    return response


def error_response(request: Request, refusal: Refusal) -> Response:
    """Return the response of a refusal: a problem document for the API, HTML for pages."""
    if is_api(request.url.path):
        response = _document(request, refusal)
    else:
        try:
            response = _page(request, refusal)
        except Exception:
            _log.exception("the error page failed, request %s", request_id(request))
            response = _document(request, refusal)
    response.headers.update(refusal.headers or {})
    return response


def internal_error(request: Request, error: Exception) -> Response:
    """Log `error` with the request's id and return a 500 without its text."""
    _log.error("request %s failed", request_id(request), exc_info=error)
    return error_response(
        request,
        Refusal(
            500,
            "The server failed while processing this request",
            f"Try again; if it fails again, report request id {request_id(request)} "
            "with the server's log around it",
        ),
    )


def _handle_quanta(request: Request, error: Exception) -> Response:
    assert isinstance(error, QuantaError)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    fields: tuple[FieldProblem, ...] = ()
    if isinstance(error, InvalidInputError) and error.parameter is not None:
        value = {**request.path_params, **request.query_params}.get(error.parameter)
        fields = (FieldProblem(error.parameter, _clean(error.problem), _display_value(value)),)
    if isinstance(error, StoreBusyError | StoreFullError):
        return _store_response(request, error)
    if status >= 500:
        _log.error("request %s: %s", request_id(request), error)
        # Paths, hosts and the driver's message go to the log only.
        return error_response(
            request, Refusal(status, "the store cannot be used; see the server's log", error.remedy)
        )
    return error_response(request, Refusal(status, error.problem, error.remedy, fields))


def _parameter(error: Any) -> str:
    if "discriminator" in error.get("ctx", {}):  # a missing or unknown kind
        return str(error["ctx"]["discriminator"]).strip("'")
    location = error["loc"]
    # The first part is the location (path, query, body); an index into broken JSON is not a name.
    names = [str(part) for part in location[1:]]
    # For a union of bodies, pydantic puts the name of the member before the field.
    if len(names) > 1 and names[0] in KINDS:
        del names[0]
    return ".".join(names) if names and not names[0].isdigit() else str(location[0])


def _handle_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = tuple(
        FieldProblem(_parameter(e), _clean(e["msg"]), _display_value(e.get("input")))
        for e in error.errors()[:MAX_FIELDS]
    )
    detail = "; ".join(f"{field.parameter}: {field.problem}" for field in fields[:5])
    remedy = "Correct these parameters; /api/v1/openapi.json gives their types and bounds"
    return error_response(request, Refusal(422, detail, remedy, fields))


def _handle_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"No route matches {request.url.path}"
    elif error.status_code == 405:
        detail = f"{request.method} is not allowed at {request.url.path}"
    remedy = _REMEDIES.get(error.status_code, "See /api for what this server offers")
    refusal = Refusal(error.status_code, detail, remedy, headers=error.headers)
    return error_response(request, refusal)


def database_refusal(request: Request, error: Exception) -> Refusal:
    """Log a database error and return a refusal without its text."""
    _log.error("request %s: database error", request_id(request), exc_info=error)
    return Refusal(
        503,
        "The database does not answer",
        "Try again later; if it fails again, run `quanta check`",
        headers={"Retry-After": "2"},
    )


_FULL = Refusal(
    507,
    "The server's disk is full or refused a write; nothing was changed",
    "Ask the administrator to free space (`quanta prune`), then try again",
)
_BUSY = Refusal(
    503,
    "The database is locked or does not answer; nothing was changed",
    "Try again later; if it fails again, run `quanta check`",
    headers={"Retry-After": RETRY_SECONDS},
)


def _store_response(request: Request, fault: StoreError) -> Response:
    """Return 507 for a full disk, 503 for a locked or unreachable database."""
    _log.error("request %s: %s", request_id(request), fault)
    return error_response(request, _FULL if isinstance(fault, StoreFullError) else _BUSY)


def _handle_database(request: Request, error: Exception) -> Response:
    fault = as_store_error(error)
    if fault is None and isinstance(error, PoolTimeoutError):
        # A timeout of the connection pool has the same cause: a lock.
        fault = StoreBusyError("the database does not answer", "Try again")
    if fault is None:  # a statement that the database cannot execute is a bug
        raise error
    _log.error("request %s: database error", request_id(request), exc_info=error)
    if isinstance(fault, StoreBusyError | StoreFullError):
        return _store_response(request, fault)
    return _handle_quanta(request, fault)


def _handle_os(request: Request, error: Exception) -> Response:
    fault = as_store_error(error)
    if fault is None:
        raise error
    return _store_response(request, fault)


def install_handlers(app: FastAPI) -> None:
    """Register one handler for each exception class."""
    app.add_exception_handler(QuantaError, _handle_quanta)
    app.add_exception_handler(RequestValidationError, _handle_validation)
    app.add_exception_handler(HTTPException, _handle_http)
    app.add_exception_handler(OperationalError, _handle_database)
    app.add_exception_handler(PoolTimeoutError, _handle_database)
    app.add_exception_handler(OSError, _handle_os)
