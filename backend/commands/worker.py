"""`quanta worker`: execute submitted jobs."""

from typing import Annotated

import typer

from backend.commands.common import open_default_store

WithParent = Annotated[bool, typer.Option(hidden=True, help="End when standard input ends.")]


def worker(with_parent: WithParent = False) -> None:
    """Execute jobs; several workers share the queue. `quanta serve` starts one worker itself."""
    from backend.jobs.worker import run

    run(open_default_store(), with_parent=with_parent)
