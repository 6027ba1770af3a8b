"""skfolio's side of `bench/folds.py`, run in skfolio's own environment: cases on stdin, their divisions on stdout."""

from __future__ import annotations

import json
import sys

import numpy as np
import skfolio
from skfolio.model_selection import CombinatorialPurgedCV, WalkForward


def walk_forward(n_bars, train, test, anchored, purge):
    """Return the train and test bars of each step; skfolio's train size is what is left after the purge."""
    division = WalkForward(test_size=test, train_size=train - purge, expand_train=anchored, purged_size=purge)
    found = [(train.tolist(), [test.tolist()]) for train, test in division.split(np.zeros((n_bars, 1)))]
    return {"n_splits": division.get_n_splits(np.zeros((n_bars, 1))), "splits": found}


def cpcv(n_bars, groups, test_groups, purge, embargo):
    """Return the train and test bars of each split, and the path of each of its tests."""
    division = CombinatorialPurgedCV(n_folds=groups, n_test_folds=test_groups, purged_size=purge, embargo_size=embargo)
    found = [
        (train.tolist(), [test.tolist() for test in tests]) for train, tests in division.split(np.zeros((n_bars, 1)))
    ]
    return {
        "n_splits": division.get_n_splits(),
        "n_paths": int(division.n_test_paths),
        "path_ids": division.get_path_ids().tolist(),
        "splits": found,
    }


if __name__ == "__main__":
    made = [globals()[case["method"]](**case["arguments"]) for case in json.load(sys.stdin)]
    json.dump({"version": skfolio.__version__, "cases": made}, sys.stdout)
