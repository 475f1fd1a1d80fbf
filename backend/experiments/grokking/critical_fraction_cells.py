"""Computes the cells of the critical fraction: one p each."""

from collections.abc import Sequence

import numpy as np

from backend.experiments.cells import CellContext, CellResult
from backend.experiments.grokking.critical_fraction import CriticalFractionParameters
from compute.grokking.parallelograms import critical_fraction, pairs, parallelograms


def compute_cells(
    params: CriticalFractionParameters, cells: Sequence[int], context: CellContext
) -> list[CellResult]:
    """Draw training sets for some p."""
    return [_cell(params, cell, context) for cell in cells]


def _cell(params: CriticalFractionParameters, cell: int, context: CellContext) -> CellResult:
    p, n_pairs = params.p[cell], len(pairs(params.p[cell]))
    result = critical_fraction(
        p,
        np.arange(1, n_pairs + 1),
        params.draws,
        params.seed,
        lambda draw: context.report(draw / params.draws),
    )
    all_parallelograms = parallelograms(p)
    rows = all_parallelograms.rows(p)
    summary = {
        "n_pairs": n_pairs,
        "n_parallelograms": len(all_parallelograms.outer),
        "lambda3": float(np.linalg.eigvalsh(rows.T @ rows)[2]),
        "half_at": result.half_at,
        "fraction": result.fraction,
    }
    arrays = {"n_train": result.sizes.astype(np.int32), "share": result.share.astype(np.float32)}
    return CellResult(cell, summary, arrays)
