"""Just-in-time compilation with numba where it is installed, plain Python where it is not."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar, cast

HAS_NUMBA = find_spec("numba") is not None

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile a function at its first call; return it unchanged where numba is not installed.

    The compiled code is cached beside the source file or in the user's cache folder; where neither
    is writable, every process compiles for itself.
    """
    try:
        from numba import njit
    except ImportError:
        return function
    try:
        compiled = njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no writable folder for the cache
        compiled = njit(nogil=True, error_model="numpy")(function)
    return cast(Function, compiled)
