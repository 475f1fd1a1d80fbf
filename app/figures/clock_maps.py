"""Figures of the Clock page at one look: circle, attention, neurons, spectrum of the logits."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.figures.base import Layout, Trace, axis, figure
from app.figures.clock import frequency_ticks
from backend.experiments.modular_addition.queries import ClockCell, attention

# Numbers that fit around a circle as words.
WORDS_FIT = 61
MAX_HEADS = 8
BAR: Layout = {"thickness": 10, "outlinewidth": 0, "ticksuffix": " %", "nticks": 5}
TITLE_ROOM = 0.14
GAP = 0.045


def look_figures(
    view: ClockCell, look: int, k: int | None, head: int | None, neuron: int | None
) -> Mapping[str, go.Figure]:
    """Return what a network was at one look, by name.

    Args:
        view: the network.
        look: number of the look.
        k: frequency of the circle; None: the first two principal components.
        head: of the attention; None: all.
        neuron: that is drawn; None: all that are kept.
    """
    return {
        "circle": circle_figure(view, look, k),
        "attention": attention_figure(view, look, head),
        "neurons": neuron_figure(view, look, neuron),
        "logits": logit_figure(view, look),
    }


def circle_figure(view: ClockCell, look: int, k: int | None) -> go.Figure:
    """Return the numbers in the plane of a frequency; the frame is that of all looks."""
    path = view.arrays["principal"] if k is None else view.arrays["circle"][:, view.planes.index(k)]
    # Neighbours on the circle of frequency k are k^-1 apart.
    turn = 1 if k is None else pow(k, -1, view.p) if math.gcd(k, view.p) == 1 else 1
    order = [turn * i % view.p for i in range(view.p)]
    x, y = ([round(float(path[look, n, side]), 4) for n in order] for side in (0, 1))
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
    every = 1 if view.p <= WORDS_FIT else 2
    words: Trace = {
        "type": "scatter",
        "mode": "markers+text",
        "x": x,
        "y": y,
        "text": [str(n) if i % every == 0 else "" for i, n in enumerate(order)],
        "customdata": [f"number {n}" for n in order],
        "textposition": [_outwards(*place) for place in zip(x, y, strict=True)],
        "textfont": {"size": 10},
        "name": "numbers",
        "marker": {"size": 5},
        "cliponaxis": False,
        "meta": {"role": "accent"},
        "hovertemplate": "%{customdata}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
    }
    far = 1.15 * float(np.nanmax(np.abs(path), initial=0)) or 1.0
    names = ("first component", "second component") if k is None else (f"cos, k = {k}", "sin")
    side: Layout = {"range": [-far, far], "constrain": "domain", "nticks": 5, "zeroline": True}
    layout: Layout = {
        "xaxis": axis(names[0], **side),
        "yaxis": axis(names[1], **side, scaleanchor="x"),
    }
    return figure([ring, words] if k is not None else [words], layout)


def _outwards(x: float, y: float) -> str:
    """Return where the word of a number stands: away from the middle."""
    far = math.hypot(x, y) or 1.0
    up = "top" if y > 0.38 * far else "bottom" if y < -0.38 * far else "middle"
    side = "right" if x > 0.38 * far else "left" if x < -0.38 * far else "center"
    return f"{up if (up, side) != ('middle', 'center') else 'top'} {side}"


def attention_figure(view: ClockCell, look: int, head: int | None) -> go.Figure:
    """Return attention of the last position to a and to b over all pairs, a map each."""
    shares = attention(view.arrays["attention_scores"][look], view.p)
    heads = range(min(len(shares), MAX_HEADS)) if head is None else [head]
    maps = [(f"{h} → {name}", shares[h, which]) for which, name in enumerate("ab") for h in heads]
    return _maps(maps, len(heads) if head is None else 2, "attention, %", 100 * shares.max())


def neuron_figure(view: ClockCell, look: int, neuron: int | None) -> go.Figure:
    """Return activations of neurons over all pairs, each in per cent of its largest."""
    kept = view.arrays["neuron_maps"][view.moment(look)].astype(np.float64)
    claimed = view.arrays["neuron_frequency"]
    maps = []
    for number, values in zip(view.neurons, kept, strict=True):
        if neuron in (None, number):
            top = values.max()
            name = f"{number}, k {int(claimed[number])}"
            maps.append((name, values / top if top > 0 else values))
    return _maps(maps, 4 if len(maps) > 1 else 1, "activation, % of its largest", 100.0)


def _maps(
    maps: Sequence[tuple[str, NDArray[np.float64]]], columns: int, what: str, top: float
) -> go.Figure:
    """Return small maps over (a, b) in rows, each under its name."""
    if not maps:
        words = "no neuron has a key frequency"
        return figure([], {"xaxis": axis(words, showticklabels=False), "yaxis": axis("")})
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    room = TITLE_ROOM * min(1.0, 2 / rows)
    traces: list[Trace] = []
    layout: Layout = {"annotations": []}
    for i, (name, values) in enumerate(maps):
        row, column = divmod(i, columns)
        number = "" if i == 0 else str(i + 1)
        bottom = 1 - (row + 1) / rows
        across = [column / columns, (column + 1) / columns - (GAP if columns > 1 else 0)]
        upwards = [bottom, bottom + 1 / rows - room]
        is_left, is_last = column == 0, i + columns >= len(maps)
        x, y = _side("b", is_last, across, f"y{number}"), _side("a", is_left, upwards, f"x{number}")
        if len(maps) == 1:
            y |= {"scaleanchor": "x"}
        layout |= {f"xaxis{number}": x, f"yaxis{number}": y}
        layout["annotations"].append(
            _title(name.replace(", ", "<br>"), sum(across) / 2, upwards[1])
        )
        traces.append(_map(values, name, number, what, top, is_first=i == 0))
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
    values: NDArray[np.float64], name: str, number: str, what: str, top: float, is_first: bool
) -> Trace:
    numbers = list(range(len(values)))
    # Whole per cent: a byte each, where a page has a hundred thousand of them.
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
        "meta": {"role": "heat", "rows": numbers, "columns": numbers, "value": what},
        "hovertemplate": f"{name}<br>a %{{y}}, b %{{x}}: %{{z}} %<extra></extra>",
    }


def logit_figure(view: ClockCell, look: int) -> go.Figure:
    """Return the energy of the logits at every pair of frequencies of a and of b."""
    shares = 100 * view.arrays["logit_energy"][look].astype(np.float32)
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
