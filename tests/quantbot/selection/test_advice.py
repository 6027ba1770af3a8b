"""Each warning comes where it should, says its numbers, and is silent where it has no reason."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from quantbot.selection import Advice, Evidence, advise, min_backtest_length, min_track_record_length
from quantbot.selection.advice import Code

SOUND: dict[str, Any] = {
    "periods_per_year": 252.0,
    "returns": np.random.default_rng(0).normal(0.0008, 0.01, 5040),  # 20 years at about 1.3
    "pnl": np.random.default_rng(1).normal(40.0, 100.0, 200),
    "costs": {"fee_bps": 1.0, "half_spread_bps": 0.0},
    "annual_return": 0.2,
    "turnover": 10.0,
    "n_trials": 20.0,
}


def found(**changes: Any) -> dict[str, Advice]:
    return {advice.code: advice for advice in advise(Evidence(**{**SOUND, **changes}))}


def test_a_sound_result__has_no_warning() -> None:
    assert found() == {}
    assert advise(Evidence(252.0)) == []  # nothing known, nothing said


def test_every_code__can_be_given() -> None:
    still = np.where(np.arange(504) % 20 == 0, 0.05 * np.random.default_rng(4).random(504), 0.0)
    codes = set(
        found(returns=still, pnl=np.array([90.0, 5.0, 5.0]), costs={"fee_bps": 0.0}, edges=("fast",), spike=(3.1, 0.2))
    )
    codes |= set(found(returns=SOUND["returns"][:300], n_trials=1e6))
    codes |= set(found(returns=np.random.default_rng(2).normal(0.0005, 0.01, 200)))
    assert codes == set(get_args(Code))


def test_few_trades__counts_round_trips() -> None:
    assert found(pnl=np.ones(29))["few_trades"].numbers == {"n_trades": 29.0, "least": 30}
    assert "few_trades" not in found(pnl=np.ones(30))
    assert found(pnl=None, n_trades=1.0)["few_trades"].sentence.startswith("1 round trip:")
    assert "few_trades" not in found(pnl=None)


def test_flat_equity__knows_seldom_late_and_never() -> None:
    seldom = np.zeros(1000)
    seldom[::11] = 0.01
    late = np.zeros(1000)
    late[600:] = 0.01
    assert found(returns=seldom)["flat_equity"].numbers["longest_flat_bars"] == 10
    assert found(returns=late)["flat_equity"].numbers == {
        "share_flat": 0.6, "longest_flat_bars": 600.0, "n_bars": 1000.0
    }  # fmt: skip
    assert "never moves" in found(returns=np.zeros(50))["flat_equity"].sentence
    often = np.resize([0.0, 0.01, 0.0, -0.01], 1000)
    assert "flat_equity" not in found(returns=often)


def test_one_trade__says_what_is_left_without_it() -> None:
    several = np.full(40, 1.0)
    several[7] = 60.0
    advice = found(pnl=several)["one_trade"]
    assert advice.numbers["share"] == pytest.approx(60 / 99)
    assert "60.6 % of the profit: without it, 39.4 % of it is left" in advice.sentence
    several[:7] = -10.0
    assert "a loss is left" in found(pnl=several + 0.5)["one_trade"].sentence
    assert "one_trade" not in found(pnl=-several)
    assert "nothing is left" in found(pnl=np.array([5.0]))["one_trade"].sentence


def test_no_costs__says_which_cost_would_eat_the_return() -> None:
    advice = found(costs={"fee_bps": 0.0, "slippage_bps": 0})["no_costs"]
    assert advice.numbers["break_even_bps"] == pytest.approx(200.0)  # 20 % a year on 10 times the equity traded
    assert "fee_bps, slippage_bps all 0" in advice.sentence
    assert "no_costs" not in found(costs={"fee_bps": 0.0, "slippage_bps": 1.0})
    assert "no_costs" not in found(costs={"fee_bps": 0.0}, pnl=np.zeros(0))
    assert "break_even_bps" not in found(costs={"fee_bps": 0.0}, annual_return=-0.1)["no_costs"].numbers


def test_short_samples__are_those_of_the_formulas() -> None:
    for n_bars, n_trials in ((400, 1.0), (400, 50.0), (2000, 1e5)):
        evidence = {"returns": None, "sharpe": 1.0, "n_bars": n_bars, "n_trials": n_trials}
        codes = found(**evidence)
        per_bar = 1.0 / np.sqrt(252)
        assert ("short_track_record" in codes) == (n_bars < min_track_record_length(per_bar))
        assert ("short_backtest" in codes) == (n_bars < min_backtest_length(n_trials, per_bar))
    assert not {"short_track_record", "short_backtest"} & set(found(returns=None, sharpe=-1.0, n_bars=50))
    assert found(returns=None, sharpe=1.0, n_bars=400)["short_track_record"].numbers["needed_years"] > 2.7


def test_sharpe_too_good__is_above_three_a_year() -> None:
    assert found(returns=None, sharpe=3.5, n_bars=5040)["sharpe_too_good"].numbers == {"sharpe": 3.5, "limit": 3.0}
    assert found(returns=None, sharpe=3.0, n_bars=5040) == {}
    assert "sharpe_too_good" in found(returns=SOUND["returns"] + 0.002)


def test_edges_and_spikes__are_named() -> None:
    assert "edge of fast and slow" in found(edges=("fast", "slow"))["at_edge"].sentence
    assert found(spike=(2.5, 0.1))["lone_spike"].numbers == {"value": 2.5, "around": 0.1}
