"""Computing experiments: a group of cells is a unit of work, each stack of it committed whole."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, StoreError
from backend.experiments.kind import Checked, ExperimentKind, groups
from backend.experiments.registry import experiment_kind
from backend.progress import WORK_LOG, Progress, Task
from backend.stages.devices import Compute
from backend.stages.provenance import provenance
from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import Experiment, ExperimentArray, ExperimentCell

if TYPE_CHECKING:
    from backend.experiments.computing import CellResult
    from compute.ensembles.trainer import Trainer, TrainResult

# What a kill costs at most, of a training that takes longer than that.
SAVE_SECONDS = 20.0
FOLDER = "experiments"
COMMIT_ATTEMPTS = 5


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
        done = set(_stored_cells(session, experiment_id))
    return [cell for cell in cells if cell not in done]


def _stored_cells(session: Session, experiment_id: int) -> Sequence[int]:
    query = select(ExperimentCell.cell).where(ExperimentCell.experiment_id == experiment_id)
    return session.scalars(query).all()


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
    """Where a stack in training is kept, so that a kill costs no more than `SAVE_SECONDS`."""

    def __init__(self, store: Store, key: str, cells: Sequence[int]) -> None:
        digest = hashlib.sha256(json.dumps([key, *cells]).encode()).hexdigest()[:24]
        self.path = store.settings.data_dir / FOLDER / f"{digest}.safetensors"
        self._next = time.monotonic() + SAVE_SECONDS

    def restore(self, training: "Trainer") -> None:
        """Go on where a training was cut off."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.path.exists():
            try:
                training.restore(load_file(self.path))
            except (SafetensorError, KeyError, ValueError, OSError):
                self.path.unlink(missing_ok=True)  # of another version: from the start

    def save(self, training: "Trainer") -> None:
        """Keep a training as it is, if the last time is long ago."""
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
            # The training goes on without: a full disk is not its end, only a kill costs more.
            part.unlink(missing_ok=True)
            WORK_LOG.warning("experiment state not kept: %s", error)

    def drop(self) -> None:
        """Forget it: its cells are committed."""
        self.path.unlink(missing_ok=True)


class _StoppedError(Exception):
    """Another stack has failed, or somebody interrupted: this one need not go on."""


class _Stack:
    """The cells of one thread; it may train them in parts, each committed when it is done."""

    def __init__(
        self,
        saved: Callable[[Sequence[int]], _Saved],
        cells: Sequence[int],
        tell: Callable[[float], None],
        is_over: Event,
        commit: "Callable[[Sequence[CellResult]], None]",
    ) -> None:
        self.cells, self._at, self._tell, self._commit = cells, saved, tell, commit
        self._is_over = is_over
        self._trained = 0
        self._kept: list[_Saved] = []

    def train(self, training: "Trainer", part: Sequence[int] | None = None) -> "TrainResult":
        """Train the networks of some of the cells, of all if None."""
        mine = self.cells if part is None else part
        before, whole = self._trained, len(self.cells)
        saved = self._at(mine)
        self._kept.append(saved)
        saved.restore(training)
        steps = training.config.steps

        def on_progress(step: int, networks: int) -> None:
            del networks
            self.check((before + len(mine) * step / steps) / whole)
            saved.save(training)

        record = training.train(on_progress=on_progress)
        self._trained += len(mine)
        self._tell(self._trained / whole)
        return record

    def check(self, share: float) -> None:
        """Tell how far the stack is; raises once it need not go on."""
        if self._is_over.is_set():
            raise _StoppedError
        self._tell(share)

    def commit(self, found: "Sequence[CellResult]") -> None:
        """Store finished cells; what was kept to go on with them is dropped."""
        if found:
            self._commit(found)
        for saved in self._kept:
            saved.drop()
        self._kept.clear()


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
    with store.claim(f"experiment {row} {name}"):
        todo = missing(store, row, wanted)
        if not todo:
            return
        WORK_LOG.info("experiment %s from cell %d", kind.id(parameters), wanted[0])
        stacks = _stacks(wanted, todo, compute)
        _compute(store, kind, parameters, row, stacks, compute, progress)
        if left := missing(store, row, wanted):
            raise StoreError(
                f"cells {left} of experiment {kind.id(parameters)} were not stored",
                "Ask for it again: what is stored is kept",
            )


