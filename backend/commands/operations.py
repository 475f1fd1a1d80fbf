"""`quanta backup`, `restore` and `prune`: keeping the store, and keeping it small."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, open_default_store, print_result
from backend.settings import settings

File = Annotated[Path, typer.Argument(help="The backup, one file.")]


def backup(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write the store and its jobs into one file, while servers and workers go on."""
    from backend.upkeep.backup import make_backup

    made = make_backup(settings(), file, bars(as_json), force=force)
    print_result(
        as_json,
        f"{made.file}: {made.n_bytes:,} bytes, {made.manifest.database} store at revision "
        f"{made.manifest.revision}",
        file=str(made.file),
        bytes=made.n_bytes,
        manifest=asdict(made.manifest),
    )


def restore(file: File, as_json: Json = False) -> None:
    """Replace the store by a backup; the present one is kept beside it."""
    from backend.upkeep.restore import restore as run

    done = run(settings(), file, bars(as_json))
    kept = ", ".join(done.aside) or "there was none"
    print_result(
        as_json,
        f"restored the store of {done.manifest.created_at}"
        + (f", migrated from revision {done.manifest.revision}" if done.migrated else "")
        + f"; the one before: {kept}",
        manifest=asdict(done.manifest),
        migrated=done.migrated,
        aside=list(done.aside),
    )


def prune(
    days: Annotated[float, typer.Option(min=0, help="What is younger stays.")] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this, only show.")] = False,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Give unused space of the database back to the disk.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show, or remove with --yes, what is old and what nothing else refers to."""
    from backend.upkeep.prune import give_space_back, reusable_bytes
    from backend.upkeep.prune import prune as run

    store = open_default_store()
    done = run(store, days, bars(as_json), really=yes)
    if vacuum and yes:
        give_space_back(store)
    reusable = reusable_bytes(store)
    lines = [
        f"{item.what}: {item.count:,} ({item.rows:,} rows, {item.n_bytes:,} bytes)" for item in done
    ]
    lines.append("removed" if yes else "nothing is removed without --yes")
    if reusable:
        lines.append(f"{reusable:,} bytes of the database file are free for what comes next")
        lines.append("`quanta prune --yes --vacuum` gives them back to the disk")
    print_result(
        as_json,
        "\n".join(lines),
        removed=yes,
        items=[asdict(item) for item in done],
        rows=sum(item.rows for item in done),
        bytes=sum(item.n_bytes for item in done),
        reusable_bytes=reusable,
    )
