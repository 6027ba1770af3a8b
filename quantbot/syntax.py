"""Python source as a syntax tree, one thread at a time."""

from __future__ import annotations

import ast
import threading
from typing import Literal

_LOCK = threading.Lock()
_TRIES = 3


def parse(text: str, name: str = "<unknown>") -> ast.Module:
    """Return the tree of a module; raises as `ast.parse` does.

    CPython 3.11 counts the depth of a tree once for all threads, so that two that parse at once may end in a
    `SystemError` ("AST constructor recursion depth mismatch", cpython 106905). Here they take turns; whoever meets a
    library's own parsing tries again.

    Examples
    --------
    >>> parse("a = 1").body[0].lineno
    1
    """
    tree = _parse(text, name, "exec")
    assert isinstance(tree, ast.Module)
    return tree


def parse_expression(text: str) -> ast.expr:
    """Return the tree of one expression; raises as `ast.parse` does.

    Examples
    --------
    >>> type(parse_expression("a < b")).__name__
    'Compare'
    """
    tree = _parse(text, "<unknown>", "eval")
    assert isinstance(tree, ast.Expression)
    return tree.body


def _parse(text: str, name: str, mode: Literal["exec", "eval"]) -> ast.AST:
    for n_left in reversed(range(_TRIES)):
        try:
            with _LOCK:
                return ast.parse(text, name, mode)
        except SystemError:
            if not n_left:
                raise
    raise AssertionError  # the last try returns or raises
