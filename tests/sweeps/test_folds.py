"""How time is divided."""

from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from quantbot.errors import SpecError
from quantbot.selection.splits import cpcv
from sweeps.folds import boundary_ns, make_folds, parse_length
from sweeps.sections import Folds
from sweeps.splits import fold_splits

DAY = 86_400 * 10**9
TIMES = np.arange(1, 101, dtype=np.int64) * DAY  # a hundred days, each stamped at its end: the midnight after it


def folds_of(times=TIMES, **said):
    return make_folds(Folds(**said), times, int(times[0]), int(times[-1]) + 1)


def windows(folds, times=TIMES):
    return {fold.name: fold.window(times) for fold in folds}


def test_folds__none_is_the_whole_period():
    (fold,) = folds_of()
    assert (fold.name, fold.role, fold.window(TIMES)) == ("all", "all", (0, 100))


def test_holdout__tests_the_last_part():
    assert windows(folds_of(method="holdout", test="20%")) == {"all": (0, 100), "train": (0, 80), "test": (80, 100)}
    assert windows(folds_of(method="holdout", test=10))["test"] == (90, 100)
    assert windows(folds_of(method="holdout", test="10d"))["test"] == (90, 100)


def test_holdout__begins_on_the_day_that_is_named():
    folds = windows(folds_of(method="holdout", test=date(1970, 3, 1)))
    first_of_march = 31 + 28  # the bar that covers this day is stamped at its end
    assert folds["train"] == (0, first_of_march)
    assert folds["test"] == (first_of_march, 100)
    assert windows(folds_of(method="holdout", test="1970-03-01")) == folds


def test_holdout__takes_the_gap_from_both_sides():
    folds = windows(folds_of(method="holdout", test="20%", purge=3, embargo=2))
    assert folds == {"all": (0, 100), "train": (0, 77), "test": (82, 100)}


def test_walk_forward__rolls():
    folds = windows(folds_of(method="walk_forward", train=40, test=20))
    assert folds == {
        "all": (0, 100),
        "train 1": (0, 40),
        "test 1": (40, 60),
        "train 2": (20, 60),
        "test 2": (60, 80),
        "train 3": (40, 80),
        "test 3": (80, 100),
    }


def test_walk_forward__stays_anchored():
    folds = windows(folds_of(method="walk_forward", train="40%", test="20%", window="anchored", purge=5))
    assert [folds[f"train {i}"] for i in (1, 2, 3)] == [(0, 35), (0, 55), (0, 75)]
    assert [folds[f"test {i}"] for i in (1, 2, 3)] == [(40, 60), (60, 80), (80, 100)]


def test_walk_forward__of_n_tests_divides_evenly():
    folds = windows(folds_of(method="walk_forward", n=4))
    assert [folds[f"test {i}"] for i in (1, 2, 3, 4)] == [(20, 40), (40, 60), (60, 80), (80, 100)]
    assert [folds[f"train {i}"] for i in (1, 2, 3, 4)] == [(0, 20), (20, 40), (40, 60), (60, 80)]


def test_walk_forward__by_time_follows_the_clock_and_not_the_bars():
    times = np.concatenate([TIMES[:50], np.arange(51 * DAY, 101 * DAY, DAY // 2, dtype=np.int64)])
    folds = windows(folds_of(times, method="walk_forward", train="40d", test="20d"), times)
    assert folds["test 1"] == (40, 70)  # ten daily bars, ten days of two bars each
    assert folds["train 2"] == (20, 70)
    assert folds["test 2"] == (70, 110)


def test_walk_forward__leaves_out_an_incomplete_last_test():
    assert [fold.name for fold in folds_of(method="walk_forward", train=40, test=50)] == ["all", "train 1", "test 1"]
    with pytest.raises(SpecError, match="do not fit once"):
        folds_of(method="walk_forward", train=60, test=50)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"method": "holdout", "test": 100}, "no bar on one side"),
        ({"method": "holdout", "test": date(1990, 1, 1)}, "no bar on one side"),
        ({"method": "holdout", "test": 1}, "test has 1 bars"),
        ({"method": "holdout", "test": "20%", "purge": 79}, "train has 1 bars after purge 79"),
        ({"method": "walk_forward", "n": 60}, "at least 2 are needed"),
    ],
)
def test_folds__too_small_are_refused(said, reason):
    with pytest.raises(SpecError, match=reason):
        folds_of(**said)


def test_folds__too_many_are_refused():
    times = np.arange(1, 5001, dtype=np.int64) * DAY
    with pytest.raises(SpecError, match="more than 1,000 tests"):
        folds_of(times, method="walk_forward", train=10, test=2)


