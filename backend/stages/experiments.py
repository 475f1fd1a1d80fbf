"""Computing experiments: a group of cells is a unit of work, committed together."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import arrays
from backend.db import Store
from backend.errors import InvalidInputError
from backend.experiments import experiment_kind
from backend.experiments.base import Checked, ExperimentKind, groups
from backend.models import Experiment, ExperimentArray, ExperimentCell
from backend.stages.devices import Compute
from backend.stages.progress import WORK_LOG, Progress, Task
from backend.stages.provenance import provenance

if TYPE_CHECKING:
    from backend.experiments.cells import CellResult
    from backend.experiments.cells.base import Train
    from compute.ensembles.trainer import Record, Training

# What a kill costs at most, of a training that takes longer than that.
SAVE_SECONDS = 20.0
FOLDER = "experiments"


def imports_folder(store: Store) -> Path:
    """Return the folder that parameters name files below."""
    return store.settings.data_dir / "imports"


def register(store: Store, kind: ExperimentKind, parameters: Checked) -> int:
    """Return the row of an experiment, made if it is new."""
    key = kind.key(parameters)
    with store.session() as session:
        if found := _row(session, key):
            return found.id
    n_cells = len(kind.places(parameters))
    try:
        with store.begin() as session:
            row = Experiment(key=key, kind=kind.name, parameters=parameters, n_cells=n_cells)
            session.add(row)
            session.flush()
            return row.id
    except IntegrityError:  # another worker was faster
        with store.session() as session:
            return session.scalars(select(Experiment.id).where(Experiment.key == key)).one()


def _row(session: Session, key: str) -> Experiment | None:
    return session.scalars(select(Experiment).where(Experiment.key == key)).one_or_none()


def missing(store: Store, experiment_id: int, cells: Sequence[int]) -> list[int]:
    """Return which of some cells are not finished."""
    with store.session() as session:
        done = set(
            session.scalars(
                select(ExperimentCell.cell).where(ExperimentCell.experiment_id == experiment_id)
            )
        )
    return [cell for cell in cells if cell not in done]


class _Bar:
    """One bar over the steps of the stacks of a unit, side by side."""

    def __init__(self, task: Task, stacks: int) -> None:
        self._task, self._at, self._told = task, [0] * stacks, 0

    def at(self, stack: int, share: float) -> None:
        """Note how far a stack is."""
        self._at[stack] = int(100 * share)
        total = sum(self._at)
        if total > self._told:
            self._task.advance(total - self._told)
            self._told = total


class _Saved:
    """Where a training is kept, so that a kill costs no more than `SAVE_SECONDS`."""

    def __init__(self, store: Store, key: str, cells: Sequence[int], part: int = 0) -> None:
        digest = hashlib.sha256(json.dumps([key, *cells]).encode()).hexdigest()[:24]
        name = f"{digest}-{part}" if part else digest
        self.path = store.settings.data_dir / FOLDER / f"{name}.safetensors"
        self._next = time.monotonic() + SAVE_SECONDS

    def restore(self, training: "Training") -> None:
        """Go on where a training was cut off."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.path.exists():
            try:
                training.restore(load_file(self.path))
            except (SafetensorError, KeyError, ValueError, OSError):
                self.path.unlink(missing_ok=True)  # of another version: from the start

    def save(self, training: "Training", *, is_over: bool = False) -> None:
        """Keep a training as it is, if the last time is long ago or it is over."""
        from safetensors.torch import save_file

        if not is_over and time.monotonic() < self._next:
            return
        self.path.parent.mkdir(exist_ok=True)
        part = self.path.with_suffix(".part")
        save_file({name: t.contiguous() for name, t in training.state().items()}, part)
        part.replace(self.path)
        self._next = time.monotonic() + SAVE_SECONDS


class _Stack:
    """The trainings of one stack's cells, one after the other, each in a file of its own."""

    def __init__(self, store: Store, key: str, cells: Sequence[int]) -> None:
        self._of = (store, key, cells)
        self._saved: list[_Saved] = []

    def trainer(self, tell: Callable[[float], None], is_over: Event) -> "Train":
        """Return what runs the trainings; `tell` hears what share of all is done."""

        def train(training: "Training", done: float = 0.0, share: float = 1.0) -> "Record":
            saved = _Saved(*self._of, part=len(self._saved))
            self._saved.append(saved)
            saved.restore(training)
            steps = training.regime.steps

            def watch(step: int, networks: int) -> None:
                del networks
                if is_over.is_set():
                    raise _StoppedError
                tell(done + share * step / steps)
                saved.save(training)

            record = training.run(watch=watch)
            if done + share < 1:  # others follow, and may be cut off
                saved.save(training, is_over=True)
            return record

        return train

    def drop(self) -> None:
        """Forget them: their cells are committed."""
        for one in self._saved:
            one.path.unlink(missing_ok=True)


