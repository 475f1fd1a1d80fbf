"""Following a job: server-sent events, and asking again where those cannot be had.

Whatever breaks, the last view that is yielded is the job's end: a stream that was cut is replaced
by a plain request, and then by another stream.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from app.client.decoding import decoded
from app.client.errors import ClientError, ServerUnreachableError, UnavailableError
from app.client.transport import Transport, document_of
from app.client.types import JobView

EVENTS = "text/event-stream"
# The server says something every 15 seconds.
SILENCE_SECONDS = 25.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
# A server that is restarted, or whose database is, comes back meanwhile.
PATIENCE_SECONDS = 300.0
OPEN_STATES = frozenset({"queued", "running", "cancelling"})


def views(transport: Transport, path: str, deadline: float | None) -> Iterator[JobView | None]:
    """Yield a job's state at every change until it has ended; None while there is no news.

    It ends early at the deadline.

    Args:
        transport: to the server.
        path: of the job.
        deadline: on the monotonic clock, None for no end.

    Raises:
        ProblemError: the job is unknown, or the token is not good for it (any more).
        ServerUnreachableError: there was no answer for five minutes.
    """
    can_stream, pause = True, FIRST_PAUSE_SECONDS
    heard = time.monotonic()
    while deadline is None or time.monotonic() < deadline:
        n_events = 0
        if can_stream:
            for view in _streamed(transport, path, deadline):
                n_events, heard = n_events + 1, time.monotonic()
                yield view
                if view.state not in OPEN_STATES:
                    return
            # A proxy that keeps events back gives none: then asking is better than waiting.
            can_stream = n_events > 0
            if n_events > 1:  # one is the state as it is: such a stream gave no news
                pause = FIRST_PAUSE_SECONDS
        try:
            view = decoded(JobView, document_of(transport.read(path)))
        except (ServerUnreachableError, UnavailableError):
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
            can_stream = True  # it may have been down for the stream as well
            yield None
        else:
            heard = time.monotonic()
            yield view
            if view.state not in OPEN_STATES:
                return
        left = pause if deadline is None else deadline - time.monotonic()
        time.sleep(max(0.0, min(pause, left)))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _streamed(transport: Transport, path: str, deadline: float | None) -> Iterator[JobView]:
    """Yield a job's states from one stream, until it ends, breaks or falls silent."""
    seconds = SILENCE_SECONDS
    if deadline is not None:
        seconds = min(seconds, max(deadline - time.monotonic(), 0.01))
    try:
        with transport.stream(f"{path}/events", accept=EVENTS, read_seconds=seconds) as answer:
            if not answer.headers.get("content-type", "").startswith(EVENTS):
                return
            for event in events(_until(deadline, answer.iter_bytes())):
                yield decoded(JobView, event)
    except ClientError:
        return  # what is wrong, the plain request tells


def _until(deadline: float | None, pieces: Iterator[bytes]) -> Iterator[bytes]:
    # Signs of life come more often than news, and hold the timeout off.
    for piece in pieces:
        yield piece
        if deadline is not None and time.monotonic() >= deadline:
            return


def events(pieces: Iterator[bytes]) -> Iterator[Any]:
    """Yield the JSON of each whole event named `job`; what is cut off is dropped.

    Args:
        pieces: a stream of events, cut anywhere.
    """
    kept = b""
    for piece in pieces:
        # Only these line ends count: JSON may hold others that `splitlines` knows.
        kept = (kept + piece).replace(b"\r\n", b"\n")
        *whole, kept = kept.split(b"\n\n")
        for block in whole:
            lines = [line.partition(b":") for line in block.split(b"\n")]
            named = {name: value.removeprefix(b" ") for name, _, value in lines}
            if named.get(b"event") == b"job" and b"data" in named:
                yield json.loads(named[b"data"])
