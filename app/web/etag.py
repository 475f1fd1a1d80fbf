"""Conditional requests (ETag, If-None-Match) and HEAD."""

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS_OF_304 = frozenset({b"cache-control", b"vary", b"etag", b"expires"})


class ConditionalRequests:
    """Middleware that adds a strong ETag to complete 200 responses and responses 304.

    It runs inside compression, on uncompressed bodies. Streamed responses and those with their own
    ETag are not changed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; add an ETag to its response, or replace it by a 304."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        response = _Response(Headers(scope=scope), scope["method"] == "HEAD", send)
        # The GET route also serves HEAD, so that the headers are the same. The server reads the
        # method from the outer scope.
        inner = {**scope, "method": "GET"}
        try:
            await self.app(inner, receive, response.send)
        finally:
            scope["route"] = inner.get("route")


class _Response:
    def __init__(self, request: Headers, is_head: bool, send: Send) -> None:
        self.request = request
        self.is_head = is_head
        self.downstream = send
        self.start: Message | None = None
        self.is_done = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
            return
        if self.is_done:
            return
        if self.start is not None:
            start, self.start = self.start, None
            message = self._with_etag(start, message)
            await self.downstream(start)
        if self.is_head:
            message = {"type": "http.response.body", "body": b""}
            self.is_done = True
        await self.downstream(message)

    def _with_etag(self, start: Message, message: Message) -> Message:
        """Add the ETag to `start`, or turn it into a 304; return the body message to send."""
        headers = MutableHeaders(scope=start)
        is_complete = message["type"] == "http.response.body" and not message.get(
            "more_body", False
        )
        if start["status"] != 200 or not is_complete or "etag" in headers:
            return message
        if "no-store" in headers.get("cache-control", ""):
            return message
        etag = self._etag(message.get("body", b""))
        headers["ETag"] = etag
        if not is_match(self.request.get("if-none-match", ""), etag):
            return message
        start["status"] = 304
        start["headers"] = [pair for pair in start["headers"] if pair[0] in HEADERS_OF_304]
        return {"type": "http.response.body", "body": b""}

    def _etag(self, body: bytes) -> str:
        # A strong ETag identifies bytes, so a compressed body needs another one.
        suffix = "-gzip" if "gzip" in self.request.get("accept-encoding", "") else ""
        return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}{suffix}"'


def is_match(if_none_match: str, etag: str) -> bool:
    """Return whether the If-None-Match header matches an ETag."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
