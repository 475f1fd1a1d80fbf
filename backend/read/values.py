"""Stored values as results show them: times as text, numbers that JSON can hold."""

from datetime import datetime

import numpy as np


def format_utc(time: datetime) -> str:
    """Return a time as people and programs read it (UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def finite_or_none(value: float) -> float | None:
    """Return a number, None if it is not finite."""
    return float(value) if np.isfinite(value) else None
