"""Jobs: submit them, follow them, and wait for their results."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Any

from app.client import types
from app.client.calls import Calls, path_of
from app.client.decoding import decode
from app.client.errors import JobCancelledError, JobFailedError, JobTimeoutError
from app.client.files import download
from app.client.job_events import OPEN_STATES, views
from app.client.paging import Listing
from app.client.progress import bar
from app.client.transport import Transport, document_of


class Job:
    """A job on the server, in the state of the last request.

    A job continues without a client that waits; `client.job(id)` returns it in any program.

    Attributes:
        view: state of the job at the last request.
    """

    def __init__(self, transport: Transport, view: types.JobView) -> None:
        """Wrap a job of the server; use `Client.submit` or `Client.job`."""
        self._transport = transport
        self._path = path_of("/jobs/{}", view.id)
        self.view = view

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.view.kind}: {self.state}>"

    @property
    def id(self) -> str:
        """Return the id of the job."""
        return self.view.id

    @property
    def state(self) -> types.JobState:
        """Return the state at the last request."""
        return self.view.state

    @property
    def is_open(self) -> bool:
        """Return whether the job had not ended at the last request."""
        return self.state in OPEN_STATES

    @property
    def result(self) -> dict[str, Any]:
        """Return the result: names and ids for other calls.

        Raises:
            JobFailedError, JobCancelledError: the job has no result.
            RuntimeError: the job has not ended; `wait` first.
        """
        if self.state == "failed":
            raise JobFailedError(self.view)
        if self.state == "cancelled":
            raise JobCancelledError(self.view)
        if self.is_open:
            raise RuntimeError(
                f"job {self.id} is {self.state} and has no result; call wait() first"
            )
        return self.view.result or {}

    def refresh(self) -> "Job":
        """Load the current state from the server."""
        self.view = decode(types.JobView, document_of(self._transport.read(self._path)))
        return self

    def cancel(self) -> "Job":
        """Cancel the job; committed units stay. The state may be `cancelling` for a moment."""
        return self._post("cancel", is_repeatable=True)

    def resume(self) -> "Job":
        """Queue a failed or cancelled job again; committed units stay.

        Raises:
            ConflictError: the job is neither failed nor cancelled.
        """
        return self._post("resume")

    def log(self, cursor: str = "0", limit: int = 100) -> types.LogPage:
        """Return the last lines of the job's log after a cursor, oldest first."""
        response = self._transport.read(f"{self._path}/log", {"cursor": cursor, "limit": limit})
        return decode(types.LogPage, document_of(response))

    def units(self, *, page_size: int = 50) -> Listing[types.DoneUnit, types.UnitPage]:
        """Return the committed units of the job, newest first."""

        def fetch(cursor: str | None) -> types.UnitPage:
            query = {"limit": page_size, "cursor": cursor}
            response = self._transport.read(f"{self._path}/units", query)
            return decode(types.UnitPage, document_of(response))

        return Listing(fetch, "units")

    def download(self, file: str | PathLike[str]) -> types.Download:
        """Download the file of a finished export.

        Raises:
            NotFoundError: the job has no file.
        """
        return download(self._transport, f"{self._path}/file", {}, file)

    def _post(self, action: str, *, is_repeatable: bool = False) -> "Job":
        path = f"{self._path}/{action}"
        response = self._transport.send("POST", path, {}, is_repeatable=is_repeatable)
        self.view = decode(types.JobView, document_of(response))
        return self

    def wait(
        self, progress: bool | Callable[[types.JobView], None] = True, timeout: float | None = None
    ) -> dict[str, Any]:
        """Wait for the job and return its result; an interrupt does not cancel the job.

        Args:
            progress: True shows a bar on standard error; a function is called on every change.
            timeout: longest wait, seconds; None for no limit.

        Raises:
            JobFailedError: the job failed.
            JobCancelledError: the job was cancelled.
            JobTimeoutError: the job did not end within `timeout`.
            ServerUnreachableError: the server did not answer for five minutes.
        """
        if self.is_open:
            deadline = None if timeout is None else time.monotonic() + timeout
            display: AbstractContextManager[Callable[[types.JobView], None]]
            if callable(progress):
                display = nullcontext(progress)
            else:
                display = bar(self.view) if progress else nullcontext(lambda view: None)
            with display as show:
                self._follow(deadline, show)
        if self.is_open and timeout is not None:
            raise JobTimeoutError(self.view, timeout)
        return self.result

    def _follow(self, deadline: float | None, show: Callable[[types.JobView], None]) -> None:
        for view in views(self._transport, self._path, deadline):
            if view is not None and view != self.view:
                self.view = view
                show(view)


class JobCalls(Calls):
    """Calls for jobs."""

    def submit(
        self,
        kind: str,
        *,
        idempotency_key: str | None = None,
        requires: types.Requires = "any",
        **parameters: Any,
    ) -> Job:
        """Submit a job; an equal job that has not failed is returned instead of a new one.

        Args:
            kind: "evaluate", "classify", "discover", …; /api of the server describes each.
            idempotency_key: a key that returns the same job on a retry, so that a request without
                a response can be repeated.
            requires: "cuda" if only a worker with a GPU may execute the job.
            parameters: parameters of the kind; those that are None are left out.

        Raises:
            InvalidRequestError: a parameter is invalid; `errors` names it.
            NotFoundError: a name is not in the store.
            ConflictError: the key belongs to another request, or an input must be computed first.
        """
        params = {name: value for name, value in parameters.items() if value is not None}
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        view = self._send(
            types.JobView,
            "POST",
            path_of("/jobs"),
            {"kind": kind, "parameters": params, "requires": requires},
            headers,
            is_repeatable=idempotency_key is not None,
        )
        return Job(self._transport, view)

    def job(self, job: str) -> Job:
        """Return one job, by id."""
        return Job(self._transport, self._get(types.JobView, path_of("/jobs/{}", job)))

    def jobs(
        self, *, state: types.JobState | None = None, kind: str | None = None, page_size: int = 50
    ) -> Listing[types.JobView, types.JobPage]:
        """Return jobs, newest first, optionally of one state or kind; long parameters are cut."""
        query = {"limit": page_size, "state": state, "kind": kind}
        return self._listing(types.JobView, types.JobPage, path_of("/jobs"), "jobs", query)

    def job_kinds(self) -> tuple[types.KindView, ...]:
        """Return the kinds of jobs, with the schemas of their parameters."""
        return self._rows(types.KindView, path_of("/jobs/kinds"), "kinds", {})

    def estimate(self, kind: str, **parameters: Any) -> types.Estimate:
        """Return the estimated cost of a job without queueing it.

        Raises:
            InvalidRequestError, NotFoundError, ConflictError: as `submit` would.
        """
        params = {name: value for name, value in parameters.items() if value is not None}
        body = {"kind": kind, "parameters": params}
        return self._send(
            types.Estimate, "POST", path_of("/jobs/estimate"), body, is_repeatable=True
        )
