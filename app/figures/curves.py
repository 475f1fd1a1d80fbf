"""Curves as small inline drawings: points of SVG lines over a logarithmic axis."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.scaling.views import ScalingPoint

WIDTH, HEIGHT = 400, 236
LEFT, TOP, RIGHT, BOTTOM = 28, 12, 388, 192
LEAST_TOP_NATS = 10.0
Y_TICKS = 5
MIN_TICK_GAP = 40  # units of the pad; labels closer than this would touch
MAX_DOTS = 12
SPARK = (4.0, 4.0, 128.0, 40.0)
ICON = (2.0, 2.0, 26.0, 14.0)

Box = tuple[float, float, float, float]
Knots = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A place on an axis of the pad; an empty text has a line alone."""

    at: float
    text: str


@dataclass(frozen=True)
class SketchPad:
    """The sketch pad as drawn by the server; `data` (JSON) is what the script needs of it."""

    axis_name: str
    axis_words: str
    labels: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    mean: str
    mean_label_at: float
    curve: str
    data: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    right: int = RIGHT
    bottom: int = BOTTOM


@dataclass(frozen=True)
class CurveDrawing:
    """One result's curve before the asked one, in the units of its drawing."""

    line: str
    asked: str
    dots: str


def log_shares(x: Sequence[float]) -> list[float]:
    """Return where each axis value (> 0) lies on the log axis, 0 the first and 1 the last."""
    first, span = math.log(x[0]), math.log(x[-1] / x[0]) or 1.0
    return [(math.log(value) - first) / span for value in x]


def to_box(
    shares: Sequence[float], nats: Sequence[float], top: float, box: Box
) -> list[tuple[float, float]]:
    """Return the points of a curve in a box (left, top, right, bottom), 0 nats at its bottom."""
    left, upper, right, lower = box
    return [
        (left + (right - left) * min(max(u, 0), 1), lower - (lower - upper) * min(y / top, 1))
        for u, y in zip(shares, nats, strict=True)
    ]


def polyline(found: Sequence[tuple[float, float]]) -> str:
    """Return points as the attribute of an SVG polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in found)


def preset_icon(nats: Sequence[float]) -> str:
    """Return the polyline of a preset's icon; values 0 (low loss) to 1."""
    shares = [i / (len(nats) - 1) for i in range(len(nats))]
    return polyline(to_box(shares, nats, 1, ICON))


def curve_drawing(
    x: Sequence[float], nats: Sequence[float], asked: Sequence[float] | None, top: float
) -> CurveDrawing:
    """Return a result's drawing; `top` is the loss at its upper edge."""
    shares = log_shares(x)
    line = to_box(shares, nats, top, SPARK)
    dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in line) if len(line) <= MAX_DOTS else ""
    behind = polyline(to_box(shares, asked, top, SPARK)) if asked else ""
    return CurveDrawing(polyline(line), behind, dots)


def _spaced(shares: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Return the labels, those that would touch the one before them left out."""
    kept: list[str] = []
    last = -math.inf
    for share, label in zip(shares, labels, strict=True):
        at = share * (RIGHT - LEFT)
        is_shown = at - last >= max(MIN_TICK_GAP, 8 * len(label))
        last = at if is_shown else last
        kept.append(label if is_shown else "")
    return kept


def sketch_pad(
    axis: str, model: str | None, axis_points: Sequence[ScalingPoint], knots: Knots
) -> SketchPad:
    """Return the sketch pad.

    Args:
        axis: "N" or "S".
        model: whose steps axis "S" has.
        axis_points: points of the axis with the corpus mean at each.
        knots: the asked curve as (axis value, nats); empty if none.
    """
    x = [point.x for point in axis_points]
    shares, box = log_shares(x), (float(LEFT), float(TOP), float(RIGHT), float(BOTTOM))
    top = max(LEAST_TOP_NATS, math.ceil(max((nats for _, nats in knots), default=0.0)))
    names = _spaced(shares, [point.label for point in axis_points])
    mean = to_box(shares, [point.mean_loss_nats for point in axis_points], top, box)
    return SketchPad(
        axis_name=axis,
        axis_words="model size N" if axis == "N" else f"training step of {model}",
        labels=tuple(point.label for point in axis_points),
        x_ticks=tuple(
            Tick(round(LEFT + (RIGHT - LEFT) * share, 1), name)
            for share, name in zip(shares, names, strict=True)
        ),
        y_ticks=tuple(
            Tick(round(BOTTOM - (BOTTOM - TOP) * i / Y_TICKS, 1), f"{top * i / Y_TICKS:g}")
            for i in range(Y_TICKS + 1)
        ),
        mean=polyline(mean),
        mean_label_at=round(mean[-1][1] - 6, 1),
        curve=polyline(to_box(*_line(x, knots), top, box)) if knots else "",
        data=json.dumps({"name": axis, "x": x, "top": top, "box": box, "knots": list(knots)}),
    )


def _line(x: Sequence[float], knots: Knots) -> tuple[list[float], list[float]]:
    """Return the knots as (shares, nats), flat to both ends of the axis."""
    first, span = math.log(x[0]), math.log(x[-1] / x[0]) or 1.0
    shares = [(math.log(value) - first) / span for value, _ in knots]
    nats = [value for _, value in knots]
    return [0.0, *shares, 1.0], [nats[0], *nats, nats[-1]]
