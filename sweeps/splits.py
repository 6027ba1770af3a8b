"""Which folds a choice learns from and which ones test it: a pure function of a plan's folds, never stored.

A holdout has one split, a walk forward one a step. Of a k-fold and a CPCV each combination of test groups is a split
that learns from the union of all other groups, each in the form that the tests beside it leave (`sweeps.folds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantbot.selection.splits import backtest_paths, group_choices
from sweeps.folds import trim_beside
from sweeps.trial import Fold

if TYPE_CHECKING:
    from sweeps.plan import Plan


@dataclass(frozen=True)
class FoldSplit:
    """One choice: where it learns and where it is tested.

    Attributes
    ----------
    name
        "1", "2", ... of a walk forward, the numbers of the test groups ("1+3") of a k-fold or a CPCV, "holdout".
    train, test
        Indices of the plan's folds, rising in time. What is learnt or tested is their union.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class FoldSplits:
    """All choices of a plan, and how their tests make paths through time.

    Attributes
    ----------
    paths
        By path, its steps in time: (split, index of the test fold). A CPCV has several, every other method one.
    """

    splits: tuple[FoldSplit, ...]
    paths: tuple[tuple[tuple[int, int], ...], ...]


def splits_of(plan: Plan) -> FoldSplits:
    """Return the splits of a plan; without train and test folds there are none."""
    folds = plan.spec.folds
    return fold_splits(plan.folds, folds.test_groups or 1, folds.purge, folds.embargo)


def fold_splits(folds: Sequence[Fold], n_test_groups: int = 1, purge: int = 0, embargo: int = 0) -> FoldSplits:
    """Derive the splits of some folds.

    Parameters
    ----------
    n_test_groups, purge, embargo
        As in the spec; only folds that are groups ask for them.

    Examples
    --------
    >>> halves = [Fold("train", "train", 0, 5), Fold("test", "test", 5, 9)]
    >>> fold_splits(halves)
    FoldSplits(splits=(FoldSplit(name='holdout', train=(0,), test=(1,)),), paths=(((0, 1),),))
    """
    tests = [index for index, fold in enumerate(folds) if fold.role == "test"]
    if any(folds[index].group for index in tests):
        return _combined(folds, tests, n_test_groups, purge, embargo)
    trains = [index for index, fold in enumerate(folds) if fold.role == "train"]
    names = ["holdout"] if len(tests) == 1 and folds[tests[0]].name == "test" else map(str, range(1, len(tests) + 1))
    pairs = zip(names, trains, tests, strict=True)
    splits = tuple(FoldSplit(name, (train,), (test,)) for name, train, test in pairs)
    return FoldSplits(splits, (tuple(enumerate(tests)),) if tests else ())


def _combined(folds: Sequence[Fold], tests: list[int], n_test_groups: int, purge: int, embargo: int) -> FoldSplits:
    trains = {(fold.group - 1, fold.trim): index for index, fold in enumerate(folds) if fold.role == "train"}
    choices = group_choices(len(tests), n_test_groups)
    splits = tuple(
        FoldSplit(
            "+".join(str(group + 1) for group in chosen),
            tuple(
                trains[group, trim_beside(group, chosen, purge, embargo)]
                for group in range(len(tests))
                if group not in chosen
            ),
            tuple(tests[group] for group in chosen),
        )
        for chosen in choices
    )
    paths = tuple(tuple(zip(path, tests, strict=True)) for path in backtest_paths(len(tests), choices))
    return FoldSplits(splits, paths)
