"""Request ids, access log, metrics and unhandled errors."""

import logging
import re
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import orjson
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.errors import internal_error
from app.web.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
log = logging.getLogger("quanta.access")


def log_to_stderr() -> None:
    """Write the access log to standard error, unless its logger is configured."""
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


@dataclass
class _Outcome:
    """State of a response; 499 means that the client disconnected before it started."""

    status: int = 499
    is_started: bool = False


class RequestLog:
    """Middleware that gives every request an id, times, counts and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; turn an unhandled exception into a 500."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        request_id = _request_id(request)
        request.state.request_id = request_id
        method, started, outcome = request.method, perf_counter(), _Outcome()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.status, outcome.is_started = message["status"], True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:
            response = internal_error(request, error)
            if outcome.is_started:  # too late for a 500: close the connection
                raise
            await response(scope, receive, send_with_id)
        finally:
            self._record(request, method, outcome, perf_counter() - started)

    def _record(self, request: Request, method: str, outcome: _Outcome, seconds: float) -> None:
        route = _template(request.scope)
        self.metrics.observe(method, route, outcome.status, seconds)
        if log.isEnabledFor(logging.INFO):
            log.info(_line(request, method, route, outcome.status, seconds))


def _request_id(request: Request) -> str:
    header = request.headers.get("x-request-id", "")
    return header if _REQUEST_ID.fullmatch(header) else secrets.token_hex(8)


def _template(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    # A mounted application sets no route.
    return "/static" if scope["path"].startswith("/static/") else "unmatched"


def _line(request: Request, method: str, route: str, status: int, seconds: float) -> str:
    # JSON escapes control characters, so that a path cannot inject a log line.
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": request.state.request_id,
        "method": method,
        "path": request.url.path.encode("utf-8", "replace").decode(),
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "client": request.client.host if request.client else None,
    }
    return orjson.dumps(fields).decode()