def test_folds__of_an_empty_period_are_refused():
    with pytest.raises(SpecError, match=r"holds 0 bars of 100.*1970-01-02.*1970-04-11"):
        make_folds(Folds(), TIMES, 200 * DAY, 300 * DAY)


@pytest.mark.parametrize(
    "said",
    [
        {"method": "none", "test": "20%"},
        {"method": "holdout"},
        {"method": "holdout", "test": "20%", "n": 2},
        {"method": "walk_forward"},
        {"method": "walk_forward", "train": 5},
        {"method": "walk_forward", "n": 3, "test": 5},
        {"method": "holdout", "test": "120%"},
        {"method": "holdout", "test": "0%"},
        {"method": "holdout", "test": "a while"},
        {"method": "holdout", "test": -5},
        {"method": "holdout", "test": True},
        {"method": "holdout", "test": "2001-13-01"},
        {"method": "walk_forward", "train": "9" * 30 + "d", "test": 5},
    ],
)
def test_folds__that_contradict_themselves_are_refused(said):
    with pytest.raises(ValidationError):
        Folds(**said)


def test_length__has_units():
    assert parse_length(250).bars == 250
    assert parse_length("20 %").fraction == 0.2
    assert parse_length("6h").ns == 6 * 3600 * 10**9
    assert parse_length("1.5min").ns == 90 * 10**9


def test_boundary__begins_after_midnight_because_bars_are_stamped_at_their_end():
    newyear = 946_684_800 * 10**9
    assert boundary_ns(date(2000, 1, 1)) == newyear + 1
    assert boundary_ns(date(1999, 12, 31), end=True) == newyear + 1
    assert boundary_ns(date(2000, 1, 1), "America/New_York") == newyear + 5 * 3600 * 10**9 + 1
    assert boundary_ns(datetime(2000, 1, 1)) == newyear + 1  # noqa: DTZ001 - a TOML time without a zone
    assert boundary_ns(datetime(2000, 1, 1, tzinfo=UTC), "Asia/Tokyo", end=True) == newyear + 1


@given(st.dates(), st.booleans(), st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]))
def test_boundary__of_any_date_fits_into_64_bits(day, end, zone):
    assert -(2**63) <= boundary_ns(day, zone, end=end) < 2**63


LENGTHS = st.integers(5, 40) | st.integers(5, 40).map(lambda n: f"{n}%") | st.integers(1, 90).map(lambda n: f"{n}d")


@settings(deadline=None, max_examples=300)
@given(
    n_bars=st.integers(80, 200),
    seed=st.integers(0, 2**32),
    train=LENGTHS,
    test=LENGTHS,
    n=st.none() | st.integers(1, 12),
    window=st.sampled_from(["rolling", "anchored"]),
    purge=st.integers(0, 6),
    embargo=st.integers(0, 6),
    holdout=st.booleans(),
)
def test_folds__train_ends_a_gap_before_its_test_begins(n_bars, seed, train, test, n, window, purge, embargo, holdout):
    times = np.cumsum(np.random.default_rng(seed).integers(1, 5, n_bars)) * DAY
    if holdout:
        said = {"method": "holdout", "test": test}
    elif n is not None:
        said = {"method": "walk_forward", "n": n, "window": window}
    else:
        said = {"method": "walk_forward", "train": train, "test": test, "window": window}
    try:
        folds = folds_of(times, **said, purge=purge, embargo=embargo)
    except SpecError:
        return
    assert folds[0].window(times) == (0, len(times))
    made = {fold.name: fold.window(times) for fold in folds}
    assert len(made) == len(folds)
    tests = []
    for name, (start, stop) in made.items():
        assert 0 <= start < stop <= len(times)
        assert stop - start >= 2
        if name.startswith("train"):
            tested = made[name.replace("train", "test")]
            assert tested[0] - stop == purge + embargo  # never an overlap, never a bar more than asked
            tests.append(tested)
    assert all(later[0] >= earlier[1] + embargo for earlier, later in pairwise(tests))


def test_kfold__tests_every_group_and_cuts_trains_beside_it():
    made = folds_of(method="kfold", n=4, purge=2, embargo=3)
    assert windows(made) == {
        "all": (0, 100),
        "train 1": (0, 25),
        "train 1 before test": (0, 23),
        "test 1": (0, 25),
        "train 2": (25, 50),
        "train 2 before test": (25, 48),
        "train 2 after test": (30, 50),
        "test 2": (25, 50),
        "train 3": (50, 75),
        "train 3 before test": (50, 73),
        "train 3 after test": (55, 75),
        "test 3": (50, 75),
        "train 4": (75, 100),
        "train 4 after test": (80, 100),
        "test 4": (75, 100),
    }
    assert [(fold.group, fold.trim) for fold in made[:4]] == [(0, ""), (1, ""), (1, "end"), (1, "")]


