"""Measured values as text."""

import math

MISSING = "–"


def measured(value: float | None, digits: int = 4) -> str:
    """Return a value with `digits` significant digits, integers in full, a dash for None.

    `static/js/util.js` formats likewise.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if isinstance(size, int):
        text = str(size)
    elif size >= 10**digits:
        text = f"{float(f'{size:.{digits}g}'):.0f}"
    else:
        text = f"{size:.{digits}g}".replace("e-0", "e-")
    return f"−{text}" if value < 0 else text
