"""Figures of the Theory page: three laws, the frequencies of quanta, and measured exponents.

Learned quanta have the accent colour, others are muted; the limit of infinitely many is dashed.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure
from backend.scaling.theory import SUMS
from backend.scaling.theory_views import Exponents, TheoryAxis, TheoryLaw, TheoryLaws

AXES: Mapping[TheoryAxis, str] = {"N": "parameters N", "D": "samples D", "S": "training steps S"}
SYMBOLS = ("circle", "square", "triangle-up", "cross", "x", "star")
# Study -> index of the point with its label, and the position of the label.
LABEL_PLACES: Mapping[str, tuple[int, str]] = {
    "Rosenfeld et al.": (6, "middle left"),
    "Gordon et al.": (0, "middle left"),
    "Kaplan et al.": (0, "middle left"),
    "Ardalani et al.": (0, "middle right"),
}
LEFT_M = 3.0  # leaves space for labels left of the sums
MAX_SI = 1e15  # the largest value with SI prefixes


def theory_figures(view: TheoryLaws, exponents: Exponents) -> Mapping[str, go.Figure]:
    """Return every figure of the page by name."""
    laws = {f"law-{law.axis}": law_figure(view, law) for law in view.laws}
    return {
        **laws,
        "frequencies": frequency_figure(view),
        "slopes": slope_figure(view),
        "exponents": exponent_figure(exponents, view.request.alpha),
    }


def log_axis(title: str, low: float, high: float) -> Layout:
    """Return a logarithmic axis from `low` to `high` with at most about eight ticks."""
    decades = math.log10(high / low)
    ticks: Layout = {"dtick": max(1, math.ceil(decades / 6))}
    if decades < 2.2:
        ticks["dtick"] = "D2"
    if low >= 1e-5 and high <= MAX_SI:
        ticks["tickformat"] = "~s" if high >= 1e3 else "~g"
    else:
        ticks["exponentformat"] = "power"
    return axis(title, type="log", range=[math.log10(low), math.log10(high)], **ticks)


def _line(name: str, role: str, x: Sequence[float], y: Sequence[float | None]) -> Trace:
    trace: Trace = {"type": "scatter", "mode": "lines", "name": name, "meta": {"role": role}}
    # A loss of 0 (all quanta learned, a = 0) is not drawn on a logarithmic axis.
    return trace | {"x": list(x), "y": [value or None for value in y], "line": {"width": 2}}


def law_figure(view: TheoryLaws, law: TheoryLaw) -> go.Figure:
    """Return the staircase of one law with its limit; each dot is a learned quantum."""
    a, name = view.request.a, f"sum over {view.request.m} quanta"
    split = law.learned.index(view.n)
    hover_texts = [f"{n} learned" for n in law.learned]
    traces: list[Trace] = []
    if a > 0:
        floor = _line("a", "muted", [law.x[0], law.x[-1]], [a, a])
        floor |= {"line": {"width": 1, "dash": "dot"}, "hoverinfo": "skip"}
        traces += [floor, end_label(1.03 * law.x[0], a, "floor a", "muted", "top right")]
    limit = _line("limit", "theory", law.x, law.limit_nats)
    limit |= {"line": {"width": 2, "dash": "dash"}}
    limit["hovertemplate"] = f"limit, {law.axis} = %{{x:.3s}}<br>%{{y:.4g}} nats<extra></extra>"
    stairs = {"shape": "hv", "width": 2}
    hover = f"%{{customdata}} at {law.axis} = %{{x:.3s}}<br>%{{y:.4g}} nats<extra></extra>"
    later = _line(f"{name}, later", "muted", law.x[split:], law.loss_nats[split:])
    later |= {"line": {**stairs, "width": 1.5}, "customdata": hover_texts[split:]}
    learned = _line(name, "accent", law.x[: split + 1], law.loss_nats[: split + 1])
    learned |= {"mode": "lines+markers", "line": stairs, "customdata": hover_texts[: split + 1]}
    sizes = [0] + [5] * (split - 1) + [10]
    learned["marker"] = {"size": sizes, "symbol": ["circle"] * split + ["diamond"], "opacity": 1}
    for trace in (later, learned):
        trace["hovertemplate"] = hover
    low, high = _loss_range(view, law)
    layout: Layout = {
        "xaxis": log_axis(AXES[law.axis], law.x[0], 1.3 * law.x[-1]),
        "yaxis": log_axis("loss L (nats)", low, high),
    }
    labels = _law_labels(view, law, low, high)
    return figure([*traces, limit, later, learned, *labels], layout)


def _loss_range(view: TheoryLaws, law: TheoryLaw) -> tuple[float, float]:
    """Return the ends of the loss axis, with space for labels below the start of the lines."""
    top = max(view.request.b, law.limit_nats[1])
    bottom = view.request.a or law.limit_nats[-1]
    return bottom * (bottom / top) ** 0.4, top * (top / bottom) ** 0.08


def _law_labels(view: TheoryLaws, law: TheoryLaw, low: float, high: float) -> list[Trace]:
    """Return the labels of the lines."""
    texts = (
        (f"◆ {view.n} learned", "accent"),
        (f"— {view.request.m} quanta: slope −{law.finite_exponent:.2f}", "muted"),
        (f"- - limit: slope −{law.exponent:.2f}", "theory"),
    )
    return corner_labels(texts[::-1], 1.03 * law.x[0], low, high)


def corner_labels(
    texts: Sequence[tuple[str, str]], x: float, low: float, high: float
) -> list[Trace]:
    """Return (text, role) labels from the bottom up in the lower left corner of log axes.

    Falling lines leave this corner free. `low` and `high` are the ends of the vertical axis.
    """
    return [
        end_label(x, low * (high / low) ** (0.055 + 0.085 * i), text, role)
        for i, (text, role) in enumerate(texts)
    ]


def frequency_figure(view: TheoryLaws) -> go.Figure:
    """Return the frequency of each quantum; learned ones have the accent colour."""
    split = view.ranks.index(view.n) + 1
    parts = (
        ("learned", "accent", slice(0, split), 6),
        ("not learned", "muted", slice(split, None), 4),
    )
    traces: list[Trace] = []
    for name, role, part, size in parts:
        if not view.ranks[part]:  # all quanta are learned
            continue
        trace = _line(name, role, view.ranks[part], view.frequencies[part])
        trace |= {"mode": "markers", "marker": {"size": size}}
        trace["hovertemplate"] = f"quantum %{{x}}, {name}<br>p = %{{y:.3g}}<extra></extra>"
        traces.append(trace)
    high = 1.6
    text = f"p_k ∝ k^−{1 + view.request.alpha:.3g}\u00a0"
    traces.append(end_label(1.4 * view.ranks[-1], high, text, "muted", "bottom left"))
    layout: Layout = {
        "xaxis": log_axis("quantum k, the most frequent first", 0.8, 1.4 * view.ranks[-1]),
        "yaxis": log_axis("frequency p_k", 0.6 * view.frequencies[-1], high),
    }
    return figure(traces, layout)


def slope_figure(view: TheoryLaws) -> go.Figure:
    """Return the slopes of finite sums over their number of quanta, beside the limits."""
    over_n, over_d = (law for law in view.laws if law.axis in ("N", "D"))
    upper = [exponents.over_parameters for exponents in view.finite]
    lower = [exponents.over_data for exponents in view.finite]
    highest = max(*upper, over_n.finite_exponent)
    first, last = SUMS[0], SUMS[-1]
    traces = [
        *_slopes("over N", "accent", view.request.m, over_n, upper),
        *_slopes("over D, S", "mean", view.request.m, over_d, lower),
        end_label(first, upper[0], "\u00a0over N", "accent", "middle right"),
        end_label(last, lower[-1] - 0.03 * highest, "over D, S", "mean", "bottom left"),
    ]
    for law, side in ((over_n, "top right"), (over_d, "bottom right")):
        if law is over_n or law.exponent > 0.12 * highest:
            text = f"limit {law.exponent:.2f}"
            traces.append(end_label(1.03 * LEFT_M, law.exponent, text, "theory", side))
    layout: Layout = {
        "xaxis": log_axis("number of quanta m", LEFT_M, 1.3 * last),
        "yaxis": axis("exponent, −slope", range=[0, 1.1 * highest], nticks=6),
    }
    return figure(traces, layout)


def _slopes(
    name: str, role: str, m: int, law: TheoryLaw, exponents: Sequence[float]
) -> list[Trace]:
    """Return the exponents of sums of many sizes, of the chosen one, and of the limit."""
    line = _line(f"{name}, sum over m", role, SUMS, exponents)
    line |= {"mode": "lines+markers", "marker": {"size": 5}}
    line["hovertemplate"] = f"{name}, %{{x}} quanta: −%{{y:.3f}}<extra></extra>"
    limit = _line(f"{name}, limit", "theory", [LEFT_M, SUMS[-1]], [law.exponent] * 2)
    limit |= {"line": {"width": 2, "dash": "dash"}}
    limit["hovertemplate"] = f"{name}, limit: −%{{y:.3f}}<extra></extra>"
    chosen = _line(f"{name}, chosen m", role, [m], [law.finite_exponent])
    chosen |= {"mode": "markers", "marker": {"size": 11, "symbol": "diamond"}}
    chosen["hovertemplate"] = f"{name}, m = %{{x}}: −%{{y:.3f}}<extra></extra>"
    return [limit, line, chosen]


def _pad_label(text: str, side: str) -> str:
    # Spaces separate the label from its mark.
    space = "\u00a0" * (5 if side == "bottom right" else 2)
    return f"{space}{text}{space}"


def exponent_figure(exponents: Exponents, alpha: float) -> go.Figure:
    """Return measured exponents with the lines of two theories, and the chosen alpha."""
    traces: list[Trace] = []
    styles = (("accent", "solid", 0.03, "bottom right"), ("theory", "dash", 2.0, "top left"))
    for line, (role, dash, at, side) in zip(exponents.lines, styles, strict=True):
        trace = _line(f"{line.name}: {line.formula}", role, line.alpha_n, line.alpha_d)
        trace |= {"line": {"width": 2, "dash": dash}, "hoverinfo": "skip"}
        traces += [trace, end_label(at, at, f"\u00a0{line.formula}", role, side)]
    for symbol, (source, group) in zip(
        SYMBOLS, groupby(exponents.pairs, lambda pair: pair.source), strict=True
    ):
        pairs = list(group)
        x, y = [pair.alpha_n for pair in pairs], [pair.alpha_d for pair in pairs]
        dots = _line(source, "mean", x, y)
        dots |= {"mode": "markers", "marker": {"size": 8, "symbol": symbol}}
        dots["hovertemplate"] = f"{source}<br>α_N = %{{x}}, α_D = %{{y}}<extra></extra>"
        i, side = LABEL_PLACES.get(source, (0, "bottom right"))
        traces += [dots, end_label(x[i], y[i], _pad_label(source, side), "mean", side)]
    chosen = _line("chosen α", "accent", [alpha], [alpha / (1 + alpha)])
    chosen["mode"] = "markers"
    chosen["marker"] = {"size": 13, "symbol": "diamond-open", "line": {"width": 2}}
    chosen["hovertemplate"] = "α = %{x:.3g}: α_D = %{y:.3g}<extra></extra>"
    layout: Layout = {
        "xaxis": log_axis("exponent over parameters, α_N", 0.01, 2.6),
        "yaxis": log_axis("exponent over data, α_D", 0.009, 6),
    }
    return figure([*traces, chosen], layout)
