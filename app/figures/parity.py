"""Figures of sparse parity: subtasks that are learned one by one, and the laws that they make.

What is measured is drawn in ink and the accent colour, the finite sum dashed, the limit of
infinitely many quanta dotted.
"""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure
from app.figures.grokking import curve_layout, level, line_over_steps
from app.figures.theory import log_axis
from backend.experiments.sparse_parity.views import ParityAxis, ParityCell, ParityLaw

AXES: Mapping[ParityAxis, str] = {
    "N": "width (hidden neurons)",
    "S": "training step",
    "D": "sample size D",
}
CONVERGED_BITS = 0.1
# Where the number of a subtask may stand on its line: where there is most room.
LEVELS = (0.5, 0.62, 0.4, 0.74, 0.3, 0.84, 0.22)
BITS_PER_DECADE = 0.9  # of a plot about as high as it is wide
MOST_BITS = 2.0


def minus(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def cell_figures(cell: ParityCell, shown: int) -> Mapping[str, go.Figure]:
    """Return the figures of one network by name."""
    return {
        "tasks": tasks_figure(cell, shown),
        "emergence": emergence_figure(cell),
        "convergence": convergence_figure(cell),
    }


def _looks(cell: ParityCell) -> list[int]:
    """Return the looks that are drawn: step 0, and from a tenth of the first convergence on."""
    first = min((step for step in cell.convergence_steps if step), default=1)
    return [i for i, step in enumerate(cell.steps) if step == 0 or step >= first / 10]


def _crossing(steps: Sequence[int], values: Sequence[float | None], bits: float) -> float | None:
    """Return where a loss first falls under a level, between looks by the logarithm of the step."""
    before: tuple[int, float] | None = None
    for step, value in zip(steps, values, strict=True):
        if step == 0 or value is None:
            continue
        if value < bits:
            if before is None:
                return float(step)
            share = (before[1] - bits) / (before[1] - value)
            return float(before[0] * (step / before[0]) ** share)
        before = step, value
    return None


def _number(
    rank: int, steps: Sequence[int], values: Sequence[float | None], others: Sequence[Trace]
) -> Trace:
    """Return the number of a subtask on its line, at the level farthest from the others."""
    there = [(math.log10(one["x"][0]) * BITS_PER_DECADE, one["y"][0]) for one in others]
    best: tuple[float, float, float] = (-1.0, 1.0, LEVELS[0])
    for height in LEVELS:
        crossing = _crossing(steps, values, height)
        if crossing is None:
            continue
        here = math.log10(crossing) * BITS_PER_DECADE, height
        # Beyond a quarter more room is no better, and the middle is.
        room = min([0.25, *(math.dist(here, other) for other in there)])
        if room > best[0]:
            best = room, crossing, height
    return end_label(best[1], best[2], str(rank), "mean", "middle center")


def tasks_figure(cell: ParityCell, shown: int) -> go.Figure:
    """Return the loss of the most frequent subtasks over steps, and the mean loss over them."""
    looks = _looks(cell)
    steps = [cell.steps[i] for i in looks]
    many = cell.task_loss[:shown]
    traces: list[Trace] = [level(steps, CONVERGED_BITS, "0.1 bits")]
    words: list[Trace] = []
    for rank, losses in enumerate(many):
        values = [losses[i] for i in looks]
        lines = line_over_steps(steps, values, f"subtask {rank + 1}", "ramp", line={"width": 1.8})
        for trace in lines:
            trace["meta"] = {"role": "ramp", "at": rank / max(len(many) - 1, 1)}
        traces += lines
        if _crossing(steps, values, CONVERGED_BITS) is not None:
            words.append(_number(rank + 1, steps, values, words))
    mean = [cell.loss[i] for i in looks]
    traces += line_over_steps(steps, mean, "mean loss", "accent", line={"width": 3.4})
    last = next((v for v in reversed(mean) if v is not None), None)
    if last is not None:
        words.append(end_label(max(steps), min(last, MOST_BITS), "mean", "accent", "top right"))
    seen = [v for losses in (*many, cell.loss) for v in losses if v is not None]
    high = max(1.12, min(MOST_BITS, 1.05 * max(seen, default=1.0)))
    return figure([*traces, *words], curve_layout(steps, "loss (bits)", range=[-0.04, high]))


def emergence_figure(cell: ParityCell) -> go.Figure:
    """Return the loss of every subtask at every look, and where each has converged."""
    looks = [i for i in _looks(cell) if cell.steps[i] > 0]
    ranks = list(range(1, len(cell.task_loss) + 1))
    heat: Trace = {
        "type": "heatmap",
        "x": [cell.steps[i] for i in looks],
        "y": ranks,
        "z": [[losses[i] for i in looks] for losses in cell.task_loss],
        "zmin": 0,
        "zmax": 1,
        "name": "loss (bits)",
        "meta": {"role": "sequential"},
        "colorbar": {
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": [0, 0.5, 1],
            "ticktext": ["0", "0.5", "≥ 1"],
            "title": {"text": "bits", "side": "right"},
        },
        "hovertemplate": "subtask %{y}, step %{x:,}<br>%{z:.3f} bits<extra></extra>",
    }
    done = [(step, rank) for rank, step in enumerate(cell.convergence_steps, 1) if step]
    done = [pair for pair in done if pair[1] <= len(ranks)]
    marks: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [pair[0] for pair in done],
        "y": [pair[1] for pair in done],
        "name": "converged",
        "marker": {"size": 8, "symbol": "diamond"},
        "meta": {"role": "mean"},
        "hovertemplate": "subtask %{y} under 0.1 bits at step %{x:,}<extra></extra>",
    }
    ends = max(cell.steps[looks[0]], 1), max(cell.steps)
    every = max(1, round(len(ranks) / 6 / 5) * 5) if len(ranks) > 8 else 1
    layout: Layout = {
        "xaxis": log_axis("training step", *ends),
        "yaxis": axis(
            "subtask, the most frequent on top",
            range=[len(ranks) + 0.5, 0.5],
            tickvals=[rank for rank in ranks if rank == 1 or rank % every == 0],
        ),
    }
    return figure([heat, *([marks] if done else [])], layout)


