"""What a compiled function freezes in is in its fingerprint."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
import pytest

from quantbot.errors import StrategyError
from quantbot.strategies.fingerprint import fingerprint
from quantbot.strategies.kernels import compilable

BASE = {
    "K": "K = 2.0",
    "table": "table = (1.0, 2.0)",
    "helper": "def helper(x):\n    return inner(x) + K\n",
    "inner": "def inner(x):\n    return x * 3.0\n",
    "decide": "def decide(x):\n    return helper(x) if x > table[0] else 0.0\n",
}


def build(**changes: str) -> FunctionType:
    scope: dict[str, Any] = {"__name__": "rules"}
    for text in {**BASE, **changes}.values():
        exec(compile(text, "rules.py", "exec"), scope)
    found: FunctionType = scope["decide"]
    return found


def test_fingerprint__is_that_of_the_content() -> None:
    assert fingerprint(build()) == fingerprint(build(unused="unused = 3"))


@pytest.mark.parametrize(
    "changes",
    [
        {"K": "K = 2.5"},
        {"K": "K = 2"},
        {"table": "table = (1.5, 2.0)"},
        {"helper": "def helper(x):\n    return inner(x) - K\n"},
        {"inner": "def inner(x):\n    return x * 4.0\n"},
        {"decide": "def decide(x):\n    return helper(x) if x >= table[0] else 0.0\n"},
        {"decide": "def decide(x, y=1.0):\n    return helper(x) if x > table[0] else 0.0\n"},
    ],
)
def test_fingerprint__changes_with_everything_that_is_frozen_in(changes: dict[str, str]) -> None:
    assert fingerprint(build(**changes)) != fingerprint(build())


def test_fingerprint__covers_closures_and_arrays() -> None:
    def make(factor: float, levels: Any) -> Any:
        return lambda x: x * factor + levels[0]

    one, two = np.array([1.0]), np.array([2.0])
    digests = {fingerprint(make(factor, levels)) for factor in (1.0, 2.0) for levels in (one, two)}
    assert len(digests) == 4
    assert compilable(make(2.0, (3.0,)))(1.0) == 5.0


def test_fingerprint__refuses_what_may_change_between_two_calls() -> None:
    with pytest.raises(StrategyError, match="reads table, a list"):
        fingerprint(build(table="table = [1.0, 2.0]"))


def test_compilable__compiles_helpers_of_helpers() -> None:
    decide = build()
    assert [compilable(decide)(x) for x in (0.5, 2.0)] == [decide(x) for x in (0.5, 2.0)] == [0.0, 8.0]
