"""A full disk, a lock and a lost connection: said in words, survived, nothing half written."""

import errno
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import OperationalError

from app.main import create_app
from backend import cli
from backend.errors import StoreBusyError, StoreError, StoreFullError
from backend.settings import Settings
from backend.store import database as db
from backend.store.database import Store, open_store
from backend.store.database_errors import as_store_error
from backend.store.tables import Corpus, Suite
from tests.app.conftest import local_client
from tests.stores import small_corpus


def limited(store: Store, pages: int | None = None) -> None:
    """Let the file grow no further, as on a full disk; None: to hardly more than it has."""

    def limit(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        present = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count={pages or present + 1}")
        cursor.close()

    store.engine.dispose()
    event.listen(store.engine, "connect", limit)


def raised(action: Callable[[], Any]) -> BaseException:
    with pytest.raises(OperationalError) as caught:
        action()
    return caught.value


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Another connection holds the file exclusively for some seconds, then lets go."""
    taken = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            taken.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    yield
    thread.join()


def add_suite(store: Store, name: str) -> None:
    with store.begin() as session:
        session.add(Suite(name=name, description="", tokenizer_key=None))


def test_a_full_disk_leaves_nothing_half_written_and_room_repairs_it(store: Store) -> None:
    limited(store)
    fault = as_store_error(raised(lambda: small_corpus(store)))
    assert isinstance(fault, StoreFullError)
    assert "disk is full" in fault.problem
    assert "quanta prune" in fault.remedy
    with store.session() as session:
        assert session.scalars(select(Corpus)).all() == []
    other = open_store(store.settings)
    with other.session() as session:
        assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        assert session.execute(text("SELECT COUNT(*) FROM document")).scalar_one() == 0
    assert small_corpus(other).n_documents == 16
    other.close()


@pytest.mark.parametrize(
    "seconds", [1.5, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.soak])]
)
def test_a_lock_that_is_let_go_only_delays(store: Store, seconds: float) -> None:
    with locked(store.settings.data_dir / "quanta.sqlite", seconds):
        began = time.monotonic()
        add_suite(store, "written")
        assert time.monotonic() - began > seconds / 2
    with store.session() as session:
        assert session.scalars(select(Suite.name)).all() == ["written"]


def test_a_lock_that_stays_is_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_MS", 200)
    store = open_store(Settings(data_dir=tmp_path))
    with locked(tmp_path / "quanta.sqlite", 1.5):
        fault = as_store_error(raised(lambda: add_suite(store, "never")))
    assert isinstance(fault, StoreBusyError)
    assert "another program is writing" in fault.problem
    with store.session() as session:
        assert session.scalars(select(Suite)).all() == []
    add_suite(store, "later")
    store.close()


def test_a_lost_connection_is_told_and_the_next_works(postgres_url: str, tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path, database_url=postgres_url))

    def cut() -> None:
        with store.begin() as session:
            session.add(Suite(name="half", description="", tokenizer_key=None))
            session.flush()
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with store.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            session.execute(text("SELECT 1"))

    fault = as_store_error(raised(cut))
    assert isinstance(fault, StoreBusyError)
    assert "connection to the database was lost" in fault.problem
    add_suite(store, "whole")
    with store.session() as session:
        assert session.scalars(select(Suite.name)).all() == ["whole"]
    store.close()


def test_a_lock_that_is_not_had_is_told_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path, database_url=postgres_url))

    def blocked() -> None:
        with store.begin() as session:
            session.execute(text("SET LOCAL lock_timeout = '100ms'"))
            session.add(Suite(name="never", description="", tokenizer_key=None))

    with store.begin() as holder:
        holder.execute(text("LOCK TABLE suite IN ACCESS EXCLUSIVE MODE"))
        assert isinstance(as_store_error(raised(blocked)), StoreBusyError)
    store.close()


def sqlite_error(code: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(code.lower())
    error.sqlite_errorname = code
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite_error("SQLITE_FULL"), StoreFullError),
        (sqlite_error("SQLITE_IOERR_WRITE"), StoreFullError),
        (sqlite_error("SQLITE_BUSY_SNAPSHOT"), StoreBusyError),
        (sqlite_error("SQLITE_LOCKED_SHAREDCACHE"), StoreBusyError),
        (sqlite_error("SQLITE_CORRUPT"), StoreError),
        (OSError(errno.ENOSPC, "No space left on device"), StoreFullError),
        (OSError(errno.ENOENT, "No such file"), None),
        (sqlite_error("SQLITE_ERROR"), None),
        (ValueError("x"), None),
    ],
)
def test_each_fault_has_one_kind(error: Exception, kind: type[StoreError] | None) -> None:
    result = as_store_error(error)
    assert (type(result) if result else None) == kind
    if isinstance(error, sqlite3.Error):
        wrapped = OperationalError("INSERT secret", {}, error)
        assert str(as_store_error(wrapped)) == str(result)


def run(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    def failing() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["quanta"])
    return cli.run_guarded(failing)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_IOERR_WRITE", "disk refused"),
        ("SQLITE_BUSY", "another program is writing"),
    ],
)
def test_the_command_line_says_problem_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    words: str,
    wrapped: bool,
) -> None:
    error = sqlite_error(code)
    assert run(monkeypatch, OperationalError("INSERT", {}, error) if wrapped else error) == 2
    problem, remedy = capsys.readouterr().err.strip().splitlines()
    assert words in problem
    assert "again" in remedy


def test_an_unknown_failure_of_the_system_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        run(monkeypatch, FileNotFoundError(errno.ENOENT, "gone"))


@pytest.fixture
def writable(writable_store: Store) -> Iterator[Store]:
    yield writable_store
    writable_store.close()


def put_label(store: Store) -> Any:
    with local_client(create_app(store), raise_server_exceptions=False) as client:
        clusterings = client.get("/api/v1/clusterings").json()["clusterings"]
        url = f"/api/v1/clusterings/{clusterings[0]['id']}/clusters"
        cluster = client.get(url).json()["clusters"][0]["id"]
        return client.put(
            f"/api/v1/clusters/{cluster}/annotation",
            json={"label": "x", "note": "n" * 5_000, "tags": []},
            headers={"Sec-Fetch-Site": "same-origin"},
        )


def annotations(engine: Engine) -> int:
    with engine.connect() as connection:
        result: int = connection.execute(text("SELECT COUNT(*) FROM annotation")).scalar_one()
    return result


def test_the_api_answers_507_when_the_disk_is_full(
    writable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(writable, 1)  # SQLite takes the present size where that is more
    response = put_label(writable)
    assert response.status_code == 507, response.text
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["title"] == "Insufficient Storage"
    assert "prune" in document["remedy"]
    assert annotations(writable.engine) == 0


def test_the_api_answers_503_and_when_to_come_back_while_the_store_is_locked(
    writable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_MS", 100)
    writable.engine.dispose()
    with locked(writable.settings.data_dir / "quanta.sqlite", 4):
        response = put_label(writable)
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"] == "5"
    assert "locked" in response.json()["detail"]
    assert annotations(writable.engine) == 0
    assert put_label(writable).status_code == 200


def test_a_cache_that_finds_no_room_is_a_507(
    writable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device: /secret")

    monkeypatch.setattr("backend.corpora.corpora.list_corpora", failing)
    with local_client(create_app(writable), raise_server_exceptions=False) as client:
        response = client.get("/api/v1/corpora")
        assert response.status_code == 507
        assert "secret" not in response.text
        monkeypatch.setattr(
            "backend.corpora.corpora.list_corpora",
            lambda *_: (_ for _ in ()).throw(PermissionError("/secret")),
        )
        response = client.get("/api/v1/corpora")
        assert response.status_code == 500
        assert "secret" not in response.text
        unknown = OperationalError("SELECT secret", {}, sqlite_error("SQLITE_ERROR"))
        monkeypatch.setattr(
            "backend.corpora.corpora.list_corpora", lambda *_: (_ for _ in ()).throw(unknown)
        )
        response = client.get("/api/v1/corpora")
        assert response.status_code == 500, "no lock: it would not pass"
        assert "secret" not in response.text


def test_a_job_on_a_full_disk_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.jobs import unit_runner
    from backend.jobs.kinds.measure import MEASURE
    from backend.stages.devices import Compute

    def failing(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite_error("SQLITE_FULL"))

    monkeypatch.setattr(unit_runner, "_open_store", lambda *_: (store, Compute("cpu", 1, 1)))
    job = SimpleNamespace(kind="measure", parameters={})
    monkeypatch.setattr(unit_runner.job_table, "get_job", lambda *_: job)
    monkeypatch.setitem(unit_runner.KINDS, "measure", replace(MEASURE, perform=failing))
    unit = ["checkpoint", "m", 0]
    _, failure, _ = unit_runner.perform("{}", "a-worker", "a-job", unit)
    assert failure is not None
    assert "disk is full" in failure[0]
