"""Rows of pieces taken together: what returns laid end to end would have given."""

import math

import numpy as np
import pytest

from quantbot.engine import Job, Points, get_engine
from quantbot.errors import InputError
from quantbot.market import Bars, Instrument
from quantbot.selection.pooling import columns_of, pool
from quantbot.strategies.loader import load_strategy

WINDOWS = [(40, 160), (160, 161), (200, 320), (320, 520), (520, 520)]
N_BARS = [stop - start for start, stop in WINDOWS]
FASTS = np.array([2, 3, 5, 8, 13, 21, 30, 500])  # the last one never trades: its equity is flat


@pytest.fixture(scope="module")
def pieces():
    """Rows of each window and the returns behind them, of eight points."""
    rng = np.random.default_rng(7)
    close = 100.0 * np.cumprod(1.0 + 0.01 * rng.standard_normal(520))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    times = 86_400_000_000_000 * np.arange(1, 521)
    bars = Bars(Instrument("TEST"), times, opened, high, low, close, np.ones(520), 252.0)
    engine, strategy = get_engine("bars"), load_strategy("sma_cross")
    settings = {parameter.name: parameter.default for parameter in strategy.parameters}
    for section, parameters in engine.sections.items():
        settings |= {f"{section}.{parameter.name}": parameter.default for parameter in parameters}
    settings |= {"execution.fee_bps": 5.0, "slow": 500}
    job = Job(strategy, settings, ("core", "path", "trades", "tail"))
    points = Points(len(FASTS), {"fast": np.minimum(FASTS, 60), "slow": np.where(FASTS == 500, 499, 34)})
    rows = [engine.run(job, bars, window, points).measures for window in WINDOWS[:-1]]
    returns = [engine.returns(job, bars, window, points) for window in WINDOWS[:-1]]
    empty = {name: np.full(len(FASTS), np.nan) for name in rows[0]}
    columns = {name: np.stack([row[name] for row in [*rows, empty]]) for name in rows[0]}
    return columns, returns


def pooled(pieces, measure, union=(0, 1, 2, 3, 4)):
    return pool(measure, pieces[0], N_BARS, 252.0, [union])[0]


def test_pool__of_sharpe_and_volatility_are_those_of_the_returns_laid_end_to_end(pieces):
    returns = np.concatenate(pieces[1], axis=1)
    deviation = returns.std(axis=1, ddof=1)
    assert deviation[-1] == 0.0
    np.testing.assert_allclose(pooled(pieces, "volatility"), deviation * math.sqrt(252), rtol=1e-12)
    sharpe = pooled(pieces, "sharpe")
    np.testing.assert_allclose(
        sharpe[:-1], (returns.mean(axis=1) / np.where(deviation, deviation, 1))[:-1] * math.sqrt(252), rtol=1e-11
    )
    assert np.isnan(sharpe[-1])  # equity that never moves has no Sharpe ratio, in pieces as in one


def test_pool__of_sortino_is_that_of_the_returns_laid_end_to_end(pieces):
    returns = np.concatenate(pieces[1], axis=1)[:-1]
    downside = np.sqrt((np.minimum(returns, 0) ** 2).mean(axis=1))
    np.testing.assert_allclose(
        pooled(pieces, "sortino")[:-1], returns.mean(axis=1) / downside * math.sqrt(252), rtol=1e-9
    )


def test_pool__compounds_returns_and_keeps_the_cash(pieces):
    columns, returns = pieces
    grown = np.prod(1.0 + np.concatenate(returns, axis=1), axis=1)
    np.testing.assert_allclose(pooled(pieces, "total_return"), grown - 1.0, rtol=1e-10, atol=1e-12)
    cash = columns["final_equity"][0] / (1.0 + columns["total_return"][0])
    np.testing.assert_allclose(pooled(pieces, "final_equity"), grown * cash, rtol=1e-12)
    np.testing.assert_allclose(pooled(pieces, "cagr"), grown ** (252 / sum(N_BARS)) - 1.0, rtol=1e-9, atol=1e-12)


def test_pool__weighs_means_by_what_they_are_means_of(pieces):
    columns = pieces[0]
    bars, there = np.array(N_BARS[:-1])[:, None], slice(0, -1)
    trades = columns["n_trades"][there]
    np.testing.assert_allclose(pooled(pieces, "n_trades"), trades.sum(axis=0))
    expected = (columns["exposure"][there] * bars).sum(axis=0) / bars.sum()
    np.testing.assert_allclose(pooled(pieces, "exposure"), expected, rtol=1e-12)
    hits = (np.nan_to_num(columns["hit_rate"][there]) * trades).sum(axis=0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(pooled(pieces, "hit_rate"), hits / trades.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(pooled(pieces, "max_drawdown"), columns["max_drawdown"][there].max(axis=0))


def test_pool__of_one_piece_is_its_row_bit_for_bit(pieces):
    columns = pieces[0]
    for measure in ("sharpe", "profit_factor", "cvar_95"):
        found = pool(measure, columns, N_BARS, 252.0, [(2,), (3, 4)])
        assert found[0].tobytes() == columns[measure][2].tobytes()
        assert found[1].tobytes() == columns[measure][3].tobytes()  # a piece without bars adds nothing
    assert pooled(pieces, "sharpe", (2,)).tobytes() == columns["sharpe"][2].tobytes()


def test_pool__does_not_depend_on_the_other_unions_nor_on_where_a_point_stands(pieces):
    columns = pieces[0]
    unions = [(0, 2), (0, 2, 3), (2, 3)]
    together = pool("sharpe", columns, N_BARS, 252.0, unions)
    for union, values in zip(unions, together, strict=True):
        assert pooled(pieces, "sharpe", union).tobytes() == values.tobytes()
    many = {name: np.tile(values, (1, 2000)) for name, values in columns.items()}  # crosses chunks
    repeated = pool("sharpe", many, N_BARS, 252.0, unions)
    assert repeated.tobytes() == np.tile(together, (1, 2000)).tobytes()


def test_pool__has_no_value_where_a_piece_failed(pieces):
    columns = {name: values.copy() for name, values in pieces[0].items()}
    for values in columns.values():
        values[3, 2] = np.nan
    for measure in ("sharpe", "sortino", "total_return", "max_drawdown", "n_trades", "hit_rate"):
        found = pool(measure, columns, N_BARS, 252.0, [(0, 2, 3), (0, 2)])
        assert np.isnan(found[0, 2])
        assert np.isfinite(found[1, 2])


@pytest.mark.parametrize(("measure", "said"), [("cvar_95", "needs the returns"), ("luck", "no rule is known")])
def test_pool__refuses_what_rows_do_not_determine(pieces, measure, said):
    with pytest.raises(InputError, match=said):
        pooled(pieces, measure)
    with pytest.raises(InputError, match=r"choose one of .*sharpe"):
        columns_of(measure)


def test_pool__says_which_columns_it_lacks(pieces):
    with pytest.raises(InputError, match="needs volatility; add their groups"):
        pool("sharpe", {name: pieces[0][name] for name in ("sharpe", "total_return")}, N_BARS, 252.0, [(0, 2)])
