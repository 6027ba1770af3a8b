"""What a dataset knows beside prices reaches the trials of a spec: dividends, splits, funding that is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.ingest import BarOptions, ingest_csv
from datasets.store import Store, open_store
from sweeps.attribution import profit
from sweeps.executors import serial
from sweeps.plan import make_plan
from sweeps.results import Run, open_run
from sweeps.run import drive
from sweeps.spec import parse_spec
from sweeps.submission import submit

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
