"""Rungs: how much history, how many points, which go on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import SpecError
from sweeps.rungs import evaluated_points, guide_fold, promote, rung_folds, rung_sizes
from sweeps.sections import Search
from sweeps.trial import Fold

DAY_NS = 86_400 * 10**9
TIMES = np.arange(1000, dtype=np.int64) * DAY_NS
ALL = Fold("all", "all", 0, 1000 * DAY_NS)


def days(name: str, role: str, start: int, stop: int) -> Fold:
    return Fold(name, role, start * DAY_NS, stop * DAY_NS)  # type: ignore[arg-type]


def sizes(**search: object) -> list[int]:
    made = rung_folds(Search(method="halving", n=100, **search), [ALL], TIMES)  # type: ignore[arg-type]
    assert [fold.name for fold in made] == [f"rung {number}" for number in range(1, len(made) + 1)]
    assert all((fold.role, fold.end_ns) == ("rung", ALL.end_ns) for fold in made)
    return [int(np.subtract(*reversed(fold.window(TIMES)))) for fold in made]


def test_rungs__grow_backward_by_eta() -> None:
    assert sizes(rungs=3) == [112, 334]  # of 1000: a ninth, a third, rounded up
    assert sizes(rungs=4, eta=2) == [125, 250, 500]


@pytest.mark.parametrize(
    ("least", "found"), [(300, [334]), (334, [334]), (100, [112, 334]), ("10%", [112, 334]), ("30d", [38, 112, 334])]
)
def test_rungs__are_as_many_as_min_history_leaves(least: int | str, found: list[int]) -> None:
    assert sizes(min_history=least) == found


def test_rungs__that_history_is_too_short_for_are_refused() -> None:
    with pytest.raises(SpecError, match=r"search.rungs: fold all has 1,000 bars, so 8 rungs with eta 3 would begin"):
        sizes(rungs=8)
    with pytest.raises(SpecError, match=r"search.min_history: 90% is 900 bars or more of 1,000"):
        sizes(min_history="90%")


def test_guide__is_a_train_fold_that_no_test_touches() -> None:
    train, test = days("train", "train", 0, 700), days("test", "test", 700, 1000)
    assert guide_fold([ALL]) == 0
    assert guide_fold([ALL, train, test]) == 1
    rolling = [ALL, days("train 1", "train", 0, 400), days("test 1", "test", 400, 600)]
    rolling += [days("train 2", "train", 200, 600), days("test 2", "test", 600, 800)]
    assert guide_fold(rolling) == 1
    assert guide_fold([rolling[0], rolling[3], rolling[4], rolling[1], rolling[2]]) == 3  # train 2 holds test 1
    with pytest.raises(SpecError, match="shares no bar with any test"):
        guide_fold([ALL, rolling[3], rolling[2]])


def test_sizes__never_end_before_one() -> None:
    assert rung_sizes(100, 3, 4) == [100, 33, 11, 3]
    assert rung_sizes(2, 3, 3) == [2, 1, 1]
    folds = [ALL, days("rung 1", "rung", 900, 1000), days("rung 2", "rung", 700, 1000)]
    search = Search(method="halving", n=90, rungs=3)
    assert evaluated_points(search, 90, folds).tolist() == [10, 90, 30]
    assert evaluated_points(Search(), 90, [ALL]).tolist() == [90]


@given(
    st.lists(st.one_of(st.sampled_from([1.0, 2.0, float("nan")]), st.floats(-9, 9)), min_size=1, max_size=30),
    st.integers(0, 40),
    st.sampled_from([1, -1]),
)
@settings(deadline=None)
def test_promote__is_a_stable_sort(values: list[float], n: int, better: int) -> None:
    found = promote(np.array(values), better, n)
    ranked = sorted((-better * value, index) for index, value in enumerate(values) if value == value)
    assert np.flatnonzero(found).tolist() == sorted(index for _, index in ranked[:n])
