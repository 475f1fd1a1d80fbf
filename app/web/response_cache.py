"""Cache of compressed responses, invalidated when the store changes.

Only responses made from tables that `backend.store.versions` tracks are cached: no jobs, logins or
measures. A route whose response depends on more than the store (a text search that ran out of
time) calls `do_not_cache`.
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
# Not cached: routes that show jobs or measures; routes with so many different URLs that few repeat
# (documents, predictions, losses); short lists, which are as fast as a lookup.
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
# Request headers on which responses depend.
_HEADERS = (b"host", b"accept", b"accept-encoding", b"cookie")
_CONDITIONAL_HEADERS = frozenset({b"if-none-match"})


def do_not_cache(request: Request) -> None:
    """Keep the response of a request out of the cache."""
    request.state.is_cacheable = False


@dataclass(frozen=True)
class _Entry:
    """A complete response with status 200."""

    route: Any
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ResponseCache:
    """Middleware that caches responses after compression and tagging."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.versions = Versions(store.engine)
        self.version = ""
        self.entries: OrderedDict[Any, _Entry] = OrderedDict()
        self.n_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the cached response, or call the application and cache its response."""
        if not _is_cacheable(scope):
            await self.app(scope, receive, send)
            return
        try:
            # Read before the response is made, so that a response is never older than its key.
            version = await run_in_threadpool(self.versions.current)
        except (DBAPIError, PoolTimeoutError):  # the route reports the error
            await self.app(scope, receive, send)
            return
        self._invalidate(version)
        key = _key(scope, version)
        entry = self.entries.get(key)
        if entry is None:
            await self._call_and_store(scope, receive, send, key)
            return
        self.entries.move_to_end(key)
        scope["route"] = entry.route
        await _send(entry, scope, send)

    async def _call_and_store(self, scope: Scope, receive: Receive, send: Send, key: Any) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] not in _CONDITIONAL_HEADERS]
        # Share the outer scope's state, so that `do_not_cache` is visible here.
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
            if inner["state"].get("is_cacheable", True):
                self._store(key, entry)
            await _send(entry, scope, send)

        try:
            await self.app(inner, receive, collect)
        finally:
            scope["route"] = inner.get("route")

    def _invalidate(self, version: str) -> None:
        if version != self.version:
            self.entries.clear()
            self.version, self.n_bytes = version, 0

    def _store(self, key: Any, entry: _Entry) -> None:
        if len(entry.body) > MAX_ENTRY_BYTES or key[0] != self.version or key in self.entries:
            return
        self.entries[key] = entry
        self.n_bytes += len(entry.body)
        while self.n_bytes > MAX_BYTES:
            _, oldest = self.entries.popitem(last=False)
            self.n_bytes -= len(oldest.body)


def _is_cacheable(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return any(pattern.match(scope["path"]) for pattern in _PATTERNS)


def _key(scope: Scope, version: str) -> Any:
    headers = tuple(pair for pair in scope["headers"] if pair[0] in _HEADERS)
    identity = current_identity(Request(scope))
    root = scope.get("root_path", "")
    return (version, scope["path"], scope["query_string"], headers, identity, scope["scheme"], root)


async def _send(entry: _Entry, scope: Scope, send: Send) -> None:
    etag = dict(entry.headers).get(b"etag", b"").decode()
    if_none_match = Headers(scope=scope).get("if-none-match", "")
    # Copied, because outer middleware adds headers to the list.
    status, headers, body = 200, list(entry.headers), entry.body
    if etag and is_match(if_none_match, etag):
        status, body = 304, b""
        headers = [pair for pair in headers if pair[0] in HEADERS_OF_304]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
