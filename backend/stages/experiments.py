"""Computes experiments: a unit of work is a range of cells, trained in stacks.

A stack is a batch of networks that train together; its cells are committed together.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, StoreError
from backend.experiments.kind import ExperimentKind, cell_ranges
from backend.experiments.registry import experiment_kind
from backend.progress import WORK_LOG, Progress, Task
from backend.stages.devices import Compute
from backend.stages.provenance import provenance
from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import Experiment, ExperimentArray, ExperimentCell

if TYPE_CHECKING:
    from backend.experiments.cells import CellResult
    from compute.ensembles.trainer import Trainer, TrainResult

# Interval between saved states: the most that a kill costs.
SAVE_SECONDS = 20.0
FOLDER = "experiments"
COMMIT_ATTEMPTS = 5


def get_or_create_experiment(store: Store, kind: ExperimentKind, parameters: dict[str, Any]) -> int:
    """Return the row id of an experiment."""
    key = kind.key(parameters)
    query = select(Experiment.id).where(Experiment.key == key)
    with store.session() as session:
        row_id = session.scalars(query).one_or_none()
    if row_id is not None:
        return row_id
    n_cells = len(kind.parse(parameters).places())
    try:
        with store.begin() as session:
            row = Experiment(key=key, kind=kind.name, parameters=parameters, n_cells=n_cells)
            session.add(row)
            session.flush()
            return row.id
    except IntegrityError:  # another worker was faster
        with store.session() as session:
            return session.scalars(query).one()


def missing_cells(store: Store, experiment_id: int, cells: Sequence[int]) -> list[int]:
    """Return the cells that are not stored."""
    with store.session() as session:
        stored = set(_stored_cells(session, experiment_id))
    return [cell for cell in cells if cell not in stored]


def _stored_cells(session: Session, experiment_id: int) -> Sequence[int]:
    query = select(ExperimentCell.cell).where(ExperimentCell.experiment_id == experiment_id)
    return session.scalars(query).all()


class _ProgressBar:
    """One progress bar over several stacks that train in parallel."""

    def __init__(self, task: Task, n_stacks: int) -> None:
        self._task, self._percent, self._reported = task, [0] * n_stacks, 0

    def update(self, stack: int, share: float) -> None:
        """Set the finished share of a stack."""
        self._percent[stack] = int(100 * share)
        total = sum(self._percent)
        if total > self._reported:
            self._task.advance(total - self._reported)
            self._reported = total


class _SavedTraining:
    """The state of a training on disk, so that a kill costs at most `SAVE_SECONDS`."""

    def __init__(self, store: Store, key: str, cells: Sequence[int]) -> None:
        digest = hashlib.sha256(json.dumps([key, *cells]).encode()).hexdigest()[:24]
        self.path = store.settings.data_dir / FOLDER / f"{digest}.safetensors"
        self._next = time.monotonic() + SAVE_SECONDS

    def restore(self, training: "Trainer") -> None:
        """Resume a training from its saved state, if there is one."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.path.exists():
            try:
                training.restore(load_file(self.path))
            except (SafetensorError, KeyError, ValueError, OSError):
                self.path.unlink(missing_ok=True)  # damaged or of another version: start anew

    def save(self, training: "Trainer") -> None:
        """Save the state of a training, at most once in `SAVE_SECONDS`."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SAVE_SECONDS
        part = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            self.path.parent.mkdir(exist_ok=True)
            save_file({name: t.contiguous() for name, t in training.state().items()}, part)
            part.replace(self.path)
        except (OSError, SafetensorError) as error:
            # A full disk must not end the training: without a state only a kill costs more.
            part.unlink(missing_ok=True)
            WORK_LOG.warning("state of the training was not saved: %s", error)

    def delete(self) -> None:
        """Delete the state."""
        self.path.unlink(missing_ok=True)


class _StoppedError(Exception):
    """The stack was stopped because another one failed or was interrupted."""


class _StackRun:
    """The cells of one thread, which trains them in one or more parts."""

    def __init__(
        self,
        saved_training: Callable[[Sequence[int]], _SavedTraining],
        cells: Sequence[int],
        report: Callable[[float], None],
        stop: Event,
        commit: "Callable[[Sequence[CellResult]], None]",
    ) -> None:
        self.cells, self._saved_training, self._stop = cells, saved_training, stop
        self._report, self._commit = report, commit
        self._n_trained = 0
        self._uncommitted: list[_SavedTraining] = []

    def train(self, training: "Trainer", part: Sequence[int] | None = None) -> "TrainResult":
        """Train the networks of some cells; of all if None."""
        part = self.cells if part is None else part
        n_before, n_cells = self._n_trained, len(self.cells)
        saved = self._saved_training(part)
        self._uncommitted.append(saved)
        saved.restore(training)
        n_steps = training.config.steps

        def on_progress(step: int, networks: int) -> None:
            del networks
            self.report((n_before + len(part) * step / n_steps) / n_cells)
            saved.save(training)

        record = training.train(on_progress=on_progress)
        self._n_trained += len(part)
        self._report(self._n_trained / n_cells)
        return record

    def report(self, share: float) -> None:
        """Report the finished share; raises once the stack is stopped."""
        if self._stop.is_set():
            raise _StoppedError
        self._report(share)

    def commit(self, results: "Sequence[CellResult]") -> None:
        """Store finished cells and delete the saved states of their trainings."""
        if results:
            self._commit(results)
        for saved in self._uncommitted:
            saved.delete()
        self._uncommitted.clear()


def run_cells(
    store: Store,
    kind: ExperimentKind,
    parameters: dict[str, Any],
    cells: Sequence[int],
    compute: Compute,
    progress: Progress,
) -> None:
    """Compute and commit those of some cells that are not stored.

    On a GPU the first call computes all cells of the experiment in one stack: a few networks would
    leave it idle.

    Raises:
        InvalidInputError: the parameters make no cells, or a file of theirs is missing.
    """
    experiment_id = get_or_create_experiment(store, kind, parameters)
    name, claim = kind.public_id(parameters), f"{cells[0]}"
    if compute.device == "cuda":
        cells, claim = range(len(kind.parse(parameters).places())), "all"
    with store.claim(f"experiment {experiment_id} {claim}"):
        todo = missing_cells(store, experiment_id, cells)
        if not todo:
            return
        WORK_LOG.info("experiment %s from cell %d", name, cells[0])
        stacks = _split_into_stacks(cells, todo, compute)
        _run_stacks(store, kind, parameters, experiment_id, stacks, compute, progress)
        if missing := missing_cells(store, experiment_id, cells):
            raise StoreError(
                f"cells {missing} of experiment {name} were not stored",
                "Run it again; stored cells are not computed again",
            )


def _split_into_stacks(
    cells: Sequence[int], todo: Sequence[int], compute: Compute
) -> list[Sequence[int]]:
    """Return the cells to compute in one stack a thread, interleaved to balance the load.

    Stored cells do not move the others to another stack, so that saved states are found again.
    """
    n = 1 if compute.device != "cpu" else max(1, min(compute.threads, len(cells)))
    todo_set = set(todo)
    stacks = [[cell for cell in cells[first::n] if cell in todo_set] for first in range(n)]
    return [stack for stack in stacks if stack]


def _wait_for(stacks: Sequence[Future[None]]) -> None:
    """Wait for all stacks; raise the first failure, not that other stacks were stopped."""
    wait(stacks, return_when=FIRST_EXCEPTION)
    for stack in stacks:
        error = stack.exception() if stack.done() else None
        if error is not None and not isinstance(error, _StoppedError):
            raise error


def _run_stacks(
    store: Store,
    kind: ExperimentKind,
    parameters: dict[str, Any],
    experiment_id: int,
    stacks: Sequence[Sequence[int]],
    compute: Compute,
    progress: Progress,
) -> None:
    from backend.experiments.cell_functions import CELL_FUNCTIONS
    from backend.experiments.cells import CellContext
    from compute.ensembles.trainer import single_threaded

    key, params = kind.key(parameters), kind.parse(parameters)
    imports = store.settings.data_dir / "imports"
    origin = provenance(device=compute.device, threads=len(stacks), stack=len(stacks[0]))
    first, last = min(stack[0] for stack in stacks), max(stack[-1] for stack in stacks)
    title = f"cells {first + 1} to {last + 1}"
    with progress.task(title, 100 * len(stacks), unit="%") as task, single_threaded():
        bar, stop = _ProgressBar(task, len(stacks)), Event()

        def run_stack(i: int) -> None:
            import torch

            torch.set_num_threads(1)  # a setting of each thread
            stack = _StackRun(
                lambda part: _SavedTraining(store, key, part),
                stacks[i],
                lambda share: bar.update(i, share),
                stop,
                lambda results: _commit(store, experiment_id, results, origin),
            )
            context = CellContext(compute.device, imports, stack.train, stack.commit, stack.report)
            try:
                stack.commit(CELL_FUNCTIONS[kind.name](params, stack.cells, context))
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(len(stacks)) as threads:
            try:
                _wait_for([threads.submit(run_stack, i) for i in range(len(stacks))])
            except ValueError as error:
                raise InvalidInputError(
                    str(error), "Correct the parameters and run it again"
                ) from error
            finally:
                stop.set()  # otherwise the end of the block waits for the other stacks


def _commit(
    store: Store, experiment_id: int, results: "Sequence[CellResult]", origin: dict[str, Any]
) -> None:
    """Store the results that are not stored yet; another machine may have stored some."""
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            with store.begin() as session:
                stored = set(_stored_cells(session, experiment_id))
                for result in results:
                    if result.cell not in stored:
                        _add_cell(session, experiment_id, result, origin)
            return
        except IntegrityError:  # one of them was stored after the query: query again
            if attempt == COMMIT_ATTEMPTS - 1:
                raise


def _add_cell(
    session: Session, experiment_id: int, result: "CellResult", origin: dict[str, Any]
) -> None:
    place = {"experiment_id": experiment_id, "cell": result.cell}
    session.add(ExperimentCell(**place, summary=result.summary, provenance=origin))
    for name, values in result.arrays.items():
        session.add(ExperimentArray(**place, name=name, **arrays.columns(values)))


def run_experiment(
    store: Store, name: str, parameters: dict[str, Any], compute: Compute, progress: Progress
) -> str:
    """Compute the missing cells of an experiment, unit by unit; return its id."""
    kind = experiment_kind(name)
    for cells in cell_ranges(len(kind.parse(parameters).places()), kind.cells_per_unit):
        run_cells(store, kind, parameters, cells, compute, progress)
    return kind.public_id(parameters)
