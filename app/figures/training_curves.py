"""Curves of one network over its training steps, shared by the figures of all experiments."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, along_axis, axis, end_label, figure, step_layout
from backend.experiments.views import CellDetail

Values = Sequence[float | None]
NEAR_DECADES = 0.1
LABEL_SPACE = 0.1  # share of the axis right of the last step
DASHED: Layout = {"width": 2.2, "dash": "dash"}
SOLID: Layout = {"width": 2.4}


def curve_layout(steps: Sequence[int], title: str, **more: Any) -> Layout:
    """Return the axes of a curve over training steps, with space for labels at the end."""
    layout = step_layout(steps)
    low, high = layout["xaxis"]["range"]
    layout["xaxis"]["range"] = [low, high + LABEL_SPACE * (high - low)]
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


def positive_values(values: Values) -> list[float | None]:
    """Return values for a logarithmic axis: None in place of values that are not positive."""
    return [value if value is not None and value > 0 else None for value in values]


def threshold_line(steps: Sequence[int], value: float, name: str) -> Trace:
    """Return a dotted horizontal line across a plot."""
    positive = [step for step in steps if step > 0] or [1]
    return dotted_line([positive[0], positive[-1]], [value, value], name)


def dotted_line(x: Sequence[float], y: Sequence[float], name: str) -> Trace:
    """Return a thin dotted line without hover."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": list(y),
        "name": name,
        "line": {"width": 1, "dash": "dot"},
        "hoverinfo": "skip",
        "meta": {"role": "muted"},
    }


def threshold_mark(step: int | None, value: float, name: str, role: str, side: str) -> list[Trace]:
    """Return a mark at the step at which a threshold is reached; nothing if it never is."""
    if step is None:
        return []
    mark: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [max(step, 1)],
        "y": [value],
        "name": f"{name} reached",
        "marker": {"size": 9, "symbol": "diamond"},
        "meta": {"role": role},
        "hovertemplate": f"{name} reached at step {step:,}<extra></extra>",
    }
    return [mark, end_label(max(step, 1), value, f"{name} {step:,}", role, side)]


def loss_figure(cell: CellDetail) -> go.Figure:
    """Return train and test loss over training, on log axes."""
    steps, curves = cell.steps, cell.curves
    traces: list[Trace] = []
    ends = {}
    for name, role, style in (("train", "mean", DASHED), ("test", "accent", SOLID)):
        values = positive_values(curves[f"{name}_loss"])
        traces += line_over_steps(steps, values, name, role, line=style)
        ends[name] = next((v for v in reversed(values) if v is not None), None)
    last = max(steps, default=1)
    for name, role in (("train", "mean"), ("test", "accent")):
        if (value := ends[name]) is not None:
            traces.append(end_label(last, value, name, role, _side(ends, name)))
    more: Layout = {"type": "log", "exponentformat": "power", "nticks": 6}
    return figure(traces, curve_layout(steps, "loss", **more))


def _side(ends: Mapping[str, float | None], name: str) -> str:
    """Return the position of a label: above or below its line if both lines end alike."""
    train, test = ends["train"], ends["test"]
    if train is None or test is None or abs(math.log10(train / test)) > NEAR_DECADES:
        return "middle right"
    is_upper = (train > test) == (name == "train")
    return "top right" if is_upper else "bottom right"
