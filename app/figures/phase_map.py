"""A phase diagram as an SVG picture for papers: letters and hatches, readable without colour."""

from collections.abc import Callable
from html import escape

from backend.experiments.views import PhaseCell, PhaseDiagramView
from compute.grokking.phases import PHASE_NAMES

SIDE, LEFT, TOP, BOTTOM, KEY = 34, 86, 14, 64, 150
# Fill and hatch of each phase; dark text stands out on all of them.
FILLS = {"C": "#bfe6dc", "G": "#c3d8f7", "M": "#f6d3b8", "X": "#dfe3ea"}
HATCHES = {
    "G": "M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4",
    "M": "M0,4 h8",
    "X": "M0,0 l8,8 M8,0 l-8,8",
}
STROKE = "#1a1c20"
FONT = 'font-family="system-ui, sans-serif"'


def _patterns() -> str:
    made = []
    for phase, fill in FILLS.items():
        hatch = HATCHES.get(phase, "")
        path = f'<path d="{hatch}" stroke="{STROKE}" stroke-opacity=".28" fill="none"/>'
        made.append(
            f'<pattern id="{phase}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<rect width="8" height="8" fill="{fill}"/>{path if hatch else ""}</pattern>'
        )
    return f"<defs>{''.join(made)}</defs>"


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "middle") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" {FONT} '
        f'fill="{STROKE}">{escape(text)}</text>'
    )


def _square(x: float, y: float, cell_phase: str | None, mark: str) -> str:
    fill = f"url(#{cell_phase})" if cell_phase else "#ffffff"
    box = (
        f'<rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" fill="{fill}" '
        f'stroke="#ffffff" stroke-width="2"/>'
    )
    return box + _text(x + SIDE / 2, y + SIDE / 2 + 5, mark, 14)


def _mark(cell: PhaseCell) -> str:
    return (cell.phase or "·") + ("*" if cell.test_only else "")


def phase_map_svg(view: PhaseDiagramView, tick: Callable[[float], str]) -> str:
    """Return the picture; `tick` writes values of the axes."""
    columns, rows = len(view.x.values), len(view.y.values)
    width, height = LEFT + columns * SIDE + KEY, TOP + rows * SIDE + BOTTOM
    parts = [_patterns(), f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for cell in view.cells:
        x, y = LEFT + cell.column * SIDE, TOP + (rows - 1 - cell.row) * SIDE
        parts.append(_square(x, y, cell.phase, _mark(cell)))
    for row, value in enumerate(view.y.values):
        parts.append(_text(LEFT - 6, TOP + (rows - row) * SIDE - 12, tick(value), 11, "end"))
    every = max(1, -(-40 * columns // (columns * SIDE)))
    for column, value in enumerate(view.x.values):
        if column % every == 0:
            middle = LEFT + (column + 0.5) * SIDE
            parts.append(_text(middle, TOP + rows * SIDE + 16, tick(value)))
    middle = TOP + rows * SIDE / 2
    parts.append(_text(LEFT + columns * SIDE / 2, TOP + rows * SIDE + 40, view.x.title, 12))
    turned = _text(0, 0, view.y.title, 12)
    parts.append(f'<g transform="translate(16 {middle}) rotate(-90)">{turned}</g>')
    for i, (phase, name) in enumerate(PHASE_NAMES.items()):
        x, y = LEFT + columns * SIDE + 14, TOP + i * (SIDE + 4)
        parts.append(_square(x, y, phase, phase))
        words = f"{name} {view.counts[phase]}"
        parts.append(_text(x + SIDE + 6, y + SIDE / 2 + 4, words, 11, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )
