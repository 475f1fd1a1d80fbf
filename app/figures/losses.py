"""Figures of losses: scaling of the mean, how losses are spread, the curve of one prediction."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from app.figures.base import (
    Layout,
    Trace,
    along_axis,
    axis,
    end_label,
    figure,
    log_axis,
    size_axis,
    step_layout,
)
from app.figures.labels import plotly_text
from backend.queries.views import Curve, PowerLaw, ScalingView

CLASSES = (
    "monogenic",
    "polygenic",
    "learned",
    "flat-high",
    "inverse",
    "u-shaped",
    "hump",
    "irregular",
)


def scaling_figure(view: ScalingView) -> go.Figure:
    """Return mean loss along the axis with the power law and its interval."""
    x = [point.x for point in view.points]
    y = [point.mean_loss_nats for point in view.points]
    traces = _law(view.fit, x) if view.fit else []
    labels = [plotly_text(point.label) for point in view.points]
    traces += along_axis(
        x,
        y,
        name="mean loss",
        role="mean",
        mode="lines+markers",
        line={"width": 1},
        marker={"size": 7},
        customdata=labels,
        hovertemplate="%{customdata}<br>%{y:.4f} nats<extra></extra>",
    )
    layout = _axis_layout(view.axis, x)
    layout["yaxis"] = layout.get("yaxis", {}) | log_axis("mean loss (nats)", y)
    return figure(traces, layout)


def _axis_layout(name: str, x: Sequence[float]) -> Layout:
    return step_layout(x) if name == "S" else {"xaxis": size_axis(x)}


def _law(fit: PowerLaw, x: Sequence[float]) -> list[Trace]:
    inside = sorted({value for value in x if fit.first <= value <= fit.last and value > 0})
    if not inside:
        return []
    centre = math.exp(sum(math.log(value) for value in inside) / len(inside))
    height = fit.amplitude * centre**-fit.alpha

    def along(alpha: float) -> list[float]:
        return [height * (value / centre) ** -alpha for value in inside]

    flat: Trace = {"type": "scatter", "mode": "lines", "x": inside, "hoverinfo": "skip"}
    edge: Trace = {**flat, "line": {"width": 0}, "meta": {"role": "band"}}
    low: Trace = {**edge, "name": "interval", "y": along(fit.interval[0])}
    high: Trace = {**edge, "name": "interval", "y": along(fit.interval[1]), "fill": "tonexty"}
    line: Trace = {**flat, "name": "power law", "y": along(fit.alpha), "meta": {"role": "accent"}}
    line["line"] = {"width": 2}
    text = f"α = {fit.alpha:.3f}"
    end = end_label(inside[-1], along(fit.alpha)[-1], text, "accent")
    return [low, high, line, end]


def histogram_figure(view: ScalingView) -> go.Figure:
    """Return p(L), the share of predictions in each bin of loss, one line a point of the axis."""
    centres = _centres(view.histogram_edges)
    last = max(len(view.histograms) - 1, 1)
    traces: list[Trace] = []
    for i, (point, row) in enumerate(zip(view.points, view.histograms, strict=True)):
        traces.append(_density(centres, row, plotly_text(point.label), i / last))
    layout: Layout = {
        "xaxis": axis("loss of one prediction (nats)", rangemode="tozero"),
        "yaxis": axis("share of predictions", type="log", tickformat="~%", dtick=1),
    }
    return figure(traces, layout | {"legend": _legend(), "showlegend": True})


def _centres(edges: Sequence[float | None]) -> list[float]:
    """Return the middle of every bin; an open last bin is drawn as wide as its neighbour."""
    closed = [edge for edge in edges if edge is not None]
    if len(closed) < len(edges):
        closed.append(2 * closed[-1] - closed[-2])
    return [(low + high) / 2 for low, high in pairwise(closed)]


def _legend() -> Layout:
    return {"orientation": "v", "x": 1, "xanchor": "right", "y": 1, "yanchor": "top"}


def _density(x: Sequence[float], row: Sequence[float], name: str, at: float) -> Trace:
    hover = f"{name}<br>%{{x:.2f}} nats: %{{y:.2%}}<extra></extra>"
    line: dict[str, Any] = {"width": 1.5, "shape": "hvh"}
    y = [share if share > 0 else None for share in row]
    trace: Trace = {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": y}
    return {**trace, "line": line, "meta": {"role": "ramp", "at": at}, "hovertemplate": hover}


def class_figure(shares: dict[str, float]) -> go.Figure:
    """Return the share of every class of curve as bars."""
    names = [name for name in CLASSES if name in shares]
    names += sorted(set(shares) - set(names))
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [shares[name] for name in names],
        "y": list(range(len(names))),
        "customdata": [plotly_text(name) for name in names],
        "text": [f"{100 * shares[name]:.1f} %" for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "name": "share",
        "meta": {"role": "accent"},
        "hovertemplate": "%{customdata}<br>%{x:.2%}<extra></extra>",
    }
    ticks = {"tickvals": bars["y"], "ticktext": bars["customdata"]}
    top = max(shares.values(), default=1.0)
    layout: Layout = {
        "xaxis": axis("share of predictions", range=[0, 1.18 * top or 1], tickformat="~%"),
        "yaxis": {"autorange": "reversed", "automargin": True, "showgrid": False, **ticks},
        "bargap": 0.3,
    }
    return figure([bars], layout)


def prediction_figure(curves: Sequence[Curve]) -> go.Figure:
    """Return the loss of one prediction along one axis, one line a model, with the corpus mean.

    Args:
        curves: curves along the same axis, at least one.
    """
    traces: list[Trace] = []
    for i, curve in enumerate(curves):
        traces += _prediction(curve, i / max(len(curves) - 1, 1), alone=len(curves) == 1)
    traces += _corpus_mean(curves[-1])
    x = [value for curve in curves for value in curve.x]
    if any(curve.step_zero_nats is not None for curve in curves):
        x.append(0.0)
    layout = _axis_layout(curves[0].axis, x)
    tops = [value for trace in traces for value in trace["y"] if value is not None]
    top = 1.1 * max(tops, default=1.0) or 1.0
    layout["yaxis"] = layout.get("yaxis", {}) | axis("loss (nats)", range=[0, top])
    if len(curves) > 1:
        traces += _model_names(curves, room=0.06 * top)
    return figure(traces, layout)


def _model_names(curves: Sequence[Curve], room: float) -> list[Trace]:
    """Return each model's name at the end of its line, moved up where names would touch."""
    labels: list[Trace] = []
    below = -math.inf
    order = sorted(range(len(curves)), key=lambda i: curves[i].loss_nats[-1])
    for i in order:
        height = max(curves[i].loss_nats[-1], below + room)
        below = height
        label = end_label(curves[i].x[-1], height, plotly_text(curves[i].model or ""), "ramp")
        label["meta"]["at"] = i / max(len(curves) - 1, 1)
        labels.append(label)
    return labels


