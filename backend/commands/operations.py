"""`quanta backup`, `quanta restore` and `quanta prune`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, open_default_store, print_result
from backend.settings import settings

File = Annotated[Path, typer.Argument(help="Backup file.")]


def backup(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write the store and its jobs into one file; servers and workers may run meanwhile."""
    from backend.upkeep.backup import make_backup

    done = make_backup(settings(), file, bars(as_json), force=force)
    print_result(
        as_json,
        f"{done.file}: {done.n_bytes:,} bytes, {done.manifest.database} store at revision "
        f"{done.manifest.revision}",
        file=str(done.file),
        bytes=done.n_bytes,
        manifest=done.manifest.model_dump(),
    )


def restore(file: File, as_json: Json = False) -> None:
    """Replace the store by a backup; the previous store is kept beside it."""
    from backend.upkeep.restore import restore as run

    done = run(settings(), file, bars(as_json))
    previous = ", ".join(done.aside) or "none"
    print_result(
        as_json,
        f"restored the store of {done.manifest.created_at}"
        + (f", migrated from revision {done.manifest.revision}" if done.migrated else "")
        + f"; previous store: {previous}",
        manifest=done.manifest.model_dump(),
        migrated=done.migrated,
        aside=list(done.aside),
    )


def prune(
    days: Annotated[float, typer.Option(min=0, help="Keep anything newer than DAYS days.")] = 30.0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove; without this option, only show.")
    ] = False,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Return unused space of the database to the disk.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show, or remove with --yes, old objects that nothing refers to."""
    from backend.upkeep.prune import prune as run
    from backend.upkeep.prune import reusable_bytes, vacuum_database

    store = open_default_store()
    done = run(store, days, bars(as_json), dry_run=not yes)
    if vacuum and yes:
        vacuum_database(store)
    reusable = reusable_bytes(store)
    lines = [
        f"{item.what}: {item.count:,} ({item.rows:,} rows, {item.n_bytes:,} bytes)" for item in done
    ]
    lines.append("removed" if yes else "nothing is removed without --yes")
    if reusable:
        lines.append(f"{reusable:,} bytes of the database file are free and will be reused")
        lines.append("`quanta prune --yes --vacuum` returns them to the disk")
    print_result(
        as_json,
        "\n".join(lines),
        removed=yes,
        items=[asdict(item) for item in done],
        rows=sum(item.rows for item in done),
        bytes=sum(item.n_bytes for item in done),
        reusable_bytes=reusable,
    )
