"""Provenance of a result: versions, device and batch size; never part of its key."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn", "scipy", "numpy")


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version("quanta-explorer")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


class HasProvenance(Protocol):
    """A row with a provenance."""

    provenance: Any


def note_batch_share(row: HasProvenance, batch_share: float) -> None:
    """Record in a row's provenance that a batch had to be smaller than usual."""
    smallest = min(batch_share, row.provenance.get("batch_share", 1.0))
    row.provenance = {**row.provenance, "batch_share": smallest}


def provenance(**settings: Any) -> dict[str, Any]:
    """Return program, library versions and platform, with `settings` (device, threads, …)."""
    return {
        "program": program_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in PACKAGES},
        **settings,
    }
