"""Progress bar of a job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.client.types import JobView

Show = Callable[[JobView], None]


@contextmanager
def bar(job: JobView) -> Iterator[Show]:
    """Show a bar on standard error or in a notebook; yield the function that updates it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(job.kind, total=None, status=status_text(job))

        def show(view: JobView) -> None:
            # Without a fraction the bar pulses.
            total = None if view.fraction is None else 1.0
            progress.update(
                task, total=total, completed=view.fraction or 0.0, status=status_text(view)
            )

        show(job)
        yield show


def status_text(view: JobView) -> str:
    """Return the current activity, the completed units and the remaining time."""
    parts = [view.activity or view.state]
    if view.total:
        parts.append(f"{view.done}/{view.total} {view.unit}")
    if view.seconds_left is not None and view.state == "running":
        parts.append(f"{_duration(view.seconds_left)} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds_left:02d}" if hours else f"{minutes}:{seconds_left:02d}"
