"""Jobs: asking for what is not stored yet, and waiting for it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Any

from app.client.calls import Calls, path_of
from app.client.decoding import decoded
from app.client.errors import JobCancelledError, JobFailedError, JobTimeoutError
from app.client.files import download
from app.client.job_events import OPEN_STATES, views
from app.client.paging import Listing
from app.client.progress import bar
from app.client.transport import Transport, document_of
from app.client.types import (
    DoneUnit,
    Download,
    Estimate,
    JobPage,
    JobState,
    JobView,
    KindView,
    LogPage,
    Requires,
    UnitPage,
)


class Job:
    """A job on the server, as it was when it was last asked for.

    It goes on whether or not anybody waits: `client.job(id)` finds it again, from any program.

    Attributes:
        view: all that the server said of it.
    """

    def __init__(self, transport: Transport, view: JobView) -> None:
        """Hold a job that the server told of; `Client.submit` and `Client.job` make these."""
        self._transport = transport
        self._path = path_of("/jobs/{}", view.id)
        self.view = view

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.view.kind}: {self.state}>"

    @property
    def id(self) -> str:
        """Return its id."""
        return self.view.id

    @property
    def state(self) -> JobState:
        """Return its state, as last heard."""
        return self.view.state

    @property
    def is_open(self) -> bool:
        """Return whether it has not ended, as last heard."""
        return self.state in OPEN_STATES

    @property
    def result(self) -> dict[str, Any]:
        """Return what it made: names and ids for other calls.

        Raises:
            JobFailedError, JobCancelledError: it made nothing.
            RuntimeError: it has not ended; `wait` first.
        """
        if self.state == "failed":
            raise JobFailedError(self.view)
        if self.state == "cancelled":
            raise JobCancelledError(self.view)
        if self.is_open:
            raise RuntimeError(f"job {self.id} is {self.state} and has no result: wait() for it")
        return self.view.result or {}

    def refresh(self) -> "Job":
        """Ask the server how far it is."""
        self.view = decoded(JobView, document_of(self._transport.read(self._path)))
        return self

    def cancel(self) -> "Job":
        """End it; what is committed stays. It may be `cancelling` for a moment."""
        return self._act("cancel", is_repeatable=True)  # twice is once

    def resume(self) -> "Job":
        """Queue it again after a failure or a cancellation; what is committed stays.

        Raises:
            ConflictError: it is neither failed nor cancelled.
        """
        return self._act("resume")

    def log(self, cursor: str = "0", limit: int = 100) -> LogPage:
        """Return the last lines of its log after a cursor, oldest first."""
        found = self._transport.read(f"{self._path}/log", {"cursor": cursor, "limit": limit})
        return decoded(LogPage, document_of(found))

    def units(self, *, page_size: int = 50) -> Listing[DoneUnit, UnitPage]:
        """Return its committed units, newest first."""

        def fetch(cursor: str | None) -> UnitPage:
            query = {"limit": page_size, "cursor": cursor}
            found = self._transport.read(f"{self._path}/units", query)
            return decoded(UnitPage, document_of(found))

        return Listing(fetch, "units")

    def download(self, file: str | PathLike[str]) -> Download:
        """Write the file that a finished export made.

        Raises:
            NotFoundError: it made none.
        """
        return download(self._transport, f"{self._path}/file", {}, file)

    def _act(self, act: str, *, is_repeatable: bool = False) -> "Job":
        answer = self._transport.send(
            "POST", f"{self._path}/{act}", {}, is_repeatable=is_repeatable
        )
        self.view = decoded(JobView, document_of(answer))
        return self

    def wait(
        self,
        progress: bool | Callable[[JobView], None] = True,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Wait for its end and return its result; an interrupt leaves the job as it is.

        Args:
            progress: True shows a bar on standard error; a function is called at every change.
            timeout: longest wait, seconds; None for no limit.

        Raises:
            JobFailedError: with problem and remedy.
            JobCancelledError: somebody cancelled it.
            JobTimeoutError: it goes on after `timeout`.
            ServerUnreachableError: there was no answer for five minutes.
        """
        if self.is_open:
            deadline = None if timeout is None else time.monotonic() + timeout
            shown: AbstractContextManager[Callable[[JobView], None]]
            if callable(progress):
                shown = nullcontext(progress)
            else:
                shown = bar(self.view) if progress else nullcontext(lambda view: None)
            with shown as show:
                self._follow(deadline, show)
        if self.is_open and timeout is not None:
            raise JobTimeoutError(self.view, timeout)
        return self.result

    def _follow(self, deadline: float | None, show: Callable[[JobView], None]) -> None:
        for view in views(self._transport, self._path, deadline):
            if view is not None and view != self.view:
                self.view = view
                show(view)


class JobCalls(Calls):
    """Calls about jobs."""

    def submit(
        self,
        kind: str,
        *,
        idempotency_key: str | None = None,
        requires: Requires = "any",
        **parameters: Any,
    ) -> Job:
        """Ask for a job; an equal one that did not fail is given back instead of a new one.

        Args:
            kind: "evaluate", "classify", "discover", …; /api of the server describes each.
            idempotency_key: the same key gives the same job again, and lets a request whose
                answer was lost be repeated.
            requires: "cuda" if only a worker with a GPU may do it.
            parameters: what the kind needs; None stands for one that is left out.

        Raises:
            InvalidRequestError: a parameter that cannot be used; `errors` names it.
            NotFoundError: a name that the store does not hold.
            ConflictError: the key belongs to another request, or something must be computed first.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        view = self._send(
            JobView,
            "POST",
            path_of("/jobs"),
            {"kind": kind, "parameters": given, "requires": requires},
            headers,
            is_repeatable=idempotency_key is not None,
        )
        return Job(self._transport, view)

    def job(self, job: str) -> Job:
        """Return one job, by id."""
        return Job(self._transport, self._get(JobView, path_of("/jobs/{}", job)))

    def jobs(
        self, *, state: JobState | None = None, kind: str | None = None, page_size: int = 50
    ) -> Listing[JobView, JobPage]:
        """Return jobs, newest first, of a state or kind only if given; long parameters are cut."""
        query = {"limit": page_size, "state": state, "kind": kind}
        return self._listing(JobView, JobPage, path_of("/jobs"), "jobs", query)

    def job_kinds(self) -> tuple[KindView, ...]:
        """Return the kinds of jobs, with the schema of what each takes."""
        return self._rows(KindView, path_of("/jobs/kinds"), "kinds", {})

    def estimate(self, kind: str, **parameters: Any) -> Estimate:
        """Return what a job would cost; nothing is queued.

        Raises:
            InvalidRequestError, NotFoundError, ConflictError: as `submit` would.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        body = {"kind": kind, "parameters": given}
        return self._send(Estimate, "POST", path_of("/jobs/estimate"), body, is_repeatable=True)
