"""Several strategies on one pool from a spec: each its own chain, its share, its profit; the account is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import Store, open_store
from quantbot.errors import InputError, SpecError
from quantbot.portfolio import Targets, momentum_targets, pool, replay_account
from quantbot.portfolio.replay import HELD_BY
from sweeps.attribution import profit, strategies_profit
from sweeps.executors import serial
from sweeps.holdings import holdings_of
from sweeps.ledger import family_of
from sweeps.plan import Plan, make_plan
from sweeps.results import Run, open_run
from sweeps.risk import FRONTIERS, OWN_LIMITS, risk_view
from sweeps.run import drive
from sweeps.spec import parse_spec
from sweeps.submission import submit
from sweeps.task import load_data

DAY_NS = 86_400 * 10**9
ASSETS = ("AAA", "BBB", "CCC")
SPEC = """
version = 1
[run]
name = "pool"
engine = "portfolio"
[data]
dataset = "test/three"
[scenarios]
window = 30
[optimise]
method = "min_cvar"
[rebalance]
every = 20
[execution]
fee_bps = 10
cash_rate = 0.02

[pool.strategies.trend]
allocation = 0.4
optimise = { method = "momentum", lookback = 10, share = 0.4 }
rebalance.every = 10

[pool.strategies.calm]
allocation = 0.6

[parameters]
"pool.strategies.trend.allocation" = { values = [0.0, 0.4] }
"optimise.beta" = { values = [0.8, 0.9] }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_three(tmp_path_factory.mktemp("pool"))


def write_three(folder: Path) -> Store:
    store = open_store(str(folder / "store"))
    rng = np.random.default_rng(8)
    stamps = np.datetime64("2022-01-03T21:00", "ns").astype(np.int64) + DAY_NS * np.arange(140)
    columns = {}
    for asset in ASSETS:
        close = 100 * np.cumprod(1 + 0.015 * rng.standard_normal(140))
        columns[asset] = BarColumns(stamps, close, close, close, close, np.full(140, 1e6))
    write_bars(store, "test/three", columns, BarsMeta("three", "a test", "1d", 252.0, zone="UTC"), {"findings": []})
    return store


def ran(root: Store, spec: Any) -> Run:
    parsed = parse_spec(spec)
    plan = make_plan(parsed, root, probe=False)
    with serial() as executor:
        identity = submit(parsed, root, plan=plan)
        drive(root, identity, executor)
    return open_run(root, identity)


@pytest.fixture(scope="module")
def run(root: Store) -> Run:
    return ran(root, SPEC)


def trial_of(run: Run, **settings: float) -> int:
    wanted = {name.replace("__", "."): value for name, value in settings.items()}
    return next(t for t in range(run.plan.n_trials) if wanted.items() <= dict(run.plan.trial(t).point).items())


def test_pool__survives_toml_and_plan_and_is_called_after_its_methods(root: Store) -> None:
    spec = parse_spec(SPEC)
    assert parse_spec(spec.to_toml()) == spec
    plan = make_plan(spec, root, probe=False)
    assert (plan.n_trials, family_of(plan).strategy) == (4, "portfolio/min_cvar+momentum")
    assert Plan.from_bytes(plan.to_bytes()).to_bytes() == plan.to_bytes()
    assert not any("leverage" in text for text in plan.warnings)
    much = make_plan(parse_spec(SPEC.replace("allocation = 0.6", "allocation = 0.9")), root, probe=False)
    assert any("come to up to 1.3 of the equity, execution.leverage is 1" in text for text in much.warnings)
    other = SPEC.replace("lookback = 10", "lookback = 11")
    assert make_plan(parse_spec(other), root, probe=False).identity != plan.identity


def test_pool__has_the_same_bits_whoever_computes_what(run: Run, tmp_path: Path) -> None:
    spec, alone = parse_spec(SPEC), write_three(tmp_path)
    with serial() as executor:
        found = drive(alone, submit(spec, alone, plan=make_plan(spec, alone, probe=False, block_points=1)), executor)
    assert (found.identity, found.n_blocks) == (run.identity, 4)
    assert run.plan.n_blocks == 1
    assert found.result_digest == run.digest


def test_pool__trades_what_the_same_strategies_pooled_in_python_do(root: Store, run: Run) -> None:
    trial = trial_of(run, pool__strategies__trend__allocation=0.4, optimise__beta=0.9)
    replay = run.replay(trial, strict=True)
    panel = load_data(run.plan, "portfolio")
    alone = ran(root, SPEC.partition("[pool")[0] + '[parameters]\n"optimise.beta" = 0.9\n')
    decided = alone.replay(0)
    bars = decided.tables["decisions"]["bar"]
    solved = decided.tables["decisions"]["status"] == "solved"
    calm = Targets.one(bars[solved], decided.by_asset["target"][bars[solved]])
    trend = momentum_targets(panel, 10, 0.4, 10)
    trend = Targets.one(trend.bars[trend.bars >= 30], trend.weights[0][trend.bars >= 30])  # a whole window first
    both = pool({"trend": trend, "calm": calm}, {"trend": 0.4, "calm": 0.6})
    settings = {"execution.fee_bps": 10, "execution.cash_rate": 0.02}
    path = replay_account(panel, (0, len(panel)), both, settings, {})
    np.testing.assert_allclose(replay.curves["equity"], path.equity, rtol=1e-12)
    for name, own in strategies_profit(replay).items():
        np.testing.assert_allclose(own, path.by_strategy[name], atol=1e-7)


