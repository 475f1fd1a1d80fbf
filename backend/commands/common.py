"""Shared by all commands: options, progress, output, the store, and lists of numbers."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

from backend.commands.progress_bars import Bars
from backend.progress import log_work
from backend.settings import settings
from backend.store.database import Store, open_store

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and no progress.")]
Workers = Annotated[
    int | None, typer.Option(help="Number of evaluation processes (default: one per core).")
]

MAX_NUMBERS = 10_000


def bars(as_json: bool) -> Bars:
    """Return progress bars on standard error, silent for scripts."""
    return Bars(Console(stderr=True, quiet=as_json))


def print_result(as_json: bool, text: str, **fields: Any) -> None:
    """Print one JSON object, or text for people."""
    typer.echo(json.dumps(fields) if as_json else text)


def open_default_store() -> Store:
    """Return the store of the settings; create it if missing, migrate it if old."""
    config = settings()
    store = open_store(config)
    log_work(config.data_dir)
    return store


def parse_numbers(text: str, parameter: str) -> tuple[int, ...]:
    """Parse "10,20,30" or "10-100:10" (from, to and including, by)."""
    parsed: list[int] = []
    try:
        for part in text.split(","):
            bounds, _, by = part.partition(":")
            first, _, last = bounds.partition("-")
            parsed += range(int(first), int(last or first) + 1, int(by or 1))[:MAX_NUMBERS]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r}; write numbers such as 10,20 or 10-100:10", param_hint=parameter
        ) from error
    if len(parsed) >= MAX_NUMBERS:
        raise typer.BadParameter(
            f"{text!r} gives {MAX_NUMBERS} numbers or more", param_hint=parameter
        )
    return tuple(parsed)
