"""The loops of the indicators, and how a strategy's function is compiled."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any

from quantbot.kernels import jit
from quantbot.strategies.fingerprint import attributes, is_ours, plain, references


def compilable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` compiled, and with it every plain Python function that it calls, transitively.

    numba compiles no function that is merely named by another one's globals, so helpers are compiled first and a copy
    of `function` is made whose globals hold the compiled ones. Helpers may stand in the same module, in an imported
    one (``from my_means import mean``, or ``import my_means`` and ``my_means.mean(...)``) or in a closure. What is
    compiled already is left as it is.
    """
    kernel: Callable[..., Any] = _compiled(function, {})
    return kernel


def _compiled(function: Callable[..., Any], done: dict[int, Any]) -> Any:
    if hasattr(function, "py_func"):
        return function
    source = plain(function)
    if id(source) in done:
        return done[id(source)]
    scope = dict(source.__globals__)
    copy = FunctionType(
        source.__code__,
        scope,
        source.__name__,
        source.__defaults__,
        None if source.__closure__ is None else tuple(CellType() for _ in source.__closure__),
    )
    copy.__module__, copy.__qualname__, copy.__doc__ = source.__module__, source.__qualname__, source.__doc__
    done[id(source)] = kernel = jit(copy)
    for cell, original in zip(copy.__closure__ or (), source.__closure__ or (), strict=True):
        cell.cell_contents = _replaced(source, original.cell_contents, done)
    for name, value in references(source).items():
        if name in source.__globals__ and source.__globals__[name] is value:
            scope[name] = _replaced(source, value, done)
    return kernel


def _replaced(function: FunctionType, value: Any, done: dict[int, Any]) -> Any:
    """Return what a compiled copy of `function` should find in place of `value`."""
    if isinstance(value, FunctionType) and is_compilable(value):
        return _compiled(value, done)
    if isinstance(value, ModuleType) and is_ours(value):
        proxy = ModuleType(value.__name__, value.__doc__)
        proxy.__dict__.update(vars(value))
        for name, attribute in attributes(function, value).items():
            proxy.__dict__[name] = _replaced(function, attribute, done)
        return proxy
    return value


def is_compilable(function: FunctionType) -> bool:
    """Return whether `function` may be handed to numba; numpy's own Python functions are numba's business."""
    top = (function.__module__ or "").partition(".")[0]
    return top not in {"numpy", "math", "numba", "builtins", "scipy"}
