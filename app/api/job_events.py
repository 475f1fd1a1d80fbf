"""Server-sent events of a job: its row, whenever that has changed."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter

from app.security import is_still_allowed
from backend.db import Store
from backend.jobs import board
from backend.jobs.views import JobView

POLL_SECONDS, KEEP_ALIVE_SECONDS, LONGEST_SECONDS = 0.5, 15.0, 600.0
_JOB = TypeAdapter(JobView)


def _event(view: JobView) -> bytes:
    # JSON has no raw line ends, so one data line holds it.
    return b"event: job\nretry: 2000\ndata: " + _JOB.dump_json(view) + b"\n\n"


async def events(request: Request, store: Store, first: JobView) -> AsyncIterator[bytes]:
    """Yield an event for every change of a job until it has ended, or its reader's token has.

    Args:
        request: whose client listens; once it has gone, the stream ends.
        store: where the job is.
        first: the job as it is now.
    """
    began = told = time.monotonic()
    view = first
    yield _event(view)
    while view.state in board.OPEN_STATES and time.monotonic() - began < LONGEST_SECONDS:
        await asyncio.sleep(POLL_SECONDS)
        if await request.is_disconnected() or not await run_in_threadpool(
            is_still_allowed, store, request
        ):
            return
        newer = await run_in_threadpool(board.job, store, view.id)
        if newer != view:
            view, told = newer, time.monotonic()
            yield _event(view)
        elif time.monotonic() - told > KEEP_ALIVE_SECONDS:
            told = time.monotonic()
            yield b": still there\n\n"
