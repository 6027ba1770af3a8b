"""Stress: shocks by hand, history over again, and what is not known said so."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.risk import PERIODS, factor_shock, group_shock, historical_shocks, stress_test, uniform_shock

DAY = 86_400_000_000_000


def test_losses__are_weights_times_moves_and_sum_over_assets() -> None:
    groups = ("tech", "oil", "tech")
    shocks = [
        uniform_shock(3, -0.2),
        group_shock(groups, {"tech": -0.3, "oil": 0.1}),
        factor_shock([[1.0], [0.5], [2.0]], {"market": -0.1}, ("market",)),
    ]
    found = stress_test([0.5, 0.3, -0.1], shocks, ("a", "b", "c"))
    assert found.names == ("all -20%", "tech -30%, oil +10%", "market -10%")
    assert found.loss == pytest.approx([0.14, 0.09, 0.045], abs=1e-15)
    assert found.component.sum(axis=1) == pytest.approx(found.loss, abs=1e-15)
    assert found.component[1] == pytest.approx([0.15, -0.03, -0.03], abs=1e-15)


def test_history__is_compounded_from_the_first_day_to_the_last() -> None:
    ends = (np.arange(10, dtype=np.int64) + 20) * DAY + 20 * 3600 * 10**9  # 1970-01-21 to -30, in the evening
    returns = np.tile([0.01, -0.02], (10, 1))
    returns[5, 1] = np.nan
    periods = {"early": (date(1970, 1, 22), date(1970, 1, 24)), "late": (date(1970, 1, 25), date(1970, 1, 27))}
    early, late = historical_shocks(ends, returns, periods)
    assert early.returns == pytest.approx([1.01**3 - 1, 0.98**3 - 1], abs=1e-15)
    assert np.isnan(late.returns[1])
    found = stress_test([0.5, 0.5], [early, late], ("a", "b"))
    assert found.missing == ((), ("b",))
    assert np.isnan(found.loss[1])
    assert stress_test([0.5, 0.0], [late], ("a", "b")).loss == pytest.approx([-0.5 * (1.01**3 - 1)])
    assert historical_shocks(ends, returns) == ()


def test_periods__fall_in_real_closes(real_market: tuple[np.ndarray, np.ndarray]) -> None:
    ends, returns = real_market
    found = {shock.name: float(shock.returns.mean()) for shock in historical_shocks(ends, returns)}
    assert set(found) == set(PERIODS) - {"Black Monday 1987"}
    assert {name for name, move in found.items() if move > 0} <= {
        "Dot-com 2000-2002"
    }  # few of the twenty sold software
    assert found["Covid 2020"] < -0.25


@pytest.fixture
def real_market() -> tuple[np.ndarray, np.ndarray]:
    """Twenty shares of the S&P 500, 1990 to 2022."""
    import gzip
    from pathlib import Path

    path = Path(__file__).parents[4] / "shared/data/bars/skfolio/sp500_dataset.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    closes = np.array([row[1:] for row in rows], dtype=np.float64)
    ends = np.array([date.fromisoformat(row[0]).toordinal() - date(1970, 1, 1).toordinal() for row in rows]) * DAY
    return ends, np.vstack([np.full(20, np.nan), closes[1:] / closes[:-1] - 1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: group_shock(("tech",), {"tehc": -0.1}), "no asset is of group 'tehc'; did you mean 'tech'"),
        (lambda: factor_shock([[1.0]], {"size": -0.1}, ("market",)), "'size' is none of the factors"),
        (lambda: factor_shock([[1.0, 2.0]], {}, ("market",)), r"of shape \(n_assets, 1\)"),
        (lambda: uniform_shock(2, -1.5), "the move of all must be a finite share of at least -1"),
        (lambda: stress_test([0.5], [], ("a", "b")), "weights must be 2 finite numbers"),
        (lambda: stress_test([0.5, 0.5], [uniform_shock(3, -0.1)], ("a", "b")), "'all -10%' must move 2 assets"),
        (
            lambda: historical_shocks(
                np.arange(3) * DAY, np.zeros((3, 1)), {"x": (date(2020, 1, 1), date(2020, 2, 1))}
            ),
            "'x' .* is not covered by the bars, 1970-01-01 to 1970-01-03",
        ),
    ],
)
def test_what_cannot_be__is_refused_by_name(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()  # type: ignore[operator]
