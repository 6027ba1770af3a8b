from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from quantbot.engine import Job, Points, get_engine
from quantbot.errors import DataError, ParameterError
from quantbot.market import Instrument, Panel
from quantbot.portfolio import Constraints, rolling_cvar
from quantbot.portfolio.chains import FALLBACK, SOLVED, WAITING, History, make_chain
from quantbot.portfolio.sections import defaults

ENGINE = get_engine("portfolio")
N_BARS, N_ASSETS, WINDOW = 240, 5, 40
BASE = defaults() | {"scenarios.window": WINDOW, "rebalance.every": 10, "constraints.max_weight": 0.5}


def panel_of(returns, **changed):
    close = 100 * np.cumprod(1 + returns, axis=0)
    opened = np.vstack([close[:1], close[:-1]]) * 1.0005
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    names = tuple(Instrument(f"A{j}") for j in range(returns.shape[1]))
    days = (np.arange(len(returns)) + 12_000) * 86_400 * 10**9
    made = Panel(names, days, opened, high, low, close, np.full_like(close, 1e6), 252.0)
    return replace(made, **changed)


def random_returns(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_t(4, (N_BARS, N_ASSETS)) * 0.01 * np.linspace(0.5, 1.5, N_ASSETS) + 0.0005


@pytest.fixture(scope="module")
def panel():
    return panel_of(random_returns())


def job_of(panel, tables=None, **changed):
    settings = BASE | {name.replace("__", "."): value for name, value in changed.items()}
    return Job(None, settings, (*ENGINE.default_groups, "guards"), assets=panel.assets, tables=tables or {})


def grid(**columns):
    meshes = np.meshgrid(*[np.array(values) for values in columns.values()], indexing="ij")
    named = {name.replace("__", "."): mesh.ravel() for name, mesh in zip(columns, meshes, strict=True)}
    return Points(meshes[0].size, named)


POINTS = grid(
    optimise__beta=[0.8, 0.95], constraints__turnover=[0.0, 0.3], rebalance__every=[10, 15], execution__fee_bps=[0.0, 9]
)


def test_run__gives_a_point_the_same_bits_alone_and_among_others(panel):
    job = job_of(panel)
    together = ENGINE.run(job, panel, (60, N_BARS), POINTS)
    order = np.random.default_rng(1).permutation(len(POINTS))
    shuffled = ENGINE.run(job, panel_of(random_returns()), (60, N_BARS), POINTS.take(order))
    for row in (0, 5, 15):
        alone = ENGINE.run(job, panel_of(random_returns()), (60, N_BARS), POINTS[row : row + 1])
        for name, values in together.measures.items():
            assert values[row].tobytes() == alone.measures[name][0].tobytes(), name
    for name, values in together.measures.items():
        assert values[order].tobytes() == shuffled.measures[name].tobytes(), name
    assert not together.reasons


def test_run__shares_weights_between_points_that_differ_in_costs_alone(panel):
    rows = ENGINE.run(job_of(panel), panel, (60, N_BARS), POINTS)
    free, dear = rows.measures["cvar_realised"][::2], rows.measures["cvar_realised"][1::2]
    assert free.tobytes() == dear.tobytes()
    assert (rows.measures["final_equity"][::2] > rows.measures["final_equity"][1::2]).all()


def test_replay__is_the_row_and_its_parts_add_up(panel):
    job = job_of(panel, execution__half_spread_bps=3.0)
    rows = ENGINE.run(job, panel, (60, N_BARS), POINTS)
    found = ENGINE.replay(job, panel, (60, N_BARS), POINTS.point(7))
    assert {name: values[7] for name, values in rows.measures.items()} == pytest.approx(found.row, nan_ok=True, abs=0)
    earned = found.by_asset["pnl"].sum() - found.by_asset["cost"].sum()
    assert earned == pytest.approx(found.curves["equity"][-1] - 100_000.0, abs=1e-6)
    held = found.by_asset["weight"].sum(axis=1) + found.curves["cash"] / found.curves["equity"]
    assert held == pytest.approx(np.ones(N_BARS - 60))
    returns = ENGINE.returns(job, panel, (60, N_BARS), POINTS)[7]
    assert 100_000.0 * np.cumprod(1 + returns) == pytest.approx(found.curves["equity"])


def test_chain__is_the_rolling_solution_of_its_windows(panel):
    settings = BASE | {"optimise.beta": 0.9}
    chain = make_chain(History.of(panel), (60, N_BARS), settings, {})
    assert chain.bars.tolist() == list(range(60, N_BARS, 10))
    returns = panel.returns()[60 - WINDOW + 1 :]
    wanted = rolling_cvar(returns, window=WINDOW, step=10, beta=0.9, constraints=Constraints(upper=0.5))
    assert chain.weights == pytest.approx(wanted.weights[: len(chain.bars)], abs=1e-12)
    assert chain.cvar == pytest.approx([point.cvar for point in wanted.points[: len(chain.bars)]], abs=1e-12)
    assert np.nanmax(chain.gap) < 1e-9


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"constraints.cost_bps": 20.0},
        {"optimise.method": "risk_parity", "constraints.max_weight": 1.0},
        {"optimise.method": "momentum", "optimise.lookback": 20, "constraints.max_weight": 1.0},
        {"scenarios.method": "exponential", "scenarios.missing": "stale"},
        {"scenarios.method": "student_t", "scenarios.n_scenarios": 50},
    ],
)
def test_chain__never_looks_ahead(panel, changed):
    returns = random_returns()
    cut = 150
    returns[cut + 1 :] = random_returns(9)[cut + 1 :]
    settings = BASE | changed
    before = make_chain(History.of(panel), (60, N_BARS), settings, {})
    after = make_chain(History.of(panel_of(returns)), (60, N_BARS), settings, {})
    decided = before.bars <= cut
    assert before.weights[decided].tobytes() == after.weights[decided].tobytes()
    assert before.weights[~decided].tobytes() != after.weights[~decided].tobytes()


