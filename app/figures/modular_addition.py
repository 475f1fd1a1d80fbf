"""Figures of one modular adder over its training: accuracy, loss and progress measures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure, log_axis
from app.figures.clock_spectrum import spectrum_figure, spectrum_training_figure
from app.figures.training_curves import (
    DASHED,
    SOLID,
    Values,
    curve_layout,
    line_over_steps,
    positive_values,
    threshold_line,
    threshold_mark,
)
from backend.experiments.modular_addition.views import ClockCell

TRAIN_THRESHOLD, TEST_THRESHOLD = 0.99, 0.9
THIN: Layout = {"width": 1.4, "dash": "dashdot"}
DOTTED: Layout = {"width": 2.4, "dash": "dot"}
BROKEN: Layout = {"width": 2.2, "dash": "dashdot"}
# Between the labels of two lines, as a share of the figure's height.
LABEL_GAP = 0.055


@dataclass(frozen=True)
class OtherNetwork:
    """The test accuracy of another network of the run."""

    name: str
    steps: Sequence[int]
    values: Values


def training_figures(view: ClockCell, others: Sequence[OtherNetwork]) -> Mapping[str, go.Figure]:
    """Return the figures of a network over its training, by name."""
    figures = {"accuracy": accuracy_figure(view, others), "loss": loss_figure(view)}
    if view.has_clock:
        figures |= {
            "progress": progress_figure(view),
            "pairs": pairs_figure(view),
            "spectrum-training": spectrum_training_figure(view),
            "spectrum": spectrum_figure(view),
        }
    return figures


def accuracy_figure(view: ClockCell, others: Sequence[OtherNetwork]) -> go.Figure:
    """Return train and test accuracy over training; other networks' test accuracy thin."""
    steps, curves, summary = view.detail.steps, view.detail.curves, view.detail.summary
    traces = [
        threshold_line(steps, TRAIN_THRESHOLD, "0.99"),
        threshold_line(steps, TEST_THRESHOLD, "0.9"),
    ]
    for other in others:
        name = f"test, {other.name}"
        traces += line_over_steps(other.steps, other.values, name, "muted", line=THIN)
    lines = {other.name: other.values for other in others}
    style: Layout = {"textposition": "bottom left"}
    traces += _end_labels(lines, dict.fromkeys(lines, "muted"), steps[-1], is_log=False, **style)
    traces += line_over_steps(steps, curves["train_accuracy"], "train", "mean", line=DASHED)
    traces += line_over_steps(steps, curves["test_accuracy"], "test", "accent", line=SOLID)
    traces += threshold_mark(summary["train_step"], TRAIN_THRESHOLD, "train", "mean", "top left")
    traces += threshold_mark(summary["test_step"], TEST_THRESHOLD, "test", "accent", "bottom right")
    return figure(traces, curve_layout(steps, "accuracy", range=[-0.03, 1.1]))


def loss_figure(view: ClockCell) -> go.Figure:
    """Return train and test loss over training, on log axes."""
    steps = view.detail.steps
    curves = view.detail.curves
    lines = {name: positive_values(curves[f"{name}_loss"]) for name in ("train", "test")}
    traces: list[Trace] = []
    for (name, values), role, style in zip(
        lines.items(), ("mean", "accent"), (DASHED, SOLID), strict=True
    ):
        traces += line_over_steps(steps, values, name, role, line=style)
    traces += _end_labels(lines, {"train": "mean", "test": "accent"}, steps[-1], is_log=True)
    more: Layout = {"type": "log", "exponentformat": "power", "nticks": 6}
    return figure(traces, curve_layout(steps, "loss (nats)", **more))


def _end_labels(
    lines: Mapping[str, Values],
    roles: Mapping[str, str],
    x: float,
    *,
    is_log: bool,
    height: float = 0.8,
    **style: Any,
) -> list[Trace]:
    """Return labels at the ends of lines, moved apart so that they do not overlap."""
    coordinates = {
        name: [math.log10(value) if is_log else value for value in values if value is not None]
        for name, values in lines.items()
    }
    ends = {name: values[-1] for name, values in coordinates.items() if values}
    all_values = [value for values in coordinates.values() for value in values]
    gap = LABEL_GAP / height * ((max(all_values) - min(all_values)) or 1.0) if all_values else 0.0
    traces, floor = [], -math.inf
    for name, value in sorted(ends.items(), key=lambda item: item[1]):
        floor = max(value, floor + gap)
        y = 10**floor if is_log else floor
        traces.append(end_label(x, y, name, roles[name]) | style)
    return traces


@dataclass(frozen=True)
class _Line:
    curve: str
    name: str
    role: str
    style: Layout


