"""Figures over the cells of a grid: steps until a threshold, predicted accuracy, fractions."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure
from app.figures.training_curves import dotted_line
from backend.experiments.grokking import views

THRESHOLD_TITLES: Mapping[views.Threshold, str] = {
    "train": "train accuracy ≥ 0.9",
    "test": "test accuracy ≥ 0.9",
    "rqi": "RQI > 0.95",
}


def threshold_step(cell: views.PhaseCell, threshold: views.Threshold) -> int | None:
    """Return the step at which a cell reached a threshold, None if it never did."""
    return {"train": cell.train_step, "test": cell.test_step, "rqi": cell.rqi_step}[threshold]


def _axis(grid_axis: views.GridAxis) -> Layout:
    if grid_axis.is_log:
        return axis(grid_axis.title, type="log", exponentformat="power", dtick=1)
    return axis(grid_axis.title)


def contour_figure(view: views.PhaseDiagramView, threshold: views.Threshold) -> go.Figure:
    """Return the steps until a threshold over a grid; gaps where it was never reached."""
    log_steps: list[list[float | None]] = [[None] * len(view.x.values) for _ in view.y.values]
    for cell in view.cells:
        step = threshold_step(cell, threshold)
        log_steps[cell.row][cell.column] = None if step is None else math.log10(max(step, 1))
    finite = [value for row in log_steps for value in row if value is not None]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    ticks = list(range(math.floor(low), math.ceil(high) + 1))
    contour: Trace = {
        "type": "contour",
        "x": list(view.x.values),
        "y": list(view.y.values),
        "z": log_steps,
        "name": f"log10 of the step of {THRESHOLD_TITLES[threshold]}",
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
    layout: Layout = {"xaxis": _axis(view.x), "yaxis": _axis(view.y)}
    return figure([contour, _phase_letters(view, threshold)], layout)


def _phase_letters(view: views.PhaseDiagramView, threshold: views.Threshold) -> Trace:
    """Return a letter at every finished cell, with its step on hover."""
    finished = [cell for cell in view.cells if cell.phase]
    steps = [threshold_step(cell, threshold) for cell in finished]
    texts = [
        f"{cell.phase}: {THRESHOLD_TITLES[threshold]} "
        + ("not reached" if step is None else f"at step {step:,}")
        for cell, step in zip(finished, steps, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [cell.x for cell in finished],
        "y": [cell.y for cell in finished],
        "text": [cell.phase for cell in finished],
        "customdata": texts,
        "hovertemplate": "%{customdata}<extra></extra>",
        "name": "phase",
        "cliponaxis": False,
        "meta": {"role": "mean", "label": True},
    }


def _place_text(place: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in place.items())


def prediction_figure(points: Sequence[views.AccuracyPrediction]) -> go.Figure:
    """Return predicted against real accuracy of every cell, with the diagonal."""
    diagonal = dotted_line([0, 1], [0, 1], "equal")
    dots: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [point.predicted for point in points],
        "y": [point.real for point in points],
        "customdata": [_place_text(point.place) for point in points],
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


def fraction_figure(cells: Sequence[views.FractionCell]) -> go.Figure:
    """Return the share of random training sets that force a line, one curve for each p."""
    half = dotted_line([0, 1], [0.5, 0.5], "one half")
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
