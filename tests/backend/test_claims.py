"""Claims: what two jobs share is computed by one worker, whoever dies in between."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from backend.jobs import claims, job_table, leases
from backend.settings import Settings
from backend.store.database import Store, open_store
from backend.store.tables import Claim
from tests.workers import wait_until


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    store = open_store(Settings(data_dir=tmp_path / "data", database_url=database_url))
    yield store
    store.close()


def list_claims(store: Store) -> dict[str, str]:
    with store.session() as session:
        return {row.name: row.worker for row in session.scalars(select(Claim))}


def test_a_worker_waits_for_the_claim_of_another(store: Store) -> None:
    first, second = (claims.claims(store, leases.register_worker(store, "cpu")) for _ in range(2))
    order: list[str] = []

    def other() -> None:
        with second("chunk 1"):
            order.append("second")

    with first("chunk 1"):
        waiting = threading.Thread(target=other)
        waiting.start()
        with second("chunk 2"):  # another name is free
            pass
        waiting.join(timeout=3 * claims.POLL_SECONDS)
        assert waiting.is_alive()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert list_claims(store) == {}


def test_a_claim_is_released_after_an_error(store: Store) -> None:
    claim = claims.claims(store, leases.register_worker(store, "cpu"))
    with pytest.raises(ZeroDivisionError), claim("chunk"):
        raise ZeroDivisionError
    assert list_claims(store) == {}


def test_a_dead_workers_claim_is_taken_over(store: Store) -> None:
    first, second = (leases.register_worker(store, "cpu") for _ in range(2))
    assert claims._try_claim(store, "chunk", first)
    assert not claims._try_claim(store, "chunk", second)
    assert claims._try_claim(store, "chunk", first), "its own claim, left by a killed process"
    leases.release_lease(store, first)
    assert claims._try_claim(store, "chunk", second)
    assert list_claims(store) == {"chunk": second}
    leases.retire_workers(store, [second])
    assert list_claims(store) == {}


def test_a_released_unit_holds_no_claim(store: Store) -> None:
    worker = leases.register_worker(store, "cpu")
    job = _running(store)
    assert job_table.start_unit(store, job, 1, worker)
    assert claims._try_claim(store, "chunk", worker)
    job_table.release_unit(store, job, worker)
    assert list_claims(store) == {}


def _running(store: Store) -> str:
    from tests.faults.test_child import a_job

    return a_job(store)


def test_workers_never_hold_one_claim_together(store: Store) -> None:
    inside, n_most, lock = 0, 0, threading.Lock()
    workers = [leases.register_worker(store, "cpu") for _ in range(4)]

    def work(worker: str) -> None:
        nonlocal inside, n_most
        for _ in range(5):
            with claims.claims(store, worker)("chunk"):
                with lock:
                    inside += 1
                    n_most = max(n_most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), "the end")
    assert n_most == 1
