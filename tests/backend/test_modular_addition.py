"""Modular addition as an experiment: cells, their arrays, stacks and resumed trainings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import InvalidInputError
from backend.experiments.kind import cell_ranges
from backend.experiments.queries import load_cell, load_experiment
from backend.experiments.registry import experiment_kind
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages import experiments as stage
from backend.stages.experiments import run_experiment
from backend.store.database import Store, open_store
from compute.ensembles.trainer import Trainer
from tests.backend.experimenting import load_cell_arrays
from tests.stores import ONE_CORE

KIND = experiment_kind("modular_addition")
TINY: dict[str, Any] = {
    "p": 7,
    "train_fraction": 0.6,
    "weight_decay": [1.0, 0.0],
    "steps": 60,
    "learning_rate": 0.01,
    "d_model": 8,
    "heads": 2,
    "d_mlp": 16,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield opened
    opened.engine.dispose()


def complete(store: Store, **changes: Any) -> dict[str, Any]:
    with store.session() as session:
        return validate_params(store, session, KIND.name, TINY | changes)


def run(store: Store, **changes: Any) -> str:
    return run_experiment(store, KIND.name, complete(store, **changes), ONE_CORE, Silent())


def test_cells_are_products_of_their_lists(store: Store) -> None:
    params = complete(store, seed=[4, 2], alpha=[0.8, 1])
    places = KIND.parse(params).places()
    assert len(places) == 8
    assert places[0] == {"weight_decay": 1.0, "alpha": 0.8, "seed": 4}
    assert places[1] == {"weight_decay": 0.0, "alpha": 0.8, "seed": 4}
    assert places[-1] == {"weight_decay": 0.0, "alpha": 1.0, "seed": 2}
    assert [len(unit) for unit in cell_ranges(8, KIND.cells_per_unit)] == [2, 2, 2, 2]
    assert KIND.parse(params).flop() == pytest.approx(4 * KIND.parse(complete(store)).flop())


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("p", {"p": 8}),
        ("weight_decay", {"weight_decay": [1, 1]}),
        ("weight_decay", {"seed": list(range(16)), "alpha": [1, 2, 3]}),
        ("train_fraction", {"train_fraction": 0.01}),
        ("d_model", {"heads": 3}),
    ],
)
def test_invalid_parameters_are_refused(store: Store, field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        complete(store, **changes)
    assert raised.value.parameter == field


@pytest.mark.parametrize("preset", KIND.presets, ids=lambda preset: preset.name)
def test_presets_make_cells(store: Store, preset: Any) -> None:
    with store.session() as session:
        params = validate_params(store, session, KIND.name, preset.parameters)
    assert len(KIND.parse(params).places()) >= 1
    assert (KIND.parse(params).flop() < 1e13) == (preset.size == "reduced")


def test_a_cell_stores_its_curves_and_its_circuit(store: Store) -> None:
    name = run(store)
    detail = load_cell(store, name, 0)
    values = load_cell_arrays(store, name, 0)
    n_evals, p, heads = len(detail.steps), 7, 2
    assert detail.steps[0] == 0
    assert detail.steps[-1] == 59
    assert {"train_loss", "restricted_loss", "excluded_loss", "key_share"} <= set(detail.curves)
    assert "parameters" not in values
    assert values["embedding_spectrum"].shape == values["logit_spectrum"].shape == (n_evals, 3)
    assert values["embedding_spectrum"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert values["attention_scores"].shape == (n_evals, heads, 2 * p + 1)
    planes, moments = len(detail.summary["planes"]), len(values["moment"])
    assert values["circle"].shape == (n_evals, planes, p, 2)
    assert values["principal"].shape == (n_evals, p, 2)
    drawn = detail.summary["drawn_neurons"]
    assert values["neuron_maps"].shape == (moments, len(drawn), p, p)
    assert values["logit_energy"].shape == (n_evals, 4, 4)
    assert values["neuron_frequency"].shape == values["neuron_share"].shape == (16,)
    assert detail.summary["final_train_loss"] == pytest.approx(detail.curves["train_loss"][-1])
    key_frequencies = detail.summary["key_frequencies"]
    assert detail.summary["final_key_share"] == pytest.approx(
        values["embedding_spectrum"][-1, [k - 1 for k in key_frequencies]].sum(), rel=1e-5
    )
    assert sum(array.nbytes for array in values.values()) < 3e6


def test_a_cell_does_not_depend_on_its_stack(store: Store) -> None:
    together, alone = run(store), run(store, weight_decay=[0.0])
    first, second = load_cell_arrays(store, together, 1), load_cell_arrays(store, alone, 0)
    assert set(first) == set(second)
    for name, values in first.items():
        assert np.array_equal(values, second[name], equal_nan=True), name
    assert (
        load_experiment(store, together).cells[1].summary
        == load_experiment(store, alone).cells[0].summary
    )


def test_an_interrupted_training_resumes_to_the_same_result(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_store = open_store(Settings(data_dir=tmp_path / "whole"))
    expected = load_cell_arrays(other_store, run(other_store, seed=[9]), 0)
    other_store.engine.dispose()

    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("compute.ensembles.trainer.PROGRESS_SECONDS", 0.0)
    steps: list[int] = []
    step = Trainer._take_step

    def interrupt(training: Trainer) -> None:
        if training.step == 40:
            raise KeyboardInterrupt
        step(training)

    monkeypatch.setattr(Trainer, "_take_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(store, seed=[9])
    saved = store.settings.data_dir / stage.FOLDER
    assert len(list(saved.glob("*.safetensors"))) == 1

    def record_step(training: Trainer) -> None:
        steps.append(training.step)
        step(training)

    monkeypatch.setattr(Trainer, "_take_step", record_step)
    resumed = load_cell_arrays(store, run(store, seed=[9]), 0)
    assert steps[0] >= 39
    for name, values in expected.items():
        assert np.array_equal(values, resumed[name], equal_nan=True), name
    assert not list(saved.iterdir())


def test_a_diverged_curve_has_gaps(store: Store) -> None:
    name = run(store, weight_decay=[0.0], learning_rate=10.0, alpha=[1000.0])
    detail = load_cell(store, name, 0)
    assert detail.summary["final_train_loss"] is None or detail.summary["final_train_loss"] > 1
    assert len(detail.curves["train_loss"]) == len(detail.steps)
    for values in load_cell_arrays(store, name, 0).values():
        assert not np.isinf(values).any()
