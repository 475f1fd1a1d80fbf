"""Figures of the embedding's spectrum of one modular adder, with its key frequencies."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, figure
from backend.experiments.modular_addition.views import ClockCell
from compute.grokking.fourier import MIN_NEURON_SHARE

MAX_NAMED_FREQUENCIES = 8
MAX_TICKS = 20


def spectrum_training_figure(view: ClockCell) -> go.Figure:
    """Return the embedding's share of energy at every frequency over training."""
    positive = [i for i, step in enumerate(view.detail.steps) if step > 0]
    steps = [view.detail.steps[i] for i in positive]
    shares = 100 * view.arrays["embedding_spectrum"][positive].T
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
    ticks: Layout = {"tickvals": list(decades), "ticktext": [f"{10**power:,}" for power in decades]}
    layout: Layout = {
        "xaxis": axis("training step", showgrid=False, **ticks),
        "yaxis": axis("frequency k", showgrid=False, **frequency_ticks(view)),
    }
    return figure([heat], layout)


def frequency_ticks(view: ClockCell) -> Layout:
    """Return ticks at the key frequencies if they are few, else at even intervals.

    If two are too close for both labels, the one with the larger share of the embedding has one.
    """
    if not 0 < len(view.key_frequencies) <= MAX_NAMED_FREQUENCIES:
        return {"nticks": 8}
    gap = view.p / 2 / MAX_TICKS
    ticks: list[int] = []
    for frequency in view.key_frequencies:
        if all(abs(frequency.k - tick) > gap for tick in ticks):
            ticks.append(frequency.k)
    return {"tickvals": sorted(ticks), "ticktext": [str(k) for k in sorted(ticks)], "tickangle": 0}


def spectrum_figure(view: ClockCell) -> go.Figure:
    """Return the embedding's spectrum at start and end, and the neurons of each frequency."""
    spectrum = view.arrays["embedding_spectrum"]
    frequencies = list(range(1, spectrum.shape[1] + 1))
    neuron_frequency = view.arrays["neuron_frequency"]
    counts = [int((neuron_frequency == k).sum()) for k in frequencies]
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
        _cutoff_line(frequencies, max(1.0, MIN_NEURON_SHARE * len(neuron_frequency))),
        _key_labels(view, end),
    ]
    top = 1.18 * max(end)
    layout: Layout = {
        "xaxis": axis("frequency k", anchor="y2", range=[0.2, frequencies[-1] + 0.8]),
        "yaxis": axis("energy of W_E (%)", domain=[0.5, 1], range=[0, top], nticks=5),
        "yaxis2": axis("neurons", domain=[0, 0.4], rangemode="tozero", nticks=4),
        "bargap": 0.25,
    }
    return figure(traces, layout)


def _bars(x: Sequence[int], y: Sequence[float], name: str, y_axis: str, hover: str) -> Trace:
    return {
        "type": "bar",
        "x": list(x),
        "y": list(y),
        "yaxis": y_axis,
        "name": name,
        "meta": {"role": "accent"},
        "hovertemplate": f"frequency %{{x}}<br>{hover}<extra></extra>",
    }


def _cutoff_line(frequencies: Sequence[int], n_neurons: float) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [0.2, frequencies[-1] + 0.8],
        "y": [n_neurons, n_neurons],
        "yaxis": "y2",
        "name": "cut-off of key frequencies",
        "line": {"width": 2, "dash": "dash"},
        "meta": {"role": "theory"},
        "hovertemplate": f"a key frequency has {n_neurons:.3g} neurons or more<extra></extra>",
    }


def _key_labels(view: ClockCell, energy: Sequence[float]) -> Trace:
    key = [frequency.k for frequency in view.key_frequencies[:MAX_NAMED_FREQUENCIES]]
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
