"""Runs of sparse parity: cells, stacks, resumed runs and scaling laws."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from backend.cli import cli
from backend.errors import InvalidInputError, NotFoundError
from backend.experiments.cell_functions import CELL_FUNCTIONS
from backend.experiments.cells import CellContext
from backend.experiments.queries import load_cell, load_experiment
from backend.experiments.registry import experiment_kind
from backend.experiments.sparse_parity.cells import (
    STACK_BYTES,
    network_bytes,
    split_into_stacks,
)
from backend.experiments.sparse_parity.queries import load_parity_cell, load_parity_run
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages import experiments as stage
from backend.store.database import Store, open_store
from compute.ensembles.trainer import Trainer
from compute.parity_fits import steps_law
from compute.parity_problem import Problem, convergence_steps
from tests.backend.experimenting import load_cell_arrays
from tests.stores import ONE_CORE

KIND = experiment_kind("sparse_parity")
SMALL = {"tasks": 4, "bits": 6, "subset": 2, "batch_size": 64, "test_points": 64}
RUN = {
    **SMALL,
    "widths": [24, 8],
    "samples": [0, 300],
    "seeds": [1, 0],
    "learning_rate": 0.02,
    "steps": 400,
    "patience": 2,
    "patience_after": 20,
    "patience_every": 10,
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Settings(data_dir=tmp_path))


def complete(store: Store, params: dict[str, Any]) -> dict[str, Any]:
    with store.session() as session:
        return validate_params(store, session, "sparse_parity", params)


def run(store: Store, params: dict[str, Any]) -> str:
    return stage.run_experiment(store, "sparse_parity", complete(store, params), ONE_CORE, Silent())


def test_cells_are_the_product_of_the_lists(store: Store) -> None:
    params = complete(store, {**RUN, "alphas": [0.5, 0.2, 0.5]})
    assert params["alphas"] == [0.2, 0.5]
    assert params["widths"] == [8, 24]
    places = KIND.parse(params).places()
    assert len(places) == 16
    assert places[0] == {"alpha": 0.2, "width": 8, "samples": 0, "seed": 0}
    assert places[-1] == {"alpha": 0.5, "width": 24, "samples": 300, "seed": 1}
    assert len({json.dumps(place) for place in places}) == 16
    reordered = complete(store, {**RUN, "widths": [8, 24], "alphas": [0.5, 0.2]})
    assert KIND.public_id(reordered) == KIND.public_id(params)


def test_patience_is_ignored_for_fresh_data(store: Store) -> None:
    params = complete(store, {**RUN, "samples": [0]})
    other_params = complete(store, {**RUN, "samples": [0], "patience": 7, "patience_every": 3})
    assert KIND.public_id(params) == KIND.public_id(other_params)
    assert params["patience"] == 0


@pytest.mark.parametrize("preset", KIND.presets, ids=lambda place: place.name)
def test_presets_are_valid(store: Store, preset: Any) -> None:
    params = complete(store, dict(preset.parameters))
    places = KIND.parse(params).places()
    assert KIND.parse(params).flop() > 0
    counts = {"p15": 30, "p17": 480, "d6": 30, "d9": 375, "d11": 375, "steps": 1}
    assert len(places) == counts.get(preset.name, len(places))
    if preset.size == "reduced":
        assert KIND.parse(params).flop() < 1e13  # two minutes of two cores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": []}, "widths"),
        ({"widths": [0]}, "widths"),
        ({"alphas": [0]}, "alphas"),
        ({"samples": [-1]}, "samples"),
        ({"subset": 7}, "subset <= bits"),
        ({"tasks": 16}, "only 15 subsets"),
        ({"widths": list(range(1, 60)), "seeds": list(range(60))}, "cells, at most"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_invalid_runs_are_refused(store: Store, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        complete(store, {**RUN, **changes})


def test_a_run_stores_the_convergence_steps(store: Store) -> None:
    name = run(store, RUN)
    cells = load_experiment(store, name).cells
    assert len(cells) == 8
    assert {row.summary["stopped"] == 400 for row in cells if row.summary} == {True, False}
    for row in cells:
        assert row.summary
        arrays, detail = load_cell_arrays(store, name, row.cell), load_cell(store, name, row.cell)
        losses, steps = arrays["task_loss"], arrays["step"]
        assert losses.dtype == np.float16
        assert losses.shape == (len(steps), 4)
        assert set(detail.curves) == {"loss", "train_loss"}
        steps_of_tasks = convergence_steps(losses, steps)
        assert row.summary["convergence_steps"] == [
            s if s >= 0 else None for s in steps_of_tasks.tolist()
        ]
        assert row.summary["converged"] == (steps_of_tasks >= 0).sum()
        assert row.summary["minimum_loss"] == pytest.approx(arrays["loss"].min())
        p = Problem(4, 6, 2).frequencies()
        assert arrays["loss"] == pytest.approx(losses @ p, rel=2e-3, abs=2e-3)
        if row.place["samples"] == 0:
            assert row.summary["stopped"] == 400  # only training on a fixed sample stops early
        elif row.summary["stopped"] < 400:
            assert steps[-1] < row.summary["stopped"]
            assert row.summary["final_loss"] >= row.summary["minimum_loss"]
    wide = [row.summary for row in cells if row.place == {**cells[0].place, "width": 24}]
    assert wide[0]
    assert wide[0]["converged"] >= 3


def test_a_cell_does_not_depend_on_its_stack(store: Store, tmp_path: Path) -> None:
    together = run(store, {**RUN, "steps": 120})
    cells = load_experiment(store, together).cells
    alone = {"widths": [24], "samples": [300], "seeds": [1], "steps": 120}
    single = run(store, {**RUN, **alone})
    (number,) = [
        row.cell
        for row in cells
        if row.place == {"alpha": 0.4, "width": 24, "samples": 300, "seed": 1}
    ]
    a, b = load_cell_arrays(store, together, number), load_cell_arrays(store, single, 0)
    for name, values in a.items():
        assert np.array_equal(b[name], values, equal_nan=True), name


class InterruptError(Exception):
    """The program was killed here."""


def test_an_interrupted_run_resumes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("compute.ensembles.trainer.PROGRESS_SECONDS", 0.0)
    params = {**RUN, "seeds": [0], "steps": 100, "patience": 0}
    train, starts = Trainer.train, []

    def interrupt(training: Trainer, until: int | None = None, on_progress: Any = None) -> Any:
        starts.append(training.step)
        if len(starts) == 3:  # the third of four stacks dies halfway
            train(training, until=60, on_progress=on_progress)
            raise InterruptError
        return train(training, until, on_progress)

    monkeypatch.setattr(Trainer, "train", interrupt)
    with pytest.raises(InterruptError):
        run(store, params)
    name = KIND.public_id(complete(store, params))
    finished = [row.cell for row in load_experiment(store, name).cells if row.summary]
    assert len(finished) == 2  # finished stacks are stored
    (state,) = (tmp_path / stage.FOLDER).glob("*.safetensors")
    before = {number: load_cell(store, name, number).provenance for number in finished}
    assert run(store, params) == name
    assert starts[3] == 59  # resumed; finished stacks were not trained again
    assert starts[4:] == [0]
    assert not state.exists()
    assert {number: load_cell(store, name, number).provenance for number in finished} == before
    fresh = open_store(Settings(data_dir=tmp_path / "fresh"))
    run(fresh, params)
    for number in range(4):
        a, b = (load_cell_arrays(opened, name, number) for opened in (store, fresh))
        assert all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([4, 8, 16]), min_size=1, unique=True),
    st.lists(st.sampled_from([0, 100, 1_000_000]), min_size=1, unique=True),
    st.lists(st.sampled_from([0.1, 0.5]), min_size=1, unique=True),
    st.integers(1, 4),
    st.sampled_from(["cpu", "cuda"]),
)
def test_stacks_hold_every_cell_once_and_share_alpha_and_width(
    widths: list[int], samples: list[int], alphas: list[float], seeds: int, device: str
) -> None:
    lists = {"widths": widths, "samples": samples, "alphas": alphas, "seeds": list(range(seeds))}
    params = KIND.parse({**SMALL, **lists, "test_points": 5_000, "batch_size": 100_000})
    places = params.places()
    stacks = split_into_stacks(params, range(len(places)), device)
    assert sorted(cell for stack in stacks for cell in stack) == list(range(len(places)))
    for stack in stacks:
        stack_places = [places[cell] for cell in stack]
        assert len({(p["alpha"], p["width"], p["samples"] > 0) for p in stack_places}) == 1
        if len(stack) > 1:
            n_bytes = sum(network_bytes(params, place) for place in stack_places)
            assert n_bytes <= STACK_BYTES[device]


def test_laws_have_the_slopes_of_their_fits(store: Store) -> None:
    name = run(store, {**RUN, "widths": [4, 6, 8, 24], "samples": [0], "seeds": [0]})
    view = load_parity_run(store, name)
    assert [(law.axis, law.alpha) for law in view.laws] == [("N", 0.4), ("S", 0.4)]
    law = view.laws[1]
    cell = load_parity_cell(store, name, len(view.cells) - 1)
    assert cell.place["width"] == 24
    assert law.why_not is None
    steps = [-1 if s is None else s for s in cell.convergence_steps]
    expected = steps_law(
        Problem(4, 6, 2), np.array(cell.steps), np.array(cell.loss), np.array([steps])
    )
    assert (law.measured, law.predicted) == (expected.measured, expected.predicted)
    assert law.window == expected.window
    assert law.limit == pytest.approx(-0.4 / 1.4)
    assert len(law.x) == len(law.loss) > 20
    fewer = load_parity_cell(store, name, 3, n_tasks=2)
    assert fewer.task_loss == cell.task_loss[:2]
    assert fewer.frequencies == cell.frequencies


def test_the_laws_are_printed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = run(store, {**RUN, "widths": [8, 24], "samples": [0], "seeds": [0]})
    monkeypatch.setenv("QUANTA_DATA_DIR", str(store.settings.data_dir))
    result = CliRunner().invoke(cli, ["experiment", "laws", name])
    assert result.exit_code == 0, result.output
    view = load_parity_run(store, name)
    assert [line[0] for line in result.output.splitlines()] == [law.axis for law in view.laws]
    assert "N at alpha 0.4: no slope, distinct points in the window: 1;" in result.output
    assert f"slope {view.laws[1].measured:.3f}, sum over 4 subtasks" in result.output
    document = json.loads(CliRunner().invoke(cli, ["experiment", "laws", name, "--json"]).output)
    assert document["laws"][1]["predicted"] == view.laws[1].predicted


def test_experiments_of_other_kinds_are_refused(store: Store) -> None:
    with store.session() as session:
        grid = validate_params(
            store,
            session,
            "phase_diagram",
            {"x_values": [1e-3], "y_values": [1e-3], "steps": 10, "width": 4},
        )
    name = stage.run_experiment(store, "phase_diagram", grid, ONE_CORE, Silent())
    for load in (load_parity_run, lambda *given: load_parity_cell(*given, 0)):
        with pytest.raises(NotFoundError, match="not a sparse_parity"):
            load(store, name)


def test_committed_cells_are_not_returned(tmp_path: Path) -> None:
    params = KIND.parse({**SMALL, "widths": [2, 3], "steps": 10})
    committed: list[list[int]] = []

    def train(training: Trainer, part: Sequence[int] | None = None) -> Any:
        assert part is not None
        return training.train()

    context = CellContext(
        "cpu",
        tmp_path,
        train,
        lambda results: committed.append([result.cell for result in results]),
    )
    assert CELL_FUNCTIONS["sparse_parity"](params, [0, 1], context) == []
    assert committed == [[0], [1]]
