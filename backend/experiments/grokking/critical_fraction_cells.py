"""Cells of the critical fraction: one p each."""

from collections.abc import Sequence

import numpy as np

from backend.experiments.cells import Bench, CellResult
from backend.experiments.kind import Checked
from compute.grokking.parallelograms import critical_fraction, pairs, parallelograms


def compute(asked: Checked, cells: Sequence[int], bench: Bench) -> list[CellResult]:
    """Draw training sets for some p."""
    return [_cell(asked, cell, bench) for cell in cells]


def _cell(asked: Checked, cell: int, bench: Bench) -> CellResult:
    p, draws = asked["p"][cell], asked["draws"]
    n_pairs = len(pairs(p))
    sizes = np.arange(1, n_pairs + 1)
    found = critical_fraction(
        p, sizes, draws, asked["seed"], lambda draw: bench.check(draw / draws)
    )
    every = parallelograms(p)
    rows = every.rows(p)
    summary = {
        "n_pairs": n_pairs,
        "n_parallelograms": len(every.outer),
        "lambda3": float(np.linalg.eigvalsh(rows.T @ rows)[2]),
        "half_at": found.half_at,
        "fraction": found.fraction,
    }
    arrays = {"n_train": found.sizes.astype(np.int32), "share": found.share.astype(np.float32)}
    return CellResult(cell, summary, arrays)
