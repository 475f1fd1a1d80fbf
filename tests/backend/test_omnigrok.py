"""Omnigrok as an experiment: valid parameters, cells and stacks, resumed trainings, stored keys."""

import gzip
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidInputError
from backend.experiments import queries as experiments
from backend.experiments.cell_functions import CELL_FUNCTIONS
from backend.experiments.cells import CellContext, CellResult
from backend.experiments.omnigrok.cells import MAX_ACTIVATIONS, split_into_stacks
from backend.experiments.omnigrok.spec import OMNIGROK
from backend.experiments.registry import KINDS
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.experiments import get_or_create_experiment, run_cells, run_experiment
from backend.store.database import Store, open_store
from backend.store.keys import result_key
from compute.ensembles.trainer import Trainer, TrainResult
from compute.grokking.mnist_files import FILES
from tests.stores import ONE_CORE

TINY: dict[str, Any] = {"alphas": [1.0], "hidden": [8], "n_train": [30], "steps": 60}


def complete(store: Store, **params: Any) -> dict[str, Any]:
    with store.session() as session:
        return validate_params(store, session, "omnigrok", {**TINY, **params})


def refused(store: Store, **params: Any) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        complete(store, **params)
    return caught.value


def alone(training: Trainer, part: Sequence[int] | None = None) -> TrainResult:
    del part
    return training.train()