def test_chain__limits_turnover_against_what_is_held_by_then(panel):
    history = History.of(panel)
    chain = make_chain(history, (60, N_BARS), BASE | {"constraints.turnover": 0.1}, {})
    assert (chain.status == SOLVED).all()
    for k in range(1, len(chain.bars)):
        moves = history.returns[chain.bars[k - 1] + 1 : chain.bars[k] + 1]
        grown = chain.weights[k - 1] * np.prod(1 + moves, axis=0)
        assert np.abs(chain.weights[k] - grown / grown.sum()).sum() <= 0.1 + 1e-9


def test_chain__leaves_out_assets_without_a_whole_history_and_counts_them():
    panel = panel_of(random_returns())
    close = panel.close.copy()
    close[:90, 2] = np.nan  # listed late
    close[180, 4] = np.nan  # one bar without a price
    late = replace(panel, **dict.fromkeys(("open", "high", "low", "close"), close))
    chain = make_chain(History.of(late), (60, N_BARS), BASE, {})
    at = dict(zip(chain.bars.tolist(), chain.weights, strict=True))
    assert at[90 + WINDOW - 10][2] == 0.0
    assert all(at[bar][4] == 0.0 for bar in chain.bars.tolist() if 180 <= bar < 180 + WINDOW)
    assert chain.n_assets.min() == 4
    rows = ENGINE.run(job_of(late), late, (60, N_BARS), Points(1))
    assert rows.measures["n_excluded"][0] == (5 - chain.n_assets).sum() > 0
    stale = make_chain(History.of(late), (60, N_BARS), BASE | {"scenarios.missing": "stale"}, {})
    assert stale.n_assets[-1] == 5
    assert stale.n_assets[0] == 4


def test_chain__waits_for_a_whole_window(panel):
    chain = make_chain(History.of(panel), (0, N_BARS), BASE, {})
    assert chain.bars[0] == WINDOW
    close = panel.close.copy()
    close[:60] = np.nan
    late = replace(panel, **dict.fromkeys(("open", "high", "low", "close"), close))
    chain = make_chain(History.of(late), (0, N_BARS), BASE, {})
    waiting = chain.bars < 60 + WINDOW
    assert (chain.status[waiting] == WAITING).all()
    assert (chain.status[~waiting] == SOLVED).all()


def test_run__fails_a_trial_whose_first_decision_is_infeasible_and_names_the_conflict(panel):
    points = Points(2, {"constraints.max_weight": np.array([0.1, 0.5])})
    rows = ENGINE.run(job_of(panel), panel, (60, N_BARS), points)
    assert rows.status.tolist() == [1, 0]
    assert "budget" in rows.reasons[0]
    assert "0.1" in rows.reasons[0]
    assert all(np.isnan(values[0]) for values in rows.measures.values())
    with pytest.raises(DataError, match="budget"):
        ENGINE.replay(job_of(panel), panel, (60, N_BARS), points.point(0))


