"""Conversion of stored values for results: times as text, finite numbers."""

from datetime import datetime

import numpy as np


def format_utc(time: datetime) -> str:
    """Return a UTC time in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def finite_or_none(value: float) -> float | None:
    """Return the value as a float, None if it is not finite."""
    return float(value) if np.isfinite(value) else None
