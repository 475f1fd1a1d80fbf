"""Conditional requests: a strong ETag from the body of every complete 200, and HEAD as GET."""

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS_OF_304 = frozenset({b"cache-control", b"vary", b"etag", b"expires"})


class ConditionalRequests:
    """Middleware inside compression: it sees bodies as routes made them.

    Streamed responses, and those that bring an ETag of their own, pass as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on; tag its response, or answer 304."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        answer = _Answer(Headers(scope=scope), scope["method"] == "HEAD", send)
        # A HEAD is answered by the GET route, so that its headers are the same. The server below
        # reads the method from its own scope, which stays as it is.
        inner = {**scope, "method": "GET"}
        try:
            await self.app(inner, receive, answer.send)
        finally:
            scope["route"] = inner.get("route")


class _Answer:
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
            message = self._tagged(start, message)
            await self.downstream(start)
        if self.is_head:
            message = {"type": "http.response.body", "body": b""}
            self.is_done = True
        await self.downstream(message)

    def _tagged(self, start: Message, message: Message) -> Message:
        """Add the ETag to `start`, or turn it into a 304; return the body that goes with it."""
        headers = MutableHeaders(scope=start)
        is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        if start["status"] != 200 or not is_whole or "etag" in headers:
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
        # Strong tags name bytes: the compressed form of a body needs a tag of its own.
        suffix = "-gzip" if "gzip" in self.request.get("accept-encoding", "") else ""
        return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}{suffix}"'


def is_match(if_none_match: str, etag: str) -> bool:
    """Return whether a client that sends this header has the answer already."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