def test_pool__with_nothing_for_the_other_is_the_strategy_alone_with_its_share(run: Run) -> None:
    trial = trial_of(run, pool__strategies__trend__allocation=0.0, optimise__beta=0.8)
    replay = run.replay(trial)
    earned = strategies_profit(replay)
    assert not earned["trend"].any()
    assert earned["calm"].any()


def test_profit_weights_and_risk_by_strategy__sum_to_the_accounts(run: Run) -> None:
    trial = trial_of(run, pool__strategies__trend__allocation=0.4, optimise__beta=0.8)
    replay = run.replay(trial)
    earned = strategies_profit(replay)
    assert list(earned) == ["trend", "calm"]
    total = sum(own.sum() for own in earned.values()) + replay.curves["interest"].sum()
    assert total == pytest.approx(replay.curves["equity"][-1] - 100_000, abs=1e-6)
    assert profit(run, replay).total == pytest.approx(total, abs=1e-6)
    held = sum(replay.by_asset[f"{HELD_BY}{name}"] for name in earned)
    np.testing.assert_allclose(held, replay.by_asset["weight"], atol=1e-12)
    decisions = replay.tables["decisions"]
    assert set(decisions["strategy"].tolist()) == {"trend", "calm"}
    assert (np.diff(decisions["bar"]) >= 0).all()

    seen = risk_view(holdings_of(run, replay), window=60)
    for method in ("cvar", "volatility", "var"):
        parts = seen.by_strategy(method)  # type: ignore[arg-type]
        assert parts.names == ("trend", "calm")
        assert parts.component.sum() == pytest.approx(seen.contributions(method).total, rel=1e-12)  # type: ignore[arg-type]


def test_row__adds_up_the_decisions_of_all_and_foretells_nothing(run: Run) -> None:
    row = run.replay(0).row
    assert row["n_problems"] == 11 + 5  # at bars 30, 40, ..., 130, and at 40, 60, ..., 120
    assert np.isnan(row["cvar_forecast"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("allocation = 0.6", ""), r"pool\.strategies\.calm: allocation is required"),
        (("allocation = 0.6", "allocation = -1"), r"pool\.strategies\.calm: allocation must be a number from 0"),
        (("lookback = 10", "lookbakc = 10"), r"strategies\.trend: optimise\.lookbakc is no field.*'optimise.look"),
        (('"momentum"', '"momentun"'), "did you mean 'momentum'"),
        (("strategies.calm]", 'strategies."my calm"]'), "needs a name of letters, digits and underscores"),
        (('"pool.strategies.trend.allocation"', '"pool.strategies.trent.allocation"'), "did you mean 'pool.strat"),
        (("allocation = 0.6", "allocation = 0.6\nscenarios.window = 5000"), "strategy calm: no decision"),
        (("allocation = 0.6", "allocation = 0.6\nconstraints.max_weight = 0.1"), "strategy calm: the first .*budget"),
        (("allocation = 0.6", 'allocation = 0.6\nscenarios.method = "user"'), "user takes scenarios that are"),
    ],
)  # fmt: skip
def test_pool__is_refused_by_strategy_and_field(root: Store, change: tuple[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=f"(?s){said}"):
        make_plan(parse_spec(SPEC.replace(*change)), root, probe=False)


# -- frontiers --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frontiers__of_more_freedom_are_never_worse_and_keep_their_limits(
    root: Store, run: Run, tmp_path: Path
) -> None:
    spec = SPEC.partition("[pool")[0] + "[constraints]\nmax_weight = 0.5\nmin_weight = 0.1\n"
    alone = ran(root, spec)
    seen = risk_view(holdings_of(alone, alone.replay(0)), window=60, beta=0.9)
    fronts = {name: seen.frontier(12, name) for name in (*FRONTIERS, OWN_LIMITS)}
    for name, front in fronts.items():
        assert max(point.gap for point in front.points) < 1e-9, name
        np.testing.assert_allclose(front.weights.sum(axis=1), 1.0, atol=1e-9)
        assert np.abs(front.weights).sum(axis=1).max() <= FRONTIERS.get(name, 1.0) + 1e-9
    assert fronts["150/50"].weights.min() < -0.1
    own = fronts[OWN_LIMITS].weights
    assert own.min() >= 0.1 - 1e-9
    assert own.max() <= 0.5 + 1e-9
    least = [fronts[name].cvar.min() for name in (OWN_LIMITS, *FRONTIERS)]
    assert (np.diff(least) <= 1e-12).all()
    pooled = risk_view(holdings_of(run, run.replay(0)), window=60)
    with pytest.raises(InputError, match="no limits of its own"):
        pooled.frontier(5, OWN_LIMITS)
    with pytest.raises(InputError, match="a frontier is one of"):
        pooled.frontier(5, "short")
