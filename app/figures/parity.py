"""Figures of sparse parity: subtasks of one network, and scaling laws of a run.

Measurements have the ink and the accent colour, the finite sum is dashed, and the limit of
infinitely many quanta is dotted.
"""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.figures.base import Layout, Trace, axis, end_label, figure
from app.figures.theory import corner_labels, log_axis
from app.figures.training_curves import curve_layout, line_over_steps, threshold_line
from backend.experiments.sparse_parity.views import ParityAxis, ParityCell, ParityLaw

AXES: Mapping[ParityAxis, str] = {
    "N": "width (hidden neurons)",
    "S": "training step",
    "D": "sample size D",
}
CONVERGED_BITS = 0.1
# Possible heights of the number on the line of a subtask, in bits.
LABEL_HEIGHTS = (0.5, 0.62, 0.4, 0.74, 0.3, 0.84, 0.22)
BITS_PER_DECADE = 0.9  # aspect ratio of the plot
MAX_BITS = 2.0


def minus(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def cell_figures(cell: ParityCell, n_lines: int) -> Mapping[str, go.Figure]:
    """Return the figures of one network by name."""
    return {
        "tasks": tasks_figure(cell, n_lines),
        "emergence": emergence_figure(cell),
        "convergence": convergence_figure(cell),
    }


def _drawn_evals(cell: ParityCell) -> list[int]:
    """Return the evaluations to draw: step 0, and from a tenth of the first convergence on."""
    first = min((step for step in cell.convergence_steps if step), default=1)
    return [i for i, step in enumerate(cell.steps) if step == 0 or step >= first / 10]


def _crossing_step(
    steps: Sequence[int], values: Sequence[float | None], bits: float
) -> float | None:
    """Return the step at which a loss first falls below `bits`, interpolated in log(step)."""
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


def _rank_label(
    rank: int, steps: Sequence[int], values: Sequence[float | None], labels: Sequence[Trace]
) -> Trace:
    """Return the rank of a subtask on its line, at the height farthest from the other labels."""
    others = [(math.log10(label["x"][0]) * BITS_PER_DECADE, label["y"][0]) for label in labels]
    best: tuple[float, float, float] = (-1.0, 1.0, LABEL_HEIGHTS[0])
    for height in LABEL_HEIGHTS:
        crossing = _crossing_step(steps, values, height)
        if crossing is None:
            continue
        point = math.log10(crossing) * BITS_PER_DECADE, height
        # Beyond 0.25 more distance is no better; the first heights are in the middle.
        distance = min([0.25, *(math.dist(point, other) for other in others)])
        if distance > best[0]:
            best = distance, crossing, height
    return end_label(best[1], best[2], str(rank), "mean", "middle center")


def tasks_figure(cell: ParityCell, n_lines: int) -> go.Figure:
    """Return the loss of the most frequent subtasks over steps, and the mean loss."""
    evals = _drawn_evals(cell)
    steps = [cell.steps[i] for i in evals]
    task_loss = cell.task_loss[:n_lines]
    traces: list[Trace] = [threshold_line(steps, CONVERGED_BITS, "0.1 bits")]
    labels: list[Trace] = []
    for rank, loss in enumerate(task_loss):
        values = [loss[i] for i in evals]
        lines = line_over_steps(steps, values, f"subtask {rank + 1}", "ramp", line={"width": 1.8})
        for trace in lines:
            trace["meta"] = {"role": "ramp", "at": rank / max(len(task_loss) - 1, 1)}
        traces += lines
        if _crossing_step(steps, values, CONVERGED_BITS) is not None:
            labels.append(_rank_label(rank + 1, steps, values, labels))
    mean = [cell.loss[i] for i in evals]
    traces += line_over_steps(steps, mean, "mean loss", "accent", line={"width": 3.4})
    last = next((v for v in reversed(mean) if v is not None), None)
    if last is not None:
        labels.append(end_label(max(steps), min(last, MAX_BITS), "mean", "accent", "top right"))
    losses = [v for loss in (*task_loss, cell.loss) for v in loss if v is not None]
    high = max(1.12, min(MAX_BITS, 1.05 * max(losses, default=1.0)))
    return figure([*traces, *labels], curve_layout(steps, "loss (bits)", range=[-0.04, high]))


def emergence_figure(cell: ParityCell) -> go.Figure:
    """Return the loss of every subtask at every evaluation, and the steps of convergence."""
    evals = [i for i in _drawn_evals(cell) if cell.steps[i] > 0]
    ranks = list(range(1, len(cell.task_loss) + 1))
    heat: Trace = {
        "type": "heatmap",
        "x": [cell.steps[i] for i in evals],
        "y": ranks,
        "z": [[loss[i] for i in evals] for loss in cell.task_loss],
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
    converged = [
        (step, rank) for rank, step in zip(ranks, cell.convergence_steps, strict=False) if step
    ]
    marks: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [step for step, _ in converged],
        "y": [rank for _, rank in converged],
        "name": "converged",
        "marker": {"size": 8, "symbol": "diamond"},
        "meta": {"role": "mean"},
        "hovertemplate": "subtask %{y} under 0.1 bits at step %{x:,}<extra></extra>",
    }
    ends = max(cell.steps[evals[0]], 1), max(cell.steps)
    tick_step = max(1, round(len(ranks) / 6 / 5) * 5) if len(ranks) > 8 else 1
    layout: Layout = {
        "xaxis": log_axis("training step", *ends),
        "yaxis": axis(
            "subtask, the most frequent on top",
            range=[len(ranks) + 0.5, 0.5],
            tickvals=[rank for rank in ranks if rank == 1 or rank % tick_step == 0],
        ),
    }
    return figure([heat, *([marks] if converged else [])], layout)


def convergence_figure(cell: ParityCell) -> go.Figure:
    """Return the convergence step of each subtask against its frequency, with fit and law."""
    p, steps = cell.frequencies, cell.convergence_steps
    converged = [i for i, step in enumerate(steps) if step]
    never = [i for i, step in enumerate(steps) if step is None]
    budget = max(cell.steps)
    traces: list[Trace] = []
    if cell.law_steps is not None:
        drawn = [i for i, step in enumerate(cell.law_steps) if step <= 2 * budget]
        x, y = [p[i] for i in drawn], [cell.law_steps[i] for i in drawn]
        traces.append(_line("T = τ/p, slope −1", "theory", x, y, "dash"))
    fit = _fit_line(p, steps, cell.summary["slope"])
    traces += fit
    converged_p, converged_steps = [p[i] for i in converged], [steps[i] for i in converged]
    traces.append(_dots("converged", "mean", converged_p, converged_steps, converged))
    if never:
        open_marks = _dots(
            "not converged", "muted", [p[i] for i in never], [budget] * len(never), never
        )
        open_marks["marker"] = {"size": 8, "symbol": "triangle-up-open"}
        traces.append(open_marks)
    low = min([step for step in steps if step], default=1) / 2
    high = 2.2 * budget
    left = 0.8 * p[-1]
    labels = [("△ not converged", "muted"), ("- - slope −1: T = τ/p", "theory")]
    if fit:
        labels.append((f"— slope {minus(cell.summary['slope'])}", "accent"))
    layout: Layout = {
        "xaxis": log_axis("frequency p of the subtask", left, 1.3 * p[0]),
        "yaxis": log_axis("step T at which it is under 0.1 bits", low, high),
    }
    return figure([*traces, *corner_labels(labels, 1.05 * left, low, high)], layout)


def _fit_line(p: Sequence[float], steps: Sequence[int | None], slope: float | None) -> list[Trace]:
    """Return the least-squares line through the converged subtasks."""
    points = [(math.log(p[i]), math.log(step)) for i, step in enumerate(steps) if step]
    if slope is None or len(points) < 2:
        return []
    middle_x, middle_y = (sum(point[i] for point in points) / len(points) for i in (0, 1))
    ends = [max(x for x, _ in points), min(x for x, _ in points)]
    y = [math.exp(middle_y + slope * (x - middle_x)) for x in ends]
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


def law_figures(laws: Sequence[ParityLaw], alpha: float, n_tasks: int) -> Mapping[str, go.Figure]:
    """Return the laws at one alpha, and the exponents over all alphas, by name."""
    figures = {
        f"law-{law.axis}": law_figure(law, n_tasks)
        for law in laws
        if law.alpha == alpha and law.why_not is None
    }
    for law_axis in AXES:
        fitted = [law for law in laws if law.axis == law_axis and law.why_not is None]
        if len({law.alpha for law in fitted}) > 1:
            figures[f"exponents-{law_axis}"] = exponents_figure(fitted, n_tasks)
    return figures


def law_figure(law: ParityLaw, n_tasks: int) -> go.Figure:
    """Return the mean loss along one axis with its fit, the finite sum and the limit."""
    assert law.window is not None
    assert law.measured is not None
    assert law.predicted is not None
    assert law.limit is not None
    start = law.window[0] / 3 if law.axis == "S" else 1
    drawn_points = [(x, y) for x, y in zip(law.x, law.loss, strict=True) if x >= start and y]
    x, y = [point[0] for point in drawn_points], [point[1] for point in drawn_points]
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
    labels = [
        (f"··· infinitely many: slope {minus(law.limit)}", "muted"),
        (f"- - sum over {n_tasks}: slope {minus(law.predicted)}", "theory"),
        (f"— measured: slope {minus(law.measured)}", "accent"),
    ]
    layout: Layout = {
        "xaxis": log_axis(AXES[law.axis], left, right),
        "yaxis": log_axis("mean loss (bits)", low, high),
    }
    return figure([*lines, points, *corner_labels(labels, 1.03 * left, low, high)], layout)


def exponents_figure(laws: Sequence[ParityLaw], n_tasks: int) -> go.Figure:
    """Return the exponent of one law over alpha: measured, of the finite sum, and in the limit."""
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
    label_texts = [
        ("··· infinitely many", "muted"),
        (f"- - ◆ sum over {n_tasks}", "theory"),
        ("— ● measured", "accent"),
    ]
    top = max(value for _, _, y, _, _ in series for value in y)
    span = alphas[-1] - alphas[0]
    labels = [
        end_label(alphas[0] - 0.04 * span, top * (1.1 + 0.1 * i), text, role)
        for i, (text, role) in enumerate(label_texts)
    ]
    layout: Layout = {
        "xaxis": axis("alpha", range=[alphas[0] - 0.05 * span, alphas[-1] + 0.05 * span]),
        "yaxis": axis(f"exponent over {ordered[0].axis}, −slope", range=[0, 1.42 * top]),
    }
    return figure([*traces, *labels], layout)
