"""Shares of curve classes as bars, and the horizontal axis of loss curves."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, figure, size_axis, step_layout
from app.figures.labels import plotly_text

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
    """Return the horizontal axis of sizes or of steps, step 0 left of an axis break."""
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
        "meta": {"role": "class", "names": names},
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
