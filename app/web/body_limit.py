"""Limits of request bodies, in bytes and in values."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.errors import Refusal, error_response
from app.web.scopes import SAFE_METHODS

MAX_BODY_BYTES = 1 << 20
# More than all characters of the longest text that may be pasted.
MAX_BODY_PARTS = 25_000


class BodyLimit:
    """Middleware that reads the body of a change, at most `max_bytes` whatever its headers say.

    It runs before the route, so that a large body is refused even where a route ignores the body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with the whole body, or refuse the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > self.max_bytes:
            await error_response(request, self._too_large())(scope, receive, send)
        elif scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
        else:
            await self._call_with_body(request, receive, send)

    async def _call_with_body(self, request: Request, receive: Receive, send: Send) -> None:
        body = bytearray()
        message: Message = {"more_body": True}
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                await error_response(request, self._too_large())(request.scope, receive, send)
                return
        # Parsed values take hundreds of times their length, and each wrong one gets a message.
        if sum(body.count(mark) for mark in b",[{") > MAX_BODY_PARTS:
            refusal = Refusal(
                413, f"The body has more than {MAX_BODY_PARTS:,} values", "Send less in one request"
            )
            await error_response(request, refusal)(request.scope, receive, send)
            return
        await self.app(request.scope, _replay(bytes(body), receive), send)

    def _too_large(self) -> Refusal:
        return Refusal(
            413, f"The body is larger than {self.max_bytes:,} bytes", "Send less in one request"
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a whole body first."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
