"""Index ranges that divide time into train and test, and keep every label of one out of the other.

The label of bar ``t`` is what happens over bars ``t`` to ``t + horizon``. Around a test range of bars ``[a, b)``:

    train ...........|    purge   |        test        |   purge   |  embargo  |........... train
                     a - horizon  a                    b           b + horizon

Train bars closer than `horizon` to a test bar, before or after it, share its label's future: they are *purged*. After
the last test label the *embargo* leaves out more bars, since what the test saw lingers in the features of the bars
that follow. Lopez de Prado, Advances in Financial Machine Learning (2018), sections 7.4 and 12.3-12.4.

Arithmetic on whole numbers: nothing here knows prices, points or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError

MAX_SPLITS = 10_000  # of one CPCV: beyond it somebody mistook the arguments

Range = tuple[int, int]


@dataclass(frozen=True)
class Split:
    """What one choice learns from and what it is tested on.

    Attributes
    ----------
    train, test
        Half-open ranges of bars, rising, not empty. Neighbouring test groups stay ranges of their own.
    """

    train: tuple[Range, ...]
    test: tuple[Range, ...]

    @property
    def train_bars(self) -> NDArray[np.int64]:
        """The bars of the train, rising, shape (n_train,)."""
        return bars_of(self.train)

    @property
    def test_bars(self) -> NDArray[np.int64]:
        """The bars of the test, rising, shape (n_test,)."""
        return bars_of(self.test)


@dataclass(frozen=True)
class Combinatorial:
    """A combinatorial purged cross-validation.

    Attributes
    ----------
    groups
        The ranges into which time is divided.
    test_groups
        By split, the indices of its test groups, rising; splits are in lexicographic order.
    splits
        By split, its ranges.
    paths
        By backtest path and group, the split whose choice the path follows through that group. Every path passes
        every group once, and every test group of every split is on one path.
    """

    groups: tuple[Range, ...]
    test_groups: tuple[tuple[int, ...], ...]
    splits: tuple[Split, ...]
    paths: tuple[tuple[int, ...], ...]


def walk_forward(
    n_bars: int, *, train: int, test: int, anchored: bool = False, purge: int = 0, embargo: int = 0
) -> tuple[Split, ...]:
    """Return the steps of a walk forward; a last test that does not fit is left out.

    Parameters
    ----------
    train, test
        Bars of the first train range, the purge included, and of each test range, the embargo included.
    anchored
        Whether every train range begins at bar 0, or rolls along at its first length.
    purge, embargo
        Bars left out at the end of each train range, and at the beginning of each test range.

    Raises
    ------
    InputError
        If not one step fits, or a gap leaves nothing of a range.

    Examples
    --------
    >>> [(split.train, split.test) for split in walk_forward(100, train=60, test=20, purge=5)]
    [(((0, 55),), ((60, 80),)), (((20, 75),), ((80, 100),))]
    """
    _whole(n_bars=n_bars, train=train, test=test)
    edges = range(train, n_bars + 1, test)
    if len(edges) < 2:
        raise InputError(f"a train of {train} and a test of {test} bars do not fit once into {n_bars} bars")
    begins = [0 if anchored else first - train for first in edges[:-1]]
    return steps(edges, begins, purge=purge, embargo=embargo)


def steps(edges: Sequence[int], begins: Sequence[int], *, purge: int = 0, embargo: int = 0) -> tuple[Split, ...]:
    """Return one split per test range between neighbouring `edges`, each learning from its `begins` up to it.

    Parameters
    ----------
    edges
        n + 1 rising bars: where tests begin, and where the last one ends.
    begins
        n bars: where each train range begins.
    """
    _not_negative(purge=purge, embargo=embargo)
    found = []
    for begin, first, last in zip(begins, edges[:-1], edges[1:], strict=True):
        train, test = (begin, first - purge), (first + embargo, last)
        for role, (start, stop) in (("train", train), ("test", test)):
            if stop <= start:
                raise InputError(f"purge {purge} and embargo {embargo} leave no bar of the {role} around bar {first}")
        found.append(Split((train,), (test,)))
    return tuple(found)


def equal_groups(n_bars: int, n: int) -> tuple[Range, ...]:
    """Divide bars into `n` neighbouring groups of ``n_bars // n``; the last one has the rest too.

    Notes
    -----
    Lopez de Prado (2018), section 12.3: groups 1 to N - 1 have floor(T / N) observations.

    Examples
    --------
    >>> equal_groups(11, 3)
    ((0, 3), (3, 6), (6, 11))
    """
    _whole(n_bars=n_bars, n=n)
    size = n_bars // n
    if size < 1:
        raise InputError(f"{n} groups need at least {n} bars, found {n_bars}")
    return (*((size * group, size * (group + 1)) for group in range(n - 1)), (size * (n - 1), n_bars))


def train_ranges(n_bars: int, tests: Iterable[Range], *, horizon: int = 0, embargo: int = 0) -> tuple[Range, ...]:
    """Return the bars that may be learnt from when `tests` are tested: all others, less the purged and embargoed.

    Parameters
    ----------
    tests
        Half-open ranges of bars, in any order.
    horizon
        Bars that a label reaches beyond its own: purged on both sides of each test range.
    embargo
        Bars left out beyond that after each test range.

    Examples
    --------
    >>> train_ranges(100, [(40, 60)], horizon=3, embargo=5)
    ((0, 37), (68, 100))
    """
    _not_negative(horizon=horizon, embargo=embargo)
    found, free = [], 0
    for start, stop in sorted(tests):
        if not 0 <= start < stop <= n_bars:
            raise InputError(f"a test range must lie within the {n_bars} bars and not be empty, was {(start, stop)}")
        if start - horizon > free:
            found.append((free, start - horizon))
        free = max(free, stop + horizon + embargo)
    if free < n_bars:
        found.append((free, n_bars))
    return tuple(found)


def kfold(n_bars: int, n: int, *, horizon: int = 0, embargo: int = 0) -> Combinatorial:
    """Return a purged and embargoed k-fold: each of `n` groups is tested once, in one path.

    Notes
    -----
    Lopez de Prado (2018), section 7.4.

    Examples
    --------
    >>> kfold(9, 3, horizon=1).splits[1]
    Split(train=((0, 2), (7, 9)), test=((3, 6),))
    """
    return cpcv(n_bars, n, 1, horizon=horizon, embargo=embargo)


def cpcv(n_bars: int, n_groups: int, n_test_groups: int, *, horizon: int = 0, embargo: int = 0) -> Combinatorial:
    """Return a combinatorial purged cross-validation.

    Parameters
    ----------
    n_groups, n_test_groups
        Groups into which time is divided, and how many of them each split tests.
    horizon, embargo
        See `train_ranges`.

    Raises
    ------
    InputError
        If there are not more groups than test groups, more than `MAX_SPLITS` splits, or a split without a train bar.

    Notes
    -----
    Lopez de Prado (2018), sections 12.3-12.4.

    Examples
    --------
    >>> made = cpcv(600, 6, 2)
    >>> len(made.splits), len(made.paths)
    (15, 5)
    """
    groups = equal_groups(n_bars, n_groups)
    tested = group_choices(n_groups, n_test_groups)
    splits = []
    for chosen in tested:
        tests = tuple(groups[group] for group in chosen)
        train = train_ranges(n_bars, tests, horizon=horizon, embargo=embargo)
        if not train:
            raise InputError(
                f"purge {horizon} and embargo {embargo} leave no train bar when groups {chosen} are tested"
            )
        splits.append(Split(train, tests))
    return Combinatorial(groups, tested, tuple(splits), backtest_paths(n_groups, tested))


def group_choices(n_groups: int, n_test_groups: int) -> tuple[tuple[int, ...], ...]:
    """Return which groups each split tests: all choices of `n_test_groups`, in lexicographic order.

    Examples
    --------
    >>> group_choices(4, 2)
    ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    """
    _whole(n_groups=n_groups, n_test_groups=n_test_groups)
    if n_test_groups >= n_groups:
        raise InputError(f"groups must be more than test groups, found {n_groups} and {n_test_groups}")
    if (n := n_combinations(n_groups, n_test_groups)) > MAX_SPLITS:
        raise InputError(f"{n_test_groups} test groups of {n_groups} make {n:,} splits, {MAX_SPLITS:,} are the most")
    return tuple(combinations(range(n_groups), n_test_groups))


def backtest_paths(n_groups: int, tested: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return by path and group the split to follow: the j-th path takes in each group the j-th split that tests it.

    Parameters
    ----------
    tested
        By split, its test groups: what `group_choices` gives.

    Examples
    --------
    >>> backtest_paths(3, [(0, 1), (0, 2), (1, 2)])
    ((0, 0, 1), (1, 2, 2))
    """
    testers = [[split for split, groups in enumerate(tested) if group in groups] for group in range(n_groups)]
    return tuple(zip(*testers, strict=True))


def n_combinations(n_groups: int, n_test_groups: int) -> int:
    """Return the number of splits of a CPCV: n_groups choose n_test_groups.

    Examples
    --------
    >>> n_combinations(10, 2)
    45
    """
    return math.comb(n_groups, n_test_groups)


def n_paths(n_groups: int, n_test_groups: int) -> int:
    """Return the number of backtest paths of a CPCV: splits x test groups / groups.

    Notes
    -----
    Lopez de Prado (2018), section 12.3: phi(N, k) = k / N * (N choose k), which is (N - 1 choose k - 1).

    Examples
    --------
    >>> n_paths(6, 2)
    5
    """
    return math.comb(n_groups - 1, n_test_groups - 1)


def bars_of(ranges: Iterable[Range]) -> NDArray[np.int64]:
    """Return the bars of some ranges, one after the other, shape (n,)."""
    return np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in ranges)])


def _whole(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} must be at least 1, was {size}")


def _not_negative(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 0:
            raise InputError(f"{name} must not be negative, was {size}")
