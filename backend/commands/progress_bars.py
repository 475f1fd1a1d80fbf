"""Progress bars of the command line: fraction, rate and time left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from backend.progress import Task


class _RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: RichTask) -> Text:
        """Return the rate, or a dash before the first unit."""
        if not task.speed:
            return Text("– /s")
        return Text(f"{task.speed:,.0f} {task.fields['unit']}/s")


class _BarTask:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self, amount: int = 1) -> None:
        self.bars.advance(self.task, amount)


class Bars:
    """Progress on a terminal; one line a task when the output is not one."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._drawn: RichProgress | None = None

    @contextmanager
    def task(self, title: str, total: int, *, unit: str, done: int = 0) -> Iterator[Task]:
        """Draw one bar for as long as the task runs; a task inside another goes below it."""
        with self._bars() as bars:
            task = bars.add_task(title, total=total or None, completed=done, unit=unit)
            yield _BarTask(bars, task)
            if len(bars.tasks) > 1:
                bars.remove_task(task)

    @contextmanager
    def _bars(self) -> Iterator[RichProgress]:
        # A terminal has room for one live display.
        if self._drawn is not None:
            yield self._drawn
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self.console) as bars:
            self._drawn = bars
            try:
                yield bars
            finally:
                self._drawn = None

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False)
