"""The formulas of the literature give the literature's numbers, and behave as probabilities and errors do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.selection import (
    aggregation_factor,
    autocorrelations,
    deflated_sharpe,
    expected_max_sharpe,
    min_backtest_length,
    min_track_record_length,
    moments,
    null_variance,
    probabilistic_sharpe,
    sharpe_standard_error,
    sharpe_standard_error_robust,
)

# Lo (2002), "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), table 1.
LO_LENGTHS = (12, 24, 36, 48, 60, 125, 250, 500)
LO_ERRORS = {
    0.50: (0.306, 0.217, 0.177, 0.153, 0.137, 0.095, 0.067, 0.047),
    1.00: (0.354, 0.250, 0.204, 0.177, 0.158, 0.110, 0.077, 0.055),
    1.50: (0.421, 0.298, 0.243, 0.210, 0.188, 0.130, 0.092, 0.065),
    2.00: (0.500, 0.354, 0.289, 0.250, 0.224, 0.155, 0.110, 0.077),
    3.00: (0.677, 0.479, 0.391, 0.339, 0.303, 0.210, 0.148, 0.105),
}
# The same, table 2: scale factors of time-aggregated ratios of AR(1) returns.
LO_PERIODS = (2, 3, 4, 6, 12, 250)
LO_FACTORS = {
    0.9: (1.03, 1.05, 1.07, 1.10, 1.21, 3.70),
    0.5: (1.15, 1.28, 1.39, 1.60, 2.12, 9.15),
    0.2: (1.29, 1.52, 1.73, 2.07, 2.88, 12.92),
    0.1: (1.35, 1.62, 1.86, 2.25, 3.16, 14.31),
    0.0: (1.41, 1.73, 2.00, 2.45, 3.46, 15.81),
    -0.1: (1.49, 1.85, 2.16, 2.66, 3.80, 17.47),
}


@pytest.mark.parametrize("sharpe", LO_ERRORS)
def test_standard_error__has_the_numbers_of_lo_table_1(sharpe: float) -> None:
    np.testing.assert_array_equal(np.round(sharpe_standard_error(sharpe, LO_LENGTHS), 3), LO_ERRORS[sharpe])


@pytest.mark.parametrize("rho", LO_FACTORS)
def test_aggregation__has_the_numbers_of_lo_table_2(rho: float) -> None:
    found = [float(aggregation_factor(q, rho ** np.arange(1, q))) for q in LO_PERIODS]
    np.testing.assert_allclose(found, LO_FACTORS[rho], atol=0.00501)


def test_probabilistic_sharpe__has_the_numbers_of_its_paper() -> None:
    # Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier": two years of a hedge fund, monthly.
    assert round(float(probabilistic_sharpe(0.458, 24)), 3) == 0.982
    assert round(float(probabilistic_sharpe(0.458, 24, skew=-2.448, kurtosis=10.164)), 3) == 0.913


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_min_track_record__has_the_numbers_of_its_paper(per_year: int, years: float) -> None:
    # The same paper: an annual 2 to be above 1 with 95 %, normal returns.
    bars = min_track_record_length(2 / per_year**0.5, benchmark=1 / per_year**0.5)
    assert round(float(bars) / per_year, 2) == years


def test_min_track_record__is_longer_for_hedge_funds_as_in_its_paper() -> None:
    # The same with the skewness and kurtosis that Brooks & Kat (2002) found: 4.99 years of months.
    bars = min_track_record_length(2 / 12**0.5, benchmark=1 / 12**0.5, skew=-0.72, kurtosis=5.78)
    assert round(float(bars) / 12, 2) == 4.99


def test_deflated_sharpe__has_the_numbers_of_its_paper() -> None:
    # Bailey & Lopez de Prado (2014), "The Deflated Sharpe Ratio", the example: 2.5 a year, five years of 250 days.
    sharpe, variance = 2.5 / np.sqrt(250), 0.5 / 250
    assert round(float(expected_max_sharpe(100, variance)), 4) == 0.1132
    for n_trials, skew, kurtosis, expected in ((100, -3, 10, 0.9004), (46, -3, 10, 0.9505), (88, 0, 3, 0.9505)):
        found = deflated_sharpe(sharpe, 1250, n_trials=n_trials, variance=variance, skew=skew, kurtosis=kurtosis)
        assert round(float(found), 4) == expected


def test_min_backtest_length__has_the_numbers_of_its_paper() -> None:
    # Bailey, Borwein, Lopez de Prado & Zhu (2014), "Pseudo-Mathematics and Financial Charlatanism": for an annual
    # ratio of 1 five years bear 45 trials; of 10 trials over a year, the best is expected at 1.57.
    assert min_backtest_length(45) <= 5.0 < min_backtest_length(46)
    assert round(float(expected_max_sharpe(10)), 2) == 1.57
    n = np.arange(2, 10_000)
    assert (min_backtest_length(n) < 2 * np.log(n)).all()  # their upper bound


def test_expected_max__is_near_the_mean_of_simulated_maxima() -> None:
    rng = np.random.default_rng(0)
    for n in (10, 100, 1000):
        best = rng.normal(size=(4000, n)).max(axis=1)
        # The formula is the paper's approximation; it is high by up to 2.5 % at these sizes.
        assert float(expected_max_sharpe(n)) == pytest.approx(best.mean(), rel=0.04)


def test_expected_max__starts_at_nothing_and_never_falls() -> None:
    n = np.concatenate([np.linspace(1, 3, 200), np.geomspace(3, 1e300, 500)])
    line = expected_max_sharpe(n, 0.04)
    assert line[0] == 0.0
    assert (np.diff(line) >= 0).all()
    assert np.isfinite(line).all()


@given(
    sharpe=st.floats(-0.5, 0.5), skew=st.floats(-3, 3), extra=st.floats(0, 20), n=st.integers(30, 5000),
    n_trials=st.floats(1, 1e9),
)  # fmt: skip
@settings(deadline=None)
def test_deflated__is_a_probability_that_falls_with_more_trials(
    sharpe: float, skew: float, extra: float, n: int, n_trials: float
) -> None:
    shape = {"skew": skew, "kurtosis": 1.0 + skew**2 + extra}  # what a distribution can have
    variance = float(null_variance(n))
    single = float(probabilistic_sharpe(sharpe, n, **shape))
    few = float(deflated_sharpe(sharpe, n, n_trials=n_trials, variance=variance, **shape))
    many = float(deflated_sharpe(sharpe, n, n_trials=10 * n_trials, variance=variance, **shape))
    assert 0.0 <= many <= few <= single <= 1.0


@given(sharpe=st.floats(0.02, 0.5), skew=st.floats(-2, 2), extra=st.floats(0, 9), confidence=st.floats(0.6, 0.999))
@settings(deadline=None)
def test_min_track_record__is_where_the_probability_is_the_confidence(
    sharpe: float, skew: float, extra: float, confidence: float
) -> None:
    shape = {"skew": skew, "kurtosis": 1.2 + skew**2 + extra}
    length = float(min_track_record_length(sharpe, confidence=confidence, **shape))
    if length >= 2.0:
        assert float(probabilistic_sharpe(sharpe, length, **shape)) == pytest.approx(confidence, abs=1e-9)


def test_min_track_record__is_infinite_for_what_is_not_above_the_benchmark() -> None:
    found = min_track_record_length([-0.1, 0.0, 0.05, np.nan], benchmark=0.0)
    assert np.isinf(found[:2]).all()
    assert np.isfinite(found[2])
    assert np.isnan(found[3])


def test_standard_error__is_the_spread_of_estimates() -> None:
    # Monte Carlo, exponential returns less a constant: skew 2, kurtosis 9, where Lo's normal formula is far off.
    rng = np.random.default_rng(7)
    sample = moments(rng.exponential(1.0, (4000, 400)) - 0.6)
    spread = sample.sharpe.std()
    assert float(sharpe_standard_error(0.4, 400, skew=2, kurtosis=9)) == pytest.approx(spread, rel=0.05)
    assert abs(float(sharpe_standard_error(0.4, 400)) / spread - 1) > 0.15


def test_robust_standard_error__is_the_spread_of_autocorrelated_estimates() -> None:
    rng = np.random.default_rng(8)
    shocks = rng.normal(size=(2000, 2100))
    path = np.zeros_like(shocks)
    for t in range(1, shocks.shape[1]):
        path[:, t] = 0.3 * path[:, t - 1] + shocks[:, t]
    returns = path[:, 100:] + 0.05
    spread = moments(returns).sharpe.std()
    assert float(sharpe_standard_error_robust(returns, n_lags=12).mean()) == pytest.approx(spread, rel=0.08)
    assert float(sharpe_standard_error(0.05, 2000)) < 0.8 * spread


def test_robust_standard_error__without_lags_is_mertens() -> None:
    returns = np.random.default_rng(2).exponential(1.0, (3, 500)) - 0.8
    found = moments(returns)
    scale = np.sqrt(500 / 499)  # Mertens' own moments have ddof 0
    mertens = sharpe_standard_error(found.sharpe * scale, 500, skew=found.skew, kurtosis=found.kurtosis)
    np.testing.assert_allclose(sharpe_standard_error_robust(returns, n_lags=0), mertens, rtol=1e-12)


def test_autocorrelations__are_those_of_an_alternating_series() -> None:
    np.testing.assert_allclose(autocorrelations([1.0, -1.0] * 50, 3), [-0.99, 0.98, -0.97])


def test_moments__agree_with_scipy_and_skip_missing_bars() -> None:
    from scipy import stats

    values = np.random.default_rng(3).standard_t(5, (4, 300)) * 0.01
    found = moments(values)
    np.testing.assert_allclose(found.skew, stats.skew(values, axis=1), rtol=1e-10)
    np.testing.assert_allclose(found.kurtosis, stats.kurtosis(values, axis=1, fisher=False), rtol=1e-10)
    np.testing.assert_allclose(found.sharpe, values.mean(axis=1) / values.std(axis=1, ddof=1), rtol=1e-12)
    holed = np.insert(values, [0, 100, 300], np.nan, axis=1)
    for name in ("n_bars", "mean", "deviation", "sharpe", "skew", "kurtosis"):
        np.testing.assert_allclose(getattr(moments(holed), name), getattr(found, name), rtol=1e-12)


def test_moments__of_flat_short_or_missing_returns_are_not_numbers() -> None:
    found = moments([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [np.nan, 0.1, np.nan], [np.nan] * 3])
    assert np.isnan(found.sharpe).all()
    assert np.isnan(found.skew).all()
    assert found.n_bars.tolist() == [3, 3, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probabilistic_sharpe(0.1, 1), "n_bars must be at least 2, was 1"),
        (lambda: expected_max_sharpe(0.5), "n_trials must be at least 1, was 0.5"),
        (lambda: expected_max_sharpe(5, -1.0), "variance must not be negative"),
        (lambda: min_backtest_length(5, 0.0), "sharpe must be above 0"),
        (lambda: min_track_record_length(0.1, confidence=0.3), "confidence must be between 0.5 and 1"),
        (lambda: autocorrelations([0.1, 0.2], 2), "n_lags must be from 1 to 1"),
        (lambda: aggregation_factor(0), "n_periods must be at least 1"),
        (lambda: moments(0.1), r"shape \(..., n_bars\)"),
    ],
)
def test_errors__say_what_was_needed_and_found(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