class _StoppedError(Exception):
    """Another stack has failed, or somebody interrupted: this one need not go on."""


def run_cells(
    store: Store,
    kind: ExperimentKind,
    parameters: Checked,
    cells: Sequence[int],
    compute: Compute,
    progress: Progress,
) -> None:
    """Compute and commit those of some cells that are not finished.

    On a GPU all cells of the experiment are one stack, whoever asks for some of them: one of a
    few networks would leave it idle.

    Raises:
        InvalidInputError: parameters that make no cells, or a file of theirs that is not there.
    """
    row = register(store, kind, parameters)
    count = len(kind.places(parameters))
    wanted: Sequence[int] = range(count) if compute.device == "cuda" else cells
    name = "all" if compute.device == "cuda" else f"{cells[0]}"
    with store.claimed(f"experiment {row} {name}"):
        todo = missing(store, row, wanted)
        if not todo:
            return
        WORK_LOG.info("experiment %s cells %s", kind.id(parameters), todo)
        _compute(store, kind, parameters, row, todo, compute, progress)


def _stacks(cells: Sequence[int], compute: Compute) -> list[Sequence[int]]:
    """Return cells in as many stacks as there are threads, each alike a sample of them."""
    n = 1 if compute.device != "cpu" else max(1, min(compute.threads, len(cells)))
    return [cells[first::n] for first in range(n)]


def _compute(
    store: Store,
    kind: ExperimentKind,
    parameters: Checked,
    row: int,
    cells: Sequence[int],
    compute: Compute,
    progress: Progress,
) -> None:
    from backend.experiments.cells import COMPUTING, Bench
    from compute.grokking.phase_diagram import one_thread

    stacks = _stacks(cells, compute)
    trained = [_Stack(store, kind.key(parameters), stack) for stack in stacks]
    title = f"cells {cells[0] + 1} to {cells[-1] + 1}"
    imports = imports_folder(store)
    with progress.task(title, 100 * len(stacks), unit="%") as task, one_thread():
        bar, is_over = _Bar(task, len(stacks)), Event()

        def done(i: int) -> list["CellResult"]:
            import torch

            torch.set_num_threads(1)  # a setting of each thread
            train = trained[i].trainer(lambda share: bar.at(i, share), is_over)
            bench = Bench(compute.device, imports, train)
            return COMPUTING[kind.name](parameters, stacks[i], bench)

        with ThreadPoolExecutor(len(stacks)) as threads:
            try:
                found = [one for part in threads.map(done, range(len(stacks))) for one in part]
            except (ValueError, OSError) as error:
                raise InvalidInputError(
                    str(error), "Correct the parameters, then ask again"
                ) from error
            finally:
                is_over.set()  # else the end of the block would wait for the other stacks
    made = provenance(device=compute.device, threads=len(stacks), stack=len(stacks[0]))
    _commit(store, row, found, made)
    for stack in trained:
        stack.drop()


def _commit(store: Store, row: int, found: "Sequence[CellResult]", made: dict[str, Any]) -> None:
    try:
        with store.begin() as session:
            for one in found:
                session.add(
                    ExperimentCell(
                        experiment_id=row, cell=one.cell, summary=one.summary, provenance=made
                    )
                )
                for name, values in one.arrays.items():
                    session.add(
                        ExperimentArray(
                            experiment_id=row, cell=one.cell, name=name, **arrays.columns(values)
                        )
                    )
    except IntegrityError:
        # A machine of another kind was faster: a cell does not depend on its company.
        return


def run_experiment(
    store: Store, name: str, parameters: Checked, compute: Compute, progress: Progress
) -> str:
    """Compute what is missing of an experiment, unit by unit; returns its id."""
    kind = experiment_kind(name)
    count = len(kind.places(parameters))
    for cells in groups(count, kind.group):
        run_cells(store, kind, parameters, cells, compute, progress)
    return kind.id(parameters)
