"""The sketch pad and small inline drawings of curves: SVG lines over a logarithmic axis."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.search.views import SearchAxis

WIDTH, HEIGHT = 400, 236
LEFT, TOP, RIGHT, BOTTOM = 28, 12, 388, 192
MIN_TOP_NATS = 10.0
Y_TICKS = 5
MIN_TICK_GAP = 40  # units of the pad; labels closer than this touch
MAX_DOTS = 12
SPARK = (4.0, 4.0, 128.0, 40.0)
ICON = (2.0, 2.0, 26.0, 14.0)

Box = tuple[float, float, float, float]
Knots = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Tick:
    """A tick on an axis of the pad; one without text is only a line."""

    at: float
    text: str


@dataclass(frozen=True)
class SketchPad:
    """The sketch pad as the server draws it; `data` is the JSON that `sketch-pad.js` reads."""

    axis_name: str
    axis_title: str
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
    """The curve of a match in front of the query curve, in units of the drawing."""

    line: str
    query: str
    dots: str


def log_shares(x: Sequence[float]) -> list[float]:
    """Return the position of each axis value (> 0) on the log axis, from 0 to 1."""
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


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Return points as the attribute of an SVG polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def preset_icon(nats: Sequence[float]) -> str:
    """Return the polyline of a preset's icon; values 0 (low loss) to 1."""
    shares = [i / (len(nats) - 1) for i in range(len(nats))]
    return polyline(to_box(shares, nats, 1, ICON))


def curve_drawing(
    x: Sequence[float], nats: Sequence[float], query: Sequence[float] | None, top: float
) -> CurveDrawing:
    """Return the drawing of a match; `top` is the loss at its upper edge."""
    shares = log_shares(x)
    line = to_box(shares, nats, top, SPARK)
    dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in line) if len(line) <= MAX_DOTS else ""
    query_line = polyline(to_box(shares, query, top, SPARK)) if query else ""
    return CurveDrawing(polyline(line), query_line, dots)


def _spaced(shares: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Return the labels, with an empty text for each that would touch the one before it."""
    spaced: list[str] = []
    last = -math.inf
    for share, label in zip(shares, labels, strict=True):
        at = share * (RIGHT - LEFT)
        has_room = at - last >= max(MIN_TICK_GAP, 8 * len(label))
        last = at if has_room else last
        spaced.append(label if has_room else "")
    return spaced


def sketch_pad(axis: SearchAxis, knots: Knots) -> SketchPad:
    """Return the sketch pad.

    Args:
        axis: of the curves that are searched, with the corpus mean.
        knots: the query curve as (axis value > 0, nats); empty for none.
    """
    shares, box = log_shares(axis.x), (float(LEFT), float(TOP), float(RIGHT), float(BOTTOM))
    top = max(MIN_TOP_NATS, math.ceil(max((nats for _, nats in knots), default=0.0)))
    labels = _spaced(shares, axis.labels)
    mean = to_box(shares, axis.mean_nats, top, box)
    data = {"name": axis.axis, "x": axis.x, "top": top, "box": box, "knots": list(knots)}
    return SketchPad(
        axis_name=axis.axis,
        axis_title="model size N" if axis.axis == "N" else f"training step of {axis.model}",
        labels=axis.labels,
        x_ticks=tuple(
            Tick(round(LEFT + (RIGHT - LEFT) * share, 1), label)
            for share, label in zip(shares, labels, strict=True)
        ),
        y_ticks=tuple(
            Tick(round(BOTTOM - (BOTTOM - TOP) * i / Y_TICKS, 1), f"{top * i / Y_TICKS:g}")
            for i in range(Y_TICKS + 1)
        ),
        mean=polyline(mean),
        mean_label_at=round(mean[-1][1] - 6, 1),
        curve=polyline(to_box(*_line(axis.x, knots), top, box)) if knots else "",
        data=json.dumps(data),
    )


def _line(x: Sequence[float], knots: Knots) -> tuple[list[float], list[float]]:
    """Return the knots as (shares, nats), flat to both ends of the axis."""
    first, span = math.log(x[0]), math.log(x[-1] / x[0]) or 1.0
    shares = [(math.log(value) - first) / span for value, _ in knots]
    nats = [value for _, value in knots]
    return [0.0, *shares, 1.0], [nats[0], *nats, nats[-1]]
