"""Plateaus, spikes and edges against slow, obvious versions and on planted surfaces."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.selection import Grid, choose, lone_spikes, neighbourhoods
from quantbot.selection.plateau import nanmedian

SIZES = (4, 3, 2)


def slow(grid: Grid, values: np.ndarray, point: int) -> list[float]:
    """Return the values of a point and its neighbours, the point's first; NaN ones left out."""
    at = {tuple(digit[i] for digit in grid.digits): i for i in range(grid.n_points)}
    own = tuple(digit[point] for digit in grid.digits)
    found = [values[point]]
    for move in product((-1, 0, 1), repeat=len(grid.sizes)):
        if not any(move) or any(step and not order for step, order in zip(move, grid.ordered, strict=True)):
            continue
        if len(grid.sizes) > 3 and sum(map(abs, move)) > 1:
            continue
        other = at.get(tuple(a + b for a, b in zip(own, move, strict=True)))
        if other is not None:
            found.append(values[other])
    return [value for value in found if np.isfinite(value)]


def cvar(values: list[float]) -> float:
    """Return the mean of the worse half, by an integral over small steps of probability."""
    ordered = np.repeat(np.sort(values), 1000)
    return float(ordered[: len(ordered) // 2].mean())


@given(
    values=st.lists(st.one_of(st.floats(-9, 9), st.just(np.nan)), min_size=48, max_size=48),
    keep=st.lists(st.booleans(), min_size=48, max_size=48),
    ordered=st.tuples(*[st.booleans()] * 4),
    better=st.sampled_from([1, -1]),
)
@settings(deadline=None, max_examples=40)
def test_neighbourhoods__agree_with_a_loop(
    values: list[float], keep: list[bool], ordered: tuple[bool, ...], better: int
) -> None:
    for sizes in ((48,), (8, 6), (4, 6, 2), (3, 4, 2, 2)):
        chosen = np.flatnonzero(keep)
        full = Grid.full(*sizes)
        grid = Grid(tuple(digit[chosen] for digit in full.digits), sizes, ordered[: len(sizes)])
        some = np.array(values)[chosen]
        for how, of in (("worst", np.min), ("mean", np.mean), ("median", np.median), ("cvar", cvar)):
            found = neighbourhoods(grid, some, better=better, how=how)  # type: ignore[arg-type]
            for point in range(len(chosen)):
                around = slow(grid, better * some, point)
                if not around:
                    assert np.isnan(found.score[point])
                    continue
                assert better * found.score[point] == pytest.approx(of(around), abs=1e-9)
                assert better * found.worst[point] == min(around)
                assert found.n_neighbours[point] == len(around) - np.isfinite(some[point])


def test_neighbourhoods__a_search_finds_what_a_table_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    cells = np.sort(rng.choice(100 * 100, 5000, replace=False))
    grid = Grid((cells // 100, cells % 100), (100, 100), (True, True))
    values = rng.normal(size=5000)
    table = neighbourhoods(grid, values)
    monkeypatch.setattr("quantbot.selection.plateau._MOST_CELLS", 0)
    monkeypatch.setattr("quantbot.selection.plateau._CHUNK_POINTS", 77)
    search = neighbourhoods(grid, values)
    for name in ("score", "worst", "around", "n_neighbours"):
        np.testing.assert_array_equal(getattr(search, name), getattr(table, name))


def spike_and_plateau(seed: int, size: int = 30) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """Return a noisy surface with a broad hill of 1.5 and one cell of about 4, and where the two are."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    hill = tuple(rng.integers(6, size - 6, 2).tolist())
    spike = hill
    while max(abs(spike[0] - hill[0]), abs(spike[1] - hill[1])) < 9:
        spike = tuple(rng.integers(0, size, 2).tolist())
    surface = 1.5 * np.exp(-(((x - hill[0]) ** 2 + (y - hill[1]) ** 2) / 18.0)) + rng.normal(0, 0.3, (size, size))
    surface[spike] += 4.0
    return surface.ravel(), hill, spike


@pytest.mark.parametrize("how", ["cvar", "worst", "mean", "median"])
def test_choose__takes_the_plateau_100_times_of_100(how: str) -> None:
    grid = Grid.full(30, 30)
    for seed in range(100):
        surface, hill, spike = spike_and_plateau(seed)
        found = choose(grid, surface, how=how)  # type: ignore[arg-type]
        assert found is not None
        at = (grid.digits[0][found.point], grid.digits[1][found.point])
        assert max(abs(at[0] - hill[0]), abs(at[1] - hill[1])) <= 4, seed
        assert found.best == spike[0] * 30 + spike[1]
        assert found.best_is_spike
        assert found.best_value > found.value
        assert found.score > found.best_score or how == "mean"
        assert found.edges == ()


def test_lone_spikes__finds_none_in_noise_nor_on_a_hill() -> None:
    grid = Grid.full(30, 30)
    x, y = np.meshgrid(np.arange(30), np.arange(30), indexing="ij")
    hill = np.exp(-((x - 12) ** 2 + (y - 17) ** 2) / 18).ravel()
    assert not lone_spikes(grid, hill).any()
    assert not lone_spikes(grid, -hill, better=-1).any()
    assert not lone_spikes(grid, np.ones(900)).any()
    assert not lone_spikes(grid, np.full(900, np.nan)).any()
    flagged = [lone_spikes(grid, np.random.default_rng(seed).normal(size=900)).sum() for seed in range(30)]
    assert sum(flagged) < 15  # of 27,000 points


def test_choose__flags_the_edges_it_lies_on() -> None:
    grid = Grid.full(6, 5, 2)
    x, y, z = grid.digits
    found = choose(grid, x * 1.0 - np.abs(y - 2) + z)
    assert found is not None
    assert found.best_edges == (0,)  # two values have no inside
    assert (x[found.best], y[found.best], z[found.best]) == (5, 2, 1)
    unordered = Grid(grid.digits, grid.sizes, (False, True, True))
    words = choose(unordered, x * 1.0 - np.abs(y - 2) + z)
    assert words is not None
    assert words.best_edges == ()


def test_choose__has_a_mirror_image() -> None:
    grid = Grid.full(*SIZES)
    values = np.random.default_rng(2).normal(size=grid.n_points)
    up, down = choose(grid, values), choose(grid, -values, better=-1)
    assert up is not None
    assert down is not None
    assert (up.point, up.best, up.score, up.worst) == (down.point, down.best, -down.score, -down.worst)


def test_choose__does_not_let_a_corner_win_by_having_few_neighbours() -> None:
    values = np.zeros((9, 9))
    values[0, 0] = values[0, 1] = values[1, 0] = values[1, 1] = 5.0  # all that a corner has
    values[3:8, 3:8] = 4.9
    found = choose(Grid.full(9, 9), values.ravel(), how="worst")
    assert found is not None
    assert found.n_neighbours == 8
    assert found.value == 4.9


def test_choose__is_none_without_values_or_axes() -> None:
    assert choose(Grid.full(3), [np.nan, np.inf, np.nan]) is None
    assert choose(Grid((), (), ()), [1.0]) is None
    single = choose(Grid.full(1), [2.0])
    assert single is not None
    assert (single.point, single.n_neighbours, single.score, single.best_is_spike) == (0, 0, 2.0, False)


def test_choose__takes_a_million_points_in_seconds() -> None:
    grid = Grid.full(100, 100, 100)
    values = np.random.default_rng(0).normal(size=grid.n_points)
    start = time.perf_counter()
    assert choose(grid, values) is not None
    assert time.perf_counter() - start < 15.0  # 2 s on two quiet cores


def test_nanmedian__is_numpys() -> None:
    rows = np.random.default_rng(1).normal(size=(7, 50))
    rows[np.random.default_rng(2).random((7, 50)) < 0.4] = np.nan
    rows[0, 0] = 1.0
    some = np.isfinite(rows).any(axis=0)
    np.testing.assert_array_equal(nanmedian(rows)[some], np.nanmedian(rows[:, some], axis=0))


def test_errors__say_what_was_needed_and_found() -> None:
    with pytest.raises(InputError, match="how must be one of cvar, worst, mean, median; found 'best'"):
        neighbourhoods(Grid.full(3), [1.0, 2.0, 3.0], how="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"values must have shape \(3,\), one for each point; was \(2,\)"):
        choose(Grid.full(3), [1.0, 2.0])
    with pytest.raises(InputError, match="found 1, 2 and 1"):
        Grid((np.zeros(1, np.int64),), (1, 2), (True,))


def test_neighbourhoods__of_chosen_points_are_those_of_all() -> None:
    rng = np.random.default_rng(3)
    grid, values = Grid.full(9, 8, 7), rng.normal(size=504)
    values[::11] = np.nan
    points = np.array([503, 0, 250, 77, 11], np.int64)
    whole, few = neighbourhoods(grid, values), neighbourhoods(grid, values, points=points)
    for name in ("score", "worst", "around", "n_neighbours"):
        np.testing.assert_array_equal(getattr(few, name), getattr(whole, name)[points])
