"""HTTP connections with a read timeout and a limit of header bytes.

Uvicorn waits without limit for the rest of a request: a few hundred slow clients (Slowloris) would
occupy all its connections.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.web.errors import PROBLEM_JSON

HEAD_SECONDS, BODY_SECONDS = 10.0, 60.0
MAX_HEAD_BYTES = 64 << 10
_MESSAGES = {
    HTTPStatus.BAD_REQUEST: ("This is not HTTP/1.1", "Send a well-formed request"),
    HTTPStatus.REQUEST_TIMEOUT: ("The request took too long to arrive", "Send it again at once"),
    HTTPStatus.REQUEST_URI_TOO_LONG: (
        f"The address is longer than {MAX_HEAD_BYTES:,} bytes",
        "Send less in one request",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"The headers are longer than {MAX_HEAD_BYTES:,} bytes",
        "Send fewer or shorter headers",
    ),
}


class Connection(H11Protocol):
    """Connection with a timeout for each request and a maximum length of its head."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = h11.Connection(h11.SERVER, MAX_HEAD_BYTES)
        self._deadline: asyncio.TimerHandle | None = None
        self._is_in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout of the first request."""
        super().connection_made(transport)
        self._start_timeout(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; start or stop the timeout by the state of the request."""
        if self._deadline is None:
            self._start_timeout(HEAD_SECONDS)
        super().data_received(data)
        self._update_timeout()

    def _update_timeout(self) -> None:
        if self.transport.is_closing():
            self._stop_timeout()
        elif self.conn.their_state is h11.SEND_BODY:
            if not self._is_in_body:
                self._start_timeout(BODY_SECONDS)
                self._is_in_body = True
        elif self.conn.their_state is not h11.IDLE:
            self._stop_timeout()

    def _start_timeout(self, seconds: float) -> None:
        self._stop_timeout()
        self._deadline = self.loop.call_later(seconds, self._on_timeout)

    def _stop_timeout(self) -> None:
        self._is_in_body = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_timeout(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:  # no request, or an application that waits for a body and must be told
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, or one with too long a head."""
        received = self.conn.trailing_data[0]
        if len(received) <= MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif b"\n" in received:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)

    def _refuse(self, status: HTTPStatus) -> None:
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()
            return
        content = json.dumps(_document(status)).encode()
        headers = [
            ("content-type", PROBLEM_JSON),
            ("content-length", str(len(content))),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        start = h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())
        for event in (start, h11.Data(data=content), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _document(status: HTTPStatus) -> dict[str, Any]:
    # The request has not been parsed, so it has neither an id nor a path.
    detail, remedy = _MESSAGES[status]
    return {
        "type": f"urn:quanta-explorer:problem:{status.phrase.lower().replace(' ', '-')}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "instance": "unknown",
        "request_id": "-",
        "remedy": remedy,
    }
