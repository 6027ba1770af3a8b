"""What a spec brings to portfolios beside prices: dividends, splits, funding; scenarios that are handed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.ingest import BarOptions, ingest_csv
from datasets.scenarios import read_csv, write_scenarios
from datasets.store import Store, open_store
from quantbot.errors import SpecError
from sweeps.attribution import profit
from sweeps.executors import serial
from sweeps.holdings import holdings_of
from sweeps.plan import Plan, make_plan
from sweeps.results import Run, open_run
from sweeps.risk import risk_view
from sweeps.run import drive
from sweeps.spec import parse_spec
from sweeps.submission import submit
from sweeps.task import check_bits

N = 60
DAYS = [str(np.datetime64("2024-01-01") + day) for day in range(N)]


def spec_of(**parts: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "run": {"name": "actions", "engine": "portfolio"},
        "data": {"dataset": "mine"},
        "scenarios": {"window": 5},
        "optimise": {"method": "equal_weight"},
        "rebalance": {"every": 1_000, "offset": 5},
        **parts,
    }


def ran(root: Store, spec: dict[str, Any]) -> Run:
    parsed = parse_spec(spec)
    plan = make_plan(parsed, root, probe=False)
    with serial() as executor:
        identity = submit(parsed, root, plan=plan)
        drive(root, identity, executor)
    return open_run(root, identity)


@pytest.fixture
def root(tmp_path: Path) -> Store:
    """Return a store with two assets of flat prices: AAA splits and pays a dividend, PERP pays funding."""
    store = open_store(str(tmp_path / "store"))
    files = {
        "closes": "Date,AAA,PERP\n" + "".join(f"{day},{100 if k < 20 else 50},10\n" for k, day in enumerate(DAYS)),
        "splits": f"date,symbol,ratio\n{DAYS[20]},AAA,2\n",
        "dividends": f"date,symbol,amount\n{DAYS[30]},AAA,1\n",
        "funding": "time,symbol,rate\n"
        + "".join(f"{day}T16:00:00Z,PERP,0.001\n" for k, day in enumerate(DAYS) if k not in (1, 40)),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    options = BarOptions(
        wide=True, zone="UTC", **{name: tmp_path / f"{name}.csv" for name in files if name != "closes"}
    )
    ingest_csv(store, "mine", tmp_path / "closes.csv", options)
    return store


def test_run__splits_pays_dividends_and_charges_funding(root: Store) -> None:
    run = ran(root, spec_of(execution={"missing_funding": "flag"}))
    replay = run.replay(0, strict=True)
    # Decided on bar 5, filled on bar 6: 500 units of AAA, 1,000 after the split, a dividend of 1 each.
    assert replay.by_asset["units"][[7, 25], 0].tolist() == [500, 1_000]
    assert replay.curves["dividends"].sum() == pytest.approx(1_000)
    # 5,000 units at 10: 50 for each of the bars 6 to 59 but one, on which the rate is not known.
    assert replay.curves["funding"].sum() == pytest.approx(-50 * 53)
    assert replay.row["funding_unknown"] == 1
    assert replay.curves["equity"][-1] == pytest.approx(100_000 + 1_000 - 50 * 53)
    found = dict(zip(*(lambda p: (p.names, p.sums.tolist()))(profit(run, replay)), strict=True))
    assert found["AAA"] == pytest.approx(1_000)
    assert found["funding"] == pytest.approx(-50 * 53)


def test_unknown_funding__is_warned_of_before_and_fails_the_trial_that_holds_it(root: Store) -> None:
    plan = make_plan(parse_spec(spec_of()), root, probe=False)
    assert any(
        "not known of PERP in 2 bars, the first 2024-01-03" in text and "fails" in text for text in plan.warnings
    )
    run = ran(root, spec_of())
    assert "the funding rate of PERP is not known" in run.failures()["reason"][0]
    without = spec_of(data={"dataset": "mine", "assets": ["AAA"]})
    assert not any("funding" in text for text in make_plan(parse_spec(without), root, probe=False).warnings)
    assert ran(root, without).row(0)["state"] == "ok"


def test_other_engine__says_that_it_charges_no_funding(root: Store) -> None:
    spec = {"version": 1, "data": {"dataset": "mine"}, "strategy": {"name": "sma_cross"},
            "parameters": {"fast": 3, "slow": 8}}  # fmt: skip
    plan = make_plan(parse_spec(spec), root, probe=False)
    assert any("charges no funding" in text for text in plan.warnings)


# -- scenarios that are handed in -------------------------------------------------------------------------------------

# Known from the end of 9 January on: each asset alone may lose 1 %, half of each never loses; then AAA is sure to gain.
VIEWS = "known,AAA,PERP\n2024-01-09,0.03,-0.01\n2024-01-09,-0.01,0.03\n2024-01-31,0.01,0.0\n"


def viewed(**parts: Any) -> dict[str, Any]:
    return spec_of(
        data={"dataset": "mine", "scenarios": "mine/views"},
        scenarios={"method": "user"},
        optimise={"method": "min_cvar", "beta": 0.5},
        rebalance={"every": 5},
        execution={"missing_funding": "flag"},
        stress={"shocks": {"squeeze": {"assets": ["PERP"], "move": 0.5, "others": -0.1}}},
        **parts,
    )


def store_views(root: Store, tmp_path: Path, text: str = VIEWS) -> None:
    (tmp_path / "views.csv").write_text(text)
    write_scenarios(root, "mine/views", read_csv(tmp_path / "views.csv"))


def test_user_scenarios__decide_from_when_they_are_known(root: Store, tmp_path: Path) -> None:
    store_views(root, tmp_path)
    plan = make_plan(parse_spec(viewed()), root, probe=False)
    assert any("first set is known at 2024-01-10T00:00:00Z; nothing is decided before" in w for w in plan.warnings)
    run = ran(root, viewed())
    replay = run.replay(0, strict=True)
    decisions = replay.tables["decisions"]
    days = decisions["ts_ns"].astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()
    status = dict(zip(days, decisions["status"].tolist(), strict=True))
    assert [status[day] for day in ("2024-01-07", "2024-01-12", "2024-02-01")] == ["waiting", "solved", "solved"]
    targets = replay.by_asset["target"]
    bar = dict(zip(days, decisions["bar"].tolist(), strict=True))
    np.testing.assert_allclose(targets[bar["2024-01-12"]], [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(targets[bar["2024-02-01"]], [1.0, 0.0], atol=1e-12)
    assert decisions["cvar"][days.index("2024-01-12")] == pytest.approx(-0.01)

    seen = risk_view(holdings_of(run, replay), window=30, method="user")
    assert seen.scenarios.returns.tolist() == [[0.01, 0.0]]
    held = holdings_of(run, replay).weights[seen.bar]
    stress = seen.stress()
    assert stress.names[0] == "squeeze"
    assert stress.loss[0] == pytest.approx(0.1 * held[0] - 0.5 * held[1])


def test_user_scenarios__are_part_of_the_identity_by_content(root: Store, tmp_path: Path) -> None:
    def identity(text: str) -> str:
        store_views(root, tmp_path, text)
        return make_plan(parse_spec(viewed()), root, probe=False).identity

    first = identity(VIEWS)
    assert identity(VIEWS.replace("0.03", "0.04")) != first
    assert identity(VIEWS) == first
    plan = make_plan(parse_spec(viewed()), root, probe=False)
    again = Plan.from_bytes(plan.to_bytes())
    assert again.to_bytes() == plan.to_bytes()
    assert again.job().given is not None
    check_bits(again)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (VIEWS, {"scenarios": {"method": "historical", "window": 5}}, "data.scenarios: no trial takes them"),
        (VIEWS, {"data": {"dataset": "mine"}}, "scenarios.method: user takes scenarios that are handed in"),
        (VIEWS.replace("PERP", "PREP"), {}, "no column for PERP; did you mean 'PREP'"),
        (VIEWS.replace("2024", "2034"), {}, "first set is known at 2034-01-10.*after the last bar"),
        (VIEWS, {"optimise": {"beta": 1.0}}, r"optimise\.beta: must be a number from"),
        (VIEWS, {"stress": {"shocks": {"x": {"assets": ["AAB"], "move": -0.1}}}}, r"stress\.shocks\.x: 'AAB'.*'AAA'"),
        (VIEWS, {"stress": {"shocks": {"x": {"assets": ["AAA"], "move": -2}}}}, r"stress\.shocks\.x: move must be"),
        (VIEWS, {"run": {"engine": "bars"}, "strategy": {"name": "sma_cross"}}, "scenarios: no such section"),
    ],
)
def test_user_scenarios__are_refused_before_anything_starts(
    root: Store, tmp_path: Path, text: str, changes: dict[str, Any], said: str
) -> None:
    store_views(root, tmp_path, text)
    with pytest.raises(SpecError, match=f"(?s){said}"):
        make_plan(parse_spec({**viewed(), **changes}), root, probe=False)


def test_user_scenarios__without_a_time_are_warned_of(root: Store, tmp_path: Path) -> None:
    store_views(root, tmp_path, "AAA,PERP\n0.01,0\n-0.01,0\n")
    plan = make_plan(parse_spec(viewed()), root, probe=False)
    assert any("they have no time, so every decision sees them" in text for text in plan.warnings)
