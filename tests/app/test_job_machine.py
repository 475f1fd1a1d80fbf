"""The job API against a model of it, while workers start, compute, and lose their leases."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, update

from app.main import create_app
from backend.errors import QuantaError
from backend.jobs import job_table, leases, workflows
from backend.store.database import Store
from backend.store.tables import Job, JobRequest, JobUnit, Worker
from backend.store.tables.base import now
from tests.app.conftest import local_client
from tests.app.job_rules import ENDED, OWN, URL, Watch
from tests.workers import running_worker, wait_until

CORPUS = "mini-held-out-60"
DOCUMENTS = st.integers(0, 2)
KEYS = st.sampled_from([None, "one-key", "other-key"])
PICK = st.integers(0, 1_000)
UNITS = 2
MOST_WORKERS = 3


def body(document: int, checkpoints: str = "one") -> dict[str, Any]:
    params = {"corpus": CORPUS, "document": document, "target": "⏎", "checkpoints": checkpoints}
    return {"kind": "measure", "parameters": params}


@dataclass
class ModelJob:
    """A job in the model."""

    document: int
    state: str = "queued"
    attempt: int = 1
    units: set[str] = field(default_factory=set)

    def end(self, state: str) -> None:
        self.state = state


class Jobs(RuleBasedStateMachine):
    """The job API and the functions that workers call, on the real tables."""

    store: ClassVar[Store]
    client: ClassVar[TestClient]

    def __init__(self) -> None:
        super().__init__()
        with self.store.begin() as session:
            for table in (JobRequest, JobUnit, Job, Worker):
                session.execute(delete(table))
        self.jobs: dict[str, ModelJob] = {}
        # What each Idempotency-Key was sent with: document, job.
        self.keys: dict[str, tuple[int, str]] = {}
        # The job of each live worker; workers that lost their lease.
        self.live: dict[str, str | None] = {}
        self.dead: list[str] = []
        self.watch = Watch(self.client)

    @initialize()
    def two_workers_and_a_job(self) -> None:
        self.start_worker()
        self.start_worker()
        self.submit(0, None)

    def job(self, pick: int, *states: str) -> tuple[str, ModelJob]:
        """A job, three times of four in one of these states."""
        names = sorted(self.jobs)
        matching = [name for name in names if self.jobs[name].state in states]
        names = matching if matching and pick % 4 else names
        name = names[pick // 4 % len(names)]
        return name, self.jobs[name]

    def worker(self, pick: int) -> str:
        return sorted(self.live)[pick % len(self.live)]

    def as_worker(self, name: str) -> Store:
        """The store of a worker, which commits only under its lease."""
        fenced = Store(self.store.engine, self.store.settings)
        fenced.fence = leases.make_fence(name)
        return fenced

    def claimant(self, document: int) -> str | None:
        claims = (
            name
            for name, job in self.jobs.items()
            if job.document == document and job.state not in {"failed", "cancelled"}
        )
        return next(claims, None)

    def finish_cancellations(self) -> None:
        for name, job in self.jobs.items():
            if job.state == "cancelling" and name not in self.live.values():
                job.end("cancelled")

    @rule(document=DOCUMENTS, key=KEYS)
    def submit(self, document: int, key: str | None) -> None:
        """A new request, an equal one, a clone of one that ended, or a key that is taken."""
        sent = OWN | ({"Idempotency-Key": key} if key else {})
        answer = self.client.post(URL, json=body(document), headers=sent)
        key_document, same_key = self.keys.get(key or "", (document, None))
        if key_document != document:
            assert answer.status_code == 409
            return
        assert answer.status_code == 202, answer.text
        name = answer.json()["id"]
        expected = same_key or self.claimant(document)
        if expected is None:
            assert name not in self.jobs
            self.jobs[name] = ModelJob(document)
        assert name == (expected or name)
        if key is not None:
            self.keys[key] = (document, name)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        name, job = self.job(pick, "running")
        answer = self.client.post(f"{URL}/{name}/cancel", json={}, headers=OWN)
        assert answer.status_code == 202
        if job.state == "queued":
            job.end("cancelled")
        elif job.state == "running":
            job.state = "cancelling"
            self.finish_cancellations()
        assert answer.json()["state"] == job.state

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        name, job = self.job(pick, "failed", "cancelled")
        answer = self.client.post(f"{URL}/{name}/resume", json={}, headers=OWN)
        may = job.state in {"failed", "cancelled"} and self.claimant(job.document) is None
        assert answer.status_code == (202 if may else 409), answer.text
        if may:
            job.state, job.attempt = "queued", job.attempt + 1

    @precondition(lambda self: len(self.live) < MOST_WORKERS)
    @rule()
    def start_worker(self) -> None:
        self.live[leases.register_worker(self.store, "cpu")] = None

    @precondition(lambda self: self.live and self.jobs)
    @rule(pick=PICK, who=PICK)
    def begin(self, pick: int, who: int) -> None:
        """A worker plans a job."""
        name, job = self.job(pick, "queued")
        worker = self.worker(who)
        store = self.as_worker(worker)
        if job.state == "queued":
            job.state = "running"
        if job_table.start_attempt(store, name, job.attempt, worker):
            job_table.set_units(store, name, [f"u{unit}" for unit in range(UNITS)])
        assert (job.state == "running") == job_table.is_running(store, name)

    @precondition(lambda self: self.live and self.jobs)
    @rule(pick=PICK, who=PICK, late=st.sampled_from([False, False, False, True]))
    def start_unit(self, pick: int, who: int, late: bool) -> None:
        """An idle worker starts a unit of a job, perhaps of an earlier attempt."""
        name, job = self.job(pick, "running")
        worker = self.worker(who)
        if self.live[worker] is not None:
            return
        attempt = job.attempt - 1 if late else job.attempt
        started = job_table.start_unit(self.as_worker(worker), name, attempt, worker)
        assert started == (job.state == "running" and not late)
        if started:
            self.live[worker] = name

    @precondition(lambda self: any(self.live.values()))
    @rule(
        who=PICK, unit=st.integers(0, UNITS - 1), outcome=st.sampled_from(["done", "done", "not"])
    )
    def release_unit(self, who: int, unit: int, outcome: str) -> None:
        """A worker commits its unit, perhaps together with another worker, or fails."""
        busy = sorted(worker for worker, name in self.live.items() if name)
        self.commit(busy[who % len(busy)], unit, outcome)

    @precondition(lambda self: self.live and self.jobs)
    @rule(pick=PICK, who=PICK)
    def finish(self, pick: int, who: int) -> None:
        """A worker marks a job with all units completed as finished."""
        name, job = self.job(pick, "running")
        if len(job.units) < UNITS or name in self.live.values():
            return
        job_table.finish(self.as_worker(self.worker(who)), name, {"page": "/documents"})
        if job.state == "running":
            job.end("finished")

    @precondition(lambda self: len(self.live) > 1)
    @rule(who=PICK, by_itself=st.booleans())
    def end_worker(self, who: int, by_itself: bool) -> None:
        """A worker releases its lease, or the lease expires; another worker recovers its jobs."""
        worker = self.worker(who)
        del self.live[worker]
        if by_itself:
            leases.release_lease(self.store, worker)
        else:
            with self.store.begin() as session:
                old = now() - timedelta(seconds=2 * leases.TTL_SECONDS)
                session.execute(update(Worker).where(Worker.id == worker).values(heartbeat_at=old))
        other = self.worker(0)
        lost = leases.expire_leases(self.as_worker(other), other)
        assert worker in lost
        leases.retire_workers(self.as_worker(other), lost)
        job_table.finish_cancellations(self.as_worker(other))
        self.dead.append(worker)
        self.finish_cancellations()

    @precondition(lambda self: self.dead and self.jobs)
    @rule(pick=PICK, who=PICK)
    def resume_dead_worker(self, pick: int, who: int) -> None:
        """A worker that was suspended runs again and changes nothing."""
        name, _ = self.job(pick)
        worker = self.dead[who % len(self.dead)]
        store = self.as_worker(worker)
        late_unit = job_table.CompletedUnit("late", worker, 0.1, is_stored=False)
        late: list[Callable[[], object]] = [
            lambda: leases.renew_lease(self.store, worker),
            lambda: job_table.start_attempt(store, name, 1, worker),
            lambda: job_table.start_unit(store, name, 1, worker),
            lambda: job_table.complete_unit(store, name, late_unit, None),
            lambda: job_table.finish(store, name, {}),
            lambda: job_table.fail(store, name, QuantaError("late", "late")),
        ]
        for act in late:
            with pytest.raises(leases.LostLeaseError):
                act()

    @precondition(lambda self: self.live and self.jobs)
    @rule(pick=PICK, who=PICK, stops=st.integers(0, 3))
    def work(self, pick: int, who: int, stops: int) -> None:
        """A worker computes some or all units of a job."""
        name, _ = self.job(pick, "queued", "running")
        worker = self.worker(who)
        if self.live[worker] is not None:
            return
        at, by = 4 * sorted(self.jobs).index(name), sorted(self.live).index(worker)
        self.begin(at, by)
        for unit in range(UNITS):
            if stops == unit:
                return
            self.start_unit(at, by, late=False)
            if self.live[worker] is None:
                return
            self.commit(worker, unit)
        if stops > UNITS:
            self.finish(at, by)

    def commit(self, worker: str, unit: int, outcome: str = "done") -> None:
        name = self.live[worker]
        assert name is not None
        job, store = self.jobs[name], self.as_worker(worker)
        if outcome == "done":
            done = job_table.CompletedUnit(f"u{unit}", worker, 0.1, is_stored=False)
            job_table.complete_unit(store, name, done, None)
            job.units.add(f"u{unit}")
        elif job_table.is_running(store, name):
            job_table.fail(store, name, QuantaError("it failed", "try again"))
            job.end("failed")
        job_table.release_unit(store, name, worker)
        self.live[worker] = None
        self.finish_cancellations()

    @precondition(lambda self: any(job.state in ENDED for job in self.jobs.values()))
    @rule(pick=PICK)
    def follow(self, pick: int) -> None:
        ended = sorted(name for name, job in self.jobs.items() if job.state in ENDED)
        self.watch.follow(ended[pick % len(ended)])

    @invariant()
    def views_equal_the_model(self) -> None:
        self.watch.agree()
        views = {n: (j["state"], j["attempt"], j["done"]) for n, j in self.watch.views.items()}
        assert views == {n: (j.state, j.attempt, len(j.units)) for n, j in self.jobs.items()}


@pytest.fixture
def machine(writable_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Jobs]]:
    monkeypatch.setattr(job_table, "MAX_CRASHES", 10_000)  # the model does not count them
    with local_client(create_app(writable_store)) as client:

        class Here(Jobs):
            pass

        Here.store, Here.client = writable_store, client
        yield Here
    workflows.disconnect()


def run(machine: type[Jobs], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_jobs_follow_the_model(machine: type[Jobs]) -> None:
    run(machine, examples=12, steps=30)


@pytest.mark.soak
def test_many_jobs_follow_the_model(machine: type[Jobs]) -> None:
    run(machine, examples=300, steps=60)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(4))
def test_jobs_keep_their_rules_while_real_workers_are_killed(
    writable_store: Store, number: int
) -> None:
    """Random requests over HTTP, and kill -9 of worker processes, until all jobs have ended."""
    draw, folder = random.Random(number), writable_store.settings.data_dir
    with local_client(create_app(writable_store)) as client, ExitStack() as workers:
        watch = Watch(client)
        running = [workers.enter_context(running_worker(folder)) for _ in range(2)]
        for _ in range(60):
            name = draw.choice(sorted(watch.views) or ["j0"])
            act = draw.choice(["submit", "submit", "cancel", "resume", "kill", "wait"])
            if act == "submit":
                request = body(draw.randrange(6), draw.choice(["one", "final", "all"]))
                assert client.post(URL, json=request, headers=OWN).status_code == 202
            elif act in {"cancel", "resume"}:
                answer = client.post(f"{URL}/{name}/{act}", json={}, headers=OWN)
                assert answer.status_code in {202, 404, 409}, answer.text
            elif act == "kill":
                os.kill(running.pop(0).pid, signal.SIGKILL)
                running.append(workers.enter_context(running_worker(folder)))
            else:
                before = sum(job["done"] for job in watch.read().values())
                open_now = [j for j in watch.views.values() if j["state"] not in ENDED]
                if open_now:
                    wait_until(lambda: _has_moved(watch, before), "progress")  # noqa: B023
            watch.read()
        wait_until(lambda: all(job["state"] in ENDED for job in watch.read().values()), "every end")
        watch.agree()
        assert {job["state"] for job in watch.views.values()} <= {"finished", "cancelled"}
        for name in watch.views:
            watch.follow(name)
    workflows.disconnect()


def _has_moved(watch: Watch, done: int) -> bool:
    jobs = watch.read().values()
    return sum(job["done"] for job in jobs) > done or all(job["state"] in ENDED for job in jobs)
