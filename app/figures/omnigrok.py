"""Figures of Omnigrok: one network over training, loss over alpha, weight decay against time."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure
from app.figures.training_curves import (
    DASHED,
    SOLID,
    curve_layout,
    line_over_steps,
    loss_figure,
    positive_values,
    threshold_line,
    threshold_mark,
)
from backend.experiments.omnigrok.spec import CompleteOmnigrokParameters
from backend.experiments.omnigrok.views import DecayLaw, Landscape
from backend.experiments.views import CellDetail

GAP = "\u00a0"  # between a label and its mark
MAX_TICKS = 8
LEFT_LABEL_FROM = 0.6  # share of the step axis from which labels are left of their mark
LABEL_SPACE = 0.17  # share of the step axis right of the last step, for the label of a late mark
LOSSES = (("train", "mean", "square", DASHED), ("test", "accent", "circle", SOLID))


def cell_figures(params: CompleteOmnigrokParameters, cell: CellDetail) -> Mapping[str, go.Figure]:
    """Return the figures of one network by name."""
    figures = {"accuracy": accuracy_figure(params, cell), "loss": loss_figure(cell)}
    if not params.on_sphere:
        figures["norm"] = norm_figure(params.learning_rate, cell)
    return figures


def run_figures(landscape: Landscape | None, law: DecayLaw | None) -> Mapping[str, go.Figure]:
    """Return the figures of a run that has points for them, by name."""
    figures = {}
    if landscape:
        figures["landscape"] = landscape_figure(landscape)
    if law:
        figures["law"] = law_figure(law)
    return figures


def accuracy_figure(params: CompleteOmnigrokParameters, cell: CellDetail) -> go.Figure:
    """Return train and test accuracy over training, with the thresholds and their steps."""
    steps, curves, summary = cell.steps, cell.curves, cell.summary
    traces: list[Trace] = []
    thresholds = params.train_threshold, params.test_threshold
    sides = "top left", "bottom right"
    for (name, role, _, style), value, side in zip(LOSSES, thresholds, sides, strict=True):
        traces.append(threshold_line(steps, value, f"{name} threshold {value:g}"))
        step = summary[f"{name}_step"]
        traces += line_over_steps(steps, curves[f"{name}_accuracy"], name, role, line=style)
        marks = threshold_mark(step, value, name, role, side)
        for mark in marks[1:]:
            mark["text"] = [f"{2 * GAP}{name} {step:,}{2 * GAP}"]
        traces += marks
    layout = curve_layout(steps, "accuracy", range=[-0.03, 1.12])
    low, high = layout["xaxis"]["range"]
    layout["xaxis"]["range"] = [low, high + LABEL_SPACE * (high - low)]
    return figure(traces, layout)


def _decayed_norms(cell: CellDetail, rate: float) -> list[float]:
    norm = cell.summary["initial_norm"] or 0.0
    return [norm * math.exp(-rate * step) for step in cell.steps]


def norm_figure(learning_rate: float, cell: CellDetail) -> go.Figure:
    """Return the norm of all parameters over training, beside that of weight decay alone."""
    steps, norms = cell.steps, cell.curves["norm"]
    rate = learning_rate * cell.place["weight_decay"]
    positive = [value for value in positive_values(norms) if value is not None]
    low, high = (min(positive), max(positive)) if positive else (1.0, 1.0)
    traces: list[Trace] = []
    if rate > 0:
        law = [value if value > low / 2 else None for value in _decayed_norms(cell, rate)]
        style = {"width": 2, "dash": "dot"}
        traces += line_over_steps(steps, law, "decay alone", "theory", line=style)
    traces += line_over_steps(steps, norms, "norm", "accent", line=SOLID)
    if (test_norm := cell.summary["test_norm"]) is not None:
        traces += _generalisation_mark(steps, cell.summary["test_step"], test_norm)
    more: Layout = {"type": "log", "range": [math.log10(low / 2), math.log10(high * 1.6)]}
    more |= {"dtick": "D2" if high / low < 30 else 1, "tickformat": "~g"}
    return figure(traces, curve_layout(steps, "norm of all parameters", **more))


def _generalisation_mark(steps: Sequence[int], step: int, norm: float) -> list[Trace]:
    is_late = math.log(max(step, 1)) > LEFT_LABEL_FROM * math.log(max(*steps, 2))
    marks = threshold_mark(
        step, norm, "test", "accent", "middle left" if is_late else "bottom right"
    )
    marks[1]["text"] = [f"generalises at {norm:.3g}{2 * GAP}"]
    marks[0]["hovertemplate"] = f"generalises at step {step:,}<br>norm {norm:.4g}<extra></extra>"
    return marks


def _alpha_axis(alphas: Sequence[float]) -> Layout:
    low, high = math.log10(min(alphas)), math.log10(max(alphas))
    space = 0.08 * (high - low) or 0.3
    ticks: Layout = {"dtick": "D2", "tickformat": "~g"}
    title = "initial size alpha (norm, in units of the usual one)"
    return axis(title, type="log", range=[low - space, high + 2 * space], **ticks)


def landscape_figure(view: Landscape) -> go.Figure:
    """Return train and test loss over the size of the sphere, with the Goldilocks zone."""
    alphas = [point.alpha for point in view.points]
    columns = {
        "train": [point.train_loss or None for point in view.points],
        "test": [point.test_loss or None for point in view.points],
    }
    losses = [value for column in columns.values() for value in column if value is not None]
    low, high = (min(losses), max(losses)) if losses else (0.1, 1.0)
    y = [math.log10(low) - 0.2, math.log10(high) + 0.35]
    traces = _zone(view, alphas, y)
    norms = [f"norm {point.norm:.4g}" for point in view.points]
    for name, role, symbol, style in LOSSES:
        values = columns[name]
        hover = f"{name}, alpha %{{x:.3g}}, %{{customdata}}<br>%{{y:.4g}}<extra></extra>"
        line: Trace = {"type": "scatter", "mode": "lines+markers", "name": name}
        line |= {"x": alphas, "y": values, "line": style, "meta": {"role": role}}
        line |= {"marker": {"size": 8, "symbol": symbol}}
        traces.append(line | {"customdata": norms, "hovertemplate": hover})
        if (value := values[-1]) is not None:
            traces.append(end_label(alphas[-1], value, GAP + name, role))
    decades = y[1] - y[0]
    ticks: Layout = {"dtick": "D2", "exponentformat": "power"}
    if decades > 2:
        ticks["dtick"] = math.ceil(decades / MAX_TICKS)
    loss = axis("squared error", type="log", range=y, **ticks)
    return figure(traces, {"xaxis": _alpha_axis(alphas), "yaxis": loss})


def _zone(view: Landscape, alphas: Sequence[float], y: Sequence[float]) -> list[Trace]:
    """Return the zone as a band, extended half-way to the next points, and its label."""
    low, high = view.zone
    before = [alpha for alpha in alphas if alpha < low]
    after = [alpha for alpha in alphas if alpha > high]
    left = math.sqrt(low * before[-1]) if before else low / 1.1
    right = math.sqrt(high * after[0]) if after else high * 1.1
    bottom, top = 10 ** y[0], 10 ** y[1]
    band: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [left, right, right, left, left],
        "y": [bottom, bottom, top, top, bottom],
        "fill": "toself",
        "line": {"width": 1, "dash": "dot"},
        "name": "Goldilocks zone",
        "hoverinfo": "skip",
        "meta": {"role": "band"},
    }
    middle = math.sqrt(left * right)
    label = end_label(middle, 10 ** (y[1] - 0.1), "Goldilocks zone", "mean", "bottom center")
    return [band, label]


def law_figure(law: DecayLaw) -> go.Figure:
    """Return the train and test steps over weight decay, with the law of decay alone."""
    decays = [point.weight_decay for point in law.points]
    traces: list[Trace] = []
    if law.rate is not None:
        ends = [min(decays), max(decays)]
        guide: Trace = {"type": "scatter", "mode": "lines", "name": "decay alone", "x": ends}
        guide |= {"y": [law.rate / end for end in ends], "meta": {"role": "theory"}}
        guide |= {"line": {"width": 2, "dash": "dot"}}
        guide["hovertemplate"] = "decay alone<br>wd %{x:.3g}: step %{y:,.0f}<extra></extra>"
        traces += [guide]
        formula = f"{law.rate * law.learning_rate:.2g} / (lr · wd)"
        middle = math.sqrt(ends[0] * ends[1])
        traces.append(
            end_label(middle, law.rate / middle, formula + 2 * GAP, "theory", "bottom left")
        )
    for name, role, symbol, style in LOSSES:
        steps = [getattr(point, f"{name}_step") for point in law.points]
        hover = f"{name} threshold, wd %{{x:.3g}}<br>step %{{y:,}}<extra></extra>"
        mode = "markers" if len(set(decays)) < len(decays) else "lines+markers"
        dots: Trace = {"type": "scatter", "mode": mode, "name": f"{name} step"}
        dots |= {"x": decays, "y": [step or None for step in steps], "line": style}
        dots |= {"marker": {"size": 9, "symbol": symbol}, "meta": {"role": role}}
        traces.append(dots | {"hovertemplate": hover})
        points = [(x, y) for x, y in zip(decays, steps, strict=True) if y]
        if points:
            traces.append(end_label(*points[-1], GAP + name, role))
    return figure(traces, _law_axes(law, decays))


def _law_axes(law: DecayLaw, decays: Sequence[float]) -> Layout:
    low, high = math.log10(min(decays)), math.log10(max(decays))
    space = 0.14 * (high - low) or 0.3
    step: Layout = {"type": "log", "dtick": "D2", "tickformat": "~s"}
    x: Layout = {"type": "log", "dtick": "D2", "tickformat": "~g"}
    return {
        "xaxis": axis("weight decay", range=[low - space, high + 2 * space], **x),
        "yaxis": axis("training step", **step),
    }
