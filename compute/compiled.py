"""Compilation of loops over single curves, where numba is there; plain Python where it is not."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar, cast

HAS_NUMBA = find_spec("numba") is not None

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return the function compiled at its first call, or as it is where numba is not installed.

    What is compiled is kept beside the source file, or in the user's cache folder; where neither
    can be written, every process compiles for itself.
    """
    try:
        from numba import njit
    except ImportError:
        return function
    try:
        made = njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no place to keep it
        made = njit(nogil=True, error_model="numpy")(function)
    return cast(Function, made)
