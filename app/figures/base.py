"""Building blocks of all figures: axes, direct labels and the JSON that the browser draws.

Figures carry no colours. `meta.role` of a trace names its part (accent, mean, member, band, theory,
muted, ramp, diverging); static/js/plot.js maps roles to colours of the current theme.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import plotly.graph_objects as go
import plotly.io

# The browser sets the colours; building plotly's own template for every figure is wasted time.
plotly.io.templates.default = None

Trace = dict[str, Any]
Layout = dict[str, Any]

MARGIN = {"l": 56, "r": 16, "t": 12, "b": 44, "pad": 0}
IS_VALIDATED = False
STUB = 0.045  # share of the width for the tick of step 0, left of the axis break


def figure(traces: Sequence[Trace], layout: Layout) -> go.Figure:
    """Return a figure with the margins and hover behaviour of all figures."""
    common: Layout = {"margin": MARGIN, "showlegend": False, "hovermode": "closest"}
    # Validation takes most of the time of a figure; only the tests switch it on.
    return go.Figure(data=list(traces), layout={**common, **layout}, _validate=IS_VALIDATED)


def payload(figures: Mapping[str, go.Figure]) -> bytes:
    """Return `{name: {data, layout}}` as JSON; numbers that are not finite become null."""
    content = {name: plot.to_plotly_json() for name, plot in figures.items()}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def axis(title: str, **options: Any) -> Layout:
    """Return an axis with its title and other Plotly options."""
    return {"title": {"text": title, "standoff": 8}, "automargin": True, **options}


def log_axis(title: str, values: Sequence[float], **options: Any) -> Layout:
    """Return a logarithmic axis with SI ticks; their distance depends on the range of `values`."""
    positive = [value for value in values if value > 0]
    decades = math.log10(max(positive) / min(positive)) if positive else 0.0
    step: Layout = {"dtick": 1 if decades > 2.5 else "D2"} if decades > 0.7 else {"nticks": 6}
    return axis(title, **{"type": "log", "tickformat": "~s", **step, **options})


def size_axis(values: Sequence[float]) -> Layout:
    """Return the axis of model sizes, with ticks at the models."""
    places = _thinned(values)
    ticks = {"tickvals": places, "ticktext": [_si(value) for value in places]}
    title = "non-embedding parameters N"
    return axis(title, type="log", range=_log_range(values), **ticks)


def _thinned(values: Sequence[float]) -> list[float]:
    """Return values at least 0.2 decades apart, so that tick labels do not overlap."""
    thinned: list[float] = []
    for value in sorted(set(values)):
        if not thinned or value / thinned[-1] > 1.6:
            thinned.append(value)
    return thinned


def _log_range(values: Sequence[float]) -> list[float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    room = 0.06 * (high - low) or 0.3
    return [low - room, high + 2.2 * room]


def _si(value: float) -> str:
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def step_layout(steps: Sequence[float]) -> Layout:
    """Return the axes of training steps; step 0 has a separate axis, left of the log axis."""
    positive = [step for step in steps if step > 0] or [1.0]
    has_zero = any(step == 0 for step in steps)
    title = "training step"
    main = log_axis(title, positive, range=_log_range(positive), exponentformat="none")
    if not has_zero:
        return {"xaxis": main}
    main["domain"] = [STUB + 0.025, 1.0]
    main["anchor"] = "y"
    zero: Layout = {"domain": [0.0, STUB], "range": [-1, 1], "anchor": "y"}
    zero |= {"tickvals": [0], "ticktext": ["0"], "showgrid": False, "zeroline": False}
    spine: Layout = {"anchor": "x2"}
    breaks = [_slash(STUB + 0.006), _slash(STUB + 0.014)]
    return {"xaxis": main, "xaxis2": zero, "yaxis": spine, "shapes": breaks}


def _slash(x: float) -> Layout:
    position = {"xref": "paper", "yref": "paper", "x0": x - 0.004, "x1": x + 0.004}
    return {"type": "line", **position, "y0": -0.025, "y1": 0.025, "line": {"width": 1}}


def scatter(
    x: Sequence[float | None],
    y: Sequence[float | None],
    *,
    name: str,
    role: str,
    mode: str = "lines",
    **style: Any,
) -> Trace:
    """Return a trace of lines or markers; `style` holds other Plotly options."""
    trace = {"type": "scatter", "mode": mode, "name": name, "meta": {"role": role}}
    return {**trace, "x": list(x), "y": list(y), **style}


def along_axis(
    x: Sequence[float], y: Sequence[float | None], *, name: str, role: str, **style: Any
) -> list[Trace]:
    """Return a line over x > 0, and a marker on the separate axis for a value at x = 0.

    `style` holds Plotly options of both, hover text included.
    """
    line: Trace = {"type": "scatter", "mode": "lines", "name": name, "meta": {"role": role}}
    line |= style
    positive = [i for i, value in enumerate(x) if value > 0]
    main: Trace = {**line, "x": [x[i] for i in positive], "y": [y[i] for i in positive]}
    if "customdata" in style:
        main["customdata"] = [style["customdata"][i] for i in positive]
    zero = [i for i, value in enumerate(x) if value == 0]
    if not zero:
        return [main]
    marker: Trace = {"mode": "markers", "xaxis": "x2", "x": [0], "y": [y[zero[0]]]}
    dot: Trace = {**line, **marker, "marker": {"size": 6}}
    if "customdata" in style:
        dot["customdata"] = [style["customdata"][zero[0]]]
    return [main, dot]


def end_label(x: float, y: float, text: str, role: str, position: str = "middle right") -> Trace:
    """Return text at a point: a direct label instead of a legend."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x],
        "y": [y],
        # The space separates the text from the end of its line.
        "text": [f"\u00a0{text}" if position == "middle right" else text],
        "textposition": position,
        "cliponaxis": False,
        "hoverinfo": "skip",
        "name": "",
        "meta": {"role": role, "label": True},
    }
