"""Experiments in the store: units of cells, resumed trainings, refused parameters."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select

from backend.errors import InvalidInputError, NotFoundError, NotReadyError, StoreError
from backend.experiments import queries as experiments
from backend.experiments.cell_functions import CELL_FUNCTIONS
from backend.experiments.grokking import queries as phase_diagrams
from backend.experiments.kind import cell_ranges
from backend.experiments.registry import KINDS, experiment_kind
from backend.jobs import estimates
from backend.jobs.kinds.registry import KINDS as JOB_KINDS
from backend.jobs.queue import submit
from backend.progress import WORK_LOG, Silent
from backend.settings import Settings
from backend.stages import experiments as stage
from backend.stages.devices import Compute
from backend.stages.experiments import run_cells, run_experiment
from backend.store.content_hash import content_hash
from backend.store.database import Store, open_store
from backend.store.tables import Experiment, ExperimentArray, ExperimentCell, Job
from tests.backend.experimenting import KIND, Parameters, complete, empty_store, load_cell_arrays
from tests.stores import ONE_CORE, SMALL_GRID


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path / "data") as store:
        yield store


class KilledError(Exception):
    """Stands for the end of a process."""


def arrays_of(store: Store, name: str) -> dict[tuple[int, str], np.ndarray[Any, Any]]:
    count = len(experiments.load_experiment(store, name).cells)
    return {
        (cell, key): values
        for cell in range(count)
        for key, values in load_cell_arrays(store, name, cell).items()
    }


class Lines(list[str]):
    """Messages of the work log."""

    def __call__(self, record: Any) -> bool:
        self.append(record.getMessage())
        return True


@pytest.fixture
def computed() -> Iterator[Lines]:
    lines = Lines()
    level = WORK_LOG.level
    WORK_LOG.setLevel("INFO")
    WORK_LOG.addFilter(lines)
    yield lines
    WORK_LOG.removeFilter(lines)
    WORK_LOG.setLevel(level)


def test_every_kind_of_experiment_has_jobs_and_numerics() -> None:
    assert KINDS.keys() <= JOB_KINDS.keys()
    assert KINDS.keys() == CELL_FUNCTIONS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_preset_has_an_estimate(store: Store, kind: str) -> None:
    for preset in experiment_kind(kind).presets:
        if "file" in str(preset.parameters) or preset.parameters.get("data") == "mnist":
            continue  # needs a person's file
        estimate = estimates.estimate(store, kind, preset.parameters)
        assert estimate.units
        assert estimate.work > 0, preset.name
    assert experiment_kind(kind).presets[0].size == "reduced"


def test_a_grid_is_computed_once(store: Store, computed: Lines) -> None:
    params = complete(store)
    name = run_experiment(store, KIND, params, ONE_CORE, Silent())
    assert name == experiment_kind(KIND).public_id(params)
    assert len(computed) == 1
    assert run_experiment(store, KIND, params, ONE_CORE, Silent()) == name
    assert len(computed) == 1, "stored cells are not computed again"
    (row,) = experiments.list_experiments(store, KIND).experiments
    assert (row.id, row.n_cells, row.n_finished, row.job) == (name, 4, 4, None)
    detail = experiments.load_cell(store, name, 3)
    assert detail.place == {"lr_representation": 1e-2, "lr_decoder": 3e-3}
    assert detail.steps[0] == 0
    assert detail.steps[-1] < detail.summary["stopped"] <= 300
    assert {len(values) for values in detail.curves.values()} == {len(detail.steps)}
    assert [info.name for info in detail.arrays] == ["representation"]
    assert detail.arrays[0].shape == (len(detail.steps), 10, 1)
    assert detail.provenance["device"] == "cpu"
    content_hash(store)  # verifies every checksum


def test_a_cell_does_not_depend_on_its_unit_or_on_threads(store: Store, tmp_path: Path) -> None:
    params = complete(store)
    name = run_experiment(store, KIND, params, ONE_CORE, Silent())
    other = open_store(Settings(data_dir=tmp_path / "other"))
    kind = experiment_kind(KIND)
    for cells in ((3,), (0, 2), (1,)):
        run_cells(other, kind, params, cells, Compute("cpu", 1, 2), Silent())
    for key, values in arrays_of(store, name).items():
        assert np.array_equal(arrays_of(other, name)[key], values, equal_nan=True), key
    summaries, other_summaries = (
        [cell.summary for cell in experiments.load_experiment(s, name).cells]
        for s in (store, other)
    )
    assert summaries == other_summaries
    other.close()


def test_cells_stored_by_another_worker_do_not_undo_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, kind = complete(store), experiment_kind(KIND)
    run_cells(store, kind, params, (2,), ONE_CORE, Silent())
    monkeypatch.setattr(stage, "missing_cells", lambda store, row, cells: list(cells))
    with pytest.raises(StoreError, match="were not stored"):
        run_cells(store, kind, params, range(4), ONE_CORE, Silent())
    monkeypatch.undo()
    assert all(
        cell.summary for cell in experiments.load_experiment(store, kind.public_id(params)).cells
    )


def test_a_finished_job_whose_cells_are_gone_computes_them_again(store: Store) -> None:
    kind = experiment_kind(KIND)
    name = run_experiment(store, KIND, complete(store), ONE_CORE, Silent())
    is_there = JOB_KINDS[KIND].has_result
    assert is_there(store, {"experiment": name})
    with store.begin() as session:
        session.execute(delete(ExperimentCell).where(ExperimentCell.cell == 1))
        session.execute(delete(ExperimentArray).where(ExperimentArray.cell == 1))
    assert not is_there(store, {"experiment": name})
    assert not is_there(store, {"experiment": "0" * 16})
    run_cells(store, kind, complete(store), (1,), ONE_CORE, Silent())
    assert is_there(store, {"experiment": name})


def test_a_full_disk_loses_only_the_saved_state(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    name = run_experiment(store, KIND, complete(store), ONE_CORE, Silent())
    assert all(cell.summary for cell in experiments.load_experiment(store, name).cells)


def test_a_failed_stack_stops_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, start = CELL_FUNCTIONS[KIND], time.monotonic()

    def fails(params: Parameters, cells: Any, context: Any) -> Any:
        if 1 in cells:
            raise ValueError("the second stack")
        return real(params, cells, context)

    monkeypatch.setitem(CELL_FUNCTIONS, KIND, fails)
    params = complete(store, steps=500_000, stop_early=False)
    with pytest.raises(InvalidInputError, match="the second stack"):
        run_experiment(store, KIND, params, Compute("cpu", 1, 2), Silent())
    assert time.monotonic() - start < 30


def test_an_interrupted_training_resumes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = complete(store, steps=400, stop_early=False)
    expected = arrays_of(store, run_experiment(store, KIND, params, ONE_CORE, Silent()))
    other = open_store(Settings(data_dir=tmp_path / "other"))
    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("compute.ensembles.trainer.PROGRESS_SECONDS", 0.0)
    save = stage._SavedTraining.save
    steps: list[int] = []

    def interrupt(self: Any, training: Any) -> None:
        save(self, training)
        steps.append(training.step)
        if training.step == 150 and steps.count(150) == 1:
            raise KilledError

    monkeypatch.setattr(stage._SavedTraining, "save", interrupt)
    with pytest.raises(KilledError):
        run_experiment(other, KIND, params, ONE_CORE, Silent())
    assert list((tmp_path / "other/experiments").glob("*.safetensors"))
    name = run_experiment(other, KIND, params, ONE_CORE, Silent())
    first, second = steps[: steps.index(150) + 1], steps[steps.index(150) + 1 :]
    assert first == list(range(151))
    assert second[0] == 150, "resumes from the saved state"
    for key, values in arrays_of(other, name).items():
        assert np.array_equal(values, expected[key], equal_nan=True), key
    assert not list((tmp_path / "other/experiments").iterdir()), "no state is left"
    other.close()


def test_a_damaged_state_starts_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    params = complete(store, steps=40)
    kind = experiment_kind(KIND)
    path = stage._SavedTraining(store, kind.key(params), range(4)).path
    path.parent.mkdir()
    path.write_bytes(b"no state of anything")
    run_experiment(store, KIND, params, ONE_CORE, Silent())
    assert not path.exists()


def test_unfinished_cells_have_no_phase(store: Store) -> None:
    params = complete(store)
    kind = experiment_kind(KIND)
    run_cells(store, kind, params, (1,), ONE_CORE, Silent())
    name = kind.public_id(params)
    view = phase_diagrams.load_phase_diagram(store, name)
    assert [cell.phase is not None for cell in view.cells] == [False, True, False, False]
    assert sum(view.counts[phase] for phase in "CGMX") == 1
    with pytest.raises(NotReadyError, match="cell 0 of experiment"):
        experiments.load_cell(store, name, 0)
    with pytest.raises(NotFoundError, match="no cell 4"):
        experiments.load_cell(store, name, 4)
    with pytest.raises(NotFoundError, match="no array 'nothing'"):
        experiments.load_cell_array(store, name, 1, "nothing")
    with pytest.raises(NotFoundError, match="there is no experiment"):
        experiments.load_experiment(store, "0" * 16)


def test_a_queued_run_is_shown(store: Store) -> None:
    params = complete(store)
    job = submit(store, KIND, SMALL_GRID)
    name = experiment_kind(KIND).public_id(params)
    detail = experiments.load_experiment(store, name)
    assert detail.experiment.job is not None
    assert detail.experiment.job.id == job.id
    assert [cell.summary for cell in detail.cells] == [None] * 4
    assert phase_diagrams.load_phase_diagram(store, name).counts["C"] == 0
    with pytest.raises(NotReadyError, match="has not started"):
        experiments.load_cell(store, name, 0)


@pytest.mark.parametrize(
    ("params", "parameter", "message"),
    [
        ({"y": "lr_representation"}, None, "both axes are lr_representation"),
        ({"x_values": [1e-2, 1e-3]}, None, "values of lr_representation must be ascending"),
        ({"x_values": []}, "x_values", "at least 1 item"),
        ({"x_values": ["a"]}, "x_values", "valid number"),
        ({"x_values": [float("nan")]}, "x_values", "finite number"),
        ({"x": "dropout", "x_values": [0.5, 1.5]}, "dropout", "dropout is 1.5, want under 1"),
        ({"x": "train_fraction", "x_values": [0.0, 0.5]}, "train_fraction", "want in (0, 1]"),
        ({"train_fraction": 1.0}, "train_fraction", "none is left to test"),
        ({"x": "seed", "x_values": [0.5, 1.0]}, "seed", "want integers"),
        ({"steps": 1}, "steps", "greater than or equal to 10"),
        ({"p": 2}, "p", "greater than or equal to 3"),
        ({"task": "s3", "p": 7}, None, "S3 has p = 6"),
        ({"surprise": 1}, "surprise", "surprise is not a parameter"),
    ],
)
def test_invalid_grids_are_refused_by_name(
    store: Store, params: Parameters, parameter: str | None, message: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        complete(store, **params)
    assert message in str(error.value)
    assert error.value.parameter == parameter
    with store.session() as session:
        assert session.scalars(select(Experiment)).all() == []


def test_equal_requests_are_one_experiment(store: Store) -> None:
    kind = experiment_kind(KIND)
    plain = kind.key(complete(store))
    assert kind.key(complete(store, p=10, dim=1)) == plain, "defaults may be given"
    assert kind.key(complete(store, lr_decoder=0.7)) == plain, "the value of an axis is not used"
    assert kind.key(complete(store, lr_decoder=0.7, y="wd_decoder")) != plain
    assert kind.key(complete(store, seed=2)) != plain


@given(st.integers(0, 500), st.integers(1, 40))
def test_units_of_work_hold_every_cell_once(count: int, size: int) -> None:
    assert [cell for cells in cell_ranges(count, size) for cell in cells] == list(range(count))


def test_deleting_an_experiment_deletes_its_cells(store: Store) -> None:
    run_experiment(store, KIND, complete(store, steps=30), ONE_CORE, Silent())
    with store.begin() as session:
        session.execute(delete(Experiment))
    with store.session() as session:
        for table in (ExperimentCell, ExperimentArray, Job):
            assert session.scalars(select(table)).all() == []


def test_an_interrupt_stops_all_stacks(tmp_path: Path) -> None:
    """Ctrl-C while two stacks train: the command ends at once, and goes on later."""
    settings = {"QUANTA_DATA_DIR": str(tmp_path / "data"), "QUANTA_DEVICE": "cpu"}
    params = ["x_values=[0.001]", "y_values=[0.0001,0.0002]", "steps=200000", "stop_early=false"]
    with subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "experiment", "run", KIND, *params, "--json"],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell starts what runs in the background with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        log = tmp_path / "data/quanta.log"
        deadline = time.monotonic() + 60
        while not (log.exists() and "experiment" in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
        assert process.returncode == 130
        assert time.monotonic() - began < 10