def compute(params: dict[str, Any], cells: list[int], folder: Path = Path()) -> list[CellResult]:
    """Compute cells without a store."""
    results: list[CellResult] = []
    returned = CELL_FUNCTIONS["omnigrok"](
        OMNIGROK.parse(params), cells, CellContext("cpu", folder, alone, results.extend)
    )
    return [*results, *returned]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that nothing is written to."""
    opened = open_store(Settings(data_dir=tmp_path_factory.mktemp("empty")))
    yield opened
    opened.engine.dispose()


def test_defaults_are_as_published(store: Store) -> None:
    params = complete(store, hidden=None, n_train=[300, 100], alphas=[8, 1])
    assert (params["hidden"], params["test_threshold"], params["mnist"]) == ([100, 100], 0.9, None)
    assert params == complete(store, hidden=[100, 100], n_train=[100, 300], alphas=[1, 8])
    assert OMNIGROK.parse(params).places() == [
        {"n_train": n, "seed": 0, "weight_decay": 0.0, "alpha": alpha}
        for n in (100, 300)
        for alpha in (1.0, 8.0)
    ]


@pytest.mark.parametrize(
    ("parameter", "params"),
    [
        ("alphas", {"alphas": [0.0]}),
        ("alphas", {"alphas": [1.0, 1.0]}),
        ("alphas", {"alphas": []}),
        ("alphas", {"alphas": list(range(1, 51)), "seeds": list(range(50))}),
        ("weight_decays", {"weight_decays": [-0.1]}),
        ("weight_decays", {"weight_decays": [0.0, 0.1], "on_sphere": True}),
        ("n_train", {"n_train": [200, 1797]}),
        ("n_train", {"n_train": [0]}),
        ("seeds", {"seeds": [1, 1]}),
        ("steps", {"steps": 1}),
        ("hidden", {"hidden": [0]}),
        ("dtype", {"dtype": "float16"}),
        ("test_threshold", {"test_threshold": 1.5}),
        ("mnist", {"data": "mnist"}),
        ("mnist", {"data": "mnist", "mnist": "../elsewhere"}),
        ("data", {"data": "imagenet"}),
    ],
)
def test_a_refusal_names_its_parameter(
    empty: Store, parameter: str, params: dict[str, Any]
) -> None:
    error = refused(empty, **params)
    assert error.parameter == parameter
    assert parameter in error.problem


def test_every_preset_is_valid_if_its_data_exist(store: Store) -> None:
    write_mnist(store.settings.data_dir / "imports" / "mnist", 60_000)
    for preset in KINDS["omnigrok"].presets:
        with store.session() as session:
            params = validate_params(store, session, "omnigrok", preset.parameters)
        assert OMNIGROK.parse(params).flop() > 0
        # Some two minutes of one core that does eighty billion operations a second.
        assert preset.size == "full" or OMNIGROK.parse(params).flop() < 1e13


names = st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True)


@given(names, names, names, names)
@settings(max_examples=30)
def test_cells_are_all_combinations_ordered_by_size(
    alphas: list[int], decays: list[int], sizes: list[int], seeds: list[int]
) -> None:
    parameters = {
        "alphas": alphas,
        "weight_decays": decays,
        "n_train": sizes,
        "seeds": seeds,
        "on_sphere": False,
        "data": "digits",
        "hidden": [3],
        "batch_size": 5,
        "eval_every": 2,
        "steps": 10,
        "test_threshold": 0.9,
    }
    params = OMNIGROK.parse(parameters)
    places = params.places()
    assert len({tuple(place.values()) for place in places}) == len(places)
    assert len(places) == len(alphas) * len(decays) * len(sizes) * len(seeds)
    assert [place["n_train"] for place in places] == sorted(
        (place["n_train"] for place in places), key=sizes.index
    )
    cost = sum(params.flop_per_step(place["n_train"]) for place in places)
    assert OMNIGROK.parse({**parameters, "steps": 70}).flop() == pytest.approx(70 * cost)


def test_stacks_have_one_size_and_fit_in_memory(empty: Store) -> None:
    write_mnist(empty.settings.data_dir / "imports" / "mnist", 60_000)
    landscape = next(
        preset for preset in OMNIGROK.presets if preset.name == "mnist_landscape"
    ).parameters
    parameters = complete(empty, **{**landscape, "hidden": [200, 200]})
    places = OMNIGROK.parse(parameters).places()
    stacks = split_into_stacks(OMNIGROK.parse(parameters), range(len(places)))
    assert sorted(
        cell for stacks_of_size in stacks.values() for stack in stacks_of_size for cell in stack
    ) == list(range(588))
    for size, stacks_of_size in stacks.items():
        assert {places[cell]["n_train"] for stack in stacks_of_size for cell in stack} == {size}
        for stack in stacks_of_size:
            assert len(stack) * (size + 10_000) * (784 + 200 + 200 + 10) <= MAX_ACTIVATIONS
    assert (len(stacks[10]), len(stacks[60_000])) == (1, 2)


def test_a_run_is_stored_as_computed(store: Store) -> None:
    params = complete(
        store,
        alphas=[1.0, 4.0],
        weight_decays=[0.0, 1.0],
        steps=300,
        learning_rate=3e-3,
        hidden=[24],
    )
    name = run_experiment(store, "omnigrok", params, ONE_CORE, Silent())
    detail = experiments.load_experiment(store, name)
    assert (detail.experiment.n_finished, detail.experiment.n_cells) == (4, 4)
    assert detail.experiment.page == f"/omnigrok?run={name}"
    for row, direct in zip(detail.cells, compute(params, [0, 1, 2, 3]), strict=True):
        cell = experiments.load_cell(store, name, row.cell)
        assert row.summary == cell.summary == direct.summary
        assert cell.steps == tuple(direct.arrays["step"].tolist())
        assert (cell.steps[0], cell.steps[-1]) == (0, 299)
        for curve, values in cell.curves.items():
            assert values == pytest.approx(direct.arrays[curve].tolist())
            assert row.summary[f"final_{curve}"] == pytest.approx(values[-1], rel=1e-6)
        assert row.summary["best_test_loss"] <= row.summary["final_test_loss"]
        assert cell.curves["norm"][0] == pytest.approx(row.summary["initial_norm"], rel=1e-6)
        if (step := row.summary["train_step"]) is not None:
            assert step % params["eval_every"] == 0
    small, large = detail.cells[0].summary, detail.cells[1].summary
    assert small is not None
    assert large is not None
    assert small["train_step"] is not None
    assert large["initial_norm"] == pytest.approx(4 * small["initial_norm"], rel=1e-6)
    assert small["final_test_loss"] < large["final_test_loss"]


def test_a_cell_does_not_depend_on_its_stack(store: Store) -> None:
    params = complete(
        store, alphas=[0.5, 2.0], n_train=[20, 35], seeds=[0, 3], batch_size=8, stop_early=True
    )
    together = compute(params, list(range(8)))
    assert [alone.cell for alone in together] == list(range(8))
    for cell in (1, 6):
        alone = compute(params, [cell])[0]
        assert alone.summary == together[cell].summary
        assert alone.arrays.keys() == together[cell].arrays.keys()
        for name, values in alone.arrays.items():
            assert np.array_equal(values, together[cell].arrays[name], equal_nan=True), name


def test_a_cell_on_the_sphere_does_not_depend_on_its_stack(store: Store) -> None:
    params = complete(store, alphas=[0.5, 1.0, 2.0, 4.0], on_sphere=True, seeds=[0, 3])
    together = compute(params, list(range(8)))
    for cells in ([2], [1, 5], [0, 3, 7]):
        for result in compute(params, cells):
            assert result.summary == together[result.cell].summary


def test_without_gradients_the_norm_decays_by_the_law(store: Store) -> None:
    # AdamW's own steps are of the size of the learning rate: next to nothing at this one.
    rate, decay, steps = 1e-6, 1e3, 400
    params = complete(
        store, alphas=[8.0], weight_decays=[decay], learning_rate=rate, steps=steps, eval_every=50
    )
    norm = compute(params, [0])[0].arrays
    law = norm["norm"][0] * np.exp(-rate * decay * norm["step"])
    assert norm["norm"] == pytest.approx(law, rel=1e-3)


def test_on_the_sphere_the_norm_is_constant(store: Store) -> None:
    params = complete(store, alphas=[0.3, 3.0], on_sphere=True)
    for alpha, result in zip((0.3, 3.0), compute(params, [0, 1]), strict=True):
        norm = result.arrays["norm"]
        assert norm == pytest.approx(np.full_like(norm, norm[0]), rel=1e-5)
        assert result.summary["initial_norm"] == pytest.approx(
            alpha * compute(complete(store, on_sphere=True), [0])[0].summary["initial_norm"],
            rel=1e-5,
        )


class InterruptError(Exception):
    """What ends a training between two steps."""


@pytest.mark.parametrize("steps_before", [0, 1])
def test_an_interrupted_training_resumes_from_its_saved_state(
    store: Store, monkeypatch: pytest.MonkeyPatch, steps_before: int
) -> None:
    from backend.stages import experiments as stage

    params = complete(store, n_train=[20, 35], steps=300)
    expected = compute(params, [0, 1])
    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("compute.ensembles.trainer.PROGRESS_SECONDS", 0.0)
    starts: list[tuple[int, int]] = []
    run = Trainer.train

    def interrupt(self: Trainer, until: int | None = None, on_progress: Any = None) -> TrainResult:
        del until
        starts.append((len(self.networks.evaluate(0, ["norm"])["norm"]), self.step))
        if len(starts) == 1 + steps_before:
            run(self, 200, on_progress)
            raise InterruptError
        return run(self, None, on_progress)

    monkeypatch.setattr(Trainer, "train", interrupt)
    with pytest.raises(InterruptError):
        run_cells(store, OMNIGROK, params, [0, 1], ONE_CORE, Silent())
    run_cells(store, OMNIGROK, params, [0, 1], ONE_CORE, Silent())
    resumed = [step for _, step in starts[1 + steps_before :]]
    assert resumed == ([199, 0] if steps_before == 0 else [199]), "what is committed stays"
    name = OMNIGROK.public_id(params)
    for result in expected:
        stored = experiments.load_cell(store, name, result.cell)
        assert stored.summary == result.summary
        for curve, values in stored.curves.items():
            assert values == pytest.approx(result.arrays[curve].tolist())
    assert not list((store.settings.data_dir / "experiments").iterdir())


def write_mnist(folder: Path, count: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    side = 28 if count < 1000 else 1  # only the counts of a large one are read
    for name, file in FILES.items():
        rows = 12 if name.startswith("test") else count
        shape = (rows, side, side) if name.endswith("images") else (rows,)
        values = rng.integers(0, 10, shape, np.uint8)
        head = struct.pack(f">{1 + len(shape)}I", 2048 + len(shape), *shape)
        (folder / f"{file}.gz").write_bytes(gzip.compress(head + values.tobytes(), 1))


def test_mnist_comes_from_a_folder_and_is_part_of_the_key(store: Store) -> None:
    imports = store.settings.data_dir / "imports"
    folder = imports / "digits"
    request = {"data": "mnist", "mnist": "digits", "n_train": [20], "steps": 12}
    assert "is not a folder below imports" in refused(store, **request).problem
    write_mnist(folder)
    params = complete(store, **request)
    assert params["mnist"]["file"] == "digits"
    assert (params["hidden"], params["test_threshold"]) == ([8], 0.6)
    assert refused(store, **{**request, "n_train": [41]}).parameter == "n_train"
    result = compute(params, [0], imports)[0]
    assert math.isfinite(result.summary["final_train_loss"])

    labels = folder / f"{FILES['labels']}.gz"
    write_mnist(folder, 39)
    with pytest.raises(ValueError, match="mnist digits has changed since the request"):
        compute(params, [0], imports)
    assert OMNIGROK.key(complete(store, **request)) != OMNIGROK.key(params)
    labels.unlink()
    error = refused(store, **request)
    assert error.parameter == "mnist"
    assert error.problem.startswith("mnist: digits has no train-labels-idx1-ubyte")
    labels.write_bytes(b"no")
    (folder / f"{FILES['images']}.gz").write_bytes(b"PK\x03\x04....")
    assert "not an IDX file of MNIST images" in refused(store, **request).problem


# Keys computed before `look_every` was renamed to `eval_every`.
FORMER_REQUEST = {"alphas": [8.0, 1.0], "steps": 60, "look_every": 50}
FORMER_KEY = "9cd480d0dabcd4a9c7fd38cb4640e5e97056c130c7dd49dfb194a2b2f2c92492"
FORMER_JOB_KEY = "f8b71636180b5a72fdaee4088cfcf18623efb59708e30aeaddf176675fb34171"


def test_a_renamed_parameter_is_accepted_and_keeps_its_keys(store: Store) -> None:
    params = complete(store, **FORMER_REQUEST)
    assert params["eval_every"] == 50
    assert "look_every" not in params
    former = {("look_every" if name == "eval_every" else name): v for name, v in params.items()}
    for parameters in (params, former):
        assert OMNIGROK.key(parameters) == FORMER_KEY
        assert result_key("job", kind="omnigrok", parameters=parameters) == FORMER_JOB_KEY
        assert OMNIGROK.parse(parameters).eval_every == 50


def test_an_experiment_stored_before_the_rename_is_found(store: Store) -> None:
    params = complete(store, alphas=[1.0], eval_every=20, steps=20)
    former = {("look_every" if name == "eval_every" else name): v for name, v in params.items()}
    name = run_experiment(store, "omnigrok", former, ONE_CORE, Silent())
    detail = experiments.load_experiment(store, name)
    assert detail.experiment.parameters == params
    assert run_experiment(store, "omnigrok", params, ONE_CORE, Silent()) == name
    assert len(experiments.list_experiments(store, "omnigrok").experiments) == 1


def test_an_unfinished_experiment_lists_all_its_cells(store: Store) -> None:
    params = complete(store, alphas=[1.0, 2.0])
    get_or_create_experiment(store, OMNIGROK, params)
    run_cells(store, OMNIGROK, params, [1], ONE_CORE, Silent())
    cells = experiments.load_experiment(store, OMNIGROK.public_id(params)).cells
    assert [cell.summary is None for cell in cells] == [True, False]