def test_kfold__without_a_gap_has_each_group_once_a_role():
    assert list(windows(folds_of(method="kfold", n=3))) == [
        "all", "train 1", "test 1", "train 2", "test 2", "train 3", "test 3",
    ]  # fmt: skip


def test_locked_holdout__has_no_fold_that_contains_the_test():
    assert windows(folds_of(method="holdout", test="20%", locked=True)) == {"train": (0, 80), "test": (80, 100)}


@settings(deadline=None, max_examples=80)
@given(
    st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(90, 200),
)
def test_splits__of_groups_are_those_of_the_pure_division(sizes, purge, embargo, n_bars):
    """What is pooled from folds is, bar by bar, what `quantbot.selection.splits` says."""
    n_groups, n_test = sizes
    times = np.arange(1, n_bars + 1, dtype=np.int64) * DAY
    said = {"method": "cpcv", "groups": n_groups, "test_groups": n_test, "purge": purge, "embargo": embargo}
    try:
        folds = folds_of(times, **said)
    except SpecError:  # a group shorter than its gap
        assert n_bars // n_groups < 2 * purge + embargo + 2
        return
    made = fold_splits(folds, n_test, purge, embargo)
    pure = cpcv(n_bars, n_groups, n_test, horizon=purge, embargo=embargo)

    def bars(indices):
        return np.concatenate([np.arange(*folds[index].window(times)) for index in indices]).tolist()

    assert len(made.splits) == len(pure.splits)
    for split, expected in zip(made.splits, pure.splits, strict=True):
        assert bars(split.train) == expected.train_bars.tolist()
        assert bars(split.test) == expected.test_bars.tolist()
        assert {folds[index].role for index in split.train} == {"train"}
    used = {index for split in made.splits for index in (*split.train, *split.test)}
    assert used == set(range(1, len(folds)))  # no fold is run for nothing
    for path, expected in zip(made.paths, pure.paths, strict=True):
        assert tuple(split for split, _ in path) == expected
        assert bars([fold for _, fold in path]) == list(range(n_bars))


def test_splits__pair_each_train_with_its_test():
    made = fold_splits(folds_of(method="walk_forward", n=3))
    assert [(split.name, split.train, split.test) for split in made.splits] == [
        ("1", (1,), (2,)),
        ("2", (3,), (4,)),
        ("3", (5,), (6,)),
    ]
    assert made.paths == (((0, 2), (1, 4), (2, 6)),)
    assert fold_splits(folds_of()).splits == ()
    assert [split.name for split in fold_splits(folds_of(method="walk_forward", n=1)).splits] == ["1"]
    assert [split.name for split in fold_splits(folds_of(method="holdout", test=9)).splits] == ["holdout"]


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ({"method": "kfold"}, ["a k-fold needs n"]),
        ({"method": "kfold", "n": 1, "window": "rolling"}, ["a k-fold takes no window", "a k-fold needs n"]),
        ({"method": "cpcv"}, ["a CPCV needs groups and test_groups"]),
        ({"method": "cpcv", "groups": 6, "n": 3, "test": 5}, ["takes no test and no n", "needs test_groups"]),
        ({"method": "cpcv", "groups": 6, "test_groups": 6}, ["more groups than test_groups, found 6 and 6"]),
        ({"method": "cpcv", "groups": 60, "test_groups": 20}, ["20 test_groups of 60 make", "10,000 at most"]),
        ({"method": "walk_forward", "n": 3, "locked": True}, ["a walk-forward takes no locked"]),
        ({"method": "holdout", "train": 5, "n": 2}, ["a holdout takes no train and no n", "a holdout needs test"]),
    ],
)
def test_folds__say_everything_that_is_wrong_with_a_method(said, problems):
    with pytest.raises(ValidationError) as error:
        Folds(**said)
    assert all(problem in str(error.value) for problem in problems)


def test_groups__too_short_for_the_gap_are_refused():
    with pytest.raises(SpecError, match="train 1 before test has 1 bars after purge 9 and embargo 0"):
        folds_of(method="kfold", n=10, purge=9)
    with pytest.raises(SpecError, match="60 groups need 2 bars each"):
        folds_of(method="kfold", n=60)
