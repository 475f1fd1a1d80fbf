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
def shared(tmp_path: Path, database_url: str) -> Iterator[Store]:
    store = open_store(Settings(data_dir=tmp_path / "data", database_url=database_url))
    yield store
    store.close()


def held(store: Store) -> dict[str, str]:
    with store.session() as session:
        return {row.name: row.worker for row in session.scalars(select(Claim))}


def test_one_waits_until_the_other_has_done_it(shared: Store) -> None:
    first, second = (claims.claims(shared, leases.register_worker(shared, "cpu")) for _ in range(2))
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
    assert held(shared) == {}


def test_a_claim_is_let_go_when_what_it_is_for_fails(shared: Store) -> None:
    own = claims.claims(shared, leases.register_worker(shared, "cpu"))
    with pytest.raises(ZeroDivisionError), own("chunk"):
        raise ZeroDivisionError
    assert held(shared) == {}


def test_a_dead_workers_claim_is_taken_over(shared: Store) -> None:
    first, second = (leases.register_worker(shared, "cpu") for _ in range(2))
    assert claims._try_claim(shared, "chunk", first)
    assert not claims._try_claim(shared, "chunk", second)
    assert claims._try_claim(shared, "chunk", first), "its own: of a process that was killed"
    leases.release_lease(shared, first)
    assert claims._try_claim(shared, "chunk", second)
    assert held(shared) == {"chunk": second}
    leases.retire_workers(shared, [second])
    assert held(shared) == {}


def test_a_unit_that_is_put_down_holds_nothing(shared: Store) -> None:
    worker = leases.register_worker(shared, "cpu")
    job = _running(shared)
    assert job_table.start_unit(shared, job, 1, worker)
    assert claims._try_claim(shared, "chunk", worker)
    job_table.release_unit(shared, job, worker)
    assert held(shared) == {}


def _running(store: Store) -> str:
    from tests.faults.test_child import a_job

    return a_job(store)


def test_many_at_once_never_hold_one_together(shared: Store) -> None:
    inside, most, lock = 0, 0, threading.Lock()
    workers = [leases.register_worker(shared, "cpu") for _ in range(4)]

    def work(worker: str) -> None:
        nonlocal inside, most
        for _ in range(5):
            with claims.claims(shared, worker)("chunk"):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), "the end")
    assert most == 1
