"""The map of curves as bytes for the canvas of the page: 7 bytes per point.

Little-endian: the length of a JSON header (uint32), the header, padded to a multiple of 4, then
columns: points in each block of 65,536 predictions (uint16), the lower 16 bits of each prediction
(uint16), x and y as shares of the header's bounds (uint16), and one byte with the class in its
lower 7 bits and "matches" in the highest.
"""

import json

import numpy as np
from numpy.typing import NDArray

from backend.search.curve_map import CurveMap

BLOCK = 1 << 16
FULL = BLOCK - 1
UNDEFINED = 127
MATCHES = 128


def pack_curve_map(points: CurveMap) -> bytes:
    """Return the map in the format that `static/js/map-data.js` reads."""
    bounds = [*_range(points.x), *_range(points.y)]
    header = json.dumps(
        {
            "n": len(points.index),
            "total": points.n_predictions,
            "bounds": bounds,
            "curves": points.curves,
            "shares": points.shares,
        }
    ).encode()
    header += b" " * (-len(header) % 4)
    n_blocks = -(-points.n_predictions // BLOCK)
    blocks = np.bincount(points.index // BLOCK, minlength=n_blocks)
    codes = np.minimum(points.curve_class, UNDEFINED).astype(np.uint8)
    columns = (
        blocks.astype("<u2"),
        (points.index % BLOCK).astype("<u2"),
        _shares(points.x, bounds[:2]),
        _shares(points.y, bounds[2:]),
        codes | np.where(points.matching, MATCHES, 0).astype(np.uint8),
    )
    body = b"".join(column.tobytes() for column in columns)
    return len(header).to_bytes(4, "little") + header + body


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def _shares(values: NDArray[np.float32], bounds: list[float]) -> NDArray[np.uint16]:
    low, high = bounds
    span = high - low or 1.0
    return np.rint((values.astype(np.float64) - low) / span * FULL).astype("<u2")