def _stacks(cells: Sequence[int], todo: Sequence[int], compute: Compute) -> list[Sequence[int]]:
    """Return the cells to do in as many stacks as there are threads, each alike a sample of them.

    What is finished does not move the others, so that a stack that was cut off is found again.
    """
    n = 1 if compute.device != "cpu" else max(1, min(compute.threads, len(cells)))
    wanted = set(todo)
    stacks = [[cell for cell in cells[first::n] if cell in wanted] for first in range(n)]
    return [stack for stack in stacks if stack]


def _finish(stacks: Sequence[Future[None]]) -> None:
    """Wait for all stacks; raise what the first one failed of, not that others were stopped."""
    wait(stacks, return_when=FIRST_EXCEPTION)
    errors = [error for one in stacks if one.done() and (error := one.exception()) is not None]
    for error in errors:
        if not isinstance(error, _StoppedError):
            raise error


def _compute(
    store: Store,
    kind: ExperimentKind,
    parameters: Checked,
    row: int,
    stacks: Sequence[Sequence[int]],
    compute: Compute,
    progress: Progress,
) -> None:
    from backend.experiments.computing import COMPUTING, Bench
    from compute.ensembles.trainer import single_threaded

    key, imports = kind.key(parameters), imports_folder(store)
    made = provenance(device=compute.device, threads=len(stacks), stack=len(stacks[0]))
    last = max(stack[-1] for stack in stacks)
    title = f"cells {min(stack[0] for stack in stacks) + 1} to {last + 1}"
    with progress.task(title, 100 * len(stacks), unit="%") as task, single_threaded():
        bar, is_over = _Bar(task, len(stacks)), Event()

        def done(i: int) -> None:
            import torch

            torch.set_num_threads(1)  # a setting of each thread
            stack = _Stack(
                lambda part: _Saved(store, key, part),
                stacks[i],
                lambda share: bar.at(i, share),
                is_over,
                lambda found: _commit(store, row, found, made),
            )
            bench = Bench(compute.device, imports, stack.train, stack.commit, stack.check)
            try:
                stack.commit(COMPUTING[kind.name](parameters, stack.cells, bench))
            except BaseException:
                is_over.set()  # the other stacks need not go on
                raise

        with ThreadPoolExecutor(len(stacks)) as threads:
            try:
                _finish([threads.submit(done, i) for i in range(len(stacks))])
            except ValueError as error:
                raise InvalidInputError(
                    str(error), "Correct the parameters, then ask again"
                ) from error
            finally:
                is_over.set()  # else the end of the block would wait for the other stacks


def _commit(store: Store, row: int, found: "Sequence[CellResult]", made: dict[str, Any]) -> None:
    """Store those cells that are not stored yet: another machine may have been faster with some."""
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            with store.begin() as session:
                stored = set(_stored_cells(session, row))
                for one in found:
                    if one.cell not in stored:
                        _add(session, row, one, made)
            return
        except IntegrityError:  # one of them came between the look and the commit: look again
            if attempt == COMMIT_ATTEMPTS - 1:
                raise


def _add(session: Session, row: int, one: "CellResult", made: dict[str, Any]) -> None:
    session.add(
        ExperimentCell(experiment_id=row, cell=one.cell, summary=one.summary, provenance=made)
    )
    for name, values in one.arrays.items():
        session.add(
            ExperimentArray(experiment_id=row, cell=one.cell, name=name, **arrays.columns(values))
        )


def run_experiment(
    store: Store, name: str, parameters: Checked, compute: Compute, progress: Progress
) -> str:
    """Compute what is missing of an experiment, unit by unit; returns its id."""
    kind = experiment_kind(name)
    count = len(kind.places(parameters))
    for cells in groups(count, kind.group):
        run_cells(store, kind, parameters, cells, compute, progress)
    return kind.id(parameters)
