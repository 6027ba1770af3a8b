"""Each indicator against the slow, obvious version, and what holds for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from numpy.typing import NDArray

from quantbot.strategies import indicators, kernels
from quantbot.strategies.contract import PERIODS_PER_YEAR
from quantbot.strategies.sentinel import synthetic_bars

Floats = NDArray[np.float64]
BARS = synthetic_bars(400, seed=3)


def run(kernel: Callable[..., None], values: Floats, *arguments: Any) -> Floats:
    out = np.full(values.shape[0], 7.0)
    kernel(values, *arguments, out)
    return out


def windowed(reduce: Callable[[Floats], float], values: Floats, window: int) -> Floats:
    out = np.full(values.shape[0], np.nan)
    for row in range(window - 1, values.shape[0]):
        out[row] = reduce(values[row - window + 1 : row + 1])
    return out


def naive_mean(values: Floats, window: int) -> Floats:
    return windowed(lambda part: math.fsum(part) / window, values, window)


def naive_deviation(values: Floats, window: int, ddof: int) -> Floats:
    def deviation(part: Floats) -> float:
        mean = math.fsum(part) / window
        return math.sqrt(math.fsum((part - mean) ** 2) / (window - ddof))

    return windowed(deviation, values, window) if window > ddof else np.full(values.shape[0], np.nan)


def naive_extreme(reduce: Callable[[Floats], float], values: Floats, window: int) -> Floats:
    out = np.full(values.shape[0], np.nan)
    for row in range(window, values.shape[0]):
        out[row] = reduce(values[row - window : row])
    return out


def naive_exponential(values: Floats, span: float) -> Floats:
    out, level = np.full(values.shape[0], np.nan), values[0]
    for row, value in enumerate(values):
        level += 2.0 / (span + 1.0) * (value - level)
        if row >= span - 1:
            out[row] = level
    return out


def naive_rsi(values: Floats, window: int) -> Floats:
    changes = np.diff(values)
    out = np.full(values.shape[0], np.nan)
    gain = np.maximum(changes[:window], 0).mean() if window <= changes.shape[0] else math.nan
    loss = np.maximum(-changes[:window], 0).mean() if window <= changes.shape[0] else math.nan
    for row in range(window, values.shape[0]):
        if row > window:
            gain = (gain * (window - 1) + max(changes[row - 1], 0.0)) / window
            loss = (loss * (window - 1) + max(-changes[row - 1], 0.0)) / window
        out[row] = 50.0 if gain + loss == 0 else 100.0 - 100.0 / (1.0 + gain / loss) if loss > 0 else 100.0
    return out


def naive_atr(high: Floats, low: Floats, close: Floats, window: int) -> Floats:
    ranges = [
        max(high[row], close[row - 1]) - min(low[row], close[row - 1]) if row else 0.0 for row in range(len(close))
    ]
    out = np.full(close.shape[0], np.nan)
    for row in range(window, close.shape[0]):
        first = sum(ranges[1 : window + 1]) / window
        out[row] = first if row == window else (out[row - 1] * (window - 1) + ranges[row]) / window
    return out


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8, 50, 199, 400, 401])
def test_windowed_kernels__equal_the_naive_loops(window: int) -> None:
    close, high, low = BARS.close, BARS.high, BARS.low
    np.testing.assert_allclose(run(kernels.mean, close, window), naive_mean(close, window), rtol=1e-14)
    for ddof in (0, 1):
        got, wanted = run(kernels.deviation, close, window, ddof), naive_deviation(close, window, ddof)
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(run(kernels.highest, high, window), naive_extreme(np.max, high, window))
    np.testing.assert_array_equal(run(kernels.lowest, low, window), naive_extreme(np.min, low, window))


@pytest.mark.parametrize("window", [1, 2, 7, 8, 14, 150, 400])
def test_recursive_kernels__equal_the_naive_loops(window: int) -> None:
    close = BARS.close
    np.testing.assert_allclose(
        run(kernels.exponential, close, float(window)), naive_exponential(close, window), rtol=1e-13
    )
    np.testing.assert_allclose(run(kernels.relative_strength, close, window), naive_rsi(close, window), rtol=1e-10)
    got = run(kernels.true_range, BARS.high, BARS.low, close, window)
    np.testing.assert_allclose(got, naive_atr(BARS.high, BARS.low, close, window), rtol=1e-12)


def test_returns_and_volatility__equal_numpy() -> None:
    close = BARS.close
    past = np.concatenate([np.full(5, np.nan), close[5:] / close[:-5] - 1])
    np.testing.assert_array_equal(run(kernels.simple_return, close, 5), past)
    returns = np.diff(close) / close[:-1]
    wanted = np.concatenate([[np.nan], naive_deviation(returns, 20, 1)]) * math.sqrt(252.0)
    np.testing.assert_allclose(run(kernels.volatility, close, 20, 252.0), wanted, rtol=1e-11)


def test_mean__does_not_drift_over_half_a_million_bars() -> None:
    draw = np.random.Generator(np.random.Philox(1))
    values = 1e5 + np.cumsum(draw.standard_normal(500_000))
    got = run(kernels.mean, values, 200)
    for row in (*range(200, 500_000, 9_973), 499_999):
        part = values[row - 199 : row + 1]
        assert got[row] == pytest.approx(math.fsum(part) / 200, rel=1e-15)
        deviation = math.sqrt(math.fsum((part - math.fsum(part) / 200) ** 2) / 200)
        assert run(kernels.deviation, values[row - 199 : row + 1], 200, 0)[-1] == pytest.approx(deviation, rel=1e-11)


@pytest.mark.parametrize("price", [0.1, 100.1, 1e5 + 1 / 3])
@pytest.mark.parametrize("window", [2, 3, 7, 50])
def test_flat_prices__give_the_price_and_no_deviation_exactly(price: float, window: int) -> None:
    values = np.full(300, price)
    values[:100] = BARS.close[:100]  # what left the window leaves no trace
    flat = slice(100 + window, None)
    assert (run(kernels.mean, values, window)[flat] == price).all()
    assert (run(kernels.deviation, values, window, 0)[flat] == 0.0).all()
    assert (run(kernels.exponential, np.full(300, price), float(window))[window:] == price).all()
    assert (run(kernels.relative_strength, np.full(300, price), window)[window:] == 50.0).all()


EVERY: list[tuple[str, indicators.Indicator]] = [
    ("sma", indicators.sma(9)),
    ("ema", indicators.ema(9)),
    ("stdev", indicators.stdev(9)),
    ("stdev_sample", indicators.stdev(9, ddof=1)),
    ("highest", indicators.highest(9)),
    ("lowest", indicators.lowest(9)),
    ("rsi", indicators.rsi(9)),
    ("momentum", indicators.momentum(9)),
    ("volatility", indicators.volatility(9)),
    ("atr", indicators.atr(9)),
]
NAMES = [name for name, _ in EVERY]
WARM = {"sma": 8, "ema": 8, "stdev": 8, "stdev_sample": 8}


def compute(indicator: indicators.Indicator, bars: Any) -> Floats:
    arguments = [252.0 if a == PERIODS_PER_YEAR else a for a in indicator.arguments]
    series: Floats = indicator.function(*(getattr(bars, field) for field in indicator.inputs), *arguments)
    return series


@pytest.mark.parametrize(("name", "indicator"), EVERY, ids=NAMES)
def test_every_indicator__is_nan_until_warm_and_finite_from_then_on(name: str, indicator: Any) -> None:
    series = compute(indicator, BARS)
    first = WARM.get(name, 9)
    assert series.dtype == np.float64
    assert series.shape == (400,)
    assert np.isnan(series[:first]).all()
    assert np.isfinite(series[first:]).all()


@pytest.mark.parametrize(("name", "indicator"), EVERY, ids=NAMES)
@pytest.mark.parametrize("n_bars", [0, 1, 2, 8, 9, 10, 17, 123])
def test_every_indicator__gives_the_same_bits_on_a_shorter_history(name: str, indicator: Any, n_bars: int) -> None:
    short = synthetic_bars(400, seed=3)
    cut = type(short)(
        short.instrument,
        short.ts_end_ns[:n_bars],
        *(getattr(short, field)[:n_bars].copy() for field in ("open", "high", "low", "close", "volume")),
        short.periods_per_year,
    )
    np.testing.assert_array_equal(compute(indicator, cut), compute(indicator, BARS)[:n_bars])


@pytest.mark.parametrize(("name", "indicator"), EVERY, ids=NAMES)
def test_every_indicator__decides_the_same_bits_compiled_and_in_plain_python(name: str, indicator: Any) -> None:
    if name == "volatility":
        pytest.skip("it calls other kernels, which stay compiled; each of them is compared")
    compiled = getattr(kernels, indicator.function.kernel)
    inputs = [getattr(BARS, field) for field in indicator.inputs]
    with np.errstate(all="ignore"):
        one, two = np.empty(400), np.empty(400)
        compiled(*inputs, *indicator.arguments, one)
        compiled.py_func(*inputs, *indicator.arguments, two)
        np.testing.assert_array_equal(one, two)


prices = generators.lists(
    generators.floats(min_value=1e-3, max_value=1e7, allow_nan=False, width=64), min_size=1, max_size=60
)


@settings(deadline=None, max_examples=150)
@given(values=prices, window=generators.integers(1, 20), shift=generators.integers(0, 59))
def test_windows__see_nothing_that_has_left_them(values: list[float], window: int, shift: int) -> None:
    before = np.array(values)
    after = before.copy()
    row = min(shift + window, len(values) - 1)
    after[: max(row - window, 0)] *= 3.0
    for kernel, arguments in (
        (kernels.mean, ()),
        (kernels.deviation, (0,)),
        (kernels.highest, ()),
        (kernels.lowest, ()),
    ):
        one, two = run(kernel, before, window, *arguments)[row:], run(kernel, after, window, *arguments)[row:]
        np.testing.assert_array_equal(one, two)


@settings(deadline=None, max_examples=150)
@given(values=prices, window=generators.integers(1, 20))
def test_means__lie_between_the_extremes_of_their_window(values: list[float], window: int) -> None:
    series = np.array(values)
    got = run(kernels.mean, series, window)[window - 1 :]
    low, high = windowed(np.min, series, window)[window - 1 :], windowed(np.max, series, window)[window - 1 :]
    slack = 1e-12 * high
    assert ((low - slack <= got) & (got <= high + slack)).all()
    assert (run(kernels.deviation, series, window, 0)[window - 1 :] <= (high - low) / 2 + slack).all()
