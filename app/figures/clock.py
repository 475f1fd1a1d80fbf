"""Figures of the circuit at one evaluation: circle, attention, neurons, logit spectrum."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.figures.base import Layout, Trace, axis, figure
from app.figures.clock_spectrum import frequency_ticks
from backend.experiments.modular_addition.queries import attention_shares
from backend.experiments.modular_addition.views import ClockCell

# The largest p with a label for every number on the circle.
MAX_LABELLED_P = 61
MAX_HEADS = 8
BAR: Layout = {"thickness": 10, "outlinewidth": 0, "ticksuffix": " %", "nticks": 5}
TITLE_SPACE = 0.14
GAP = 0.045


def circuit_figures(
    view: ClockCell, evaluation: int, k: int | None, head: int | None, neuron: int | None
) -> Mapping[str, go.Figure]:
    """Return the figures of a network's circuit at one evaluation, by name.

    Args:
        view: network to draw.
        evaluation: index of the evaluation.
        k: frequency of the circle; None: the first two principal components.
        head: attention head; None: all.
        neuron: neuron to draw; None: all stored ones.
    """
    return {
        "circle": circle_figure(view, evaluation, k),
        "attention": attention_figure(view, evaluation, head),
        "neurons": neuron_figure(view, evaluation, neuron),
        "logits": logit_figure(view, evaluation),
    }


def circle_figure(view: ClockCell, evaluation: int, k: int | None) -> go.Figure:
    """Return the numbers in the plane of a frequency; all evaluations have the same axes."""
    path = view.arrays["principal"] if k is None else view.arrays["circle"][:, view.planes.index(k)]
    # Neighbours on the circle of frequency k differ by k^-1 modulo p.
    stride = 1 if k is None else pow(k, -1, view.p) if math.gcd(k, view.p) == 1 else 1
    order = [stride * i % view.p for i in range(view.p)]
    x, y = ([round(float(path[evaluation, n, side]), 4) for n in order] for side in (0, 1))
    ring: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, x[0]],
        "y": [*y, y[0]],
        "name": "neighbours on the circle",
        "line": {"width": 1},
        "hoverinfo": "skip",
        "meta": {"role": "muted"},
    }
    label_step = 1 if view.p <= MAX_LABELLED_P else 2
    numbers: Trace = {
        "type": "scatter",
        "mode": "markers+text",
        "x": x,
        "y": y,
        "text": [str(n) if i % label_step == 0 else "" for i, n in enumerate(order)],
        "customdata": [f"number {n}" for n in order],
        "textposition": [_outwards(*place) for place in zip(x, y, strict=True)],
        "textfont": {"size": 10},
        "name": "numbers",
        "marker": {"size": 5},
        "cliponaxis": False,
        "meta": {"role": "accent"},
        "hovertemplate": "%{customdata}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
    }
    limit = 1.15 * float(np.nanmax(np.abs(path), initial=0)) or 1.0
    names = ("first component", "second component") if k is None else (f"cos, k = {k}", "sin")
    side: Layout = {"range": [-limit, limit], "constrain": "domain", "nticks": 5, "zeroline": True}
    layout: Layout = {
        "xaxis": axis(names[0], **side),
        "yaxis": axis(names[1], **side, scaleanchor="x"),
    }
    return figure([ring, numbers] if k is not None else [numbers], layout)


def _outwards(x: float, y: float) -> str:
    """Return the position of a label: away from the middle."""
    radius = math.hypot(x, y) or 1.0
    up = "top" if y > 0.38 * radius else "bottom" if y < -0.38 * radius else "middle"
    side = "right" if x > 0.38 * radius else "left" if x < -0.38 * radius else "center"
    return f"{up if (up, side) != ('middle', 'center') else 'top'} {side}"


def attention_figure(view: ClockCell, evaluation: int, head: int | None) -> go.Figure:
    """Return the attention of the last position to a and to b over all pairs, one map each."""
    shares = attention_shares(view.arrays["attention_scores"][evaluation], view.p)
    heads = range(min(len(shares), MAX_HEADS)) if head is None else [head]
    maps = [
        (f"{h} → {name}", shares[h, position]) for position, name in enumerate("ab") for h in heads
    ]
    return _maps(maps, len(heads) if head is None else 2, "attention, %", 100 * shares.max())


def neuron_figure(view: ClockCell, evaluation: int, neuron: int | None) -> go.Figure:
    """Return activations of neurons over all pairs, in per cent of each neuron's maximum."""
    activations = view.arrays["neuron_maps"][view.map_index(evaluation)].astype(np.float64)
    frequency = view.arrays["neuron_frequency"]
    maps = []
    for number, values in zip(view.neurons, activations, strict=True):
        if neuron in (None, number):
            top = values.max()
            name = f"{number}, k {int(frequency[number])}"
            maps.append((name, values / top if top > 0 else values))
    return _maps(maps, 4 if len(maps) > 1 else 1, "activation, % of its largest", 100.0)


