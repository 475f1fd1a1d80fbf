"""Figures of losses: shares of classes, the curve of one prediction."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from app.figures.base import (
    Layout,
    Trace,
    along_axis,
    axis,
    end_label,
    figure,
    size_axis,
    step_layout,
)
from app.figures.labels import plotly_text
from backend.queries.views import Curve

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


def axis_layout(name: str, x: Sequence[float]) -> Layout:
    """Return the horizontal axis of sizes or, with a broken tick for step 0, of steps."""
    return step_layout(x) if name == "S" else {"xaxis": size_axis(x)}


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
    layout = axis_layout(curves[0].axis, x)
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
