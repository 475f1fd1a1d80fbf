"""What a result was computed with: recorded beside it, never part of its key."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn", "scipy", "numpy")


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version("quanta-explorer")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def provenance(**settings: Any) -> dict[str, Any]:
    """Return program, library versions and platform, with `settings` (device, threads, …)."""
    return {
        "program": program_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in PACKAGES},
        **settings,
    }
