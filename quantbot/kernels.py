"""How kernels are compiled: the one policy that every kernel follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def jit(kernel: F) -> F:
    """Compile `kernel` without the GIL and with IEEE arithmetic.

    No fastmath: a reordered sum would make a trial depend on the machine that ran it. Division follows numpy (x / 0 is
    infinite or NaN), so that a kernel never raises.
    """
    return cast("F", numba.njit(nogil=True, error_model="numpy")(kernel))
