"""`quanta worker`: executes jobs that pages and the API ask for."""

from typing import Annotated

import typer

from backend.commands.common import opened_store

WithParent = Annotated[bool, typer.Option(hidden=True, help="End when standard input ends.")]


def worker(with_parent: WithParent = False) -> None:
    """Execute jobs; `quanta serve` starts one by itself, more of them share the queue."""
    from backend.jobs.worker import run

    store = opened_store()
    run(store, with_parent=with_parent)
