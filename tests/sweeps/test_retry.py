from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.store import Store
from quantbot.errors import InputError
from sweeps.executors import serial
from sweeps.plan import make_plan
from sweeps.results import Run, open_run
from sweeps.retry import retry
from sweeps.run import drive
from sweeps.spec import parse_spec
from sweeps.submission import submit

BRITTLE = '''
from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


@strategy(
    parameters=[
        integer("window", 20, 2, 500, "Bars in the mean.", unit="bars"),
        number("depth", 0.03, 0.0, 0.5, "How far below the mean to buy."),
    ],
    indicators={"mean": sma("window")},
)
def brittle(close: float, mean: float, window: float, depth: float, position: float) -> float:
    """Buy below the mean; break down where it is told to."""
    if CONDITION:
        return (close - close) / (close - close)
    return 1.0 if close < mean * (1.0 - depth) else position
'''


@pytest.fixture
def broken(small: Any, tmp_path: Path) -> Callable[[str], tuple[Store, Run, Path]]:
    """Run a strategy that fails where a condition holds."""

    def run(condition: str) -> tuple[Store, Run, Path]:
        (tmp_path / "brittle.py").write_text(BRITTLE.replace("CONDITION", condition))
        root = small.root(str(tmp_path / "store"))
        spec = parse_spec({
            "version": 1, "data": {"dataset": "test/small"},
            "strategy": {"name": "brittle.py:brittle", "plain_python": True},
            "parameters": {"window": {"start": 5, "stop": 20, "step": 5}, "depth": {"values": [0.005, 0.01, 0.02]},
                           "execution.fee_bps": 3},
        }, folder=tmp_path)  # fmt: skip
        identity = submit(spec, root, plan=make_plan(spec, root, block_points=5, probe=False))
        with serial() as executor:
            drive(root, identity, executor)
        return root, open_run(root, identity), tmp_path

    return run


@pytest.mark.parametrize(
    "condition",
    [
        "window > 12.0 and depth > 0.008",  # a corner: all of a smaller grid
        "(window < 7.0 and depth > 0.015) or (window > 17.0 and depth < 0.008)",  # two opposite points
        "window == 10.0",
    ],
)
def test_retry__runs_exactly_the_points_that_failed(broken: Any, condition: str) -> None:
    root, run, folder = broken(condition)
    found = retry(run)
    plan = make_plan(parse_spec(found.spec, folder=folder), root, probe=False)
    failed = {tuple(run.plan.trial(int(trial)).settings.values()) for trial in run.failed()}
    fixed = tomllib.loads(found.spec)["parameters"]
    names = ("window", "depth")
    points = [fixed | dict(plan.trial(index).settings) for index in range(plan.n_points)]
    assert {tuple(point[name] for name in names) for point in points} == failed
    assert (found.n_points, found.n_more) == (len(failed), 0)
    assert plan.spec.name.endswith("-retry")


def test_retry__of_one_reason_takes_only_its_trials(broken: Any) -> None:
    _, run, _ = broken("window > 12.0")
    reason = str(run.failures()["reason"][0])
    assert run.failed(reason).tolist() == run.failed().tolist() != []
    with pytest.raises(InputError, match="nothing to retry"):
        retry(run, "another reason")


def test_retry__of_a_run_without_failures_says_so(broken: Any) -> None:
    _, run, _ = broken("window > 1000.0")
    with pytest.raises(InputError, match="nothing to retry"):
        retry(run)


def test_retry__says_how_many_more_it_runs_where_no_condition_is_short_enough(broken: Any) -> None:
    import sweeps.retry as module

    _, run, _ = broken("(window < 7.0 and depth > 0.015) or (window > 17.0 and depth < 0.008)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_LENGTH", 10)
        found = retry(run)
    assert (found.n_points, found.n_more) == (2, 2)
