"""Server-sent events of a job: its row, whenever that has changed, and new lines of its log."""

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
    # JSON has no raw line ends, so one data line holds it.
    return b"event: job\nretry: 2000\ndata: " + _JOB.dump_json(view) + b"\n\n"


def _log_event(page: LogPage) -> bytes:
    # A browser that comes back sends the id of the last event with lines.
    return b"event: log\nid: %s\ndata: %s\n\n" % (page.next_cursor.encode(), _LOG.dump_json(page))


def _news(store: Store, job_id: str, cursor: int | None) -> tuple[JobView, LogPage | None]:
    # The log second: whoever hears of the job's end has heard its last line too.
    view = job_table.get_job(store, job_id)
    if cursor is None:
        return view, None
    page = job_log.read_log(store, job_id, after=cursor, limit=LINES_AT_ONCE)
    return view, page if page.lines else None


async def events(
    request: Request, store: Store, job_id: str, cursor: int | None = None
) -> AsyncIterator[bytes]:
    """Yield an event for every change of a job until it has ended, or its reader's token has.

    Args:
        request: whose client listens; once it has gone, the stream ends.
        store: where the job is.
        job_id: the job.
        cursor: lines of its log after this one are told too; None tells none.
    """
    began = told = time.monotonic()
    view: JobView | None = None
    while view is None or view.state in OPEN_STATES:
        newer, page = await run_in_threadpool(_news, store, job_id, cursor)
        news = []
        if page is not None:
            cursor = int(page.next_cursor)
            news.append(_log_event(page))
        if newer != view:
            view = newer
            news.append(_event(view))
        if not news and time.monotonic() - told > KEEP_ALIVE_SECONDS:
            news.append(b": still there\n\n")
        for event in news:
            told = time.monotonic()
            yield event
        if newer.state in OPEN_STATES:
            await asyncio.sleep(POLL_SECONDS)
        if time.monotonic() - began > LONGEST_SECONDS or await request.is_disconnected():
            return
        if not await run_in_threadpool(is_still_allowed, store, request):
            return
