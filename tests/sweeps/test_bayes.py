"""What is asked next: new points, allowed ones, better ones; the same for the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantbot.engine import Points
from quantbot.errors import InputError
from quantbot.parameters import choice, integer, number
from sweeps.bayes import Told, propose
from sweeps.sampling import sample_points
from sweeps.sections import Interval, Range, Search, Values
from sweeps.where import bind_where

DECLARED = {
    "fast": integer("fast", 5, 1, 1000, "A whole number."),
    "slow": integer("slow", 5, 1, 1000, "A whole number."),
    "band": number("band", 1, 0.001, 1000, "A number."),
    "fill": choice("fill", "a", ("a", "b", "c"), "A word."),
}
FORMS: dict[str, Any] = {
    "fast": Interval(low=2, high=100),
    "slow": Range(start=5, stop=400, step=5),
    "band": Interval(low=0.5, high=50, scale="log"),
    "fill": Values(values=["b", "a"]),
}
SEARCH = Search(method="bayes", n=120, batch=16, seed=7, where="fast < slow")


def hill(points: Points) -> np.ndarray:
    """The best is fast 30, slow 150, band 5, fill a."""
    column = points.columns
    distance = ((column["fast"] - 30) / 40) ** 2 + ((column["slow"] - 150) / 150) ** 2 + np.log(column["band"] / 5) ** 2
    return np.asarray(-distance - 0.5 * (column["fill"] == "b"))


def reserve(search: Search = SEARCH) -> Points:
    return sample_points(FORMS, DECLARED, search, {})[1]


def ask(told: Told, n: int = 16, search: Search = SEARCH, better: int = 1) -> Points:
    axes, spare = sample_points(FORMS, DECLARED, search, {})
    allowed = bind_where(search.where, axes, {}) if search.where else None
    return propose(FORMS, DECLARED, search, told, spare, n, better=better, allowed=allowed)


def told(n: int = 32) -> Told:
    points = reserve()[:n]
    return Told(points, hill(points), np.zeros(n, np.bool_))


def rows(points: Points) -> list[tuple[Any, ...]]:
    return [tuple(points.point(row).values()) for row in range(points.n_points)]


@pytest.mark.parametrize("better", [1, -1])
def test_search__climbs_a_hill_that_a_sample_only_finds_by_luck(better: int) -> None:
    known = reserve()[:16]
    while known.n_points < 120:
        n = known.n_points
        new = ask(Told(known, better * hill(known), np.zeros(n, np.bool_)), min(16, 120 - n), better=better)
        known = Points(
            n + len(new), {name: np.concatenate([known.columns[name], new.columns[name]]) for name in known.columns}
        )
    learned, drawn = hill(known), hill(reserve())
    assert learned.max() > drawn.max()
    assert np.median(learned[60:]) > np.median(drawn[60:]) + 1
    assert len(set(rows(known))) == 120


def test_batch__is_new_allowed_and_typed() -> None:
    before = told()
    found = ask(before, 64)
    columns = found.columns
    assert list(columns) == list(FORMS)
    assert (columns["fast"].dtype, columns["slow"].dtype, columns["band"].dtype) == (np.int64, np.int64, np.float64)
    assert (columns["fast"] < columns["slow"]).all()
    assert set((columns["slow"] % 5).tolist()) == {0}
    assert set(columns["fill"].tolist()) <= {"a", "b"}
    assert ((columns["band"] >= 0.5) & (columns["band"] <= 50)).all()
    assert all(value == float(f"{value:.6g}") for value in columns["band"].tolist())
    assert len(set(rows(found)) | set(rows(before.points))) == 64 + 32


def test_batch__repeats_for_the_same_rows_and_changes_with_one_of_them() -> None:
    before = told()
    assert rows(ask(before)) == rows(ask(before))
    worse = before.scores.copy()
    worse[int(np.argmax(worse))] = -99.0
    assert rows(ask(Told(before.points, worse, before.failed))) != rows(ask(before))
    assert rows(ask(before, search=SEARCH.model_copy(update={"seed": 8}))) != rows(ask(before))


def test_batch__spreads_out_because_open_points_count_as_bad() -> None:
    found = ask(told(), 16)
    assert len(set(found.columns["fast"].tolist())) > 8


def test_points_without_a_value__are_avoided_and_failed_ones_are_no_news() -> None:
    before = told(96)
    low = before.points.columns["fast"] < 50
    scores = np.where(low, np.nan, before.scores)
    undefined = ask(Told(before.points, scores, np.zeros(96, np.bool_)), 32)
    failed = ask(Told(before.points, scores, low), 32)
    assert np.mean(undefined.columns["fast"] < 50) < 0.2
    assert rows(failed) != rows(undefined)


def test_nothing_told_but_failures__still_gives_points() -> None:
    points = reserve()[:16]
    found = ask(Told(points, np.full(16, np.nan), np.ones(16, np.bool_)))
    assert len(set(rows(found)) - set(rows(points))) == 16


def test_narrow_condition__falls_back_on_the_sample() -> None:
    search = SEARCH.model_copy(update={"where": "fast + 20 > slow and fast < slow and band > 25", "n": 40})
    spare = reserve(search)
    found = ask(Told(spare[:8], hill(spare[:8]), np.zeros(8, np.bool_)), 32, search)
    columns = found.columns
    assert ((columns["fast"] + 20 > columns["slow"]) & (columns["band"] > 25)).all()
    assert set(rows(found)) & set(rows(spare))


def test_missing_optuna__says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'quantbot\[opt\]'"):
        ask(told())
