"""What a function's decisions rest on, as one digest: its code, its helpers' code and the constants it reads."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from quantbot.errors import StrategyError


def fingerprint(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of everything that a compiled `function` would have frozen into it.

    A compiled function holds the machine code of the helpers that it calls and the values of the globals that it
    reads, so a cache that looks at its own source alone serves stale code when a helper changes. This digest covers
    the bytecode of the function, of each Python function that it refers to, transitively, and every constant. It
    names things of this Python version; it is for caches, not for a run's identity.

    Raises
    ------
    StrategyError
        If the function reads a global that is neither a function, a module, a number, a text nor a tuple or array
        of these: it could change between two calls.
    """
    digest = hashlib.sha256()
    for piece in _pieces(plain(function), set()):
        digest.update(piece)
        digest.update(b"\0")
    return digest.hexdigest()


def plain(function: Callable[..., Any]) -> FunctionType:
    """Return the Python function behind `function`: itself, or what a numba dispatcher was made from."""
    inner = getattr(function, "py_func", function)
    if not isinstance(inner, FunctionType):
        raise StrategyError(f"{function!r} must be a Python function, is {type(function).__name__}")
    return inner


def references(function: FunctionType) -> dict[str, Any]:
    """Return the globals and closed-over values that `function` refers to, by name."""
    names = dict(inspect.getclosurevars(function).nonlocals)
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            names[name] = function.__globals__[name]
    return names


def attributes(function: FunctionType, module: ModuleType) -> dict[str, Any]:
    """Return the attributes of `module` that `function` may read: those whose names stand in its code."""
    return {name: vars(module)[name] for name in _global_names(function.__code__) if name in vars(module)}


def is_ours(module: ModuleType) -> bool:
    """Return whether `module` is a module of plain Python that is neither the standard library's nor installed."""
    path = getattr(module, "__file__", None) or ""
    top = module.__name__.partition(".")[0]
    return bool(path) and top not in sys.stdlib_module_names and "site-packages" not in path


def _pieces(function: FunctionType, seen: set[int]) -> Iterator[bytes]:
    if id(function) in seen:
        yield b"again:" + function.__qualname__.encode()
        return
    seen.add(id(function))
    yield from _code_pieces(function.__code__)
    yield repr(function.__defaults__).encode()
    for name, value in sorted(references(function).items()):
        yield name.encode()
        yield from _value_pieces(function, name, value, seen)


def _value_pieces(function: FunctionType, name: str, value: Any, seen: set[int]) -> Iterator[bytes]:
    inner = getattr(value, "py_func", value)
    if isinstance(inner, FunctionType):
        yield from _pieces(inner, seen)
    elif isinstance(inner, ModuleType):
        yield inner.__name__.rpartition(".")[2].encode() if is_ours(inner) else inner.__name__.encode()
        if is_ours(inner):
            for attribute, part in sorted(attributes(function, inner).items()):
                yield attribute.encode()
                yield from _value_pieces(function, attribute, part, seen)
    elif hasattr(inner, "dtype") and hasattr(inner, "tobytes"):
        yield f"{inner.dtype}{getattr(inner, 'shape', ())}".encode()
        yield inner.tobytes()
    elif _is_constant(inner):
        yield _constant(inner)
    elif callable(inner):
        yield f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__name__)}".encode()
        if isinstance(definition := getattr(inner, "_defn", None), FunctionType):  # one of numba's intrinsics
            yield from _code_pieces(definition.__code__)
    else:
        raise StrategyError(
            f"{function.__name__} reads {name}, a {type(inner).__name__}, which may change between two calls;"
            " make it a parameter, or a number, text or tuple"
        )


def _code_pieces(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_pieces(constant)
        else:
            yield _constant(constant)


def _global_names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names


def _constant(value: Any) -> bytes:
    if isinstance(value, frozenset):  # its order changes from process to process
        return b"frozenset:" + b",".join(sorted(_constant(part) for part in value))
    if isinstance(value, tuple):
        return b"tuple:" + b",".join(_constant(part) for part in value)
    return f"{type(value).__name__}:{value!r}".encode()


def _is_constant(value: Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(_is_constant(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes))
