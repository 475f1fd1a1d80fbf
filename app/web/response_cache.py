"""Answers that are kept, compressed, for as long as the store holds the same.

Only reads of what `backend.store.versions` names are cached: no jobs, logins or measures.
An answer that depends on more than the store (a text search that ran out of time) says so with
`passing`.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.etag import HEADERS_OF_304, is_match
from app.web.identity import current_identity
from backend.store.database import Store
from backend.store.versions import Versions

MAX_BYTES = 64_000_000
MAX_ENTRY_BYTES = 2_000_000
API = "/api/v1"
# Not here: what shows jobs or measures, and what is asked for so variously that it never comes
# again (documents, predictions, losses); what is as quick as looking it up (short lists).
ROUTES = (
    "/",
    "/clusterings/{id}",
    "/clusters/{id}",
    "/predictions",
    "/scaling",
    "/glossary",
    "/api",
    "/figures/clusterings/{id}",
    "/figures/clusters/{id}",
    "/figures/clusters/{id}/similarity",
    "/figures/scaling",
    "/figures/curve-map",
    f"{API}/openapi.json",
    f"{API}/suites",
    f"{API}/suites/{{suite}}",
    f"{API}/scaling",
    f"{API}/predictions",
    f"{API}/predictions/map",
    f"{API}/similarities/{{id}}",
    f"{API}/clusterings",
    f"{API}/clusterings/{{id}}",
    f"{API}/clusterings/{{id}}/clusters",
    f"{API}/clusterings/{{a}}/compare/{{b}}",
    f"{API}/clusters/{{id}}",
    f"{API}/clusters/{{id}}/contexts",
    f"{API}/clusters/{{id}}/similarity",
)
_PATTERNS = tuple(compile_path(path)[0] for path in ROUTES)
# What answers are made of beside address and store.
_HEADERS = (b"host", b"accept", b"accept-encoding", b"cookie")
_ASKED_AGAIN = frozenset({b"if-none-match"})


def do_not_cache(request: Request) -> None:
    """Say that an answer must not be kept."""
    request.state.is_passing = True


@dataclass(frozen=True)
class _Entry:
    """A whole answer: status 200."""

    route: Any
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ResponseCache:
    """Middleware around compression and tagging."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.versions = Versions(store.engine)
        self.version = ""
        self.entries: OrderedDict[Any, _Entry] = OrderedDict()
        self.n_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the kept answer, or hand the request on and keep what comes."""
        if not _is_kept(scope):
            await self.app(scope, receive, send)
            return
        try:
            # Before anything is read: what is then kept under it is never older.
            version = await run_in_threadpool(self.versions.current)
        except (DBAPIError, PoolTimeoutError):  # the route says what is wrong
            await self.app(scope, receive, send)
            return
        self._forget_others(version)
        key = _key(scope, version)
        entry = self.entries.get(key)
        if entry is None:
            await self._answer(scope, receive, send, key)
            return
        self.entries.move_to_end(key)
        scope["route"] = entry.route
        await _send(entry, scope, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, key: Any) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] not in _ASKED_AGAIN]
        # One dictionary with the outer scope's, so that what a route notes is seen here.
        inner = {**scope, "headers": headers, "state": scope.setdefault("state", {})}
        start: Message | None = None

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is None or start["status"] != 200 or message.get("more_body", False):
                if start is not None:
                    await send(start)
                    start = None
                await send(message)
                return
            entry = _Entry(inner.get("route"), list(start["headers"]), message.get("body", b""))
            start = None
            if not inner["state"].get("is_passing", False):
                self._keep(key, entry)
            await _send(entry, scope, send)

        try:
            await self.app(inner, receive, collect)
        finally:
            scope["route"] = inner.get("route")

    def _forget_others(self, version: str) -> None:
        if version != self.version:
            self.entries.clear()
            self.version, self.n_bytes = version, 0

    def _keep(self, key: Any, entry: _Entry) -> None:
        if len(entry.body) > MAX_ENTRY_BYTES or key[0] != self.version or key in self.entries:
            return
        self.entries[key] = entry
        self.n_bytes += len(entry.body)
        while self.n_bytes > MAX_BYTES:
            _, oldest = self.entries.popitem(last=False)
            self.n_bytes -= len(oldest.body)


def _is_kept(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return any(pattern.match(scope["path"]) for pattern in _PATTERNS)


def _key(scope: Scope, version: str) -> Any:
    sent = tuple(pair for pair in scope["headers"] if pair[0] in _HEADERS)
    identity = current_identity(Request(scope))
    root = scope.get("root_path", "")
    return (version, scope["path"], scope["query_string"], sent, identity, scope["scheme"], root)


async def _send(entry: _Entry, scope: Scope, send: Send) -> None:
    etag = dict(entry.headers).get(b"etag", b"").decode()
    asked = Headers(scope=scope).get("if-none-match", "")
    # A copy: what stands around this adds its own headers to it.
    status, headers, body = 200, list(entry.headers), entry.body
    if etag and is_match(asked, etag):
        status, body = 304, b""
        headers = [pair for pair in headers if pair[0] in HEADERS_OF_304]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
