"""Grids: every cell has the settings of its axes, and stacks of a grid train alike."""

import numpy as np
import pytest
import torch

from benchmarks.grid import CPU_STACK, split_into_stacks, train_grid, train_stack
from compute.grokking.grids import Grid, log_axis
from compute.grokking.phase_diagram_setting import MEASURES, train_config
from compute.grokking.phases import phase_labels
from compute.grokking.problems import Problem, Setting

NARROW = Problem(width=16)
GRID = Grid(
    ("lr_decoder", log_axis(-4.0, -2.0, 4)),
    ("lr_representation", log_axis(-3.0, -2.0, 3)),
    Setting(seed=3),
)


def test_cells_have_the_settings_of_their_axes() -> None:
    settings = GRID.settings()
    assert GRID.shape == (3, 4)
    assert len(settings) == 12
    assert settings[0].lr_representation == settings[3].lr_representation == pytest.approx(1e-3)
    assert [s.lr_decoder for s in settings[:4]] == pytest.approx(
        [1e-4, 10**-3.333, 10**-2.667, 1e-2], rel=1e-3
    )
    assert settings[11].lr_representation == pytest.approx(1e-2)
    assert {s.seed for s in settings} == {3}
    batches = Grid(("batch_size", (5.0, 20.0)), ("dropout", (0.0, 0.1)))
    assert [s.batch_size for s in batches.settings()] == [5, 20, 5, 20]


def test_stacks_cover_all_cells_once() -> None:
    assert [list(cells) for cells in split_into_stacks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert split_into_stacks(0, 4) == []


def test_a_grid_in_stacks_equals_the_grid_in_one() -> None:
    settings, config = GRID.settings(), train_config(400, stop_delay=10)
    whole = train_stack(NARROW, settings, config)
    before = torch.get_num_threads()
    results = train_grid(NARROW, settings, config, n_threads=2)
    assert torch.get_num_threads() == before
    assert len(results) == -(-len(settings) // CPU_STACK)
    for name, steps in whole.threshold_steps.items():
        joined = np.concatenate([result.threshold_steps[name] for result in results])
        assert joined.tolist() == steps.tolist()
    for name in MEASURES:
        joined = np.concatenate([result.curves[name] for result in results])
        assert joined == pytest.approx(whole.curves[name], rel=1e-3, abs=1e-4, nan_ok=True)
    labels = phase_labels(whole.threshold_steps["train"], whole.threshold_steps["test"], 400, 50)
    assert sum(labels.counts()[phase] for phase in "CGMX") == 12


def test_invalid_grids_are_rejected() -> None:
    with pytest.raises(ValueError, match="both axes are lr_decoder"):
        Grid(("lr_decoder", (1.0,)), ("lr_decoder", (1.0,)))
    with pytest.raises(ValueError, match="values of dropout must be ascending"):
        Grid(("dropout", (0.2, 0.1)), ("lr_decoder", (1.0,)))
    with pytest.raises(ValueError, match=r"dropout is 1\.5"):
        Grid(("dropout", (0.5, 1.5)), ("lr_decoder", (1.0,))).settings()
