"""A phase diagram as an SVG image for papers: letters and hatches, readable without colour."""

from html import escape

from backend.experiments.grokking.views import PhaseCell, PhaseDiagramView
from compute.grokking.phases import PHASE_NAMES

SIDE, LEFT, TOP, BOTTOM, KEY = 34, 86, 14, 64, 150
# Dark text is readable on all fills.
FILLS = {"C": "#bfe6dc", "G": "#c3d8f7", "M": "#f6d3b8", "X": "#dfe3ea"}
HATCHES = {"G": "M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4", "M": "M0,4 h8", "X": "M0,0 l8,8 M8,0 l-8,8"}
STROKE = "#1a1c20"
FONT = 'font-family="system-ui, sans-serif"'


def axis_number(value: float) -> str:
    """Return a value of an axis in few characters."""
    text = f"{value:.2g}"
    if "e" in text:
        digits, power = text.split("e")
        return f"{digits}e{int(power)}".replace("-", "−")
    return text


def cell_text(cell: PhaseCell) -> str:
    """Return the letter of a cell, with a star if it reached its test accuracy alone."""
    return (cell.phase or "·") + ("*" if cell.test_only else "")


def _patterns() -> str:
    patterns = []
    for phase, fill in FILLS.items():
        hatch = HATCHES.get(phase, "")
        path = f'<path d="{hatch}" stroke="{STROKE}" stroke-opacity=".28" fill="none"/>'
        patterns.append(
            f'<pattern id="{phase}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<rect width="8" height="8" fill="{fill}"/>{path if hatch else ""}</pattern>'
        )
    return f"<defs>{''.join(patterns)}</defs>"


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "middle") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" {FONT} '
        f'fill="{STROKE}">{escape(text)}</text>'
    )


def _square(x: float, y: float, phase: str | None, text: str) -> str:
    fill = f"url(#{phase})" if phase else "#ffffff"
    box = (
        f'<rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" fill="{fill}" '
        f'stroke="#ffffff" stroke-width="2"/>'
    )
    return box + _text(x + SIDE / 2, y + SIDE / 2 + 5, text, 14)


def phase_map_svg(view: PhaseDiagramView) -> str:
    """Return the image."""
    columns, rows = len(view.x.values), len(view.y.values)
    width, height = LEFT + columns * SIDE + KEY, TOP + rows * SIDE + BOTTOM
    parts = [_patterns(), f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for cell in view.cells:
        x, y = LEFT + cell.column * SIDE, TOP + (rows - 1 - cell.row) * SIDE
        parts.append(_square(x, y, cell.phase, cell_text(cell)))
    for row, value in enumerate(view.y.values):
        parts.append(_text(LEFT - 6, TOP + (rows - row) * SIDE - 12, axis_number(value), 11, "end"))
    label_step = max(1, -(-40 * columns // (columns * SIDE)))
    for column, value in enumerate(view.x.values):
        if column % label_step == 0:
            middle = LEFT + (column + 0.5) * SIDE
            parts.append(_text(middle, TOP + rows * SIDE + 16, axis_number(value)))
    middle = TOP + rows * SIDE / 2
    parts.append(_text(LEFT + columns * SIDE / 2, TOP + rows * SIDE + 40, view.x.title, 12))
    y_title = _text(0, 0, view.y.title, 12)
    parts.append(f'<g transform="translate(16 {middle}) rotate(-90)">{y_title}</g>')
    for i, (phase, name) in enumerate(PHASE_NAMES.items()):
        x, y = LEFT + columns * SIDE + 14, TOP + i * (SIDE + 4)
        parts.append(_square(x, y, phase, phase))
        count = f"{name} {view.counts[phase]}"
        parts.append(_text(x + SIDE + 6, y + SIDE / 2 + 4, count, 11, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )
