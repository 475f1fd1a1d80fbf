"""Figures of phase diagrams: one cell over training, and steps over a grid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.figures.base import Layout, Trace, along_axis, axis, end_label, figure, step_layout
from backend.experiments.views import (
    CellDetail,
    EffectiveTheory,
    FractionCell,
    GridAxis,
    PhaseDiagramView,
)

Which = Literal["train", "test", "rqi"]
Values = Sequence[float | None]
WORDS: dict[Which, str] = {
    "train": "train accuracy ≥ 0.9",
    "test": "test accuracy ≥ 0.9",
    "rqi": "RQI > 0.95",
}
ACCURACY, QUALITY = 0.9, 0.95
NEAR_DECADES = 0.1
ROOM = 0.1  # of the axis, right of the last step


def curve_layout(steps: Sequence[int], title: str, **more: Any) -> Layout:
    """Return the axes of a curve over training steps, with room for labels at the end."""
    layout = step_layout(steps)
    low, high = layout["xaxis"]["range"]
    layout["xaxis"]["range"] = [low, high + ROOM * (high - low)]
    layout["yaxis"] = layout.get("yaxis", {}) | axis(title, **more)
    return layout


def line_over_steps(
    steps: Sequence[int], values: Values, name: str, role: str, **style: Any
) -> list[Trace]:
    """Return a line over training steps with its name at its end."""
    hover = f"{name}<br>step %{{x:,}}<br>%{{y:.4g}}<extra></extra>"
    return along_axis(
        steps, values, name=name, role=role, mode="lines", hovertemplate=hover, **style
    )


def level(steps: Sequence[int], value: float, name: str) -> Trace:
    """Return a dotted level across a plot."""
    late = [step for step in steps if step > 0] or [1]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [late[0], late[-1]],
        "y": [value, value],
        "name": name,
        "line": {"width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "meta": {"role": "muted"},
    }


def reached_mark(step: int | None, value: float, name: str, role: str, side: str) -> list[Trace]:
    """Return a dot where a threshold is reached, with its step; nothing if it never is."""
    if step is None:
        return []
    dot: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [max(step, 1)],
        "y": [value],
        "name": f"{name} reached",
        "marker": {"size": 9, "symbol": "diamond"},
        "meta": {"role": role},
        "hovertemplate": f"{name} reached at step {step:,}<extra></extra>",
    }
    return [dot, end_label(max(step, 1), value, f"{name} {step:,}", role, side)]


def accuracy_figure(cell: CellDetail) -> go.Figure:
    """Return train and test accuracy over training."""
    steps, curves, summary = cell.steps, cell.curves, cell.summary
    traces = [level(steps, ACCURACY, "0.9")]
    traces += line_over_steps(
        steps, curves["train_accuracy"], "train", "mean", line={"width": 2.2, "dash": "dash"}
    )
    traces += line_over_steps(steps, curves["test_accuracy"], "test", "accent", line={"width": 2.4})
    traces += reached_mark(summary["train_step"], ACCURACY, "train", "mean", "top left")
    traces += reached_mark(summary["test_step"], ACCURACY, "test", "accent", "bottom right")
    return figure(traces, curve_layout(steps, "accuracy", range=[-0.03, 1.08]))


def loss_figure(cell: CellDetail) -> go.Figure:
    """Return train and test loss over training, on log axes."""
    steps, curves = cell.steps, cell.curves
    traces: list[Trace] = []
    ends = {}
    for name, role, style in (
        ("train", "mean", {"width": 2.2, "dash": "dash"}),
        ("test", "accent", {"width": 2.4}),
    ):
        # A logarithm has no place for zero.
        values = [v if v is not None and v > 0 else None for v in curves[f"{name}_loss"]]
        traces += line_over_steps(steps, values, name, role, line=style)
        ends[name] = next((v for v in reversed(values) if v is not None), None)
    last = max(steps, default=1)
    for name, role in (("train", "mean"), ("test", "accent")):
        value = ends[name]
        if value is not None:
            traces.append(end_label(last, value, name, role, _side(ends, name)))
    more: Layout = {"type": "log", "exponentformat": "power", "nticks": 6}
    return figure(traces, curve_layout(steps, "loss", **more))


def _side(ends: Mapping[str, float | None], name: str) -> str:
    """Return where a label keeps off the other one: above or below if both end alike."""
    train, test = ends["train"], ends["test"]
    if train is None or test is None or abs(math.log10(train / test)) > NEAR_DECADES:
        return "middle right"
    is_upper = (train > test) == (name == "train")
    return "top right" if is_upper else "bottom right"


def quality_figure(cell: CellDetail, theory: EffectiveTheory | None) -> go.Figure:
    """Return the representation quality index over training."""
    steps = cell.steps
    traces = [level(steps, QUALITY, "0.95")]
    traces += line_over_steps(steps, cell.curves["rqi"], "RQI", "accent", line={"width": 2.4})
    traces += reached_mark(cell.summary["rqi_step"], QUALITY, "RQI", "accent", "top left")
    late = [step for step in steps if step > 0] or [1]
    predicted = theory.grokking_step if theory else None
    if predicted is not None and late[0] <= predicted <= 3 * late[-1]:
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
        side = "middle right" if predicted < late[-1] else "middle left"
        traces.append(end_label(predicted, 0.35, "theory 3 n_h", "theory", side))
    return figure(traces, curve_layout(steps, "RQI", range=[-0.03, 1.1]))


def _unit(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return representations [look, number, dim] of zero mean and unit deviation."""
    centred = path - path.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, ddof=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(
        centred, spread, out=np.zeros_like(centred), where=spread > 0
    )
    return unit


