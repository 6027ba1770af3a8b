"""Reading source: threads take turns, and what CPython 3.11 mistakes for too deep a tree is read again."""

from __future__ import annotations

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from quantbot import syntax

_parse = ast.parse


def test_threads__read_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]
    lock = threading.Lock()

    def slow(*arguments: Any) -> ast.AST:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        with lock:
            inside[0] -= 1
        return _parse(*arguments)

    monkeypatch.setattr("ast.parse", slow)
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(syntax.parse, ["a = 1\n"] * 20))
    assert most == [1]
    assert all(isinstance(tree.body[0], ast.Assign) for tree in trees)


@pytest.mark.parametrize(("n_faults", "ends"), [(0, True), (2, True), (3, False)])
def test_mismatch__is_tried_again(monkeypatch: pytest.MonkeyPatch, n_faults: int, ends: bool) -> None:
    left = [n_faults]

    def faulty(*arguments: Any) -> ast.AST:
        if left[0]:
            left[0] -= 1
            raise SystemError("AST constructor recursion depth mismatch (before=90, after=113)")
        return _parse(*arguments)

    monkeypatch.setattr("ast.parse", faulty)
    if ends:
        assert isinstance(syntax.parse_expression("a < 1"), ast.Compare)
    else:
        with pytest.raises(SystemError, match="mismatch"):
            syntax.parse_expression("a < 1")


def test_nonsense__is_refused_as_python_does() -> None:
    with pytest.raises(SyntaxError):
        syntax.parse("a = = 1")
    with pytest.raises(SyntaxError):
        syntax.parse_expression("a = 1")
