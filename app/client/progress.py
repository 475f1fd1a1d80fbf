"""The progress bar of a job that is waited for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.client.types import JobView

Show = Callable[[JobView], None]


@contextmanager
def bar(job: JobView) -> Iterator[Show]:
    """Show a bar on standard error (or in a notebook) while the block runs; yield what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(job.kind, total=None, words=words_of(job))

        def show(view: JobView) -> None:
            # Without a fraction the bar only moves, which says that it is alive.
            total = None if view.fraction is None else 1.0
            progress.update(task, total=total, completed=view.fraction or 0.0, words=words_of(view))

        show(job)
        yield show


def words_of(view: JobView) -> str:
    """Return what is done just now, how much of it, and how long it takes."""
    said = [view.activity or view.state]
    if view.total:
        said.append(f"{view.done}/{view.total} {view.unit}")
    if view.seconds_left is not None and view.state == "running":
        said.append(f"{_duration(view.seconds_left)} left")
    return ", ".join(said)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
