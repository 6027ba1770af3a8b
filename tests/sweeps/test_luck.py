"""The luck in a run: assessed once, joined with the ledger, never in the run's way."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from datasets.store import Store
from quantbot.errors import StoreError
from quantbot.selection import deflated_sharpe, expected_max_sharpe, moments, null_variance, probabilistic_sharpe
from sweeps import assessment
from sweeps.executors import serial
from sweeps.ledger import family_of, read_ledger
from sweeps.luck import Luck, luck, luck_document
from sweeps.results import Run, open_run
from sweeps.run import drive
from sweeps.trial_returns import trial_returns


def driven(small: Any, root: Store, spec: dict[str, Any] | None = None, points: int = 16) -> Run:
    identity: str = small.submit(root, spec, points)
    with serial() as executor:
        drive(root, identity, executor)
    return open_run(root, identity)


@pytest.fixture(scope="module")
def run(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return driven(small, small.root(tmp_path_factory.mktemp("luck")))


@pytest.fixture(scope="module")
def found(run: Run) -> Luck:
    return luck(run)


def forget(run: Run, *parts: str) -> dict[str, bytes]:
    """Remove what a run owes to its luck, as a run of an earlier version lacks it; return what was there."""
    gone = {}
    for key in run.root.list():
        if any(part in key for part in parts):
            gone[key] = run.root.get(key)
            run.root.delete(key)
    return gone


def test_luck__is_there_when_a_drive_ends_and_nothing_is_unknown(found: Luck, run: Run) -> None:
    assert found.unknown == {}
    assert found.best is not None
    assert found.best.trial == run.best(1)[0]["trial"]
    assert found.best.fold == "train", "the test of a holdout is not chosen on"
    assert found.chosen == "plateau"
    assert found.n_trials == run.plan.n_trials
    assert (found.n_sampled, found.n_population) == (140, 140)


def test_luck__is_what_the_formulas_say_of_the_best_trials_returns(found: Luck, run: Run) -> None:
    assert found.best is not None
    (piece,) = trial_returns(run.plan, np.array([found.best.trial]))
    own, n = moments(piece.returns[0]), piece.returns.shape[1]
    shape = {"skew": own.skew, "kurtosis": own.kurtosis}
    effective = read_ledger(run.root, family_of(run.plan)).n_effective
    assert found.n_effective == effective
    assert found.best.sharpe == pytest.approx(found.best.value, rel=1e-9)
    assert found.probabilistic_sharpe == pytest.approx(probabilistic_sharpe(own.sharpe, n, **shape))
    variance = null_variance(n)
    assert found.deflated_sharpe == pytest.approx(
        deflated_sharpe(own.sharpe, n, n_trials=effective, variance=variance, **shape)
    )
    assert found.luck_line == pytest.approx(expected_max_sharpe(effective, variance) * math.sqrt(252))
    assert found.best_interval is not None
    assert found.best_interval.low < found.best.value < found.best_interval.high


def test_plateau__has_better_neighbours_than_the_best(found: Luck, run: Run) -> None:
    assert found.plateau is not None
    assert found.best is not None
    assert run.row(found.plateau.trial)["point"] == dict(found.plateau.point)
    assert found.plateau.asset == found.best.asset
    assert found.plateau.worst <= found.plateau.score <= found.plateau.median


@pytest.fixture(scope="module")
def ten(small: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = small.root(tmp_path_factory.mktemp("ten"))
    runs = []
    for fast in range(3, 13):
        parameters = {**small.spec["parameters"], "fast": fast}
        runs.append(driven(small, root, {**small.spec, "run": {"name": f"part-{fast}"}, "parameters": parameters}))
    return runs


@pytest.mark.slow
def test_deflated_sharpe__is_exactly_the_same_when_a_sweep_is_divided_into_ten_runs(
    found: Luck, ten: list[Run]
) -> None:
    assert found.best is not None
    parts = [luck(part) for part in ten]
    bests = [part.best for part in parts if part.best is not None]
    best = max(bests, key=lambda best: best.value)
    assert (best.value, best.sharpe) == (found.best.value, found.best.sharpe)
    for name in ("deflated_sharpe", "probabilistic_sharpe", "luck_line", "min_backtest_years"):
        assert getattr(best, name) == getattr(found.best, name), name
    assert {(part.n_trials, part.n_effective) for part in parts} == {(found.n_trials, found.n_effective)}


def test_deflated_sharpe__is_exactly_the_same_when_a_sweep_is_renamed(found: Luck, small: Any, root: Store) -> None:
    driven(small, root)
    renamed = luck(driven(small, root, {**small.spec, "run": {"name": "better-luck-this-time"}}))
    assert luck_document(renamed) == luck_document(found)


def test_deflated_sharpe__falls_with_every_sweep_of_the_family(found: Luck, small: Any, root: Store) -> None:
    run = driven(small, root)
    driven(small, root, {**small.spec, "parameters": {"fast": {"start": 13, "stop": 60}, "slow": {"values": [70, 99]}}})
    later = luck(run)
    assert later.n_trials is not None
    assert found.n_trials is not None
    assert later.n_trials > found.n_trials
    assert later.deflated_sharpe is not None
    assert found.deflated_sharpe is not None
    assert later.deflated_sharpe < found.deflated_sharpe
    assert later.probabilistic_sharpe == found.probabilistic_sharpe


def test_deflated_sharpe__falls_when_somebody_looks_at_a_locked_holdout(small: Any, root: Store) -> None:
    run = driven(small, root, {**small.spec, "folds": {"method": "holdout", "test": "25%", "locked": True}})
    before = luck(run)
    run.unlock("an analyst")
    after = luck(run)
    assert [look.who for look in after.looks] == ["an analyst"]
    assert before.deflated_sharpe is not None
    assert after.deflated_sharpe is not None
    assert after.deflated_sharpe < before.deflated_sharpe


def test_luck__of_an_unfinished_run_says_so(small: Any, root: Store) -> None:
    run = open_run(root, small.submit(root))
    found = luck(run, compute=True)
    assert found.best is None
    assert found.deflated_sharpe is None
    assert set(found.unknown.values()) == {"the run is not finished"}


def test_luck__of_a_run_without_it_is_computed_when_asked_for_and_not_before(small: Any, root: Store) -> None:
    run = driven(small, root)
    before = luck_document(luck(run))
    gone = forget(run, "luck/", "ledger/")
    assert len(gone) == 3
    keys = run.root.list()
    shown = luck(run)
    assert f"quantbot sweep luck {run.short}" in shown.unknown["pbo"]
    assert "not in the ledger yet" in shown.unknown["n_trials"]
    assert run.root.list() == keys, "reading writes nothing"
    assert luck_document(run.luck()) == before
    assert {key: run.root.get(key) for key in gone} == gone, "the same bytes"


def test_luck__without_arch_says_how_to_install_it_and_comes_when_it_is_there(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sweeps.assessment", "sweeps.luck"):
        monkeypatch.setattr(f"{module}.has_arch", lambda: False)
    run = driven(small, root)
    found = luck(run)
    assert set(found.unknown) == {"best_interval", "p", "spa_p", "reality_check_p"}
    assert all("pip install 'quantbot[stats]'" in reason for reason in found.unknown.values())
    assert found.pbo is not None
    assert found.deflated_sharpe is not None
    monkeypatch.undo()
    assert luck(run, compute=True).unknown == {}


def test_run__is_done_whatever_happens_to_its_luck(small: Any, root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("sweeps.luck.assess", fail)
    run = driven(small, root)
    assert run.status.state == "done"
    found = luck(run, compute=True)
    assert found.unknown["pbo"] == "ZeroDivisionError: planted"
    assert found.n_trials == run.plan.n_trials
    monkeypatch.undo()
    with serial() as executor:
        drive(root, run.identity, executor)
    assert luck(run).unknown == {}, "the next drive makes up for it"


def test_run__is_not_done_while_the_ledger_can_not_be_written(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr("sweeps.luck._enter", fail)
    with pytest.raises(StoreError, match="full"):
        driven(small, root)


def test_luck__refuses_returns_of_another_engine(small: Any, root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = driven(small, root)
    forget(run, "luck/")
    row = run.row
    monkeypatch.setattr(run, "row", lambda trial: {**row(trial), "measures": {"sharpe": 9.0}})
    assert "another version of the engine" in luck(run, compute=True).unknown["pbo"]


def test_luck__of_drawn_points_has_no_plateau(small: Any, root: Store) -> None:
    found = luck(driven(small, root, {**small.spec, "search": {"method": "random", "n": 30, "where": "fast < slow"}}))
    assert found.plateau is None
    assert found.chosen == "best"
    assert found.unknown == {"plateau": "drawn points have no neighbours"}


def test_luck__of_another_objective_has_the_bootstrap_of_its_sharpe_ratio(small: Any, root: Store) -> None:
    found = luck(driven(small, root, {**small.spec, "objective": {"metric": "max_drawdown"}}))
    assert found.best is not None
    assert found.best.interval == found.best.intervals["max_drawdown"]
    found = luck(driven(small, root, {**small.spec, "objective": {"metric": "calmar"}}))
    assert found.best is not None
    assert set(found.unknown) == {"best_interval"}
    assert "sharpe" in found.best.intervals


def test_luck__of_a_single_point_knows_what_one_trial_can_know(small: Any, root: Store) -> None:
    spec = {**small.spec, "parameters": {"fast": 5, "slow": 16}, "search": {}, "folds": {"method": "none"}}
    found = luck(driven(small, root, {**spec, "data": {"dataset": "test/small", "assets": ["AAA"]}}))
    assert found.n_trials == 1
    assert found.deflated_sharpe == found.probabilistic_sharpe
    assert "at least 2 trials" in found.unknown["pbo"]
    assert found.unknown["plateau"] == "nothing varies"


def test_document__is_json(found: Luck) -> None:
    assert json.loads(json.dumps(luck_document(found), allow_nan=False))["chosen"] == "plateau"


@pytest.mark.slow
def test_sample__of_a_large_run_is_bounded_and_the_same_in_any_partition(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assessment, "SAMPLED", 20)
    run = driven(small, root)
    first = assessment._sampled(run)
    assert first.n_population == 140
    assert first.buckets.shape[0] == 20
    monkeypatch.setattr(assessment, "_CHUNK_POINTS", 7)
    again = assessment._sampled(driven(small, root, {**small.spec, "objective": {"metric": "cagr"}}, points=7))
    np.testing.assert_array_equal(again.buckets, first.buckets)
    assert again.seed == first.seed, "so every p-value and interval is the same"
