"""Metrics of jobs and workers: right numbers, and labels that only the program names."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.web.scopes import needed_scope
from backend.jobs import counts as job_counts
from backend.jobs.leases import TTL_SECONDS
from backend.store.database import Store
from backend.store.tables import Job, JobUnit, Worker
from backend.store.tables.base import now
from tests.app.conftest import local_client

Samples = dict[tuple[str, tuple[str, ...]], float]


def _job(number: int, kind: str, state: str, done: int = 0) -> Job:
    return Job(
        id=f"j-secret-{number}",
        kind=kind,
        state=state,
        parameters={"text": "words of a person"},
        key=f"key{number}",
        done=done,
        total=9,
        attempt=1,
        unit="chunks",
        updated_at=now(),
    )


def _unit(job: Job, number: int, seconds: float) -> JobUnit:
    return JobUnit(
        job_id=job.id, unit=f"[{number}]", worker="w", seconds=seconds, finished_at=now()
    )


def _worker(name: str, state: str, age: float) -> Worker:
    heartbeat = now() - timedelta(seconds=age)
    return Worker(
        id=name,
        host="a host",
        device="cpu",
        state=state,
        job_id=None,
        started_at=heartbeat,
        heartbeat_at=heartbeat,
    )


def _samples(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if "job" in sample.name or "worker" in sample.name or "store" in sample.name
    }


def test_metrics_count_jobs_units_and_workers(any_store: Store) -> None:
    client = local_client(create_app(any_store))
    empty = _samples(client)
    assert empty["quanta_jobs_queued", ()] == empty["quanta_workers_live", ()] == 0
    assert ("quanta_worker_oldest_heartbeat_seconds", ()) not in empty

    first, second = _job(1, "evaluate", "running", 2), _job(2, "evaluate", "queued")
    third, fourth = _job(3, "add_corpus", "queued"), _job(4, "evaluate", "running", 1)
    with any_store.begin() as session:
        session.add_all((first, second, third, fourth))
        session.flush()
        session.add_all((_unit(first, 0, 1.5), _unit(first, 1, 2.25), _unit(fourth, 0, 4.0)))
        session.add(_worker("quick", "live", 2))
        session.add(_worker("late", "live", 3 * TTL_SECONDS))
        session.add(_worker("dead", "dead", 9 * TTL_SECONDS))
    samples = _samples(client)
    oldest = samples.pop(("quanta_worker_oldest_heartbeat_seconds", ()))
    assert 3 * TTL_SECONDS - 2 <= oldest <= 3 * TTL_SECONDS + 240
    assert samples == {
        ("quanta_store_up", ()): 1,
        ("quanta_jobs", ("evaluate", "running")): 2,
        ("quanta_jobs", ("evaluate", "queued")): 1,
        ("quanta_jobs", ("add_corpus", "queued")): 1,
        ("quanta_job_units_total", ("evaluate",)): 3,
        ("quanta_job_units_total", ("add_corpus",)): 0,
        ("quanta_job_unit_seconds_total", ("evaluate",)): 7.75,
        ("quanta_jobs_queued", ()): 2,
        ("quanta_workers_live", ()): 1,
    }


def test_labels_contain_no_user_text_and_no_ids(store: Store) -> None:
    with store.begin() as session:
        kinds = ["words of a person", "j0123456789abcdef", "x" * 33, "evaluate"]
        session.add_all(_job(i, kind, "queued") for i, kind in enumerate(kinds))
        session.add(_worker("host:cpu:beef", "live", 1))
    samples = _samples(local_client(create_app(store)))
    assert samples["quanta_jobs", ("other", "queued")] == 3
    assert {label for _, labels in samples for label in labels} == {"evaluate", "other", "queued"}


def test_seconds_are_summed_over_a_bounded_number_of_units(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_counts, "MAX_UNITS", 2)
    job = _job(1, "evaluate", "running", 3)
    with store.begin() as session:
        session.add(job)
        session.flush()
        session.add_all(_unit(job, i, 1.0) for i in range(3))
    counts = job_counts.job_counts(store)
    assert (counts.unit_seconds, counts.units) == ({"evaluate": 2.0}, {"evaluate": 3})


def test_a_store_that_does_not_answer_leaves_the_other_metrics(store: Store) -> None:
    client = local_client(create_app(store))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE worker RENAME TO elsewhere")
    text = client.get("/metrics").text
    assert "quanta_store_up 0.0" in text
    assert "process_resident_memory_bytes" in text


def test_metrics_need_the_scope_read() -> None:
    assert needed_scope("GET", "/metrics") == "read"