def _prediction(curve: Curve, at: float, alone: bool) -> list[Trace]:
    x, y = list(curve.x), list(curve.loss_nats)
    labels = [plotly_text(label) for label in curve.labels]
    if curve.step_zero_nats is not None and 0 not in x:
        x, y, labels = [0.0, *x], [curve.step_zero_nats, *y], ["step 0", *labels]
    name = plotly_text(curve.model or "this prediction")
    traces = along_axis(
        x,
        y,
        name=name,
        role="accent" if alone else "ramp",
        mode="lines+markers",
        line={"width": 2.5 if alone else 1.75},
        marker={"size": 6 if alone else 4},
        customdata=labels,
        hovertemplate=f"{name} · %{{customdata}}<br>%{{y:.3f}} nats<extra></extra>",
    )
    for trace in traces:
        trace["meta"] = {**trace["meta"], "at": at}
    return traces


def _corpus_mean(curve: Curve) -> list[Trace]:
    late = [(x, y) for x, y in zip(curve.x, curve.mean_nats, strict=True) if x > 0]
    if not late:
        return []
    x, y = [point[0] for point in late], [point[1] for point in late]
    trace: Trace = {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": "corpus mean"}
    trace |= {"line": {"width": 1.5, "dash": "dot"}, "meta": {"role": "muted"}}
    trace["hovertemplate"] = "corpus mean<br>%{y:.3f} nats<extra></extra>"
    return [trace, end_label(x[-1], y[-1], "<br>corpus mean", "muted", "bottom left")]
