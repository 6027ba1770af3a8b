"""The sentinel lets honest strategies pass and finds planted leaks, to the bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quantbot.errors import StrategyError
from quantbot.parameters import choice, integer
from quantbot.strategies.contract import Strategy, strategy
from quantbot.strategies.indicators import indicator, sma
from quantbot.strategies.registry import shipped
from quantbot.strategies.sentinel import check_lookahead, synthetic_bars

Floats = NDArray[np.float64]
QUICK: dict[str, dict[str, float]] = {
    "sma_cross": {"fast": 3, "slow": 8},
    "ema_cross": {"fast": 3, "slow": 8},
    "donchian": {"entry": 8, "leave": 4, "short": 1},
    "bollinger": {"window": 8, "width": 1.5, "short": 0.5},
    "rsi": {"window": 5, "short": 1},
    "momentum": {"window": 10, "volatility_window": 8, "short": 1},
}
BARS = synthetic_bars(120, seed=5)


def marks(name: str) -> list[pytest.MarkDecorator]:
    """Each strategy compiles seven kernels of its own."""
    return [] if name in ("sma_cross", "ema_cross", "rsi") else [pytest.mark.slow]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in shipped()])
def test_shipped__see_nothing_that_was_not_there_yet(name: str) -> None:
    report = check_lookahead(shipped()[name])
    assert report.ok, str(report)
    assert report.leak_bar is None
    assert report.n_checks >= 30
    assert check_lookahead(shipped()[name], QUICK[name], BARS, n_cuts=4).ok


@dataclass(frozen=True)
class Peeking:
    """A series that runs ahead of its time."""

    series: Callable[..., Floats]
    n_bars: int

    def __call__(self, *arguments: Any) -> Floats:
        values = self.series(*arguments)
        return np.concatenate([values[self.n_bars :], np.full(self.n_bars, values[-1])])


@pytest.mark.parametrize(
    ("name", "which"), [pytest.param(n, i, marks=marks(n)) for n, s in shipped().items() for i in s.indicators]
)
def test_planted_leak__of_one_bar_is_found_in_every_indicator(name: str, which: str) -> None:
    honest = shipped()[name]
    # A channel leaves its own bar out, so it takes two bars to look one ahead.
    n_bars = 2 if name == "donchian" else 1
    leaking = replace(honest.indicators[which], function=Peeking(honest.indicators[which].function, n_bars))
    report = check_lookahead(
        replace(honest, indicators={**honest.indicators, which: leaking}), QUICK[name], BARS, n_cuts=3
    )
    assert not report.ok
    assert which in report.leaks
    assert report.leak_bar is not None
    assert any(f"indicator {which} moved at bar" in problem for problem in report.problems)


def centred(close: Floats) -> Floats:
    padded = np.concatenate([[np.nan], close, [close[-1]]])
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def normalised(close: Floats) -> Floats:
    return close / close.mean()


def backfilled(close: Floats) -> Floats:
    return np.minimum.accumulate(close[::-1])[::-1].copy()


def above(series: Callable[..., Floats]) -> Strategy:
    @strategy(indicators={"level": indicator(series)})
    def rule(close: float, level: float) -> float:
        """Buy above the level."""
        return 1.0 if close > level else 0.0

    return rule


@pytest.mark.parametrize("series", [centred, normalised, backfilled])
def test_common_leaks__are_found(series: Callable[..., Floats]) -> None:
    report = check_lookahead(above(series), bars=BARS, n_cuts=3)
    assert "level" in report.leaks


def test_leak__is_told_to_the_bar() -> None:
    report = check_lookahead(above(centred), bars=BARS, n_cuts=1)
    assert report.leak_bar == 1
    assert "looks ahead: indicator level moved at bar 1 when only bars after 1 were redrawn" in str(report)


def test_a_function_that_remembers__is_found() -> None:
    seen: list[float] = []

    def forgetful(close: Floats) -> Floats:
        seen.append(0.0)
        return close + len(seen)

    assert "level" in check_lookahead(above(forgetful), bars=BARS, n_cuts=1).leaks


def test_plain_python_that_decides_differently__is_reported() -> None:
    @strategy(indicators={"mean": sma(3)})
    def divides(close: float, mean: float) -> float:
        """Buy, by a division by zero."""
        return 1.0 if close / (mean - mean) > 0 else 0.0

    report = check_lookahead(divides, bars=BARS, n_cuts=1)
    assert any("raises ZeroDivisionError in plain Python" in problem for problem in report.problems)


def test_target_that_is_no_number__is_reported() -> None:
    @strategy(indicators={"mean": sma(3)})
    def undefined(close: float, mean: float) -> float:
        """Buy by nothing."""
        return close * float("nan") if close > mean else 0.0

    report = check_lookahead(undefined, bars=BARS, n_cuts=1)
    assert any("decides nan" in problem for problem in report.problems)


def test_choices__are_handed_over_as_words() -> None:
    @strategy(
        parameters=[choice("side", "up", ("up", "down"), "Which side."), integer("n", 3, 1, 9, "Bars.")],
        indicators={"mean": sma("n")},
    )
    def sided(close: float, mean: float, side: str, n: int) -> float:
        """Buy on one side."""
        return 1.0 if (close > mean) == (side == "up") and n > 1 else 0.0

    assert check_lookahead(sided, {"side": "down"}, BARS, n_cuts=2).ok


def wrong_shape(close: Floats) -> Floats:
    return close[1:]


def wrong_type(close: Floats) -> Any:
    return close.astype(np.float32)


def greedy(close: Floats) -> Floats:
    close[0] = 1.0
    return close


def never_warm(close: Floats) -> Floats:
    return np.full(close.shape[0], np.nan)


@pytest.mark.parametrize(
    ("series", "wanted"),
    [
        (wrong_shape, r"must return float64 of shape \(120,\).*shape \(119,\)"),
        (wrong_type, "it returned float32"),
        (greedy, "changes its input close"),
        (never_warm, "is not warm before bar 120"),
    ],
)
def test_broken_indicators__are_refused(series: Callable[..., Floats], wanted: str) -> None:
    with pytest.raises(StrategyError, match=wanted):
        check_lookahead(above(series), bars=BARS)


def test_uncompilable__is_refused_with_numbas_reason() -> None:
    @strategy(indicators={"mean": sma(3)})
    def fancy(close: float, mean: float) -> float:
        """Buy by a set of words."""
        return float(len({"a": object()}))

    with pytest.raises(StrategyError, match="can't compile strategy fancy"):
        check_lookahead(fancy, bars=BARS)


def test_synthetic_bars__are_valid_and_the_same_everywhere() -> None:
    bars = synthetic_bars(500, seed=7)
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.low > 0).all()
    np.testing.assert_array_equal(bars.close, synthetic_bars(500, seed=7).close)
    assert (bars.close != synthetic_bars(500, seed=8).close).any()
