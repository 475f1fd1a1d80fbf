"""Figures of the Clock page over training: accuracy, loss, progress measures, spectra."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure, log_axis
from app.figures.grokking import curve_layout, level, line_over_steps, reached_mark
from backend.experiments.modular_addition.queries import ClockCell
from compute.grokking.fourier import MIN_NEURON_SHARE

KNOWN, GENERALISED = 0.99, 0.9
Values = Sequence[float | None]
DASHED: Layout = {"width": 2.2, "dash": "dash"}
SOLID: Layout = {"width": 2.4}
THIN: Layout = {"width": 1.4, "dash": "dashdot"}
DOTTED: Layout = {"width": 2.4, "dash": "dot"}
BROKEN: Layout = {"width": 2.2, "dash": "dashdot"}
# Of the height of a figure, between the names of two lines.
NAME_GAP = 0.055
NAMED_AT_MOST = 8
NAMES_ACROSS = 20


@dataclass(frozen=True)
class Beside:
    """The test accuracy of another network of the run."""

    name: str
    steps: Sequence[int]
    values: Values


def training_figures(view: ClockCell, beside: Sequence[Beside]) -> Mapping[str, go.Figure]:
    """Return the figures of a network over its training, by name."""
    found = {"accuracy": accuracy_figure(view, beside), "loss": loss_figure(view)}
    if view.has_clock:
        found |= {
            "progress": progress_figure(view),
            "pairs": pairs_figure(view),
            "spectrum-training": spectrum_training_figure(view),
            "spectrum": spectrum_figure(view),
        }
    return found


def accuracy_figure(view: ClockCell, beside: Sequence[Beside]) -> go.Figure:
    """Return train and test accuracy over training; other networks' test accuracy thin."""
    steps, curves, summary = view.detail.steps, view.detail.curves, view.detail.summary
    traces = [level(steps, KNOWN, "0.99"), level(steps, GENERALISED, "0.9")]
    for other in beside:
        name = f"test, {other.name}"
        traces += line_over_steps(other.steps, other.values, name, "muted", line=THIN)
    others = {other.name: other.values for other in beside}
    where: Layout = {"textposition": "bottom left"}
    traces += _names(others, dict.fromkeys(others, "muted"), steps[-1], is_log=False, **where)
    traces += line_over_steps(steps, curves["train_accuracy"], "train", "mean", line=DASHED)
    traces += line_over_steps(steps, curves["test_accuracy"], "test", "accent", line=SOLID)
    traces += reached_mark(summary["train_step"], KNOWN, "train", "mean", "top left")
    traces += reached_mark(summary["test_step"], GENERALISED, "test", "accent", "bottom right")
    return figure(traces, curve_layout(steps, "accuracy", range=[-0.03, 1.1]))


def _positive(values: Values) -> list[float | None]:
    """Return values as a logarithmic axis has places for them."""
    return [value if value is not None and value > 0 else None for value in values]


def loss_figure(view: ClockCell) -> go.Figure:
    """Return train and test loss over training, on log axes."""
    steps = view.detail.steps
    lines = {name: _positive(view.detail.curves[f"{name}_loss"]) for name in ("train", "test")}
    traces: list[Trace] = []
    for (name, values), role, style in zip(
        lines.items(), ("mean", "accent"), (DASHED, SOLID), strict=True
    ):
        traces += line_over_steps(steps, values, name, role, line=style)
    traces += _names(lines, {"train": "mean", "test": "accent"}, steps[-1], is_log=True)
    more: Layout = {"type": "log", "exponentformat": "power", "nticks": 6}
    return figure(traces, curve_layout(steps, "loss (nats)", **more))


def _names(
    lines: Mapping[str, Values],
    roles: Mapping[str, str],
    at: float,
    *,
    is_log: bool,
    height: float = 0.8,
    **where: Any,
) -> list[Trace]:
    """Return names at the ends of lines, moved apart where they would cover each other."""
    found = {
        name: next((v for v in reversed(values) if v is not None), None)
        for name, values in lines.items()
    }
    ends = {name: _at(value, is_log) for name, value in found.items() if value is not None}
    every = [_at(v, is_log) for values in lines.values() for v in values if v is not None]
    gap = NAME_GAP / height * ((max(every) - min(every)) or 1.0) if every else 0.0
    traces, floor = [], -math.inf
    for name, value in sorted(ends.items(), key=lambda item: item[1]):
        floor = max(value, floor + gap)
        y = 10**floor if is_log else floor
        traces.append(end_label(at, y, name, roles[name]) | where)
    return traces


