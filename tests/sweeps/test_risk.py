"""What may hurt a portfolio: seen from one close, by nothing that comes after it; who earned and who lost it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.holdings import read_returns
from datasets.store import open_store
from quantbot.errors import InputError
from quantbot.market import Bars, Instrument
from sweeps.attribution import drawdowns, explain, guard_effects, profit, without_guards
from sweeps.executors import serial
from sweeps.holdings import Holdings, holdings_from, holdings_of
from sweeps.plan import make_plan
from sweeps.results import Run, open_run
from sweeps.risk import largest, returns_between, risk_view, through_time
from sweeps.run import drive
from sweeps.spec import parse_spec
from sweeps.submission import submit

DAY_NS = 86_400 * 10**9
ASSETS = ("AAA", "BBB", "CCC")
SPEC = """
version = 1
[run]
name = "guarded"
engine = "portfolio"
[data]
dataset = "test/three"
[scenarios]
window = 40
[rebalance]
every = 10
[execution]
fee_bps = 10
half_spread_bps = 5
cash_rate = 0.02
[parameters]
"optimise.method" = { values = ["min_cvar", "equal_weight"] }
"guards.max_gross" = { values = [0, 0.6] }
"""


def held(n_bars: int = 200) -> Holdings:
    rng = np.random.default_rng(3)
    returns = 0.01 * rng.standard_t(4, (n_bars, 3))
    returns[0] = np.nan
    weights = np.zeros((n_bars, 3))
    weights[50:] = [0.5, 0.3, -0.2]
    return Holdings("test", ASSETS, DAY_NS * np.arange(n_bars), returns, weights, 252.0, first=50, window=60)


def test_view__sees_nothing_after_its_close() -> None:
    whole = held()
    later = whole.returns.copy()
    later[151:] = 0.5
    changed = replace(whole, returns=later)
    for method in ("historical", "exponential", "stationary_bootstrap"):
        pytest.importorskip("arch", reason="pip install 'quantbot[stats]'")
        one, other = (risk_view(own, bar=150, method=method) for own in (whole, changed))
        assert one.contributions().component.tobytes() == other.contributions().component.tobytes()
        assert one.stress().loss.tobytes() == other.stress().loss.tobytes()
    assert risk_view(whole).contributions().total != risk_view(changed).contributions().total


def test_view__adds_up_and_names_the_worst_bars() -> None:
    seen = risk_view(held(), bar=150, beta=0.9)
    assert len(seen.rows) == 60
    found = seen.contributions()
    assert found.component.sum() == pytest.approx(found.total, rel=1e-12)
    bars, losses, parts = seen.tail(6)
    own = -(held().returns[91:151] @ [0.5, 0.3, -0.2])
    np.testing.assert_allclose(losses, np.sort(own)[::-1][:6])
    np.testing.assert_allclose(parts.sum(axis=1), losses)
    assert set(bars.tolist()) == set((91 + np.argsort(-own)[:6]).tolist())
    assert found.total == pytest.approx(losses.mean())  # a tenth of 60 bars
    factors = seen.factors()
    assert factors.component.sum() + factors.specific + factors.constant == pytest.approx(factors.total, rel=1e-12)
    front = seen.frontier(8)
    assert (np.diff(front.cvar) >= -1e-12).all()
    assert [len(one.points) for one in seen.cloud(2)] == [12, 12]


def test_view__leaves_out_and_names_what_has_no_history() -> None:
    gaps = held()
    gaps.returns[100, 1] = np.nan
    seen = risk_view(gaps, bar=150)
    assert seen.assets == ("AAA", "CCC")
    assert seen.left_out == {"BBB": 0.3}
    assert risk_view(gaps, bar=180).left_out == {}


def test_view__refuses_what_it_cannot_see() -> None:
    whole = held()
    for changes, wanted in (({"beta": 1.0}, "beta"), ({"bar": 999}, "bar must be"), ({"window": 10}, "20 bars")):
        with pytest.raises(InputError, match=wanted):
            risk_view(whole, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="never holds anything"):
        risk_view(replace(whole, weights=np.zeros_like(whole.weights)))


def test_through_time__agrees_with_the_view_of_each_close() -> None:
    whole = held()
    times, found = through_time(whole, beta=0.9, most=5)
    for at, (time, total) in enumerate(zip(times.tolist(), found.total.tolist(), strict=True)):
        seen = risk_view(whole, bar=time // DAY_NS, beta=0.9)
        assert seen.contributions().total == total
        np.testing.assert_array_equal(seen.contributions().component, found.component[at])


def test_holdings__of_files_name_what_has_no_returns_and_know_the_year() -> None:
    days = "\n".join(f"2024-{1 + day // 28:02d}-{1 + day % 28:02d},0.01,-0.01" for day in range(84))
    table = read_returns(f"date,A,B\n{days}\n".encode())
    with pytest.raises(InputError, match=r"X, Y: held, but all without returns; the returns have A, B"):
        holdings_from(table, {"A": 0.5, "X": 0.2, "Y": 0.3})
    equal = holdings_from(table, None)
    assert equal.weights[-1].tolist() == [0.5, 0.5]
    assert "equal share" in equal.notes[0]
    assert holdings_from(table, {"A": 1.0}).weights[0].tolist() == [1.0, 0.0]
    assert equal.periods_per_year == 365.0


def test_returns_between__use_the_last_close_that_was_known() -> None:
    seen = risk_view(held(), bar=150)
    closes = np.linspace(100.0, 120.0, 201)
    bars = Bars(Instrument("IDX"), DAY_NS * np.arange(-1, 200) + 3_600, *[closes] * 5, 252.0)
    found = returns_between([bars], seen)[:, 0]
    known = closes[seen.rows]  # the bar of the day before ended an hour after its close: that of this day is not known
    np.testing.assert_allclose(found, known / closes[seen.rows - 1] - 1.0)
    with pytest.raises(InputError, match="IDX has closes from"):
        returns_between([replace(bars, ts_end_ns=bars.ts_end_ns + 150 * DAY_NS)], seen)


def test_largest__keeps_the_sum() -> None:
    values = np.random.default_rng(0).normal(size=(5, 20))
    kept, names = largest(values, [str(k) for k in range(20)], 6)
    np.testing.assert_allclose(kept.sum(axis=1), values.sum(axis=1))
    assert len(names) == 7


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = open_store(str(tmp_path_factory.mktemp("risk") / "store"))
    rng = np.random.default_rng(5)
    stamps = np.datetime64("2022-01-03T21:00", "ns").astype(np.int64) + DAY_NS * np.arange(160)
    columns = {}
    for asset in ASSETS:
        close = 100 * np.cumprod(1 + 0.015 * rng.standard_normal(160))
        columns[asset] = BarColumns(stamps, close, close, close, close, np.full(160, 1e6))
    meta = BarsMeta("three", "a test", "1d", 252.0, zone="UTC")
    write_bars(root, "test/three", columns, meta, {"findings": []})
    spec = parse_spec(SPEC)
    identity = submit(spec, root, plan=make_plan(spec, root, probe=False))
    with serial() as executor:
        drive(root, identity, executor)
    return open_run(root, identity)


def test_profit__sums_to_the_change_of_equity_and_shows_what_guards_changed(guarded: Run) -> None:
    for trial in range(4):
        replay = guarded.replay(trial)
        found = profit(guarded, replay)
        assert found.total == pytest.approx(replay.curves["equity"][-1] - 100_000, abs=1e-6)
        on = dict(guarded.plan.trial(trial).point)["guards.max_gross"] > 0
        assert ("guard" in found.kinds) == on
        assert (without_guards(guarded, trial) is None) != on
        for one in drawdowns(guarded, replay):
            assert one.component.sum() == pytest.approx(-one.drawdown.depth, abs=1e-12)


def test_guards__that_never_act_leave_what_was_replayed_without_them(guarded: Run) -> None:
    free, limited = guarded.replay(0), guarded.replay(1)
    found = without_guards(guarded, 1)
    assert found is not None
    assert found.curves["equity"].tobytes() == free.curves["equity"].tobytes()
    assert limited.curves["gross"].max() < 0.65 < free.curves["gross"].max()


def test_guard_effects__are_those_of_the_same_trial_without_the_guard(guarded: Run) -> None:
    assert guard_effects(guarded, guarded.replay(0)) == ()
    (one,) = guard_effects(guarded, guarded.replay(1))
    assert one.guard == "max_gross"
    assert one.n > 0
    assert one.off["final_equity"] == guarded.replay(0).row["final_equity"]


def test_explain__sums_to_the_difference_and_tells_guards_from_signal(guarded: Run) -> None:
    replays = [guarded.replay(trial) for trial in range(4)]
    ends = [replay.curves["equity"][-1] / 100_000 - 1 for replay in replays]

    def effects(first: int, second: int) -> np.ndarray:
        found = explain((guarded, replays[first]), (guarded, replays[second]))
        assert found.difference.total == pytest.approx(ends[first] - ends[second], abs=1e-12)
        assert found.difference.effects.sum() == pytest.approx(found.difference.total, abs=1e-12)
        assert found.assets == ASSETS
        return found.difference.effects

    signal, sizing, guards, *_ = np.abs(effects(1, 0)).tolist()  # the same, but for a guard
    assert guards > 0
    assert signal < 1e-12
    assert sizing < 1e-12
    signal, _, guards, *_ = np.abs(effects(2, 0)).tolist()  # other weights, no guard
    assert signal > 0
    assert guards == 0


def test_holdings_of__are_the_trials_weights_before_which_nothing_is_held(guarded: Run) -> None:
    replay = guarded.replay(2)
    found = holdings_of(guarded, replay)
    assert found.assets == ASSETS
    np.testing.assert_array_equal(found.weights[found.first :], replay.by_asset["weight"])
    assert found.window == 40
    seen = risk_view(found)
    assert seen.contributions().component.sum() == pytest.approx(seen.contributions().total, rel=1e-12)
