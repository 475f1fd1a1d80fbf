"""Plots of one prediction's curves: unit, scale, difference to the mean, fitted line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from app.figures.base import Trace, along_axis, axis, end_label, figure, log_axis, scatter
from app.figures.labels import plotly_text
from app.figures.losses import axis_layout
from backend.corpora.views import Curve

Quantity = Literal["nats", "bits", "p"]


@dataclass(frozen=True)
class PredictionPlotOptions:
    """Unit, scale and additions of a plot.

    Attributes:
        y: loss in nats or bits, or the probability of the answer.
        is_log: the vertical axis is logarithmic; a difference has no logarithm, and ignores it.
        is_difference: subtract the corpus mean.
        with_fit: add the least-squares line of the loss on ln axis.
    """

    y: Quantity = "nats"
    is_log: bool = False
    is_difference: bool = False
    with_fit: bool = False

    def value(self, nats: float) -> float:
        """Return a loss in the unit of the plot."""
        if self.y == "p":
            return math.exp(-nats)
        return nats / math.log(2) if self.y == "bits" else nats

    def values(self, nats: Sequence[float], mean: Sequence[float]) -> list[float | None]:
        """Return losses in the unit of the plot; None for a value that a log axis cannot show."""
        values = [self.value(loss) for loss in nats]
        if self.is_difference:
            return [a - self.value(b) for a, b in zip(values, mean, strict=True)]
        return [value if value > 0 or not self.is_log else None for value in values]

    @property
    def unit(self) -> str:
        """Suffix of a number: its unit; empty for a probability."""
        return "" if self.y == "p" else f" {self.y}"

    @property
    def title(self) -> str:
        """Title of the vertical axis."""
        name = "probability of the answer" if self.y == "p" else f"loss ({self.y})"
        return f"{name}, less the corpus mean" if self.is_difference else name


def prediction_figure(curves: Sequence[Curve], options: PredictionPlotOptions) -> go.Figure:
    """Return one prediction along one axis, one line for each model, with the corpus mean.

    Args:
        curves: curves along the same axis, at least one.
        options: unit, scale and additions.
    """
    traces: list[Trace] = []
    for i, curve in enumerate(curves):
        at = i / max(len(curves) - 1, 1)
        traces += _curve(curve, options, at, is_only=len(curves) == 1)
        if options.with_fit:
            traces += _fitted_line(curve, options, at)
    if not options.is_difference:
        traces += _corpus_mean(curves[-1], options, is_named=len(curves) == 1)
    x = [value for curve in curves for value in curve.x]
    if not options.is_difference and any(curve.step_zero_nats is not None for curve in curves):
        x.append(0.0)
    layout = axis_layout(curves[0].axis, x)
    values = [value for trace in traces for value in trace["y"] if value is not None]
    layout["yaxis"] = layout.get("yaxis", {}) | _y_axis(options, values)
    if len(curves) > 1:
        traces += _end_labels(curves, options, values)
    return figure(traces, layout)


def _y_axis(options: PredictionPlotOptions, values: Sequence[float]) -> dict[str, object]:
    if options.is_difference:
        bound = 1.1 * max(map(abs, values), default=1.0) or 1.0
        return axis(options.title, range=[-bound, bound], zeroline=True)
    if options.is_log:
        return log_axis(options.title, values, tickformat="~g")
    top = 1.1 * max(values, default=1.0) or 1.0
    return axis(options.title, range=[0, top])


def _end_labels(
    curves: Sequence[Curve], options: PredictionPlotOptions, values: Sequence[float]
) -> list[Trace]:
    """Return a label at the end of each line, moved up where labels would overlap.

    The corpus mean is that of the last curve; its label comes after those of the models.
    """
    is_log = options.is_log and not options.is_difference
    ends = [
        (options.values(curve.loss_nats, curve.mean_nats)[-1], i) for i, curve in enumerate(curves)
    ]
    if not options.is_difference:
        ends.append((options.values(curves[-1].mean_nats, curves[-1].mean_nats)[-1], len(curves)))
    heights = [math.log(value) if is_log else value for value in values]
    room = 0.06 * (max(heights) - min(heights))
    labels: list[Trace] = []
    below = -math.inf
    for end, i in sorted((end, i) for end, i in ends if end is not None):
        below = max(math.log(end) if is_log else end, below + room)
        height = math.exp(below) if is_log else below
        if i == len(curves):
            labels.append(end_label(curves[-1].x[-1], height, "mean", "muted"))
            continue
        label = end_label(curves[i].x[-1], height, plotly_text(curves[i].model or ""), "ramp")
        label["meta"]["at"] = i / max(len(curves) - 1, 1)
        labels.append(label)
    return labels


def _curve(
    curve: Curve, options: PredictionPlotOptions, at: float, *, is_only: bool
) -> list[Trace]:
    x, y = list(curve.x), options.values(curve.loss_nats, curve.mean_nats)
    labels = [plotly_text(label) for label in curve.labels]
    if curve.step_zero_nats is not None and 0 not in x and not options.is_difference:
        zero = options.values([curve.step_zero_nats], [0.0])
        x, y, labels = [0.0, *x], [*zero, *y], ["step 0", *labels]
    name = plotly_text(curve.model or "this prediction")
    traces = along_axis(
        x,
        y,
        name=name,
        role="accent" if is_only else "ramp",
        mode="lines+markers",
        line={"width": 2.5 if is_only else 1.75},
        marker={"size": 6 if is_only else 4},
        customdata=labels,
        hovertemplate=f"{name} · %{{customdata}}<br>%{{y:.4~g}}{options.unit}<extra></extra>",
    )
    for trace in traces:
        trace["meta"] = {**trace["meta"], "at": at}
    return traces


def line_nats(x: Sequence[float], nats: Sequence[float]) -> list[float]:
    """Return the least-squares line of losses on ln axis, as `slope` and `r_squared` do."""
    places = [math.log(value) for value in x]
    middle, mean = sum(places) / len(places), sum(nats) / len(nats)
    spread = sum((u - middle) ** 2 for u in places)
    slope = sum((u - middle) * (y - mean) for u, y in zip(places, nats, strict=True)) / spread
    return [mean + slope * (u - middle) for u in places]


def _fitted_line(curve: Curve, options: PredictionPlotOptions, at: float) -> list[Trace]:
    y = options.values(line_nats(curve.x, curve.loss_nats), curve.mean_nats)
    name = f"line of {plotly_text(curve.model or 'this prediction')}"
    style = {"width": 1.5, "dash": "dash"}
    hover = f"least-squares line<br>%{{y:.4~g}}{options.unit}<extra></extra>"
    line = scatter(curve.x, y, name=name, role="theory", line=style, hovertemplate=hover)
    line["meta"]["at"] = at
    return [line]


def _corpus_mean(curve: Curve, options: PredictionPlotOptions, *, is_named: bool) -> list[Trace]:
    y, style = options.values(curve.mean_nats, curve.mean_nats), {"width": 1.5, "dash": "dot"}
    hover = f"corpus mean<br>%{{y:.4~g}}{options.unit}<extra></extra>"
    trace = scatter(curve.x, y, name="corpus mean", role="muted", line=style, hovertemplate=hover)
    name = end_label(curve.x[-1], y[-1] or 0.0, "<br>corpus mean", "muted", "bottom left")
    return [trace, name] if is_named else [trace]
