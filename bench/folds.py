"""Divisions of time beside skfolio's, bar by bar: `python bench/folds.py --help`.

Compared are the number of splits and of paths, the train and the test bars of every split, and which path every test
is on; ours both from `quantbot.selection.splits` and as a sweep has them, from folds (`sweeps.folds`, `sweeps.splits`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantbot.selection.splits import Split, cpcv, walk_forward
from sweeps.folds import make_folds
from sweeps.sections import Folds
from sweeps.splits import fold_splits

HERE = Path(__file__).parent
DAY_NS = 86_400 * 10**9

WALKS = [  # bars, train (the purge included), test, anchored, purge
    (100, 40, 20, False, 0),
    (100, 40, 20, True, 0),
    (107, 45, 20, False, 5),  # a last test that does not fit
    (107, 45, 20, True, 5),
    (2520, 1260, 252, False, 21),
    (2520, 504, 63, True, 5),
]
COMBINATIONS = [  # bars, groups, test groups, purge, embargo
    (60, 6, 2, 0, 0),
    (60, 6, 2, 2, 0),
    (60, 6, 2, 0, 3),
    (120, 6, 2, 3, 4),
    (125, 6, 3, 3, 4),  # groups that do not divide the bars evenly
    (1000, 10, 2, 5, 10),
    (1007, 10, 3, 5, 10),
    (2520, 12, 4, 21, 21),
]


@dataclass(frozen=True)
class Ours:
    """One division of ours: splits, and by path the split of each test in time."""

    splits: Sequence[Split]
    paths: Sequence[Sequence[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", required=True, help="the Python of an environment that has skfolio")
    parser.add_argument("--check", action="store_true", help="end with 1 where a division differs")
    options = parser.parse_args(arguments)
    cases = [
        {
            "method": "walk_forward",
            "arguments": {"n_bars": n, "train": train, "test": test, "anchored": anchored, "purge": purge},
        }
        for n, train, test, anchored, purge in WALKS
    ] + [
        {
            "method": "cpcv",
            "arguments": {"n_bars": n, "groups": groups, "test_groups": k, "purge": purge, "embargo": embargo},
        }
        for n, groups, k, purge, embargo in COMBINATIONS
    ]
    theirs = _ask(options.peer_python, cases)
    print(f"skfolio {theirs['version']}\n")
    print("| case | splits | paths | train bars | test bars | paths of tests | the sweep's folds |")
    print("|---|---:|---:|---|---|---|---|")
    differ = 0
    for case, their in zip(cases, theirs["cases"], strict=True):
        pure, swept = _pure(case), _swept(case)
        found = [_counts(pure, their), _trains(pure, their), _tests(pure, their), _paths(pure, their)]
        found.append(all((_counts(swept, their), _trains(swept, their), _tests(swept, their), _paths(swept, their))))
        differ += not all(found)
        said = ", ".join(f"{name} {value}" for name, value in case["arguments"].items())
        marks = ["equal" if equal else "DIFFERENT" for equal in found[1:]]
        counts = f"{len(pure.splits)}" + ("" if found[0] else f" (skfolio {their['n_splits']})")
        print(f"| {case['method']}: {said} | {counts} | {len(pure.paths)} | {' | '.join(marks)} |")
    print(f"\n{len(cases) - differ} of {len(cases)} divisions are equal, bar by bar")
    return 1 if differ and options.check else 0


def _ask(python: str, cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    command = [python, str(HERE / "peers" / "skfolio_folds.py")]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{python} can't run skfolio's side:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _pure(case: dict[str, Any]) -> Ours:
    said = dict(case["arguments"])
    if case["method"] == "walk_forward":
        splits = walk_forward(said.pop("n_bars"), **said)
        return Ours(splits, [range(len(splits))])
    made = cpcv(said["n_bars"], said["groups"], said["test_groups"], horizon=said["purge"], embargo=said["embargo"])
    return Ours(made.splits, made.paths)


def _swept(case: dict[str, Any]) -> Ours:
    """Return the same division as a sweep makes it: windows of time, and unions of them."""
    said = dict(case["arguments"])
    times = np.arange(1, said.pop("n_bars") + 1, dtype=np.int64) * DAY_NS
    if case["method"] == "walk_forward":
        said["window"] = "anchored" if said.pop("anchored") else "rolling"
    folds = make_folds(Folds(method=case["method"], **said), times, int(times[0]), int(times[-1]) + 1)
    made = fold_splits(folds, said.get("test_groups", 1), said["purge"], said.get("embargo", 0))
    windows = [fold.window(times) for fold in folds]
    splits = [
        Split(tuple(windows[fold] for fold in split.train), tuple(windows[fold] for fold in split.test))
        for split in made.splits
    ]
    return Ours(splits, [[split for split, _ in path] for path in made.paths])


def _counts(ours: Ours, theirs: dict[str, Any]) -> bool:
    return len(ours.splits) == theirs["n_splits"] and len(ours.paths) == theirs.get("n_paths", 1)


def _trains(ours: Ours, theirs: dict[str, Any]) -> bool:
    return [split.train_bars.tolist() for split in ours.splits] == [train for train, _ in theirs["splits"]]


def _tests(ours: Ours, theirs: dict[str, Any]) -> bool:
    mine = [[list(range(*test)) for test in split.test] for split in ours.splits]
    return mine == [tests for _, tests in theirs["splits"]]


def _paths(ours: Ours, theirs: dict[str, Any]) -> bool:
    """Whether every test of every split is on the same path: ours by path and time, skfolio's by split and test."""
    if "path_ids" not in theirs:
        return list(ours.paths[0]) == list(range(theirs["n_splits"]))
    starts = sorted({test[0] for split in ours.splits for test in split.test})
    ids = [[0] * len(split.test) for split in ours.splits]
    for number, path in enumerate(ours.paths):
        for start, split in zip(starts, path, strict=True):
            place = [test[0] for test in ours.splits[split].test].index(start)
            ids[split][place] = number
    return bool(ids == theirs["path_ids"])


if __name__ == "__main__":
    raise SystemExit(main())
