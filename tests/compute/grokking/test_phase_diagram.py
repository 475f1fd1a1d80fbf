"""Grids: cells have the settings of their place, and train in groups as they would together."""

import threading

import numpy as np
import pytest
import torch

from compute.ensembles.trainer import Record
from compute.grokking.grids import Grid, groups, log_axis
from compute.grokking.phase_diagram import (
    CPU_GROUP,
    CURVES,
    phase_diagram,
    regime,
    train,
    train_groups,
)
from compute.grokking.problems import Problem, Setting

NARROW = Problem(width=16)
GRID = Grid(
    ("lr_decoder", log_axis(-4.0, -2.0, 4)),
    ("lr_representation", log_axis(-3.0, -2.0, 3)),
    Setting(seed=3),
)


def test_cells_have_the_settings_of_their_place() -> None:
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


def test_groups_cover_all_cells_once() -> None:
    assert [list(cells) for cells in groups(5, 2)] == [[0, 1], [2, 3], [4]]
    assert groups(0, 4) == []


def test_a_grid_in_groups_is_the_grid_in_one() -> None:
    settings, how = GRID.settings(), regime(400, linger=10)
    whole = train(NARROW, settings, how)
    seen: dict[int, int] = {}
    lock = threading.Lock()

    def note(cells: range, record: Record) -> None:
        with lock:
            seen.update({cell: int(record.reached["train"][i]) for i, cell in enumerate(cells)})

    before = torch.get_num_threads()
    records = train_groups(NARROW, settings, how, n_threads=2, on_group=note)
    assert torch.get_num_threads() == before
    assert len(records) == -(-len(settings) // CPU_GROUP)
    assert seen == dict(enumerate(whole.reached["train"].tolist()))
    found = phase_diagram(GRID, records, 400, gap=50)
    for name, steps in found.reached.items():
        assert steps.shape == GRID.shape
        assert (steps.ravel() == whole.reached[name]).all()
    for name in CURVES:
        joined = np.concatenate([record.curves[name] for record in records])
        assert joined == pytest.approx(whole.curves[name], rel=1e-3, abs=1e-4, nan_ok=True)
    assert sum(found.labels.counts()[phase] for phase in "CGMX") == 12


def test_grids_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="both axes are lr_decoder"):
        Grid(("lr_decoder", (1.0,)), ("lr_decoder", (1.0,)))
    with pytest.raises(ValueError, match="values of dropout must rise"):
        Grid(("dropout", (0.2, 0.1)), ("lr_decoder", (1.0,)))
    with pytest.raises(ValueError, match=r"dropout is 1\.5"):
        Grid(("dropout", (0.5, 1.5)), ("lr_decoder", (1.0,))).settings()
    record = train(NARROW, GRID.settings()[:1], regime(5))
    with pytest.raises(ValueError, match="1 cells trained, the grid has 12"):
        phase_diagram(GRID, [record], 5)