PANELS: tuple[tuple[str, tuple[float, float], bool, tuple[_Line, ...]], ...] = (
    (
        "loss (nats)",
        (0.54, 1.0),
        True,
        (
            _Line("train_loss", "train", "mean", DASHED),
            _Line("test_loss", "test", "accent", SOLID),
            _Line("restricted_loss", "restricted", "muted", DOTTED),
            _Line("excluded_loss", "excluded", "theory", BROKEN),
        ),
    ),
    (
        "share, Gini",
        (0.2, 0.49),
        False,
        (
            _Line("key_share", "key share", "accent", SOLID),
            _Line("explained", "explained", "theory", BROKEN),
            _Line("gini_embedding", "Gini W_E", "mean", DASHED),
            _Line("gini_neuron_logit", "Gini W_L", "muted", DOTTED),
        ),
    ),
    ("Σ weights²", (0.0, 0.15), False, (_Line("squared_weights", "Σ w²", "accent", SOLID),)),
)


def progress_figure(view: ClockCell) -> go.Figure:
    """Return progress measures in three panels over one step axis, with the phases marked."""
    curves = view.detail.curves
    positive = [i for i, step in enumerate(view.detail.steps) if step > 0]
    steps = [view.detail.steps[i] for i in positive]
    layout: Layout = {"xaxis": log_axis("training step", steps, exponentformat="none")}
    low, high = 0.0, math.log10(steps[-1])
    layout["xaxis"] |= {"range": [low, high + 0.24 * high], "anchor": "y3"}
    traces: list[Trace] = []
    for number, (title, domain, is_log, lines) in enumerate(PANELS, start=1):
        y_axis = "y" if number == 1 else f"y{number}"
        drawn = {line.name: [curves[line.curve][i] for i in positive] for line in lines}
        if is_log:
            drawn = {name: positive_values(values) for name, values in drawn.items()}
        for line in lines:
            traces.append(_panel_line(steps, drawn[line.name], line, y_axis))
        roles = {line.name: line.role for line in lines}
        traces += _end_labels(
            drawn, roles, steps[-1], is_log=is_log, height=domain[1] - domain[0], yaxis=y_axis
        )
        more: Layout = {"type": "log", "exponentformat": "power", "nticks": 6} if is_log else {}
        side = axis(title, domain=list(domain), nticks=more.pop("nticks", 4), **more)
        if not is_log:
            side["rangemode"] = "tozero"
        layout["yaxis" if number == 1 else f"yaxis{number}"] = side
    shapes, annotations = _phase_marks(view)
    layout |= {"shapes": shapes, "annotations": annotations}
    layout["margin"] = {"l": 56, "r": 16, "t": 44, "b": 44, "pad": 0}
    return figure(traces, layout)


def _panel_line(steps: Sequence[int], values: Values, line: _Line, y_axis: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(steps),
        "y": list(values),
        "yaxis": y_axis,
        "name": line.name,
        "line": line.style,
        "meta": {"role": line.role},
        "hovertemplate": f"{line.name}<br>step %{{x:,}}<br>%{{y:.4g}}<extra></extra>",
    }


def _phase_marks(view: ClockCell) -> tuple[list[Layout], list[Layout]]:
    """Return lines between the phases, and their names above the panels."""
    summary = view.detail.summary
    ends = [summary[f"{name}_step"] for name in ("memorised", "formed", "cleaned")]
    shapes: list[Layout] = []
    for end in ends:
        if end is not None:
            place: Layout = {"x0": max(end, 1), "x1": max(end, 1), "y0": 0, "y1": 1}
            line: Layout = {"width": 1.5, "dash": "dash"}
            shapes.append({"type": "line", "yref": "paper", **place, "line": line})
    memorised, formed, _ = ends
    if memorised is None or formed is None:
        return shapes, []
    first, second = math.log10(max(memorised, 1)), math.log10(max(formed, 1))
    # Two rows, because the middle phase is narrower than its name.
    names = (
        ("memorisation", first, "right", 4),
        ("circuit formation", (first + second) / 2, "center", 20),
        ("clean-up", second, "left", 4),
    )
    common: Layout = {"yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False}
    annotations = [
        {**common, "text": text, "x": x, "xanchor": side, "yshift": up}
        for text, x, side, up in names
    ]
    return shapes, annotations


def pairs_figure(view: ClockCell) -> go.Figure:
    """Return the test accuracy of pairs with and without a mirrored training pair."""
    steps, curves = view.detail.steps, view.detail.curves
    lines = {"mirrored": curves["mirrored_accuracy"], "fresh": curves["fresh_accuracy"]}
    roles = {"mirrored": "theory", "fresh": "accent"}
    traces: list[Trace] = []
    for (name, values), style in zip(lines.items(), (BROKEN, SOLID), strict=True):
        traces += line_over_steps(steps, values, name, roles[name], line=style)
    traces += _end_labels(lines, roles, steps[-1], is_log=False)
    return figure(traces, curve_layout(steps, "test accuracy", range=[-0.03, 1.13]))