def representation_figure(steps: Sequence[int], path: NDArray[np.floating[Any]]) -> go.Figure:
    """Return how the numbers move: over steps on a line, or in the plane of most spread.

    Args:
        steps: of the looks.
        path: [look, number, dimension].
    """
    known = path[np.isfinite(path).all(axis=(1, 2))].astype(np.float64)
    if not len(known):
        return figure([], {"xaxis": axis("diverged"), "yaxis": axis("")})
    return _line_path(steps, known) if path.shape[2] == 1 else _plane_path(known)


def _line_path(steps: Sequence[int], path: NDArray[np.float64]) -> go.Figure:
    unit = _unit(path)[:, :, 0]
    shown = steps[: len(unit)]
    traces: list[Trace] = []
    p = unit.shape[1]
    for number in range(p):
        line = line_over_steps(
            shown, unit[:, number].round(4).tolist(), f"number {number}", "ramp", line={"width": 2}
        )
        for trace in line:
            trace["meta"] = {"role": "ramp", "at": number / max(p - 1, 1)}
        end = end_label(max(shown[-1], 1), float(unit[-1, number]), str(number), "mean")
        traces += [*line, end]
    layout = curve_layout(shown, "representation, unit spread")
    return figure(traces, layout)


def _plane_path(path: NDArray[np.float64]) -> go.Figure:
    unit = _unit(path)
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


def cell_figures(
    cell: CellDetail, path: NDArray[np.floating[Any]], theory: EffectiveTheory | None
) -> Mapping[str, go.Figure]:
    """Return the figures of one cell by name."""
    found = {
        "accuracy": accuracy_figure(cell),
        "loss": loss_figure(cell),
        "rqi": quality_figure(cell, theory),
        "representation": representation_figure(cell.steps, path),
    }
    if theory:
        found["theory"] = representation_figure(theory.steps, np.array(theory.representation))
    return found


def _grid_axis(one: GridAxis) -> Layout:
    if one.is_log:
        return axis(one.title, type="log", exponentformat="power", dtick=1)
    return axis(one.title)


