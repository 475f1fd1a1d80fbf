"""Figures of the Scaling page: mean loss with its law, distribution and classes of losses.

Views hold losses in nats; figures show nats or bits.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, along_axis, axis, end_label, figure, log_axis
from app.figures.labels import plotly_text
from app.figures.losses import CLASSES, axis_layout, class_figure
from backend.scaling.views import LawFit, LossDistribution, ScalingDetail

Unit = Literal["nats", "bits"]

# Hatches, so that classes do not depend on colour.
HATCHES = {
    "polygenic": "/",
    "flat-high": "|",
    "inverse": "x",
    "u-shaped": "\\",
    "hump": "-",
    "irregular": ".",
}
HATCH = {"fillmode": "overlay", "size": 6, "solidity": 0.2}
MAX_DENSITY_NATS = 14
# Above the plot; entries of equal width form columns.
LEGEND: Layout = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


def scaling_figures(view: ScalingDetail, unit: Unit) -> Mapping[str, go.Figure]:
    """Return the figures of the page by name; those without data are omitted."""
    figures = {"mean": mean_figure(view, unit), "under": share_figure(view)}
    if view.law:
        figures["residuals"] = residual_figure(view, view.law)
    if view.distribution:
        figures["histogram"] = distribution_figure(view, view.distribution, unit)
        figures["integrand"] = integrand_figure(view, view.distribution, unit)
    if view.class_shares:
        figures["classes"] = class_figure(view.class_shares)
    if view.classes:
        figures["drops"] = drop_figure(view, unit)
    if view.induction:
        figures["induction"] = induction_figure(view, unit)
    return figures


def in_unit(nats: float, unit: Unit) -> float:
    """Return a loss in nats or bits."""
    return nats / math.log(2) if unit == "bits" else nats


def _x(view: ScalingDetail) -> list[float]:
    return [point.x for point in view.points]


def _labels(view: ScalingDetail) -> list[str]:
    return [plotly_text(point.label) for point in view.points]


def _has_step_zero(view: ScalingDetail) -> bool:
    return view.step_zero is not None and view.subset == "all"


def mean_figure(view: ScalingDetail, unit: Unit) -> go.Figure:
    """Return the mean along the axis with its law and interval; points not in the fit are grey."""
    x, labels = _x(view), _labels(view)
    y = [in_unit(value, unit) for value in view.mean_nats]
    all_x, all_y, all_labels = list(x), list(y), list(labels)
    if view.step_zero and _has_step_zero(view):
        all_x, all_labels = [0.0, *x], ["step 0", *labels]
        all_y = [in_unit(view.step_zero.mean_loss_nats, unit), *y]
    traces = along_axis(
        all_x,
        all_y,
        name="mean loss",
        role="mean",
        mode="lines+markers",
        line={"width": 1},
        # Points that are not in the fit have a separate, grey trace.
        marker={"size": _sizes(view), "opacity": 1, "line": {"width": 0}},
        customdata=all_labels,
        hovertemplate=f"%{{customdata}}<br>%{{y:.4f}} {unit}<extra></extra>",
    )
    traces += _excluded_points(view, x, y, labels, unit)
    if view.law:
        traces += _law(view.law, unit)
    layout = axis_layout(view.axis, all_x)
    layout["yaxis"] = layout.get("yaxis", {}) | log_axis(f"mean loss ({unit})", all_y)
    return figure(traces, layout)


def _is_used(law: LawFit, x: float) -> bool:
    return law.first <= x <= law.last


def _sizes(view: ScalingDetail) -> list[int]:
    return [7 if view.law is None or _is_used(view.law, x) else 0 for x in _x(view)]


def _excluded_points(
    view: ScalingDetail, x: list[float], y: list[float], labels: list[str], unit: Unit
) -> list[Trace]:
    law = view.law
    if law is None or all(_is_used(law, value) for value in x):
        return []
    excluded = [i for i, value in enumerate(x) if not _is_used(law, value)]
    trace: Trace = {"type": "scatter", "mode": "markers", "name": "left out of the fit"}
    trace |= {"x": [x[i] for i in excluded], "y": [y[i] for i in excluded]}
    trace |= {"customdata": [labels[i] for i in excluded], "meta": {"role": "member"}}
    trace["marker"] = {"size": 9}
    hover = f"%{{customdata}}, left out of the fit<br>%{{y:.4f}} {unit}<extra></extra>"
    return [{**trace, "hovertemplate": hover}]


def _law(law: LawFit, unit: Unit) -> list[Trace]:
    curve = law.curve
    flat: Trace = {"type": "scatter", "mode": "lines", "x": list(curve.x), "hoverinfo": "skip"}
    edge: Trace = {**flat, "line": {"width": 0}, "meta": {"role": "band"}}
    low: Trace = {**edge, "name": "interval, low"}
    high: Trace = {**edge, "name": "interval, high", "fill": "tonexty"}
    name = "power law" if law.kind == "power" else "broken law"
    line: Trace = {**flat, "name": name, "meta": {"role": "accent"}, "line": {"width": 2}}
    for trace, values in ((low, curve.low), (high, curve.high), (line, curve.y)):
        trace["y"] = [in_unit(value, unit) for value in values]
    text = name
    if law.kind == "power" and law.parameters[0].value is not None:
        text = f"α = {law.parameters[0].value:.3f}"
    middle = len(curve.x) * 5 // 8
    label = end_label(curve.x[middle], line["y"][middle], text, "accent", "top right")
    return [low, high, line, label]


def residual_shares(law: LawFit) -> list[float]:
    """Return measured / law − 1 at every point of the axis."""
    return [math.expm1(value) for value in law.residuals]


def residual_figure(view: ScalingDetail, law: LawFit) -> go.Figure:
    """Return how far each mean lies above or below its law, per cent."""
    x = _x(view)
    shares = residual_shares(law)
    traces: list[Trace] = []
    for is_used, name, role in ((True, "in the fit", "accent"), (False, "left out", "member")):
        indexes = [i for i, value in enumerate(x) if _is_used(law, value) == is_used]
        if not indexes:
            continue
        trace: Trace = {"type": "scatter", "mode": "markers", "name": name, "meta": {"role": role}}
        trace |= {"x": [x[i] for i in indexes], "y": [shares[i] for i in indexes]}
        trace |= {"marker": {"size": 7}, "customdata": [_labels(view)[i] for i in indexes]}
        trace["hovertemplate"] = f"%{{customdata}}, {name}<br>%{{y:+.2%}}<extra></extra>"
        traces.append(trace)
    layout = {"xaxis": axis_layout(view.axis, x)["xaxis"]}
    bound = 1.25 * max(*map(abs, shares), 1e-4)
    layout["yaxis"] = axis(
        "measured / law − 1", range=[-bound, bound], tickformat="+~%", zeroline=True, nticks=5
    )
    return figure(traces, layout)


def distribution_figure(
    view: ScalingDetail, distribution: LossDistribution, unit: Unit
) -> go.Figure:
    """Return p(L), the density of losses, one line for each point of the axis."""
    y_axis = axis(f"p(L), per {unit[:-1]}", type="log", dtick=1, exponentformat="power")
    return _densities(view, distribution, unit, y_axis, weighted=False)


def integrand_figure(view: ScalingDetail, distribution: LossDistribution, unit: Unit) -> go.Figure:
    """Return L·p(L), one line for each point of the axis; its area is the mean."""
    y_axis = axis("L · p(L)", rangemode="tozero")
    return _densities(view, distribution, unit, y_axis, weighted=True)


def _densities(
    view: ScalingDetail, distribution: LossDistribution, unit: Unit, y_axis: Layout, weighted: bool
) -> go.Figure:
    edges = [
        edge for edge in distribution.edges_nats if edge is not None and edge <= MAX_DENSITY_NATS
    ]
    centres = [in_unit((low + high) / 2, unit) for low, high in pairwise(edges)]
    width = in_unit(edges[1] - edges[0], unit)
    labels = _labels(view)
    traces: list[Trace] = []
    for i, (index, row) in enumerate(zip(distribution.indexes, distribution.shares, strict=True)):
        density = [share / width for share in row[: len(centres)]]
        # A log axis cannot show an empty bin; the linear axis of L·p(L) can.
        y = (
            [c * p for c, p in zip(centres, density, strict=True)]
            if weighted
            else [p or None for p in density]
        )
        trace: Trace = {"type": "scatter", "mode": "lines", "name": labels[index], "x": centres}
        trace |= {"y": y, "line": {"width": 1.5, "shape": "hvh"}}
        trace["meta"] = {"role": "ramp", "at": i / max(len(distribution.indexes) - 1, 1)}
        trace["hovertemplate"] = f"{labels[index]}<br>%{{x:.2f}} {unit}: %{{y:.3g}}<extra></extra>"
        traces.append(trace)
    if weighted:  # the narrow peak of the first steps would flatten all others
        tops = [max(trace["y"], default=0.0) for trace in traces]
        y_axis["range"] = [0, 1.05 * min(max(tops), 2 * tops[-1]) or 1.0]
    x_axis = axis(f"loss L of one prediction ({unit})", rangemode="tozero")
    legend = {"legend": {**LEGEND, "entrywidth": 44}, "showlegend": True}
    return figure(traces, {"xaxis": x_axis, "yaxis": y_axis, **legend})


def share_figure(view: ScalingDetail) -> go.Figure:
    """Return the share of predictions under 0.1 nats along the axis."""
    points = [view.step_zero, *view.points] if view.step_zero else list(view.points)
    x = [point.x for point in points]
    traces = along_axis(
        x,
        [point.share_under_tenth_nat for point in points],
        name="under 0.1 nats",
        role="accent",
        mode="lines+markers",
        line={"width": 2},
        marker={"size": 6},
        customdata=["step 0" if point.x == 0 else plotly_text(point.label) for point in points],
        hovertemplate="%{customdata}<br>%{y:.3%}<extra></extra>",
    )
    layout = axis_layout(view.axis, x)
    y = axis("share of predictions", rangemode="tozero", tickformat="~%")
    layout["yaxis"] = layout.get("yaxis", {}) | y
    return figure(traces, layout)


def drop_figure(view: ScalingDetail, unit: Unit) -> go.Figure:
    """Return what each class contributes to the fall of the mean between points, stacked."""
    names = [f"{a} → {b}" for a, b in pairwise(_labels(view))]
    parts = {part.name: part for part in view.classes if part.n_predictions}
    traces: list[Trace] = []
    for name in (name for name in CLASSES if name in parts):
        y = [in_unit(value, unit) for value in parts[name].drop_nats]
        bar: Trace = {"type": "bar", "name": name, "x": names, "y": y}
        bar["meta"] = {"role": "class", "name": name}
        bar["marker"] = {"pattern": {**HATCH, "shape": HATCHES.get(name, "")}}
        bar["hovertemplate"] = f"{name}<br>%{{x}}: %{{y:+.4f}} {unit}<extra></extra>"
        traces.append(bar)
    falls = [in_unit(a - b, unit) for a, b in pairwise(p.mean_loss_nats for p in view.points)]
    total: Trace = {"type": "scatter", "mode": "markers", "name": "the mean", "x": names}
    total |= {"y": falls, "marker": {"size": 9, "symbol": "diamond"}, "meta": {"role": "mean"}}
    total["hovertemplate"] = f"fall of the mean<br>%{{x}}: %{{y:.4f}} {unit}<extra></extra>"
    layout: Layout = {
        "barmode": "relative",
        "bargap": 0.35,
        "xaxis": axis("", type="category", showgrid=False),
        "yaxis": axis(f"fall of the mean ({unit})", zeroline=True),
        "legend": {**LEGEND, "entrywidth": 62},
        "showlegend": True,
    }
    return figure([*traces, total], layout)


def induction_figure(view: ScalingDetail, unit: Unit) -> go.Figure:
    """Return the mean loss of predictions that induction explains, and of all."""
    assert view.induction is not None, "scaling_figures omits it"
    x, labels = _x(view), _labels(view)
    lines: Sequence[tuple[str, str, Sequence[float], dict[str, Any]]] = (
        ("all", "mean", [point.mean_loss_nats for point in view.points], {"dash": "dot"}),
        ("induction explains", "accent", view.induction.mean_nats, {}),
    )
    traces: list[Trace] = []
    for name, role, nats, style in lines:
        y = [in_unit(value, unit) for value in nats]
        trace: Trace = {"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y}
        trace |= {"line": {"width": 2, **style}, "marker": {"size": 6}, "meta": {"role": role}}
        trace |= {"customdata": labels}
        trace["hovertemplate"] = f"{name} · %{{customdata}}<br>%{{y:.4f}} {unit}<extra></extra>"
        side = "top left" if role == "mean" else "bottom left"
        traces += [trace, end_label(x[-1], y[-1], name, role, side)]
    layout = {"xaxis": axis_layout(view.axis, x)["xaxis"]}
    values = [value for trace in traces for value in trace["y"]]
    room = 0.12 * (max(values) - min(values)) or 0.1
    layout["yaxis"] = axis(f"mean loss ({unit})", range=[min(values) - room, max(values) + room])
    return figure(traces, layout)