def convergence_figure(cell: ParityCell) -> go.Figure:
    """Return when each subtask converged against its frequency, with the slope and the law."""
    p, when = cell.frequencies, cell.convergence_steps
    done = [i for i, step in enumerate(when) if step]
    never = [i for i, step in enumerate(when) if step is None]
    budget = max(cell.steps)
    traces: list[Trace] = []
    if cell.law_steps is not None:
        drawn = [i for i, step in enumerate(cell.law_steps) if step <= 2 * budget]
        x, y = [p[i] for i in drawn], [cell.law_steps[i] for i in drawn]
        traces.append(_line("T = τ/p, slope −1", "theory", x, y, "dash"))
    fitted = _fitted(p, when, cell.summary["slope"])
    traces += fitted
    traces.append(_dots("converged", "mean", [p[i] for i in done], [when[i] for i in done], done))
    if never:
        open_marks = _dots(
            "not converged", "muted", [p[i] for i in never], [budget] * len(never), never
        )
        open_marks["marker"] = {"size": 8, "symbol": "triangle-up-open"}
        traces.append(open_marks)
    low = min([step for step in when if step], default=1) / 2
    high = 2.2 * budget
    left = 0.8 * p[-1]
    words = [("△ not converged", "muted"), ("- - slope −1: T = τ/p", "theory")]
    if fitted:
        words.append((f"— slope {minus(cell.summary['slope'])}", "accent"))
    layout: Layout = {
        "xaxis": log_axis("frequency p of the subtask", left, 1.3 * p[0]),
        "yaxis": log_axis("step T at which it is under 0.1 bits", low, high),
    }
    return figure([*traces, *_words(words, 1.05 * left, low, high)], layout)


def _fitted(p: Sequence[float], when: Sequence[int | None], slope: float | None) -> list[Trace]:
    """Return the least-squares line through the subtasks that converged."""
    done = [(math.log(p[i]), math.log(step)) for i, step in enumerate(when) if step]
    if slope is None or len(done) < 2:
        return []
    middle = [sum(pair[i] for pair in done) / len(done) for i in (0, 1)]
    ends = [max(pair[0] for pair in done), min(pair[0] for pair in done)]
    y = [math.exp(middle[1] + slope * (x - middle[0])) for x in ends]
    return [_line(f"fit, slope {minus(slope)}", "accent", [math.exp(x) for x in ends], y)]


def _line(
    name: str, role: str, x: Sequence[float], y: Sequence[float], dash: str = "solid"
) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"width": 2.2, "dash": dash},
        "meta": {"role": role},
        "hovertemplate": f"{name}<br>%{{x:.3g}}: %{{y:.4g}}<extra></extra>",
    }


def _dots(
    name: str, role: str, x: Sequence[float], y: Sequence[float | None], ranks: Sequence[int]
) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "customdata": [f"subtask {rank + 1}" for rank in ranks],
        "marker": {"size": 8},
        "meta": {"role": role},
        "hovertemplate": f"%{{customdata}}, {name}<br>p = %{{x:.3g}}, T = %{{y:,}}<extra></extra>",
    }