def _at(value: float, is_log: bool) -> float:
    return math.log10(value) if is_log else value


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
    late = [i for i, step in enumerate(view.detail.steps) if step > 0]
    steps = [view.detail.steps[i] for i in late]
    layout: Layout = {"xaxis": log_axis("training step", steps, exponentformat="none")}
    low, high = 0.0, math.log10(steps[-1])
    layout["xaxis"] |= {"range": [low, high + 0.24 * high], "anchor": "y3"}
    traces: list[Trace] = []
    for number, (title, domain, is_log, lines) in enumerate(PANELS, start=1):
        which = "y" if number == 1 else f"y{number}"
        drawn = {line.name: [curves[line.curve][i] for i in late] for line in lines}
        if is_log:
            drawn = {name: _positive(values) for name, values in drawn.items()}
        for line in lines:
            traces.append(_panel_line(steps, drawn[line.name], line, which))
        roles = {line.name: line.role for line in lines}
        traces += _names(
            drawn, roles, steps[-1], is_log=is_log, height=domain[1] - domain[0], yaxis=which
        )
        more: Layout = {"type": "log", "exponentformat": "power", "nticks": 6} if is_log else {}
        side = axis(title, domain=list(domain), nticks=more.pop("nticks", 4), **more)
        if not is_log:
            side["rangemode"] = "tozero"
        layout["yaxis" if number == 1 else f"yaxis{number}"] = side
    shapes, words = _phases(view)
    layout |= {"shapes": shapes, "annotations": words}
    layout["margin"] = {"l": 56, "r": 16, "t": 44, "b": 44, "pad": 0}
    return figure(traces, layout)


def _panel_line(steps: Sequence[int], values: Values, line: _Line, which: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(steps),
        "y": list(values),
        "yaxis": which,
        "name": line.name,
        "line": line.style,
        "meta": {"role": line.role},
        "hovertemplate": f"{line.name}<br>step %{{x:,}}<br>%{{y:.4g}}<extra></extra>",
    }


