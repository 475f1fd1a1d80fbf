"""Follow a job by server-sent events, and by polling where events do not arrive.

The last view that is yielded is the end of the job, whatever breaks: after a broken stream comes a
plain request, then another stream.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from app.client.decoding import decode
from app.client.errors import ClientError, ServerUnreachableError, UnavailableError
from app.client.transport import Transport, document_of
from app.client.types import JobView

EVENTS = "text/event-stream"
# The server sends a comment every 15 seconds.
SILENCE_SECONDS = 25.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
# Long enough for a restart of the server or its database.
PATIENCE_SECONDS = 300.0
OPEN_STATES = frozenset({"queued", "running", "cancelling"})


def views(transport: Transport, path: str, deadline: float | None) -> Iterator[JobView | None]:
    """Yield a job's state on every change until the job or the deadline ends; None without news.

    Args:
        transport: connection to the server.
        path: path of the job.
        deadline: time on the monotonic clock, None for no limit.

    Raises:
        ProblemError: the job is unknown, or the token is not accepted.
        ServerUnreachableError: the server did not answer for five minutes.
    """
    can_stream, pause = True, FIRST_PAUSE_SECONDS
    last_response = time.monotonic()
    while deadline is None or time.monotonic() < deadline:
        n_events = 0
        if can_stream:
            for view in _streamed(transport, path, deadline):
                n_events, last_response = n_events + 1, time.monotonic()
                yield view
                if view.state not in OPEN_STATES:
                    return
            # Without events, a proxy may buffer them: poll instead.
            can_stream = n_events > 0
            if n_events > 1:  # the first event is the current state, not news
                pause = FIRST_PAUSE_SECONDS
        try:
            view = decode(JobView, document_of(transport.read(path)))
        except (ServerUnreachableError, UnavailableError):
            if time.monotonic() - last_response > PATIENCE_SECONDS:
                raise
            can_stream = True  # the outage may have ended the stream too
            yield None
        else:
            last_response = time.monotonic()
            yield view
            if view.state not in OPEN_STATES:
                return
        remaining = pause if deadline is None else deadline - time.monotonic()
        time.sleep(max(0.0, min(pause, remaining)))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _streamed(transport: Transport, path: str, deadline: float | None) -> Iterator[JobView]:
    """Yield a job's states from one stream until it ends, breaks or times out."""
    seconds = SILENCE_SECONDS
    if deadline is not None:
        seconds = min(seconds, max(deadline - time.monotonic(), 0.01))
    try:
        with transport.stream(f"{path}/events", accept=EVENTS, read_seconds=seconds) as response:
            if not response.headers.get("content-type", "").startswith(EVENTS):
                return
            for event in events(_before(deadline, response.iter_bytes())):
                yield decode(JobView, event)
    except ClientError:
        return  # the plain request raises the error


def _before(deadline: float | None, chunks: Iterator[bytes]) -> Iterator[bytes]:
    # Keep-alive comments reset the read timeout, so the deadline is checked here.
    for chunk in chunks:
        yield chunk
        if deadline is not None and time.monotonic() >= deadline:
            return


def events(chunks: Iterator[bytes]) -> Iterator[Any]:
    """Yield the JSON of each complete event named `job`.

    Args:
        chunks: a stream of events, split anywhere.
    """
    buffer = b""
    for chunk in chunks:
        # Not `splitlines`: JSON may contain line ends that only it recognizes.
        buffer = (buffer + chunk).replace(b"\r\n", b"\n")
        *blocks, buffer = buffer.split(b"\n\n")
        for block in blocks:
            lines = [line.partition(b":") for line in block.split(b"\n")]
            event = {name: value.removeprefix(b" ") for name, _, value in lines}
            if event.get(b"event") == b"job" and b"data" in event:
                yield json.loads(event[b"data"])
