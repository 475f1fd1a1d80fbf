"""Modular addition as an experiment: cells, what they keep, company, and interruptions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import InvalidInputError
from backend.experiments.kind import cell_ranges
from backend.experiments.queries import load_cell, load_cell_arrays, load_experiment
from backend.experiments.registry import experiment_kind
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages import experiments as stage
from backend.stages.experiments import run_experiment
from backend.store.database import Store, open_store
from compute.ensembles.trainer import Trainer
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
    asked = complete(store, seed=[4, 2], alpha=[0.8, 1])
    places = KIND.parse(asked).places()
    assert len(places) == 8
    assert places[0] == {"weight_decay": 1.0, "alpha": 0.8, "seed": 4}
    assert places[1] == {"weight_decay": 0.0, "alpha": 0.8, "seed": 4}
    assert places[-1] == {"weight_decay": 0.0, "alpha": 1.0, "seed": 2}
    assert [len(unit) for unit in cell_ranges(8, KIND.cells_per_unit)] == [2, 2, 2, 2]
    assert KIND.parse(asked).flop() == pytest.approx(4 * KIND.parse(complete(store)).flop())


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
def test_what_makes_no_cells_is_refused(store: Store, field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        complete(store, **changes)
    assert raised.value.parameter == field


@pytest.mark.parametrize("preset", KIND.presets, ids=lambda preset: preset.name)
def test_presets_make_cells(store: Store, preset: Any) -> None:
    with store.session() as session:
        asked = validate_params(store, session, KIND.name, preset.parameters)
    assert len(KIND.parse(asked).places()) >= 1
    assert (KIND.parse(asked).flop() < 1e13) == (preset.size == "reduced")


def test_a_cell_keeps_its_curves_and_its_clock(store: Store) -> None:
    name = run(store)
    shown = load_cell(store, name, 0)
    values = load_cell_arrays(store, name, 0)
    looks, p, heads = len(shown.steps), 7, 2
    assert shown.steps[0] == 0
    assert shown.steps[-1] == 59
    assert {"train_loss", "restricted_loss", "excluded_loss", "key_share"} <= set(shown.curves)
    assert "parameters" not in values
    assert values["embedding_spectrum"].shape == values["logit_spectrum"].shape == (looks, 3)
    assert values["embedding_spectrum"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert values["attention_scores"].shape == (looks, heads, 2 * p + 1)
    planes, moments = len(shown.summary["planes"]), len(values["moment"])
    assert values["circle"].shape == (looks, planes, p, 2)
    assert values["principal"].shape == (looks, p, 2)
    drawn = shown.summary["drawn_neurons"]
    assert values["neuron_maps"].shape == (moments, len(drawn), p, p)
    assert values["logit_energy"].shape == (looks, 4, 4)
    assert values["neuron_frequency"].shape == values["neuron_share"].shape == (16,)
    assert shown.summary["final_train_loss"] == pytest.approx(shown.curves["train_loss"][-1])
    key = shown.summary["key_frequencies"]
    assert shown.summary["final_key_share"] == pytest.approx(
        values["embedding_spectrum"][-1, [k - 1 for k in key]].sum(), rel=1e-5
    )
    assert sum(one.nbytes for one in values.values()) < 3e6


def test_a_cell_alone_is_the_cell_in_company(store: Store) -> None:
    together, alone = run(store), run(store, weight_decay=[0.0])
    first, second = load_cell_arrays(store, together, 1), load_cell_arrays(store, alone, 0)
    assert set(first) == set(second)
    for name, values in first.items():
        assert np.array_equal(values, second[name], equal_nan=True), name
    assert (
        load_experiment(store, together).cells[1].summary
        == load_experiment(store, alone).cells[0].summary
    )


def test_what_was_cut_off_goes_on_to_the_same_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_store(Settings(data_dir=tmp_path / "whole"))
    expected = load_cell_arrays(whole, run(whole, seed=[9]), 0)
    whole.engine.dispose()

    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("compute.ensembles.trainer.PROGRESS_SECONDS", 0.0)
    taken: list[int] = []
    step = Trainer._take_step

    def breaking(training: Trainer) -> None:
        if training.step == 40:
            raise KeyboardInterrupt
        step(training)

    monkeypatch.setattr(Trainer, "_take_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(store, seed=[9])
    saved = store.settings.data_dir / stage.FOLDER
    assert len(list(saved.glob("*.safetensors"))) == 1

    def noting(training: Trainer) -> None:
        taken.append(training.step)
        step(training)

    monkeypatch.setattr(Trainer, "_take_step", noting)
    found = load_cell_arrays(store, run(store, seed=[9]), 0)
    assert taken[0] >= 39
    for name, values in expected.items():
        assert np.array_equal(values, found[name], equal_nan=True), name
    assert not list(saved.iterdir())


def test_what_grows_beyond_bounds_is_a_gap(store: Store) -> None:
    name = run(store, weight_decay=[0.0], learning_rate=10.0, alpha=[1000.0])
    shown = load_cell(store, name, 0)
    assert shown.summary["final_train_loss"] is None or shown.summary["final_train_loss"] > 1
    assert len(shown.curves["train_loss"]) == len(shown.steps)
    for values in load_cell_arrays(store, name, 0).values():
        assert not np.isinf(values).any()