def _phases(view: ClockCell) -> tuple[list[Layout], list[Layout]]:
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
    # Two rows: the phase in the middle is narrower than its name.
    places = (
        ("memorisation", first, "right", 4),
        ("circuit formation", (first + second) / 2, "center", 20),
        ("clean-up", second, "left", 4),
    )
    common: Layout = {"yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False}
    words = [
        {**common, "text": text, "x": x, "xanchor": side, "yshift": up}
        for text, x, side, up in places
    ]
    return shapes, words


def pairs_figure(view: ClockCell) -> go.Figure:
    """Return test accuracy by whether the mirrored pair was trained on."""
    steps, curves = view.detail.steps, view.detail.curves
    lines = {"mirrored": curves["mirrored_accuracy"], "fresh": curves["fresh_accuracy"]}
    roles = {"mirrored": "theory", "fresh": "accent"}
    traces: list[Trace] = []
    for (name, values), style in zip(lines.items(), (BROKEN, SOLID), strict=True):
        traces += line_over_steps(steps, values, name, roles[name], line=style)
    traces += _names(lines, roles, steps[-1], is_log=False)
    return figure(traces, curve_layout(steps, "test accuracy", range=[-0.03, 1.13]))


def spectrum_training_figure(view: ClockCell) -> go.Figure:
    """Return the embedding's share of energy at every frequency, over training."""
    late = [i for i, step in enumerate(view.detail.steps) if step > 0]
    steps = [view.detail.steps[i] for i in late]
    shares = 100 * view.arrays["embedding_spectrum"][late].T
    frequencies = list(range(1, len(shares) + 1))
    heat: Trace = {
        "type": "heatmap",
        "x": [math.log10(step) for step in steps],
        "y": frequencies,
        "z": shares.astype(np.float32),
        "zmin": 0,
        "customdata": [steps] * len(shares),
        "name": "share of energy, %",
        "meta": {"role": "heat", "rows": frequencies, "columns": steps},
        "hovertemplate": "frequency %{y}<br>step %{customdata:,}<br>%{z:.1f} %<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "ticksuffix": " %", "nticks": 5},
    }
    decades = range(int(math.log10(steps[-1])) + 1)
    ticks: Layout = {
        "tickvals": list(decades),
        "ticktext": [f"{10**power:,}" for power in decades],
    }
    layout: Layout = {
        "xaxis": axis("training step", showgrid=False, **ticks),
        "yaxis": axis("frequency k", showgrid=False, **frequency_ticks(view)),
    }
    return figure([heat], layout)


def frequency_ticks(view: ClockCell) -> Layout:
    """Return ticks at the key frequencies if they are few, else as they come.

    Of two that are too near for both their names, the one that holds more of the embedding.
    """
    if not 0 < len(view.key) <= NAMED_AT_MOST:
        return {"nticks": 8}
    gap = view.p / 2 / NAMES_ACROSS
    named: list[int] = []
    for one in view.key:
        if all(abs(one.k - other) > gap for other in named):
            named.append(one.k)
    return {"tickvals": sorted(named), "ticktext": [str(k) for k in sorted(named)], "tickangle": 0}


def spectrum_figure(view: ClockCell) -> go.Figure:
    """Return the embedding's spectrum at both ends, and the neurons of each frequency."""
    spectrum = view.arrays["embedding_spectrum"]
    frequencies = list(range(1, spectrum.shape[1] + 1))
    claimed = view.arrays["neuron_frequency"]
    counts = [int((claimed == k).sum()) for k in frequencies]
    end = [round(100 * float(value), 3) for value in spectrum[-1]]
    traces = [
        _bars(frequencies, end, "at the end", "y", "%{y:.1f} % of energy"),
        {
            "type": "scatter",
            "mode": "lines",
            "x": frequencies,
            "y": [round(100 * float(value), 3) for value in spectrum[0]],
            "name": "at the start",
            "line": {"width": 2, "dash": "dot", "shape": "hvh"},
            "meta": {"role": "mean"},
            "hovertemplate": "frequency %{x}, at the start<br>%{y:.1f} %<extra></extra>",
        },
        _bars(frequencies, counts, "neurons", "y2", "%{y} neurons"),
        _cut_off(frequencies, max(1.0, MIN_NEURON_SHARE * len(claimed))),
        _key_names(view, end),
    ]
    top = 1.18 * max(end)
    layout: Layout = {
        "xaxis": axis("frequency k", anchor="y2", range=[0.2, frequencies[-1] + 0.8]),
        "yaxis": axis("energy of W_E (%)", domain=[0.5, 1], range=[0, top], nticks=5),
        "yaxis2": axis("neurons", domain=[0, 0.4], rangemode="tozero", nticks=4),
        "bargap": 0.25,
    }
    return figure(traces, layout)


def _bars(x: Sequence[int], y: Sequence[float], name: str, which: str, words: str) -> Trace:
    return {
        "type": "bar",
        "x": list(x),
        "y": list(y),
        "yaxis": which,
        "name": name,
        "meta": {"role": "accent"},
        "hovertemplate": f"frequency %{{x}}<br>{words}<extra></extra>",
    }


def _cut_off(frequencies: Sequence[int], at: float) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [0.2, frequencies[-1] + 0.8],
        "y": [at, at],
        "yaxis": "y2",
        "name": "cut-off of key frequencies",
        "line": {"width": 2, "dash": "dash"},
        "meta": {"role": "theory"},
        "hovertemplate": f"a key frequency has {at:.3g} neurons or more<extra></extra>",
    }


def _key_names(view: ClockCell, energy: Sequence[float]) -> Trace:
    key = [one.k for one in view.key[:NAMED_AT_MOST]]
    return {
        "type": "scatter",
        "mode": "text",
        "x": key,
        "y": [energy[k - 1] for k in key],
        "text": [str(k) for k in key],
        "textposition": "top center",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "name": "",
        "meta": {"role": "mean", "label": True},
    }
