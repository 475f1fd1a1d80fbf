"""Jobs from Python: a worker computes them, and connections break during a wait."""

import io
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from app.client import (
    Client,
    ClientError,
    Job,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
)
from app.client.job_events import events
from app.client.progress import status_text
from app.client.types import JobView
from backend.store.database import Store
from backend.store.tables import Job as JobRow
from tests.app.faulty import DROP, PASS, Fault, faulty
from tests.app.test_jobs import body
from tests.processes import Server
from tests.workers import wait_until

SECONDS = 240.0


@pytest.fixture(scope="module")
def working(server: Server) -> Iterator[Client]:
    """The client of a server whose worker runs."""
    with Client(server.url) as client:
        yield client


def measure_params(client: Client, document: int, checkpoints: str = "final") -> dict[str, Any]:
    corpus = client.corpora()[0].id
    return {
        "corpus": corpus,
        "document": document,
        "target": "⏎",
        "checkpoints": checkpoints,
    }


@pytest.mark.slow
def test_a_job_is_followed_to_its_result(working: Client) -> None:
    job = working.submit("measure", **measure_params(working, 21))
    views: list[JobView] = []
    result = job.wait(progress=views.append, timeout=SECONDS)
    assert job.state == "finished"
    assert result == job.result == working.job(job.id).result
    assert result["document"] == 21
    shares = [view.fraction for view in views if view.fraction is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    heat = working.heat(result["corpus"], 21, measure="p_token", target="⏎")
    assert heat.mean is not None
    repeated = working.submit("measure", **measure_params(working, 21))
    assert repeated.id == job.id
    assert repeated.wait(progress=False, timeout=0.0) == result  # it has ended: no wait
    assert job.id in [view.id for view in working.jobs(page_size=1)]


@pytest.mark.slow
def test_a_stream_that_breaks_falls_back_to_polling(working: Client, server: Server) -> None:
    def cut(line: str, n: int) -> Fault:
        if "/events" not in line:
            return PASS
        return DROP if n % 2 else 1_500  # in the middle of the first event, or the second

    with faulty(server.url, cut) as proxy, Client(proxy.url) as client:
        job = client.submit("measure", **measure_params(client, 22, "all"))
        result = job.wait(progress=False, timeout=SECONDS)
        assert result["document"] == 22
        assert proxy.n_asked(f"{job.id}/events") >= 1
        assert proxy.n_asked(f"GET /api/v1/jobs/{job.id} ") >= 1


def test_a_job_without_a_stream_is_polled(over_http: Client, names: dict[str, Any]) -> None:
    # This store has no worker: only the cancellation ends the job.
    with (
        faulty(over_http._transport.url, lambda line, n: DROP if "/events" in line else PASS) as p,
        Client(p.url) as client,
    ):
        job = client.submit(**flat(body(names, document=31)))
        get_error = wait_in_thread(job)
        wait_until(lambda: p.n_asked(f"GET /api/v1/jobs/{job.id} ") > 1, "two requests")
        over_http.job(job.id).cancel()
        with pytest.raises(JobCancelledError, match="resume"):
            raise get_error()


def flat(sent: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `submit` for a body."""
    return {"kind": sent["kind"], **sent["parameters"]}


def wait_in_thread(job: Job) -> Any:
    """Wait for a job in a thread; return a function that returns its error."""
    errors: list[Exception] = []

    def wait() -> None:
        try:
            job.wait(progress=False, timeout=SECONDS)
        except ClientError as error:
            errors.append(error)

    thread = Thread(target=wait)
    thread.start()

    def get_error() -> Exception:
        thread.join(SECONDS)
        return errors[0]

    return get_error


def test_a_wait_can_time_out(over_http: Client, names: dict[str, Any]) -> None:
    job = over_http.submit(**flat(body(names, document=32)))
    with pytest.raises(JobTimeoutError, match="it continues on the server") as late:
        job.wait(progress=False, timeout=0.3)
    assert isinstance(late.value, TimeoutError)
    assert job.is_open
    with pytest.raises(RuntimeError, match="wait"):
        _ = job.result
    assert job.cancel().state == "cancelled"
    with pytest.raises(JobCancelledError):
        job.wait()
    assert job.resume().view.attempt == 2
    assert job.refresh().state == "queued"
    job.cancel()
    with pytest.raises(NotFoundError):
        over_http.job("j0")


def test_a_failed_job_raises_its_problem_and_remedy(
    over_http: Client, app_store: Store, names: dict[str, Any]
) -> None:
    job = over_http.submit(**flat(body(names, document=33)))
    get_error = wait_in_thread(job)
    with app_store.session() as session:
        row = session.get(JobRow, job.id)
        assert row is not None
        row.state, row.problem, row.remedy = "failed", "no room in memory", "Use a smaller model"
        session.commit()
    failure = get_error()
    assert isinstance(failure, JobFailedError)
    assert (failure.problem, failure.remedy) == ("no room in memory", "Use a smaller model")
    assert failure.job.id == job.id
    assert "no room in memory. Use a smaller model." in str(failure)


def test_the_bar_is_drawn_on_standard_error(
    over_http: Client, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = io.StringIO()
    monkeypatch.setattr("sys.stderr", drawn)
    job = over_http.submit(**flat(body(names, document=34)))
    with pytest.raises(JobTimeoutError):
        job.wait(timeout=0.2)
    job.cancel()
    assert "measure" in drawn.getvalue()
    assert "queued" in drawn.getvalue()


def test_progress_names_activity_units_and_remaining_time() -> None:
    view = JobView(
        **dict.fromkeys(JobView.__dataclass_fields__),  # type: ignore[arg-type]
    )
    values = {**vars(view), "state": "running", "activity": "s3 at step 64", "unit": "chunks"}
    values |= {"done": 3, "total": 12, "seconds_left": 3_725.2}
    assert status_text(JobView(**values)) == "s3 at step 64, 3/12 chunks, 1:02:05 left"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_events_are_read_wherever_they_are_split(size: int) -> None:
    text = 'event: job\nretry: 2000\ndata: {"a": "\u2028 \u0085 漢"}\n\n: still there\n\n'
    sent = (text + 'event: job\r\ndata: {"b": 1}\r\n\r\nevent: job\ndata: {"cut').encode()
    pieces = iter([sent[i : i + size] for i in range(0, len(sent), size)])
    assert list(events(pieces)) == [{"a": "\u2028 \u0085 漢"}, {"b": 1}]
