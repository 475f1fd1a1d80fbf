"""Figures of one cell of a phase diagram over its training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.figures.base import Layout, Trace, axis, end_label, figure
from app.figures.training_curves import (
    DASHED,
    SOLID,
    curve_layout,
    line_over_steps,
    loss_figure,
    threshold_line,
    threshold_mark,
)
from backend.experiments.grokking.views import EffectiveTheory
from backend.experiments.views import CellDetail

ACCURACY, QUALITY = 0.9, 0.95


def cell_figures(
    cell: CellDetail, path: NDArray[np.floating[Any]], theory: EffectiveTheory | None
) -> Mapping[str, go.Figure]:
    """Return the figures of one cell by name."""
    figures = {
        "accuracy": accuracy_figure(cell),
        "loss": loss_figure(cell),
        "rqi": quality_figure(cell, theory),
        "representation": representation_figure(cell.steps, path),
    }
    if theory:
        figures["theory"] = representation_figure(theory.steps, np.array(theory.representation))
    return figures


def accuracy_figure(cell: CellDetail) -> go.Figure:
    """Return train and test accuracy over training."""
    steps, curves, summary = cell.steps, cell.curves, cell.summary
    traces = [threshold_line(steps, ACCURACY, "0.9")]
    traces += line_over_steps(steps, curves["train_accuracy"], "train", "mean", line=DASHED)
    traces += line_over_steps(steps, curves["test_accuracy"], "test", "accent", line=SOLID)
    traces += threshold_mark(summary["train_step"], ACCURACY, "train", "mean", "top left")
    traces += threshold_mark(summary["test_step"], ACCURACY, "test", "accent", "bottom right")
    return figure(traces, curve_layout(steps, "accuracy", range=[-0.03, 1.08]))


def quality_figure(cell: CellDetail, theory: EffectiveTheory | None) -> go.Figure:
    """Return the representation quality index over training."""
    steps = cell.steps
    traces = [threshold_line(steps, QUALITY, "0.95")]
    traces += line_over_steps(steps, cell.curves["rqi"], "RQI", "accent", line=SOLID)
    traces += threshold_mark(cell.summary["rqi_step"], QUALITY, "RQI", "accent", "top left")
    positive = [step for step in steps if step > 0] or [1]
    predicted = theory.grokking_step if theory else None
    if predicted is not None and positive[0] <= predicted <= 3 * positive[-1]:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [predicted, predicted],
                "y": [0, 1],
                "name": "theory, 3 n_h",
                "line": {"width": 2, "dash": "dash"},
                "meta": {"role": "theory"},
                "hovertemplate": f"3 n_h = {predicted:,.0f} steps<extra></extra>",
            }
        )
        side = "middle right" if predicted < positive[-1] else "middle left"
        traces.append(end_label(predicted, 0.35, "theory 3 n_h", "theory", side))
    return figure(traces, curve_layout(steps, "RQI", range=[-0.03, 1.1]))


def _standardize(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return representations [step, number, dimension] with zero mean and unit deviation."""
    centred = path - path.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, ddof=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(
        centred, spread, out=np.zeros_like(centred), where=spread > 0
    )
    return unit


def representation_figure(steps: Sequence[int], path: NDArray[np.floating[Any]]) -> go.Figure:
    """Return the path [step, number, dimension]: over steps in 1D, else in the main plane."""
    finite = path[np.isfinite(path).all(axis=(1, 2))].astype(np.float64)
    if not len(finite):
        return figure([], {"xaxis": axis("diverged"), "yaxis": axis("")})
    return _path_over_steps(steps, finite) if path.shape[2] == 1 else _path_in_plane(finite)


def _path_over_steps(steps: Sequence[int], path: NDArray[np.float64]) -> go.Figure:
    unit = _standardize(path)[:, :, 0]
    steps = steps[: len(unit)]
    traces: list[Trace] = []
    p = unit.shape[1]
    for number in range(p):
        line = line_over_steps(
            steps, unit[:, number].round(4).tolist(), f"number {number}", "ramp", line={"width": 2}
        )
        for trace in line:
            trace["meta"] = {"role": "ramp", "at": number / max(p - 1, 1)}
        end = end_label(max(steps[-1], 1), float(unit[-1, number]), str(number), "mean")
        traces += [*line, end]
    layout = curve_layout(steps, "representation, unit spread")
    return figure(traces, layout)


def _path_in_plane(path: NDArray[np.float64]) -> go.Figure:
    unit = _standardize(path)
    _, _, directions = np.linalg.svd(unit[-1], full_matrices=False)
    plane = (unit @ directions[:2].T).round(4)
    traces: list[Trace] = []
    p = plane.shape[1]
    for number in range(p):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": plane[:, number, 0].tolist(),
                "y": plane[:, number, 1].tolist(),
                "name": f"element {number}",
                "line": {"width": 1.5},
                "meta": {"role": "ramp", "at": number / max(p - 1, 1)},
                "hovertemplate": f"element {number}<extra></extra>",
            }
        )
        x, y = (float(value) for value in plane[-1, number])
        traces.append(end_label(x, y, str(number), "mean", "top center"))
    layout: Layout = {
        "xaxis": axis("first principal component"),
        "yaxis": axis("second", scaleanchor="x"),
    }
    return figure(traces, layout)
