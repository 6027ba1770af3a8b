"""A user's own function: what it may be, and what is said when it can't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantbot.bars import ENGINE
from quantbot.engine import Job, Points, TrialStatus
from quantbot.errors import StrategyError
from quantbot.market import Bars
from quantbot.parameters import number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import indicator


@strategy()
def looks_up(close: float) -> float:
    """Look its answer up in a way that numba can't."""
    return {"up": 1.0}[f"{'up' if close > 0 else 'down'}"] if eval("True") else 0.0


def test_check__says_what_numba_cannot_compile_and_what_to_do() -> None:
    with pytest.raises(StrategyError, match=r"numba can't compile strategy looks_up .*line \d+") as caught:
        ENGINE.check(Job(looks_up, {}))
    assert "plain_python" in str(caught.value)
    assert "eval" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_run__as_plain_python_takes_what_numba_cannot(market: Callable[..., Bars]) -> None:
    rows = ENGINE.run(Job(looks_up, {}, ("core",), plain_python=True), market(30, 1), (0, 30), Points(2))
    assert rows.status.tolist() == [TrialStatus.OK] * 2


@strategy(parameters=[number("divisor", 1.0, 0.0, 10.0, "What to divide by.")])
def divides(close: float, divisor: float) -> float:
    """Divide by a parameter."""
    return 1.0 if close / divisor > 0.0 else 0.0


def test_run__a_trial_that_raises_is_a_failed_row_and_the_others_go_on(market: Callable[..., Bars]) -> None:
    points = Points(3, {"divisor": np.array([1.0, 0.0, 2.0])})
    rows = ENGINE.run(Job(divides, {}, ("core", "tail"), plain_python=True), market(30, 1), (0, 30), points)
    assert rows.status.tolist() == [TrialStatus.OK, TrialStatus.FAILED, TrialStatus.OK]
    assert list(rows.reasons) == [1]
    assert rows.reasons[1].startswith("ZeroDivisionError")
    assert "(divides, line" in rows.reasons[1]
    assert np.isfinite(rows.measures["total_return"]).tolist() == [True, False, True]


@strategy(parameters=[number("limit", 1.0, 0.0, 10.0, "When to give up.")])
def gives_up(close: float, limit: float) -> float:
    """Raise, compiled too."""
    if limit > 5.0:
        raise ValueError("too much")
    return 1.0


def test_run__compiled_code_may_raise_too(market: Callable[..., Bars]) -> None:
    points = Points(12, {"limit": np.arange(12.0)})
    rows = ENGINE.run(Job(gives_up, {}, ("core",)), market(100, 1), (0, 100), points)
    assert rows.status.tolist() == [TrialStatus.OK] * 6 + [TrialStatus.FAILED] * 6
    assert "too much" in rows.reasons[6]


@strategy(parameters=[number("limit", 1.0, 0.0, 10.0, "When to take too much.")])
def hoards(close: float, limit: float) -> float:
    """Take more memory than there is."""
    return float(len(bytearray(1 << 60)) if limit > 5.0 else 1.0)


def hoarded(close: np.ndarray) -> np.ndarray:
    """Take more memory than there is."""
    return np.empty(1 << 50)


@strategy(indicators={"much": indicator(hoarded)})
def hoards_in_an_indicator(much: float) -> float:
    """Hold what is there."""
    return much


@pytest.mark.parametrize(("taker", "points"), [(hoards, {"limit": np.array([1.0, 9.0])}), (hoards_in_an_indicator, {})])
def test_run__makes_no_row_of_memory_that_was_not_there(
    market: Callable[..., Bars], taker: Any, points: dict[str, Any]
) -> None:
    with pytest.raises(MemoryError):  # how much there is depends on the machine, so a row would, too
        ENGINE.run(Job(taker, {}, ("core",), plain_python=True), market(30, 1), (0, 30), Points(2, points))


def windows(close: np.ndarray) -> np.ndarray:
    """An indicator that only numpy can: numba has no sliding windows of this kind."""
    out = np.full(close.shape[0], np.nan)
    out[2:] = np.lib.stride_tricks.sliding_window_view(close, window_shape=3).mean(axis=-1)
    return out


@strategy(indicators={"mean": indicator(windows)})
def above(close: float, mean: float) -> int:
    """Buy above the mean; answers with whole numbers."""
    return 1 if close > mean else 0


def test_run__an_indicator_that_numba_cannot_compile_is_called_as_numpy(market: Callable[..., Bars]) -> None:
    bars = market(200, 1)
    compiled = ENGINE.run(Job(above, {}, ("core",)), bars, (0, 200), Points(1))
    plain = ENGINE.run(Job(above, {}, ("core",), plain_python=True), bars, (0, 200), Points(1))
    assert compiled.measures["final_equity"][0] == plain.measures["final_equity"][0] != 100_000.0


def short(close: np.ndarray) -> np.ndarray:
    return close[1:].copy()


@strategy(indicators={"mean": indicator(short)})
def misshapen(close: float, mean: float) -> float:
    """Buy above the mean."""
    return 1.0 if close > mean else 0.0


def test_run__an_indicator_of_another_length_is_refused(market: Callable[..., Bars]) -> None:
    with pytest.raises(StrategyError, match=r"short must return one value for each bar, shape \(50,\); was \(49,\)"):
        ENGINE.run(Job(misshapen, {}), market(50), (0, 50), Points(1))


def test_run__takes_a_function_that_no_file_holds(market: Callable[..., Bars]) -> None:
    scope: dict[str, object] = {"strategy": strategy, "threshold": 100.0}
    text = (
        "@strategy()\n"
        "def typed_in(close, open):\n"
        "    '''Buy above a threshold.'''\n"
        "    return 1.0 if close > threshold else 0.0\n"
    )
    exec(text, scope)
    typed_in = scope["typed_in"]
    bars = market(200, 2)
    compiled = ENGINE.run(Job(typed_in, {}, ("core",)), bars, (0, 200), Points(1))  # type: ignore[arg-type]
    plain = ENGINE.run(Job(typed_in, {}, ("core",), plain_python=True), bars, (0, 200), Points(1))  # type: ignore[arg-type]
    assert compiled.measures["final_equity"][0] == plain.measures["final_equity"][0]
