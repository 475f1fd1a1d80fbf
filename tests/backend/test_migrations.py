"""Migrations: up, down, up again, interrupted, and equal to the tables of the program."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from backend.errors import StoreError
from backend.settings import Settings
from backend.store.database import (
    alembic_config,
    make_engine,
    open_store,
    revisions,
    upgrade_schema,
)
from backend.store.tables import Base
from tests.processes import ROOT, command, environment


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(Settings(database_url=database_url).url)
    yield made
    made.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


EXPECTED = set(Base.metadata.tables) | {"alembic_version"}


def test_a_blank_database_goes_up_down_and_up_again(engine: Engine) -> None:
    assert tables(engine) == set()
    assert upgrade_schema(engine).changed
    assert tables(engine) == EXPECTED
    alembic.command.downgrade(alembic_config(engine), "base")
    assert tables(engine) == {"alembic_version"}
    assert upgrade_schema(engine).changed
    assert tables(engine) == EXPECTED


def test_an_upgrade_twice_changes_nothing(engine: Engine) -> None:
    assert upgrade_schema(engine).changed
    assert not upgrade_schema(engine).changed
    current, head = revisions(engine)
    assert current == head


def test_an_old_crash_count_keeps_its_value_up_and_down(engine: Engine) -> None:
    config = alembic_config(engine)
    alembic.command.upgrade(config, "0008")
    columns = "id, kind, state, parameters, key, done, unit, created_at, updated_at"
    values = "'j1', 'measure', 'running', '{}', 'k', 1, 'chunks', '2026-01-01', '2026-01-01'"
    unit = "'j1', 'u', 'w', 1, '2026-01-01'"
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO job ({columns}, begun_in_vain) VALUES ({values}, 3)"))
        connection.execute(
            text(
                f"INSERT INTO job_unit (job_id, unit, worker, seconds, finished_at) VALUES ({unit})"
            )
        )
    for target, column in (("head", "crash_count"), ("0008", "begun_in_vain")):
        move = alembic.command.upgrade if target == "head" else alembic.command.downgrade
        move(config, target)
        with engine.connect() as connection:
            query = f"SELECT {column}, count(*) FROM job JOIN job_unit ON id = job_id GROUP BY 1"
            assert [tuple(row) for row in connection.execute(text(query))] == [(3, 1)]


def test_stored_parameters_are_renamed_up_and_down(engine: Engine) -> None:
    config = alembic_config(engine)
    alembic.command.upgrade(config, "0009")
    columns = "id, kind, state, parameters, key, done, unit, created_at, updated_at"
    rest = "'queued', :parameters, :id, 0, 'stages', '2026-01-01', '2026-01-01'"
    insert = text(f"INSERT INTO job ({columns}) VALUES (:id, :kind, {rest})")
    corpus = (
        "INSERT INTO corpus (id, key, name, tokenizer_id, max_tokens, prefix, chunk_predictions, "
        "n_documents, n_tokens, n_predictions, n_chunks, provenance, created_at) VALUES "
        "(1, 'c', 'c', NULL, 9, '[]', 9, 1, 9, 8, 1, '{}', '2026-01-01')"
    )
    selection = (
        "INSERT INTO selection (id, key, corpus_id, parameters, size, dtype, shape, checksum, "
        "data, created_at) VALUES (1, 's', 1, :parameters, 2, 'i', '[]', 'c', :data, '2026-01-01')"
    )
    old = '{"threshold_nats": 0.25, "stride": 3}'
    with engine.begin() as connection:
        for kind in ("discover", "measure"):
            connection.execute(insert, {"id": kind, "kind": kind, "parameters": old})
        connection.execute(
            insert, {"id": "o", "kind": "omnigrok", "parameters": '{"look_every": 50}'}
        )
        connection.execute(
            text(
                "INSERT INTO experiment (id, key, kind, parameters, n_cells, created_at) "
                "VALUES (1, 'e', 'omnigrok', :parameters, 1, '2026-01-01')"
            ),
            {"parameters": '{"look_every": 50}'},
        )
        connection.execute(text(corpus))
        connection.execute(text(selection), {"parameters": old, "data": b""})
    for revision, name, interval in (
        ("head", "max_loss_nats", "eval_every"),
        ("0009", "threshold_nats", "look_every"),
    ):
        move = alembic.command.upgrade if revision == "head" else alembic.command.downgrade
        move(config, revision)
        with engine.connect() as connection:
            job, other, omnigrok = connection.execute(
                text("SELECT parameters FROM job ORDER BY kind")
            )
            (row,) = connection.execute(text("SELECT parameters FROM selection"))
            (experiment,) = connection.execute(text("SELECT parameters FROM experiment"))
        for stored in (omnigrok[0], experiment[0]):
            assert (json.loads(stored) if isinstance(stored, str) else stored) == {interval: 50}
        for stored in (job[0], row[0]):
            values = json.loads(stored) if isinstance(stored, str) else stored
            assert values == {name: 0.25, "stride": 3}
        assert "threshold_nats" in str(other[0]), "a parameter of another kind stays"


def test_migrations_make_the_tables_of_the_program(engine: Engine) -> None:
    upgrade_schema(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_large_values_are_stored_plainly_on_postgresql(postgres_url: str) -> None:
    engine = make_engine(Settings(database_url=postgres_url).url)
    upgrade_schema(engine)
    query = "SELECT attstorage FROM pg_attribute WHERE attrelid = CAST(:t AS regclass)"
    with engine.connect() as connection:
        for table in ("token_chunk", "loss_chunk", "curve_chunk", "similarity_stripe"):
            result = connection.execute(
                text(f"{query} AND attname = 'data'"), {"t": table}
            ).scalar_one()
            assert result in ("e", b"e"), table
    engine.dispose()


def test_a_revision_of_a_newer_program_is_refused(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url)
    store = open_store(settings)
    with store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.engine.dispose()
    with pytest.raises(StoreError, match="revision 9999, which this program does not know"):
        open_store(settings)


def test_a_migration_that_is_interrupted_leaves_nothing_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.operations import Operations

    real, made = Operations.create_table, []

    def create_table(self: Operations, name: str, *columns: object, **options: object) -> object:
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(name)
        return real(self, name, *columns, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "create_table", create_table)
        with pytest.raises(KeyboardInterrupt):
            upgrade_schema(engine)
    assert len(made) == 5
    assert tables(engine) <= {"alembic_version"}
    assert upgrade_schema(engine).changed
    assert tables(engine) == EXPECTED


@pytest.mark.slow
def test_programs_that_start_together_migrate_once(database_url: str, tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            command("db", "upgrade", "--json"),
            env=environment(tmp_path / "data", QUANTA_DATABASE_URL=database_url),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    engine = make_engine(Settings(database_url=database_url).url)
    assert tables(engine) == EXPECTED
    engine.dispose()