def contour_figure(view: PhaseDiagramView, which: Which) -> go.Figure:
    """Return the steps until a threshold over a grid; gaps where it was never reached."""
    steps: list[list[float | None]] = [[None] * len(view.x.values) for _ in view.y.values]
    for cell in view.cells:
        found = {"train": cell.train_step, "test": cell.test_step, "rqi": cell.rqi_step}[which]
        steps[cell.row][cell.column] = None if found is None else math.log10(max(found, 1))
    reached = [value for row in steps for value in row if value is not None]
    low, high = (min(reached), max(reached)) if reached else (0.0, 1.0)
    ticks = list(range(math.floor(low), math.ceil(high) + 1))
    contour: Trace = {
        "type": "contour",
        "x": list(view.x.values),
        "y": list(view.y.values),
        "z": steps,
        "name": f"log10 of the step of {WORDS[which]}",
        "connectgaps": False,
        "contours": {"coloring": "heatmap", "showlabels": False},
        "ncontours": 12,
        "line": {"width": 1},
        "meta": {"role": "sequential"},
        "hoverinfo": "skip",
        "colorbar": {
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": ticks,
            "ticktext": [f"{10**tick:,}" for tick in ticks],
            "title": {"text": "steps", "side": "right"},
        },
    }
    layout: Layout = {"xaxis": _grid_axis(view.x), "yaxis": _grid_axis(view.y)}
    return figure([contour, *_cells(view, which)], layout)


def _cells(view: PhaseDiagramView, which: Which) -> list[Trace]:
    """Return a letter at every finished cell, with its steps on hover."""
    done = [cell for cell in view.cells if cell.phase]
    steps = [{"train": c.train_step, "test": c.test_step, "rqi": c.rqi_step}[which] for c in done]
    words = [
        f"{cell.phase}: {WORDS[which]} " + ("not reached" if step is None else f"at step {step:,}")
        for cell, step in zip(done, steps, strict=True)
    ]
    return [
        {
            "type": "scatter",
            "mode": "text",
            "x": [cell.x for cell in done],
            "y": [cell.y for cell in done],
            "text": [cell.phase for cell in done],
            "customdata": words,
            "hovertemplate": "%{customdata}<extra></extra>",
            "name": "phase",
            "cliponaxis": False,
            "meta": {"role": "mean", "label": True},
        }
    ]


def fraction_figure(cells: Sequence[FractionCell]) -> go.Figure:
    """Return how often random training sets force a line, over the fraction, a line a p."""
    half: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0.5, 0.5],
        "name": "one half",
        "line": {"width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "meta": {"role": "muted"},
    }
    traces = [half]
    for i, cell in enumerate(cells):
        at = i / max(len(cells) - 1, 1)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [n / cell.n_pairs for n in cell.n_train],
                "y": list(cell.share),
                "name": f"p = {cell.p}",
                "line": {"width": 2.2},
                "meta": {"role": "ramp", "at": at},
                "hovertemplate": f"p = {cell.p}<br>%{{x:.3f}}: %{{y:.1%}}<extra></extra>",
            }
        )
        # Labels at different heights: the lines are steep and near each other.
        height = 0.9 - 0.75 * at
        place = next((j for j, share in enumerate(cell.share) if share >= height), 0)
        label = end_label(cell.n_train[place] / cell.n_pairs, height, f"p = {cell.p}", "mean")
        traces.append(label)
    layout: Layout = {
        "xaxis": axis("training fraction", range=[0, 1]),
        "yaxis": axis("share of training sets with n0 = 2", range=[-0.03, 1.05], tickformat="~%"),
    }
    return figure(traces, layout)


def prediction_figure(points: Sequence[tuple[float, float, str]]) -> go.Figure:
    """Return predicted against real accuracy of every cell, with the diagonal."""
    diagonal: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "name": "equal",
        "line": {"width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "meta": {"role": "muted"},
    }
    dots: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [point[0] for point in points],
        "y": [point[1] for point in points],
        "customdata": [point[2] for point in points],
        "name": "cells",
        "marker": {"size": 8, "opacity": 0.7},
        "meta": {"role": "accent"},
        "hovertemplate": "%{customdata}<br>predicted %{x:.3f}<br>real %{y:.3f}<extra></extra>",
    }
    side: Layout = {"range": [0, 1.04]}
    layout: Layout = {
        "xaxis": axis("accuracy that the representation predicts", **side),
        "yaxis": axis("real accuracy over all pairs", **side),
    }
    return figure([diagonal, dots], layout)
