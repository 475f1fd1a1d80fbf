"""Shared fixtures: stores, servers and databases.

`QUANTA_*` variables of the environment are removed before any other import, so that tests do not
depend on them. Only `QUANTA_TEST_STORE` is read: a folder that keeps the miniature store between
runs.
"""

# ruff: noqa: E402 - the environment is set before any library reads it
import os

_PERSISTENT_STORE = os.environ.get("QUANTA_TEST_STORE")
for _name in [name for name in os.environ if name.startswith("QUANTA_")]:
    del os.environ[_name]
# One thread everywhere, spawned processes included: results do not depend on the machine.
os.environ["OMP_NUM_THREADS"] = "1"

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from app.figures import base
from backend.progress import WORK_LOG
from backend.settings import Settings
from backend.store.database import Store, open_store
from tests import stores
from tests.processes import Server, running_server

base.IS_VALIDATED = True  # figures are checked in tests, not at every request
# The duration of an example depends on the load of the machine.
settings.register_profile("quanta", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quanta")


def _opened(folder: Path, database_url: str = "") -> Store:
    return open_store(Settings(data_dir=folder, database_url=database_url))


def _shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder shared by all xdist processes of one pytest run."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (root / name).mkdir(exist_ok=True)
    return root / name


# Long files first, so that the processes finish at about the same time.
LONG_FILES = (
    *("test_kills.py", "test_faults.py", "test_train.py", "test_axe.py", "test_wheel.py"),
    "test_cli.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def mini_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The demo on 60 documents, read-only; use `writable_store` to change it."""
    folder = (
        Path(_PERSISTENT_STORE) if _PERSISTENT_STORE else _shared_folder(tmp_path_factory, "mini")
    )
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        store = _opened(folder)
        stores.build_mini(store)
    yield store
    store.engine.dispose()


@pytest.fixture
def writable_store(mini_store: Store, tmp_path: Path) -> Iterator[Store]:
    """A copy of the miniature store for one test."""
    store = _opened(stores.copy_store(mini_store, tmp_path / "copy"))
    yield store
    store.engine.dispose()


@pytest.fixture(scope="session")
def server(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running `quanta serve` over a copy of the miniature store."""
    folder = stores.copy_store(mini_store, tmp_path_factory.mktemp("served") / "data")
    with running_server(folder) as running:
        yield running


@pytest.fixture(scope="session")
def server_url(server: Server) -> str:
    """URL of the running server."""
    return server.url


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with one corpus, `hostile`, full of markup and split characters."""
    folder = tmp_path_factory.mktemp("hostile")
    store = _opened(folder / "data")
    stores.build_hostile(store, folder / "hostile.jsonl")
    yield store
    store.engine.dispose()


@pytest.fixture(scope="session")
def hostile_url(hostile_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running server on a copy of the hostile store."""
    folder = stores.copy_store(hostile_store, tmp_path_factory.mktemp("hostile-served") / "data")
    with running_server(folder) as running:
        yield running.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[stores.PostgresServer]:
    """A real PostgreSQL server for the whole session."""
    with stores.postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: stores.PostgresServer) -> Iterator[str]:
    """The address of a fresh, empty PostgreSQL database."""
    name = f"t{uuid4().hex}"
    postgres.psql(f'CREATE DATABASE "{name}"')
    yield postgres.get_uri(database=name)
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'quanta.sqlite'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def any_store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated store on each kind of database."""
    store = _opened(tmp_path / "data", database_url)
    yield store
    store.engine.dispose()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated SQLite store."""
    opened = _opened(tmp_path / "data")
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="session")
def suite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part of the bundled suite; read-only."""
    return stores.small_suite(tmp_path_factory.mktemp("suite"), **stores.SMALL_STEPS)


@pytest.fixture(scope="session")
def pipeline_store(
    suite_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, stores.Pipeline]]:
    """A store with a small result of every kind, and the ids of those; read-only."""
    store = _opened(tmp_path_factory.mktemp("pipeline"))
    yield store, stores.run_pipeline(store, suite_folder)
    store.engine.dispose()


@pytest.fixture
def work_log() -> Iterator[list[str]]:
    """The lines that the test's work has logged, one for every unit that was computed."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, level = Keep(), WORK_LOG.level
    WORK_LOG.addHandler(handler)
    WORK_LOG.setLevel(logging.INFO)
    yield lines
    WORK_LOG.removeHandler(handler)
    WORK_LOG.setLevel(level)
