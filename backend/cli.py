"""The `quanta` command. Long commands show progress, can be interrupted, and resume."""

import sqlite3
import sys
from collections.abc import Callable

import typer
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from backend.commands import compute, operations
from backend.commands import train as _train  # noqa: F401 - adds its command
from backend.commands.corpus import corpus_cli
from backend.commands.database import check, db_cli
from backend.commands.experiment import experiment_cli
from backend.commands.export_predictions import export_cli
from backend.commands.fit import fit_cli
from backend.commands.imports import import_cli
from backend.commands.job import job_cli
from backend.commands.serving import serve
from backend.commands.suite import suite_cli
from backend.commands.token import token_cli
from backend.commands.worker import worker
from backend.errors import QuantaError
from backend.store.database_errors import as_store_error

INTERRUPTED = 130  # Typer's exit code for Ctrl-C

cli = typer.Typer(
    no_args_is_help=True,
    help="Discover, browse and follow the quanta that language models learn.",
    pretty_exceptions_enable=False,
)
for command in (
    compute.evaluate,
    compute.classify,
    compute.discover,
    compute.demo,
    check,
    serve,
    worker,
    operations.backup,
    operations.restore,
    operations.prune,
):
    cli.command()(command)
for name, group in {
    "db": db_cli,
    "corpus": corpus_cli,
    "export": export_cli,
    "fit": fit_cli,
    "experiment": experiment_cli,
    "suite": suite_cli,
    "job": job_cli,
    "import": import_cli,
    "token": token_cli,
}.items():
    cli.add_typer(group, name=name)


def _print_error(error: QuantaError) -> int:
    typer.echo(f"error: {error.problem}.\n{error.remedy}.", err=True)
    return 2


def run_guarded(command: Callable[[], None]) -> int:
    """Run a command and return its exit code; errors that a person can mend are printed."""
    try:
        command()
    except QuantaError as error:
        return _print_error(error)
    except (DBAPIError, sqlite3.Error, OSError) as error:
        if (store_error := as_store_error(error)) is not None:
            return _print_error(store_error)
        if not isinstance(error, IntegrityError | OperationalError):
            raise
        typer.echo(
            f"error: the database refused a write ({error.orig}).\n"
            "If another quanta command is writing to it, wait for that one and run this again; "
            "finished results are kept.",
            err=True,
        )
        return 2
    except SystemExit as stop:  # how Typer ends, whatever the reason
        if stop.code == INTERRUPTED:
            typer.echo("interrupted; run the same command again to continue", err=True)
        raise
    return 0


def main() -> None:
    """Run the command line."""
    sys.exit(run_guarded(cli))


if __name__ == "__main__":
    main()
