"""A book strategy's function as an address that the replay can call: compiled, or plain Python behind a callback."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numba
from numba import carray, cfunc, types

from quantbot.book.strategy import BookStrategy, entry_source
from quantbot.kernels import generated
from quantbot.strategies.kernels import compilable

_WHOLE, _NUMBER = types.CPointer(types.int64), types.CPointer(types.float64)
_SIGNATURE = types.void(_WHOLE, _NUMBER, _NUMBER, _WHOLE)
_COMPILED: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()


def decision_address(strategy: BookStrategy, *, plain_python: bool = False) -> tuple[int, Any]:
    """Return the address of the strategy's function, and what must be kept alive while it is in use."""
    if plain_python:
        return _callback(strategy)
    if strategy.decide not in _COMPILED:
        decide = compilable(strategy.decide)
        entry = generated("entry", entry_source(strategy), {"carray": carray, "decide": decide})
        _COMPILED[strategy.decide] = cfunc(_SIGNATURE, nopython=True)(entry)
    function = _COMPILED[strategy.decide]
    return int(function.address), function


def _callback(strategy: BookStrategy) -> tuple[int, Any]:
    scope = {"carray": numba.carray, "decide": strategy.decide}
    entry = generated("entry", entry_source(strategy), scope)
    whole, number = ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_double)
    function = ctypes.CFUNCTYPE(None, whole, number, number, whole)(entry)
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0), function
