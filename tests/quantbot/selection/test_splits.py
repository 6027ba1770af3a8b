"""Ranges of train and test: what may never overlap, and what is tested how often."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.selection.splits import (
    MAX_SPLITS,
    bars_of,
    cpcv,
    equal_groups,
    group_choices,
    kfold,
    n_combinations,
    n_paths,
    steps,
    train_ranges,
    walk_forward,
)


@st.composite
def divisions(draw):
    n_groups = draw(st.integers(2, 8))
    n_test = draw(st.integers(1, n_groups - 1))
    n_bars = draw(st.integers(n_groups, 160))
    return n_bars, n_groups, n_test, draw(st.integers(0, 30)), draw(st.integers(0, 30))


def made_or_none(n_bars, n_groups, n_test, horizon, embargo):
    try:
        return cpcv(n_bars, n_groups, n_test, horizon=horizon, embargo=embargo)
    except InputError:  # `test_splits__say_what_they_cannot_do` looks at its words
        assert horizon + embargo > 0
        return None


def allowed(bar, test, horizon, embargo):
    """Say by the definition whether a bar may be learnt from: the slow, obvious twin."""
    for tested in test:
        if bar <= tested + horizon and tested <= bar + horizon:  # the labels [t, t + horizon] meet
            return False
    # After the last label of a run of test bars, so many more are left out.
    return not any(0 < bar - (tested + horizon) <= embargo for tested in test)


@settings(deadline=None, max_examples=300)
@given(divisions())
def test_cpcv__no_label_of_a_test_overlaps_train_and_nothing_else_is_lost(division):
    n_bars, _, _, horizon, embargo = division
    made = made_or_none(*division)
    if made is None:
        return
    for split in made.splits:
        test = split.test_bars
        distance = np.abs(split.train_bars[:, None] - test[None, :])
        assert distance.min() > horizon
        behind = split.train_bars[:, None] - test[None, :]
        assert not ((behind > 0) & (behind <= horizon + embargo)).any()
    first = made.splits[0]
    expected = [bar for bar in range(n_bars) if allowed(bar, first.test_bars.tolist(), horizon, embargo)]
    assert first.train_bars.tolist() == expected


@settings(deadline=None, max_examples=300)
@given(divisions())
def test_cpcv__every_path_tests_every_bar_once(division):
    n_bars, n_groups, n_test, _, _ = division
    made = cpcv(n_bars, n_groups, n_test)
    assert len(made.splits) == math.comb(n_groups, n_test) == n_combinations(n_groups, n_test)
    assert len(made.paths) == len(made.splits) * n_test // n_groups == n_paths(n_groups, n_test)
    followed = []
    for path in made.paths:
        ranges = [made.groups[group] for group in range(n_groups)]
        assert bars_of(ranges).tolist() == list(range(n_bars))
        for group, split in enumerate(path):
            assert made.groups[group] in made.splits[split].test
            followed.append((split, group))
    every = [(split, group) for split, groups in enumerate(made.test_groups) for group in groups]
    assert sorted(followed) == every  # no test group of any split is left over or used twice


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60), st.booleans(), st.integers(0, 9), st.integers(0, 9))
def test_walk_forward__no_label_of_a_train_reaches_its_test(n_bars, train, test, anchored, purge, embargo):
    try:
        made = walk_forward(n_bars, train=train, test=test, anchored=anchored, purge=purge, embargo=embargo)
    except InputError:
        assert train + test > n_bars or purge >= train or embargo >= test
        return
    for split in made:
        assert split.train_bars.max() + purge + embargo < split.test_bars.min()
        assert split.test_bars.max() < n_bars
    tested = [split.test[0] for split in made]
    assert all(first[1] + embargo == second[0] for first, second in pairwise(tested))
    assert tested[-1][1] + test > n_bars  # no further one would have fitted


def test_walk_forward__rolls_or_stays_anchored():
    rolling = walk_forward(100, train=40, test=20)
    assert [split.train[0] for split in rolling] == [(0, 40), (20, 60), (40, 80)]
    anchored = walk_forward(100, train=40, test=20, anchored=True, purge=5)
    assert [split.train[0] for split in anchored] == [(0, 35), (0, 55), (0, 75)]
    assert [split.test[0] for split in anchored] == [(40, 60), (60, 80), (80, 100)]


def test_train_ranges__purges_both_sides_and_embargoes_only_after():
    assert train_ranges(100, [(40, 60)]) == ((0, 40), (60, 100))
    assert train_ranges(100, [(40, 60)], horizon=3) == ((0, 37), (63, 100))
    assert train_ranges(100, [(40, 60)], embargo=5) == ((0, 40), (65, 100))
    assert train_ranges(100, [(70, 80), (40, 60)], horizon=2, embargo=7) == ((0, 38), (89, 100))
    assert train_ranges(100, [(0, 10), (10, 20)], embargo=1) == ((21, 100),)


def test_kfold__tests_each_group_once_in_one_path():
    made = kfold(20, 4, horizon=1, embargo=2)
    assert [split.test for split in made.splits] == [((0, 5),), ((5, 10),), ((10, 15),), ((15, 20),)]
    assert [split.train for split in made.splits] == [
        ((8, 20),), ((0, 4), (13, 20)), ((0, 9), (18, 20)), ((0, 14),),
    ]  # fmt: skip
    assert made.paths == ((0, 1, 2, 3),)


def test_cpcv__has_the_books_paths():
    # Lopez de Prado (2018), figures 12.1 and 12.2: N = 6, k = 2 give 15 splits and 5 paths; the first path follows
    # splits S1, S1, S2, S3, S4, S5.
    made = cpcv(60, 6, 2)
    assert made.test_groups[:6] == ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2))
    assert len(made.splits) == 15
    assert made.paths[0] == (0, 0, 1, 2, 3, 4)
    assert len(made.paths) == 5


def test_equal_groups__give_the_rest_to_the_last():
    assert equal_groups(11, 3) == ((0, 3), (3, 6), (6, 11))
    with pytest.raises(InputError, match="4 groups need at least 4 bars, found 3"):
        equal_groups(3, 4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cpcv(100, 3, 3), "groups must be more than test groups, found 3 and 3"),
        (lambda: group_choices(40, 20), f"{MAX_SPLITS:,} are the most"),
        (lambda: cpcv(10, 2, 1, horizon=9), "leave no train bar when groups"),
        (lambda: kfold(10, 2, embargo=-1), "embargo must not be negative, was -1"),
        (lambda: walk_forward(10, train=8, test=3), "do not fit once into 10 bars"),
        (lambda: walk_forward(10, train=0, test=3), "train must be at least 1, was 0"),
        (lambda: steps([5, 8], [0], embargo=3), "leave no bar of the test around bar 5"),
        (lambda: train_ranges(10, [(5, 11)]), "must lie within the 10 bars"),
    ],
)
def test_splits__say_what_they_cannot_do(call, said):
    with pytest.raises(InputError, match=said):
        call()
