from __future__ import annotations

import numpy as np
import pytest

from app.figures import bars as bars_figures
from app.figures import theme
from app.figures.bars import bars_chart, bars_per_candle
from app.figures.trial import drawdown, equity, exposure, price_trades, trial_chart
from quantbot.engine import Replay
from quantbot.market import Bars, Instrument

DAY_NS = 86_400 * 10**9


def stamps(n: int) -> np.ndarray:
    return np.datetime64("2020-01-02T21:00", "ns").astype(np.int64) + DAY_NS * np.arange(n)


def replay(n: int = 50, orders: int = 4) -> Replay:
    rng = np.random.default_rng(7)
    close = 100 * np.cumprod(1 + 0.01 * rng.standard_normal(n))
    bars = np.linspace(1, n - 1, orders).astype(np.int64)
    curves = {
        "close": close,
        "fast_mean": close * 1.01,
        "strength": np.linspace(20, 30, n) / 100,
        "equity": 1000 * close / close[0],
        "hold_equity": 900 * close / close[0],
        "drawdown": np.linspace(0, 0.3, n),
        "exposure": np.ones(n),
        "target": np.ones(n),
    }
    columns = {
        "bar": bars,
        "ts_ns": stamps(n)[bars],
        "side": np.where(np.arange(orders) % 2, -1, 1),
        "units": np.full(orders, 3.0),
        "price": close[bars],
        "fee": np.full(orders, 0.5),
        "reason": np.array(["signal"] * orders),
    }
    return Replay(stamps(n), curves, columns, {}, {"sharpe": 1.0})


def trace(figure, name):
    return next(item for item in figure.data if item.name == name)


def test_trial__has_four_panels_on_one_time_axis() -> None:
    figure = trial_chart(replay(), currency="USD")
    titles = [figure.layout[f"yaxis{n}"].title.text for n in ("", 2, 3, 4)]
    assert titles == ["price (USD)", "equity (USD)", "drawdown", "exposure"]
    assert figure.layout.xaxis.matches == "x4"


def test_trial__draws_buys_up_and_sells_down_at_their_prices() -> None:
    one = replay()
    figure = price_trades(one)
    buys, sells = trace(figure, "buy (2)"), trace(figure, "sell (2)")
    assert (buys.marker.symbol, sells.marker.symbol) == ("triangle-up", "triangle-down")
    np.testing.assert_array_equal(buys.y, one.orders["price"][[0, 2]])
    assert buys.x[0].startswith("2020-01-03T21:00")


def test_price__shows_only_indicators_on_its_scale() -> None:
    names = {item.name for item in price_trades(replay()).data}
    assert "fast_mean" in names
    assert not names & {"strength", "equity", "target"}


def test_trial__without_orders_says_zero_fills() -> None:
    assert trace(price_trades(replay(orders=0)), "buy (0)").x.size == 0


def test_drawdown__is_drawn_below_zero() -> None:
    fall = drawdown(replay()).data[0]
    assert np.min(fall.y) == pytest.approx(-0.3)
    assert np.max(fall.y) <= 0
    assert fall.fill == "tozeroy"


def test_equity__stands_beside_buy_and_hold_in_another_dash() -> None:
    figure = equity(replay(), log=True)
    assert trace(figure, "equity").line.dash != trace(figure, "buy and hold").line.dash
    assert figure.layout.yaxis.type == "log"


def test_exposure__is_in_percent() -> None:
    assert exposure(replay()).layout.yaxis.tickformat == ".0%"


def test_trial__draws_only_its_window() -> None:
    one = replay()
    figure = trial_chart(one, window=(int(one.ts_end_ns[10]), int(one.ts_end_ns[19])))
    assert len(trace(figure, "equity").x) == 10
    shown = trace(figure, "sell (1)")
    assert one.ts_end_ns[10] <= np.datetime64(shown.x[0], "ns").astype(np.int64) <= one.ts_end_ns[19]


def test_trial__of_half_a_million_bars_stays_small_and_keeps_the_extremes() -> None:
    one = replay(500_000, 100)
    one.curves["equity"][123_456] = 9e6
    figure = trial_chart(one)
    assert len(figure.to_json()) < 600_000
    assert np.max(trace(figure, "equity").y) == np.float32(9e6)


def test_extremes__keep_every_row_of_a_short_series() -> None:
    np.testing.assert_array_equal(theme.extremes(np.arange(10.0)), np.arange(10))


def test_extremes__do_not_trip_over_nan() -> None:
    values = np.full(10_000, np.nan)
    values[5_000] = 2.0
    assert 5_000 in theme.extremes(values, 10)


def bars(n: int) -> Bars:
    close = np.linspace(10, 20, n)
    return Bars(Instrument("X", "EUR"), stamps(n), close - 0.5, close + 1, close - 1, close, np.full(n, 2.0), 252.0)


def test_bars__join_neighbours_without_losing_an_extreme_or_a_trade() -> None:
    many = bars(1_000)
    many.high[501] = 99.0
    candles, volume = bars_chart(many).data
    assert len(candles.x) <= bars_figures.CANDLES
    assert np.max(candles.high) == 99.0
    assert np.sum(volume.y) == pytest.approx(2_000.0)
    assert candles.open[0] == many.open[0]
    assert candles.close[-1] == many.close[-1]
    assert bars_per_candle(1_000) == 3


def test_bars__show_a_window() -> None:
    many = bars(100)
    candles, _ = bars_chart(many, window=(int(many.ts_end_ns[20]), int(many.ts_end_ns[29]))).data
    assert len(candles.x) == 10
    np.testing.assert_array_equal(candles.close, many.close[20:30])


def test_bars__of_an_empty_window_are_an_empty_chart() -> None:
    assert not bars_chart(bars(10), window=(0, 1)).data


def test_bars__tell_up_from_down_without_colour() -> None:
    candles = bars_chart(bars(10)).data[0]
    assert candles.increasing.fillcolor == theme.TRANSPARENT
    assert candles.decreasing.fillcolor != theme.TRANSPARENT
