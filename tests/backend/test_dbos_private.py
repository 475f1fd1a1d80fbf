"""Private parts of DBOS that the program uses: an upgrade that breaks one of them fails here."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from backend.jobs import engine, workflows
from backend.jobs.dbos_private import requeue, running_workflows
from backend.settings import Settings
from tests.workers import wait_until

JOB = "j1"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=database_url)


class Steps:
    """A job of two units, the first of which waits until it may end."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.may_end = threading.Event()
        self.units: list[int] = []
        self.finished: list[str] = []

    def perform(self, job_id: str, attempt: int, unit: int) -> bool:
        self.started.set()
        assert self.may_end.wait(60)
        self.units.append(unit)
        return True

    def job_steps(self) -> engine.JobSteps:
        def plan(job_id: str, attempt: int) -> tuple[str, list[list[object]]]:
            return workflows.SLICES, [[[1], [2]]]

        return engine.JobSteps(plan, list, self.perform, self.finished.append)


@pytest.fixture
def steps() -> Iterator[Steps]:
    from dbos import DBOS

    recorded = Steps()
    yield recorded
    recorded.may_end.set()
    DBOS.destroy(destroy_registry=True)
    workflows.disconnect()


def launch(settings: Settings, steps: Steps) -> engine.Engine:
    """Launch in a thread: DBOS refuses a thread with an event loop, which browser tests leave."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(engine.launch, settings, "worker-1", steps.job_steps()).result()


@pytest.mark.slow
def test_the_engine_knows_what_it_executes_and_puts_back_what_its_holder_dropped(
    settings: Settings, steps: Steps
) -> None:
    running = launch(settings, steps)
    assert workflows.enqueue(settings, JOB, 1)
    assert steps.started.wait(60)
    slice_ = f"{JOB}-0-0"
    assert running_workflows(running._dbos) == {JOB, slice_}
    assert running.list_executors() == {"worker-1"}

    # Another's work is not put back.
    assert not requeue(running._dbos, slice_, "worker-2", workflows.JOBS)
    running.recover("worker-2")
    running.requeue_orphans()
    running.requeue_orphans()
    assert workflows.load_states(settings, [JOB, slice_]) == {JOB: "PENDING", slice_: "PENDING"}

    steps.may_end.set()
    wait_until(lambda: steps.finished == [JOB], "the job")
    wait_until(lambda: not running_workflows(running._dbos), "the end of its threads")
    assert steps.units == [1, 2]
    assert workflows.load_states(settings, [JOB, slice_]) == {JOB: "SUCCESS", slice_: "SUCCESS"}

    # As if the engine had dropped both: only the second call puts them back, and nothing is lost.
    mark_as_started(settings)
    running.requeue_orphans()
    assert workflows.list_queued(settings) == []
    running.requeue_orphans()
    wait_until(lambda: not running.list_executors() and not workflows.list_queued(settings), "both")
    assert workflows.load_states(settings, [JOB, slice_]) == {JOB: "SUCCESS", slice_: "SUCCESS"}
    assert steps.units == [1, 2], "the outcomes of units are stored"


@contextmanager
def engine_tables(settings: Settings) -> Iterator[Connection]:
    url = workflows.system_url(settings).replace("postgresql:", "postgresql+psycopg:")
    tables = create_engine(url)
    with tables.begin() as connection:
        yield connection
    tables.dispose()


def mark_as_started(settings: Settings) -> None:
    schema = "" if workflows.is_embedded(settings) else "dbos."
    with engine_tables(settings) as connection:
        connection.execute(text(f"UPDATE {schema}workflow_status SET status = 'PENDING'"))


def test_arguments_in_the_engines_tables_are_json(settings: Settings, steps: Steps) -> None:
    launch(settings, steps)
    assert workflows.enqueue(settings, JOB, 3)
    schema = "" if workflows.is_embedded(settings) else "dbos."
    with engine_tables(settings) as connection:
        query = f"SELECT serialization FROM {schema}workflow_status"
        assert set(connection.scalars(text(query))) == {"portable_json"}
        inputs = connection.scalars(
            text(f"SELECT inputs FROM {schema}workflow_input WHERE workflow_uuid = 'j1.3'")
        ).one()
    assert json.loads(inputs)["positionalArgs"] == [JOB, 3]


def test_pickled_values_are_refused() -> None:
    from dbos._serialization import DBOSDefaultSerializer, deserialize_args, deserialize_value

    assert DBOSDefaultSerializer.name() == "py_pickle"
    with pytest.raises(TypeError, match="only portable JSON"):
        deserialize_args("gASVAAA=", "py_pickle", workflows.SERIALIZER)
    with pytest.raises(TypeError, match="only portable JSON"):
        deserialize_value("gASVAAA=", "py_pickle", workflows.SERIALIZER)


def test_the_engine_waits_for_a_server_that_it_cannot_reach() -> None:
    from dbos._utils import retriable_postgres_exception

    url = "postgresql+psycopg://user@no-such-host.invalid/quanta"
    with pytest.raises(DBAPIError) as plain, create_engine(url).connect():
        pass
    assert not retriable_postgres_exception(plain.value), "DBOS knows it now: drop the plugin"
    tables = create_engine(url, plugins=["quanta_lost_connections"])
    with pytest.raises(DBAPIError) as unreachable, tables.connect():
        pass
    assert isinstance(unreachable.value.orig, psycopg.OperationalError)
    assert retriable_postgres_exception(unreachable.value)