@pytest.mark.parametrize("fallback", ["hold", "cash"])
def test_run__falls_back_by_the_named_rule_and_counts_it(fallback):
    returns = random_returns()
    returns[150:] -= 0.02  # from then on no portfolio can earn what is asked for
    panel = panel_of(returns)
    job = job_of(panel, optimise__target_return=0.05, rebalance__fallback=fallback)
    chain = make_chain(History.of(panel), (60, N_BARS), job.settings, {})
    fallen = chain.status == FALLBACK
    assert 0 < fallen.sum() < len(chain.bars)
    assert all("target_return" in chain.why[place] for place in np.flatnonzero(fallen))
    rows = ENGINE.run(job, panel, (60, N_BARS), Points(1))
    assert rows.measures["n_fallbacks"][0] == fallen.sum()
    found = ENGINE.replay(job, panel, (60, N_BARS), {})
    assert (found.by_asset["weight"][-1].sum() == 0.0) == (fallback == "cash")
    assert found.tables["decisions"]["status"].tolist().count("fallback") == fallen.sum()


def test_run__keeps_groups_and_limits_of_single_assets(panel):
    tables = {
        "constraints.groups": {"first": {"assets": ("A0", "A1"), "high": 0.3}},
        "constraints.assets": {"A4": {"min_weight": 0.2}},
    }
    chain = make_chain(History.of(panel), (60, N_BARS), BASE, tables)
    assert chain.weights[:, :2].sum(axis=1).max() <= 0.3 + 1e-9
    assert chain.weights[:, 4].min() >= 0.2 - 1e-9


def test_tracking__follows_a_benchmark_that_it_can_hold(panel):
    tables = {"optimise.benchmark": {"A1": {"weight": 0.4}, "A3": {"weight": 0.6}}}
    settings = BASE | {"optimise.method": "tracking", "constraints.max_weight": 1.0}
    chain = make_chain(History.of(panel), (60, N_BARS), settings, tables)
    assert chain.weights == pytest.approx(np.tile([0, 0.4, 0, 0.6, 0], (len(chain.bars), 1)), abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"optimise.method": "momentum"}, r"momentum can't honour constraints\.max_weight"),
        (
            {"optimise.method": "inverse_volatility", "optimise.target_return": 0.1},
            r"can't honour optimise\.target_return",
        ),
        ({"optimise.method": "momentum", "constraints.max_weight": 1.0, "optimise.lookback": 900}, "no decision"),
        ({"scenarios.window": 900}, r"shorten scenarios\.window"),
    ],
)
def test_chain__says_what_its_method_cannot_do(panel, changed, said):
    chain = make_chain(History.of(panel), (60, N_BARS), BASE | changed, {})
    assert re.search(said, chain.failed)


def test_chain__of_one_decision_on_the_last_bar_has_nothing_to_come_true(panel):
    chain = make_chain(History.of(panel), (N_BARS - 1, N_BARS), BASE, {})
    assert chain.bars.tolist() == [N_BARS - 1]
    assert np.isnan(chain.measures(BASE)["cvar_realised"])


def test_problems__name_what_no_setting_can_meet(panel):
    job = job_of(panel, constraints__max_weight=0.1)
    refused, _ = ENGINE.problems(job, lambda: panel, [(60, N_BARS)], Points(1))
    assert len(refused) == 1
    assert "budget" in refused[0]
    points = Points(2, {"constraints.max_weight": np.array([0.1, 0.5])})
    refused, warned = ENGINE.problems(job, lambda: panel, [(60, N_BARS)], points)
    assert not refused
    assert "1 of 2" in warned[0]
    refused, _ = ENGINE.problems(job_of(panel, scenarios__window=1000), lambda: panel, [(60, N_BARS)], Points(1))
    assert "scenarios.window" in refused[0]


def test_problems__name_the_asset_whose_return_is_infinite(panel):
    close = panel.close.copy()
    close[100, 3] = 0.0
    broken = replace(panel, close=close)
    refused, _ = ENGINE.problems(job_of(panel), lambda: broken, [(60, N_BARS)], Points(1))
    assert "A3" in refused[0]


def test_run__refuses_a_setting_that_it_has_not(panel):
    with pytest.raises(ParameterError, match=r"optimise\.beta"):
        ENGINE.run(job_of(panel), panel, (60, N_BARS), Points(1, {"optimise.betta": np.array([0.9])}))


def test_seams__begin_where_another_chain_does():
    assert ENGINE.seams(Job(None, BASE), POINTS).tolist() == list(range(0, 16, 2))
