"""Queries of phase diagrams: phases at a gap, comparisons, theory, the critical fraction."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.errors import InvalidInputError, NotFoundError
from backend.experiments import queries as experiments
from backend.experiments.grokking import queries as phase_diagrams
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.stages.experiments import run_experiment
from backend.store.database import Store
from compute.grokking.phases import phase_labels
from tests.backend.experimenting import KIND, complete, empty_store
from tests.stores import ONE_CORE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path / "data") as store:
        yield store


def test_phases_follow_from_the_steps_at_any_gap(store: Store) -> None:
    params = complete(store)
    name = run_experiment(store, KIND, params, ONE_CORE, Silent())
    for gap in (1, 20, 1000):
        view = phase_diagrams.load_phase_diagram(store, name, gap)
        steps = {
            which: np.array(
                [params["steps"] - 1 if s is None else s for s in reached], dtype=np.int64
            )
            for which, reached in (
                ("train", [cell.train_step for cell in view.cells]),
                ("test", [cell.test_step for cell in view.cells]),
            )
        }
        labels = phase_labels(steps["train"], steps["test"], params["steps"], gap)
        assert [cell.phase for cell in view.cells] == labels.phases.tolist()
        assert view.counts == labels.counts()
    assert (view.x.name, view.y.values, view.budget) == ("lr_representation", (3e-4, 3e-3), 300)
    with pytest.raises(InvalidInputError, match="gap is 0"):
        phase_diagrams.load_phase_diagram(store, name, 0)


def test_grids_are_compared_at_common_cells(store: Store) -> None:
    left, right = complete(store), complete(store, x_values=[1e-2, 2e-2], seed=2)
    a, b = (run_experiment(store, KIND, params, ONE_CORE, Silent()) for params in (left, right))
    comparison = phase_diagrams.compare_phase_diagrams(store, a, b, gap=20)
    assert [(pair.x, pair.y) for pair in comparison.pairs] == [(1e-2, 3e-4), (1e-2, 3e-3)]
    assert comparison.n_equal + sum(comparison.changes.values()) == 2
    turned = complete(store, x="lr_decoder", y="lr_representation", steps=30)
    c = run_experiment(store, KIND, turned, ONE_CORE, Silent())
    with pytest.raises(InvalidInputError, match=f"diagram {c} is over"):
        phase_diagrams.compare_phase_diagrams(store, a, c)


def test_effective_theory_starts_from_the_initial_representation(store: Store) -> None:
    params = complete(store, steps=2_000, stop_early=False)
    name = run_experiment(store, KIND, params, ONE_CORE, Silent())
    prediction = phase_diagrams.load_effective_theory(store, name, 0)
    assert (prediction.n_parallelograms, prediction.nullity) == (70, 2)
    assert 0 < prediction.n_in_training < 70
    assert prediction.drift < 1e-6
    start = experiments.load_cell_array(store, name, 0, "representation")[0].astype(np.float64)
    path = np.array(prediction.representation)
    assert path[0] == pytest.approx(start - start.mean(axis=0), abs=1e-6)
    # The end is a line: evenly spaced to the order of the numbers, up or down.
    gaps = np.diff(path[-1, :, 0])
    assert np.ptp(gaps) < 1e-3 * np.abs(gaps).mean()
    assert prediction.grokking_step == pytest.approx(
        3 * 9 / (2 * 1e-3 * float(prediction.lambda3 or 0))
    )
    s3 = complete(store, task="s3", steps=30, train_fraction=0.6)
    permutations = run_experiment(store, KIND, s3, ONE_CORE, Silent())
    with pytest.raises(NotFoundError, match="no effective theory"):
        phase_diagrams.load_effective_theory(store, permutations, 0)


def test_half_of_the_training_sets_force_a_line_at_the_critical_fraction(
    store: Store,
) -> None:
    with store.session() as session:
        params = validate_params(store, session, "critical_fraction", {"p": [6, 10], "draws": 300})
    name = run_experiment(store, "critical_fraction", params, ONE_CORE, Silent())
    six, ten = phase_diagrams.load_critical_fractions(store, name)
    assert (six.n_pairs, six.n_parallelograms, ten.n_parallelograms) == (21, 13, 70)
    assert ten.fraction == pytest.approx(0.41, abs=0.02)
    assert ten.share[-1] == 1
    assert list(ten.share) == sorted(ten.share)
    summary = experiments.load_cell(store, name, 1).summary
    assert summary["lambda3"] == pytest.approx(30)
    with pytest.raises(NotFoundError, match="not a phase_diagram"):
        phase_diagrams.load_phase_diagram(store, name)
    grid = run_experiment(store, KIND, complete(store, steps=30), ONE_CORE, Silent())
    with pytest.raises(NotFoundError, match="not a critical_fraction"):
        phase_diagrams.load_critical_fractions(store, grid)
