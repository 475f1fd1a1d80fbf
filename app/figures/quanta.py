"""Figures of a clustering and of one cluster."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.figures.base import (
    Layout,
    Trace,
    along_axis,
    axis,
    end_label,
    figure,
    log_axis,
    scatter,
    size_axis,
    step_layout,
)
from app.figures.labels import plotly_text
from backend.quanta.views import Count, CurveBand, RankFrequency, SubMatrix

MAX_BARS = 12


def rank_frequency_figure(view: RankFrequency) -> go.Figure:
    """Return cluster sizes by rank on log-log axes: every n_clusters, envelope, fit, theory."""
    traces = [
        _by_rank(sizes, f"n_clusters {k}", role="member", width=1)
        for k, sizes in sorted(view.sizes.items())
    ]
    ranks = list(range(1, len(view.envelope) + 1))
    traces.append(_by_rank(view.envelope, "envelope", role="mean", width=2.5))
    traces += _slopes(view)
    room = 1.24 * math.log10(max(len(ranks), 2))  # for the labels at the end
    layout: Layout = {
        "xaxis": log_axis("rank of the cluster (1 = largest)", ranks, range=[-0.04, room]),
        "yaxis": log_axis("cluster size (predictions)", view.envelope, rangemode="normal"),
    }
    return figure(traces, layout)


def _by_rank(sizes: Sequence[int], name: str, *, role: str, width: float) -> Trace:
    hover = f"{name}<br>rank %{{x}}<br>size %{{y}}<extra></extra>"
    ranks, line = range(1, len(sizes) + 1), {"width": width}
    return scatter(ranks, sizes, name=name, role=role, line=line, hovertemplate=hover)


def _slopes(view: RankFrequency) -> list[Trace]:
    if view.fit is None:
        return []
    fit = view.fit
    first, last = max(fit.first_rank, 1), max(fit.last_rank, fit.first_rank + 1)
    middle = math.sqrt(first * last)
    height = math.exp(fit.intercept + fit.slope * math.log(middle))
    # Drawn above the data: a line on top of its points cannot be compared with them.
    traces = _line((first, last), (middle, 1.35 * height), fit.slope, "fit", "accent")
    if view.theory_slope is not None:
        traces += _line(
            (first, last), (middle, 2.1 * height), view.theory_slope, "theory", "theory"
        )
    return traces


def _line(
    span: tuple[int, int], through: tuple[float, float], slope: float, name: str, role: str
) -> list[Trace]:
    heights = [through[1] * (rank / through[0]) ** slope for rank in span]
    style = {"width": 2, "dash": "dash" if role == "theory" else "solid"}
    hover = f"{name}: slope {slope:.3f}<extra></extra>"
    line = scatter(span, heights, name=name, role=role, line=style, hovertemplate=hover)
    text = f"{name} {slope:.2f}".replace("-", "−")
    # Labels at opposite ends: the lines meet at one of them.
    if role == "theory":
        return [line, end_label(span[0], heights[0], text, role, position="top right")]
    return [line, end_label(span[1], heights[1], text, role)]


def similarity_figure(view: SubMatrix) -> go.Figure:
    """Return cosines between members as a heat map with zero in the middle of the scale."""
    values = np.asarray(view.values, dtype=np.float32).round(2)
    heat: Trace = {
        "type": "heatmap",
        "z": values,
        "zmin": -1,
        "zmid": 0,
        "zmax": 1,
        "meta": {"role": "diverging"},
        "name": "cosine",
        "hovertemplate": "members %{y} and %{x}<br>cosine %{z:.2f}<extra></extra>",
        "x0": 1,
        "y0": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickvals": [-1, -0.5, 0, 0.5, 1]},
    }
    layout: Layout = {
        "xaxis": axis("member", constrain="domain", showgrid=False),
        "yaxis": axis("member", autorange="reversed", scaleanchor="x", showgrid=False),
    }
    layout["yaxis"]["constrain"] = "domain"
    return figure([heat], layout)


def band_figure(band: CurveBand) -> go.Figure:
    """Return members' curves along one axis: members thin, their mean bold, 10-90 % filled."""
    traces = [*_band(band), *_members(band), *_mean(band)]
    top = max([*band.high_nats, *band.mean_nats])
    layout = step_layout(band.x) if band.axis == "S" else {"xaxis": size_axis(band.x)}
    layout["yaxis"] = layout.get("yaxis", {}) | axis("loss (nats)", range=[0, 1.08 * top or 1])
    return figure(traces, layout)


def _band(band: CurveBand) -> list[Trace]:
    positive = [i for i, x in enumerate(band.x) if x > 0]
    edge: Trace = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "line": {"width": 0}}
    edge |= {"meta": {"role": "band"}, "x": [band.x[i] for i in positive]}
    low: Trace = {**edge, "name": "10 %", "y": [band.low_nats[i] for i in positive]}
    high: Trace = {**edge, "name": "90 %", "y": [band.high_nats[i] for i in positive]}
    return [low, {**high, "fill": "tonexty"}]


def _members(band: CurveBand) -> list[Trace]:
    positive = [i for i, x in enumerate(band.x) if x > 0]
    x: list[float | None] = []
    y: list[float | None] = []
    for member in band.members:
        x += [*(band.x[i] for i in positive), None]
        y += [*(member.loss_nats[i] for i in positive), None]
    line = {"width": 1}
    return [scatter(x, y, name="members", role="member", line=line, hoverinfo="skip")]


def _mean(band: CurveBand) -> list[Trace]:
    labels = [
        plotly_text(label) if x else "step 0" for x, label in zip(band.x, band.labels, strict=True)
    ]
    hover = "%{customdata}<br>mean %{y:.3f} nats<extra></extra>"
    return along_axis(
        band.x,
        band.mean_nats,
        name="mean",
        role="mean",
        mode="lines+markers",
        line={"width": 2.5},
        marker={"size": 5},
        customdata=labels,
        hovertemplate=hover,
    )


def count_figure(counts: Sequence[Count], title: str) -> go.Figure:
    """Return the most common tokens as bars; `customdata` holds their ids for a click."""
    top = list(counts)[:MAX_BARS]
    total = sum(count.count for count in counts) or 1
    labels = [plotly_text(count.token.text, 16) for count in top]
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [count.count for count in top],
        "y": list(range(len(top))),
        "customdata": [[count.token.id, label] for count, label in zip(top, labels, strict=True)],
        "text": [f"{count.count} · {100 * count.count / total:.0f} %" for count in top],
        "textposition": "auto",
        "insidetextanchor": "end",
        "cliponaxis": False,
        "name": title,
        "meta": {"role": "accent"},
        "hovertemplate": "%{customdata[1]}<br>%{x} predictions<extra></extra>",
    }
    ticks: Layout = {"tickvals": bars["y"], "ticktext": labels, "showgrid": False}
    ticks["tickfont"] = {"family": "monospace"}
    layout: Layout = {
        "xaxis": axis("predictions", rangemode="tozero", tickformat="~s", nticks=5),
        # Space for at least three bars: a single one would fill the plot.
        "yaxis": {"range": [max(len(top), 3) - 0.5, -0.5], "automargin": True, **ticks},
        "bargap": 0.25,
        "uniformtext": {"minsize": 10, "mode": "show"},
    }
    return figure([bars], layout)
