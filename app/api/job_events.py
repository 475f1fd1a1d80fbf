"""Server-sent events of a job: its view on every change, and new lines of its log."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter

from app.web.access_control import is_still_allowed
from backend.jobs import job_log, job_table
from backend.read.job_views import OPEN_STATES, JobView, LogPage
from backend.store.database import Store

POLL_SECONDS, KEEP_ALIVE_SECONDS, LONGEST_SECONDS = 0.5, 15.0, 600.0
LINES_AT_ONCE = 100
_JOB = TypeAdapter(JobView)
_LOG = TypeAdapter(LogPage)


def _event(view: JobView) -> bytes:
    # JSON contains no raw line ends, so it fits one data line.
    return b"event: job\nretry: 2000\ndata: " + _JOB.dump_json(view) + b"\n\n"


def _log_event(page: LogPage) -> bytes:
    # A browser that reconnects sends the id of the last event.
    return b"event: log\nid: %s\ndata: %s\n\n" % (page.next_cursor.encode(), _LOG.dump_json(page))


def _read(store: Store, job_id: str, cursor: int | None) -> tuple[JobView, LogPage | None]:
    # The log second, so that the event of the job's end follows its last line.
    view = job_table.get_job(store, job_id)
    if cursor is None:
        return view, None
    page = job_log.read_log(store, job_id, after=cursor, limit=LINES_AT_ONCE)
    return view, page if page.lines else None


async def events(
    request: Request, store: Store, job_id: str, cursor: int | None = None
) -> AsyncIterator[bytes]:
    """Yield an event on every change of a job until the job or the reader's token ends.

    Args:
        request: request of the client; the stream ends when it disconnects.
        store: store of the job.
        job_id: the job.
        cursor: also yield the lines of the log after this one; None for no log.
    """
    started = last_sent = time.monotonic()
    view: JobView | None = None
    while view is None or view.state in OPEN_STATES:
        current, page = await run_in_threadpool(_read, store, job_id, cursor)
        new_events = []
        if page is not None:
            cursor = int(page.next_cursor)
            new_events.append(_log_event(page))
        if current != view:
            view = current
            new_events.append(_event(view))
        if not new_events and time.monotonic() - last_sent > KEEP_ALIVE_SECONDS:
            new_events.append(b": still there\n\n")
        for event in new_events:
            last_sent = time.monotonic()
            yield event
        if current.state in OPEN_STATES:
            await asyncio.sleep(POLL_SECONDS)
        if time.monotonic() - started > LONGEST_SECONDS or await request.is_disconnected():
            return
        if not await run_in_threadpool(is_still_allowed, store, request):
            return