def _maps(
    maps: Sequence[tuple[str, NDArray[np.float64]]], columns: int, quantity: str, top: float
) -> go.Figure:
    """Return small maps over (a, b) in rows, each with its name above it."""
    if not maps:
        text = "no neuron has a key frequency"
        return figure([], {"xaxis": axis(text, showticklabels=False), "yaxis": axis("")})
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    title_space = TITLE_SPACE * min(1.0, 2 / rows)
    traces: list[Trace] = []
    layout: Layout = {"annotations": []}
    for i, (name, values) in enumerate(maps):
        row, column = divmod(i, columns)
        number = "" if i == 0 else str(i + 1)
        bottom = 1 - (row + 1) / rows
        across = [column / columns, (column + 1) / columns - (GAP if columns > 1 else 0)]
        upwards = [bottom, bottom + 1 / rows - title_space]
        is_left, is_last = column == 0, i + columns >= len(maps)
        x, y = _side("b", is_last, across, f"y{number}"), _side("a", is_left, upwards, f"x{number}")
        if len(maps) == 1:
            y |= {"scaleanchor": "x"}
        layout |= {f"xaxis{number}": x, f"yaxis{number}": y}
        layout["annotations"].append(
            _title(name.replace(", ", "<br>"), sum(across) / 2, upwards[1])
        )
        traces.append(_map(values, name, number, quantity, top, is_first=i == 0))
    return figure(traces, layout)


def _side(name: str, is_named: bool, domain: Sequence[float], anchor: str) -> Layout:
    more: Layout = {"showgrid": False, "zeroline": False, "constrain": "domain", "nticks": 3}
    more |= {"tickangle": 0, "domain": list(domain), "anchor": anchor, "showticklabels": is_named}
    return axis(name if is_named else "", **more)


def _title(text: str, x: float, y: float) -> Layout:
    place: Layout = {"x": x, "y": y, "xref": "paper", "yref": "paper", "yanchor": "bottom"}
    place |= {"xanchor": "center"}
    return {**place, "text": text, "showarrow": False, "font": {"size": 11}}


def _map(
    values: NDArray[np.float64], name: str, number: str, quantity: str, top: float, is_first: bool
) -> Trace:
    numbers = list(range(len(values)))
    # Whole per cent take one byte each; a page has a hundred thousand of them.
    percent = np.rint(100 * np.nan_to_num(values)).clip(0, 100).astype(np.uint8)
    return {
        "type": "heatmap",
        "x0": 0,
        "y0": 0,
        "z": percent,
        "zmin": 0,
        "zmax": max(1.0, math.ceil(top)),
        "name": name,
        "xaxis": f"x{number}",
        "yaxis": f"y{number}",
        "showscale": is_first,
        "colorbar": BAR,
        "meta": {"role": "heat", "rows": numbers, "columns": numbers, "value": quantity},
        "hovertemplate": f"{name}<br>a %{{y}}, b %{{x}}: %{{z}} %<extra></extra>",
    }


def logit_figure(view: ClockCell, evaluation: int) -> go.Figure:
    """Return the energy of the logits at every pair of frequencies of a and of b."""
    shares = 100 * view.arrays["logit_energy"][evaluation].astype(np.float32)
    names = ["constant", *(str(k) for k in range(1, len(shares)))]
    common: Layout = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    common |= frequency_ticks(view)
    heat: Trace = {
        "type": "heatmap",
        "x0": 0,
        "y0": 0,
        "z": shares,
        "zmin": 0,
        "name": "share of energy, %",
        "colorbar": BAR,
        "meta": {"role": "heat", "rows": names, "columns": names},
        "hovertemplate": "frequency %{y} of a, %{x} of b<br>%{z:.2f} %<extra></extra>",
    }
    layout: Layout = {
        "xaxis": axis("frequency of b", **common),
        "yaxis": axis("frequency of a", **common, scaleanchor="x"),
    }
    return figure([heat], layout)
