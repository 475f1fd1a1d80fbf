"""Figures of the Theory page: three laws, the quanta under them, and exponents measured elsewhere.

What is learned is drawn in the accent colour, what is not yet is muted, what holds in the limit of
infinitely many quanta is dashed.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure
from backend.queries.theory_views import (
    Exponents,
    TheoryAxis,
    TheoryLaw,
    TheoryLaws,
)

AXES: Mapping[TheoryAxis, str] = {"N": "parameters N", "D": "samples D", "S": "training steps S"}
SYMBOLS = ("circle", "square", "triangle-up", "cross", "x", "star")
# Where the name of a study stands: at which of its points, and on which side.
PLACES: Mapping[str, tuple[int, str]] = {
    "Rosenfeld et al.": (7, "top center"),
    "Gordon et al.": (0, "top center"),
    "Ardalani et al.": (0, "middle right"),
}
MAX_SI = 1e15  # what SI prefixes are read easily up to


def theory_figures(view: TheoryLaws, found: Exponents) -> Mapping[str, go.Figure]:
    """Return every figure of the page by name."""
    laws = {f"law-{law.axis}": law_figure(view, law) for law in view.laws}
    return {
        **laws,
        "frequencies": frequency_figure(view),
        "slopes": slope_figure(view),
        "exponents": exponent_figure(found, view.asked.alpha),
    }


def log_axis(title: str, low: float, high: float) -> Layout:
    """Return a logarithmic axis from `low` to `high` with a tick at each decade or each few."""
    decades = math.log10(high / low)
    ticks: Layout = {"dtick": max(1, math.ceil(decades / 6))}
    if decades < 1.2:
        ticks["dtick"] = "D2"
    if low >= 1e-2 and high <= MAX_SI:
        ticks["tickformat"] = "~s" if high >= 1e3 else "~g"
    else:
        ticks["exponentformat"] = "power"
    return axis(title, type="log", range=[math.log10(low), math.log10(high)], **ticks)


def _line(name: str, role: str, x: Sequence[float], y: Sequence[float | None]) -> Trace:
    trace: Trace = {"type": "scatter", "mode": "lines", "name": name, "meta": {"role": role}}
    # A loss of 0, with all learned and a = 0, has no place on a logarithmic axis.
    return trace | {"x": list(x), "y": [value or None for value in y], "line": {"width": 2}}


def _at(values: Sequence[float], part: float) -> int:
    """Return the index of the value that is nearest to a part of the way, by the logarithm."""
    wanted = values[0] * (values[-1] / values[0]) ** part
    return min(range(len(values)), key=lambda i: abs(math.log(values[i] / wanted)))


def law_figure(view: TheoryLaws, law: TheoryLaw) -> go.Figure:
    """Return the staircase of one law with its limit; a dot stands where a quantum is learned."""
    asked, name = view.asked, f"sum over {view.asked.m} quanta"
    split = law.learned.index(view.n)
    words = [f"{n} learned" for n in law.learned]
    traces: list[Trace] = []
    if asked.a > 0:
        floor = _line("a", "muted", [law.x[0], law.x[-1]], [asked.a, asked.a])
        floor |= {"line": {"width": 1, "dash": "dot"}, "hoverinfo": "skip"}
        traces += [floor, end_label(law.x[0], asked.a, "floor a", "muted", "top right")]
    limit = _line("limit", "theory", law.x, law.limit_nats)
    limit |= {"line": {"width": 2, "dash": "dash"}}
    limit["hovertemplate"] = f"limit, {law.axis} = %{{x:.3s}}<br>%{{y:.4g}} nats<extra></extra>"
    stairs = {"shape": "hv", "width": 2}
    hover = f"%{{customdata}} at {law.axis} = %{{x:.3s}}<br>%{{y:.4g}} nats<extra></extra>"
    later = _line(f"{name}, later", "muted", law.x[split:], law.loss_nats[split:])
    later |= {"line": {**stairs, "width": 1.5}, "customdata": words[split:]}
    upto = _line(name, "accent", law.x[: split + 1], law.loss_nats[: split + 1])
    upto |= {"mode": "lines+markers", "line": stairs, "customdata": words[: split + 1]}
    sizes = [0] + [5] * (split - 1) + [10]
    upto["marker"] = {"size": sizes, "symbol": ["circle"] * split + ["diamond"], "opacity": 1}
    for trace in (later, upto):
        trace["hovertemplate"] = hover
    low = max(0.35 * law.limit_nats[-1], 0.9 * asked.a)
    layout: Layout = {
        "xaxis": log_axis(AXES[law.axis], law.x[0], 1.3 * law.x[-1]),
        "yaxis": log_axis("loss L (nats)", low, 1.5 * max(asked.b, law.limit_nats[1])),
    }
    return figure([*traces, limit, later, upto, *_law_labels(view, law, split)], layout)


def _law_labels(view: TheoryLaws, law: TheoryLaw, split: int) -> list[Trace]:
    """Return words at the lines: on the side where neither line nor the mark is."""
    part = math.log(law.x_at_n / law.x[0]) / math.log(law.x[-1] / law.x[0])
    upper = _at(law.x, 0.3 if part > 0.5 else 0.68)
    lower = _at(law.x, 0.5)
    mark = law.loss_nats[split] or law.limit_nats[split]
    side = "top right" if part < 0.75 else "top left"
    marked = f"{view.n} learned"
    exponents = (law.exponent, law.finite_exponent)
    limit, finite = (f"−{value:.2f}" for value in exponents)
    return [
        end_label(law.x_at_n, mark, marked, "accent", side),
        end_label(law.x[upper], law.limit_nats[upper], f"limit {limit}", "theory", "top right"),
        end_label(
            law.x[lower],
            law.loss_nats[lower] or law.limit_nats[lower],
            f"{view.asked.m} quanta {finite}",
            "muted",
            "bottom left",
        ),
    ]


def frequency_figure(view: TheoryLaws) -> go.Figure:
    """Return how often each quantum is used, those that are learned in colour."""
    split = view.ranks.index(view.n) + 1
    parts = (
        ("learned", "accent", slice(0, split), 6),
        ("not learned", "muted", slice(split, None), 4),
    )
    traces: list[Trace] = []
    for name, role, part, size in parts:
        trace = _line(name, role, view.ranks[part], view.frequencies[part])
        trace |= {"mode": "markers", "marker": {"size": size}}
        trace["hovertemplate"] = f"quantum %{{x}}, {name}<br>p = %{{y:.3g}}<extra></extra>"
        traces.append(trace)
    middle = _at(view.ranks, 0.5)
    text = f"p_k ∝ k^−{1 + view.asked.alpha:.3g}"
    traces.append(
        end_label(view.ranks[middle], view.frequencies[middle], text, "muted", "top right")
    )
    layout: Layout = {
        "xaxis": log_axis("quantum k, the most frequent first", 0.8, 1.4 * view.ranks[-1]),
        "yaxis": log_axis("frequency p_k", 0.6 * view.frequencies[-1], 1),
    }
    return figure(traces, layout)


def slope_figure(view: TheoryLaws) -> go.Figure:
    """Return how the slopes of finite sums go with their number of quanta, beside the limits."""
    m = [one.m for one in view.finite]
    by_axis = {law.axis: law for law in view.laws}
    rows = (
        ("L(N)", by_axis["N"], [one.over_parameters for one in view.finite], "accent"),
        ("L(D), L(S)", by_axis["D"], [one.over_data for one in view.finite], "mean"),
    )
    traces: list[Trace] = []
    for name, law, values, role in rows:
        line = _line(f"{name}, sum over m", role, m, values)
        line |= {"mode": "lines+markers", "marker": {"size": 5}}
        line["hovertemplate"] = f"{name}, %{{x}} quanta: −%{{y:.3f}}<extra></extra>"
        limit = _line(f"{name}, limit", "theory", [m[0], m[-1]], [law.exponent] * 2)
        limit |= {"line": {"width": 2, "dash": "dash"}}
        limit["hovertemplate"] = f"{name}, limit: −%{{y:.3f}}<extra></extra>"
        here = _line(f"{name}, chosen m", role, [view.asked.m], [law.finite_exponent])
        here |= {"mode": "markers", "marker": {"size": 11, "symbol": "diamond"}}
        here["hovertemplate"] = f"{name}, m = %{{x}}: −%{{y:.3f}}<extra></extra>"
        word = end_label(m[1], values[1], name, role, "top right")
        end = end_label(m[-1], law.exponent, f"limit {law.exponent:.2f}", "theory", "top left")
        traces += [limit, line, here, word, end]
    most = max(*(one.over_parameters for one in view.finite), by_axis["N"].finite_exponent)
    layout: Layout = {
        "xaxis": log_axis("number of quanta m", min(25, 0.8 * view.asked.m), 1.3 * m[-1]),
        "yaxis": axis("exponent, −slope", range=[0, 1.1 * most], nticks=6),
    }
    return figure(traces, layout)


def exponent_figure(found: Exponents, alpha: float) -> go.Figure:
    """Return measured exponents with the lines of two theories, and where alpha stands."""
    traces: list[Trace] = []
    styles = (("accent", "solid", 0.99), ("theory", "dash", 0.9))
    for line, (role, dash, part) in zip(found.lines, styles, strict=True):
        trace = _line(f"{line.name}: {line.formula}", role, line.alpha_n, line.alpha_d)
        trace |= {"line": {"width": 2, "dash": dash}, "hoverinfo": "skip"}
        at = _at(line.alpha_n, part)
        side = "bottom left" if dash == "solid" else "top left"
        word = end_label(line.alpha_n[at], line.alpha_d[at], line.formula, role, side)
        traces += [trace, word]
    for symbol, (source, group) in zip(
        SYMBOLS, groupby(found.pairs, lambda pair: pair.source), strict=True
    ):
        pairs = list(group)
        x, y = [pair.alpha_n for pair in pairs], [pair.alpha_d for pair in pairs]
        dots = _line(source, "mean", x, y)
        dots |= {"mode": "markers", "marker": {"size": 8, "symbol": symbol}}
        dots["hovertemplate"] = f"{source}<br>α_N = %{{x}}, α_D = %{{y}}<extra></extra>"
        i, side = PLACES.get(source, (0, "bottom right"))
        traces += [dots, end_label(x[i], y[i], source, "mean", side)]
    here = _line("the α that is set", "accent", [alpha], [alpha / (1 + alpha)])
    here |= {"mode": "markers", "marker": {"size": 12, "symbol": "diamond"}}
    here["hovertemplate"] = "α = %{x:.3g}: α_D = %{y:.3g}<extra></extra>"
    layout: Layout = {
        "xaxis": log_axis("exponent over parameters, α_N", 0.01, 2.6),
        "yaxis": log_axis("exponent over data, α_D", 0.009, 6),
    }
    return figure([*traces, here], layout)