def _words(lines: Sequence[tuple[str, str]], x: float, low: float, high: float) -> list[Trace]:
    """Return what the lines are, from the lowest up, in the corner that falling lines leave."""
    return [
        end_label(x, low * (high / low) ** (0.06 + 0.085 * i), text, role)
        for i, (text, role) in enumerate(lines)
    ]


def law_figures(laws: Sequence[ParityLaw], alpha: float, tasks: int) -> Mapping[str, go.Figure]:
    """Return the laws at one alpha, and the exponents over all of them, by name."""
    found = {
        f"law-{law.axis}": law_figure(law, tasks)
        for law in laws
        if law.alpha == alpha and law.why_not is None
    }
    for which in AXES:
        mine = [law for law in laws if law.axis == which and law.why_not is None]
        if len({law.alpha for law in mine}) > 1:
            found[f"exponents-{which}"] = exponents_figure(mine, tasks)
    return found


def law_figure(law: ParityLaw, tasks: int) -> go.Figure:
    """Return the mean loss along one axis with its slope, the finite sum and the limit."""
    assert law.window is not None
    assert law.measured is not None
    assert law.predicted is not None
    assert law.limit is not None
    start = law.window[0] / 3 if law.axis == "S" else 1
    kept = [(x, y) for x, y in zip(law.x, law.loss, strict=True) if x >= start and y]
    x, y = [pair[0] for pair in kept], [pair[1] for pair in kept]
    points: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "measured",
        "x": x,
        "y": y,
        "marker": {"size": 5 if law.axis == "S" else 10},
        "meta": {"role": "mean"},
        "hovertemplate": f"{law.axis} = %{{x:,}}<br>%{{y:.4f}} bits<extra></extra>",
    }
    lines = [
        _line("limit", "muted", law.drawn_x, law.drawn_limit, "dot"),
        _line("finite sum", "theory", law.drawn_x, law.drawn_sum, "dash"),
        _line("fit", "accent", law.drawn_x, law.drawn_fit),
    ]
    drawn = [*y, *law.drawn_sum, *law.drawn_fit, *law.drawn_limit]
    high = 1.25 * max(drawn)
    low = min(drawn) * (min(drawn) / high) ** 0.45
    left, right = 0.85 * min(x), 1.15 * max(x)
    words = [
        (f"··· infinitely many: slope {minus(law.limit)}", "muted"),
        (f"- - sum over {tasks}: slope {minus(law.predicted)}", "theory"),
        (f"— measured: slope {minus(law.measured)}", "accent"),
    ]
    layout: Layout = {
        "xaxis": log_axis(AXES[law.axis], left, right),
        "yaxis": log_axis("mean loss (bits)", low, high),
    }
    return figure([*lines, points, *_words(words, 1.03 * left, low, high)], layout)


def exponents_figure(laws: Sequence[ParityLaw], tasks: int) -> go.Figure:
    """Return how the exponent of one law goes with alpha: measured, finite sum and limit."""
    ordered = sorted(laws, key=lambda law: law.alpha)
    alphas = [law.alpha for law in ordered]
    series = [
        ("limit", "muted", [-(law.limit or 0) for law in ordered], "dot", "cross-thin-open"),
        ("finite sum", "theory", [-(law.predicted or 0) for law in ordered], "dash", "diamond"),
        ("measured", "accent", [-(law.measured or 0) for law in ordered], "solid", "circle"),
    ]
    traces: list[Trace] = []
    for name, role, y, dash, symbol in series:
        trace = _line(name, role, alphas, y, dash)
        trace |= {"mode": "lines+markers", "marker": {"size": 9, "symbol": symbol}}
        trace["hovertemplate"] = f"{name} at α = %{{x}}: %{{y:.3f}}<extra></extra>"
        traces.append(trace)
    words = [
        ("··· infinitely many", "muted"),
        (f"- - ◆ sum over {tasks}", "theory"),
        ("— ● measured", "accent"),
    ]
    top = max(value for _, _, y, _, _ in series for value in y)
    span = alphas[-1] - alphas[0]
    labels = [
        end_label(alphas[0] - 0.04 * span, top * (1.1 + 0.1 * i), text, role)
        for i, (text, role) in enumerate(words)
    ]
    layout: Layout = {
        "xaxis": axis("alpha", range=[alphas[0] - 0.05 * span, alphas[-1] + 0.05 * span]),
        "yaxis": axis(f"exponent over {ordered[0].axis}, −slope", range=[0, 1.42 * top]),
    }
    return figure([*traces, *labels], layout)
