"""Planes and plateaus against slow, obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.engine import Points
from quantbot.errors import InputError
from sweeps.space import grid_points
from sweeps.surface import MAX_BINS, CellStatus, Geometry, plane, plateau
from sweeps.trial import Axis

FAST = Axis("fast", np.array([5, 10, 15]), "integer")
SLOW = Axis("slow", np.array([10, 20]), "integer")
FILL = Axis("fill", np.array(["open", "close"]), "choice")
AXES = (FAST, SLOW, FILL)


def geometry(where: str = "", axes: tuple[Axis, ...] = AXES) -> Geometry:
    return Geometry.of(axes, grid_points(axes, where))


def slices(values: list[float] | np.ndarray, state: list[int] | None = None) -> tuple[np.ndarray, ...]:
    array = np.atleast_2d(np.asarray(values, dtype=np.float64))
    codes = np.zeros(array.shape, np.uint8) if state is None else np.atleast_2d(np.asarray(state, np.uint8))
    return array, codes, np.arange(array.size).reshape(array.shape)


def test_plane__keeps_the_order_of_words_as_the_spec_has_it() -> None:
    found = plane(geometry(), *slices(np.arange(12.0)), x="fill", y="fast")
    assert found.x_values.tolist() == ["open", "close"]
    np.testing.assert_array_equal(found.value, [[1.0, 2.0], [5.0, 6.0], [9.0, 10.0]])


@given(
    values=st.lists(st.one_of(st.floats(-9, 9), st.just(np.nan)), min_size=24, max_size=24),
    state=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=24, max_size=24),
    how=st.sampled_from(["median", "mean", "min", "max"]),
    better=st.sampled_from([1, -1]),
)
@settings(deadline=None)
def test_plane__agrees_with_a_loop(values: list[float], state: list[int], how: str, better: int) -> None:
    place = geometry()
    array, codes, trials = (part.reshape(2, 12) for part in slices(values, state))
    found = plane(place, array, codes, trials, x="slow", y="fast", how=how, better=better)  # type: ignore[arg-type]
    for i, fast in enumerate([5, 10, 15]):
        for j, slow in enumerate([10, 20]):
            behind = (place.points.columns["fast"] == fast) & (place.points.columns["slow"] == slow)
            cell, cell_codes, cell_trials = array[:, behind], codes[:, behind], trials[:, behind]
            usable = (cell_codes == 0) & np.isfinite(cell)
            assert found.n_trials[i, j] == (cell_codes == 0).sum()
            assert found.n_planned[i, j] == 4
            if not usable.any():
                assert np.isnan(found.value[i, j])
                assert found.argbest[i, j] == -1
                continue
            assert found.value[i, j] == pytest.approx(getattr(np, how)(cell[usable]))
            sign = {"max": 1, "min": -1}.get(how, better)
            best = max(zip(sign * cell[usable], -cell_trials[usable], strict=True))
            assert found.argbest[i, j] == -best[1]


def test_plane__tells_missing_failed_and_excluded_apart() -> None:
    place = geometry("fast < slow", (FAST, SLOW))  # leaves (5,10) (5,20) (10,20) (15,20)
    found = plane(place, *slices([1.0, np.nan, np.nan, 4.0], [0, 2, 1, 0]), x="fast", y="slow")
    assert found.status.tolist() == [[0, 3, 3], [2, 1, 0]]
    assert [CellStatus(code).name for code in (0, 1, 2, 3)] == ["VALUE", "NOT_RUN", "FAILED", "EXCLUDED"]


def test_plane__tells_not_promoted_from_failed_and_missing() -> None:
    place = geometry(axes=(FAST, SLOW))
    array, state, trials = slices([1.0, *[np.nan] * 11], [0, 4, 2, 4, 4, 1, 4, 4, 2, 2, 4, 4])
    array, state, trials = (part.reshape(2, 6) for part in (array, state, trials))
    found = plane(place, array, state, trials, x="slow", y="fast")
    names = [[CellStatus(int(code)).name for code in row] for row in found.status]
    assert names == [["VALUE", "SKIPPED"], ["FAILED", "SKIPPED"], ["SKIPPED", "NOT_RUN"]]


def test_plane__leaves_out_points_that_are_not_chosen_yet() -> None:
    drawn = Axis("fast", np.array([5, 10]), "integer", sampled=True)
    place = Geometry.of((drawn,), Points(4, {"fast": np.array([5, 10, 5, 5])}), 2)
    found = plane(place, *slices([1.0, 2.0, np.nan, np.nan], [0, 0, 1, 1]), x="fast")
    assert (found.x_values.tolist(), found.n_planned.tolist()) == ([5, 10], [[1, 1]])
    assert found.status.tolist() == [[0, 0]]


def test_plane__pins_an_axis_and_names_a_wrong_value() -> None:
    found = plane(geometry(), *slices(np.arange(12.0)), x="fast", y="slow", at={"fill": "close"})
    np.testing.assert_array_equal(found.value, [[1, 5, 9], [3, 7, 11]])
    with pytest.raises(InputError, match="no value 'closed'; it has open, close"):
        plane(geometry(), *slices(np.arange(12.0)), x="fast", y="slow", at={"fill": "closed"})
    with pytest.raises(InputError, match="did you mean 'slow'"):
        plane(geometry(), *slices(np.arange(12.0)), x="fast", y="slo")


def test_plane__shows_one_axis_as_one_row() -> None:
    found = plane(geometry("", (FAST,)), *slices([1.0, 2.0, 3.0]), x="fast")
    assert found.value.tolist() == [[1.0, 2.0, 3.0]]


def test_plane__bins_sampled_points_and_loses_none() -> None:
    draws = np.random.default_rng(1).normal(size=500)
    axis = Axis("band", np.unique(draws), "number", sampled=True)
    place = Geometry.of((axis,), Points(500, {"band": draws}))
    found = plane(place, *slices(draws), x="band", how="mean")
    assert found.x_values.shape == (MAX_BINS,)
    assert found.n_trials.sum() == 500
    assert (np.diff(found.value[0]) > 0).all()
    assert plateau(place, draws) is None


def test_plateau__prefers_a_broad_hill_to_a_spike() -> None:
    x, y = np.meshgrid(np.arange(20), np.arange(20), indexing="ij")
    hill = np.exp(-((x - 14) ** 2 + (y - 13) ** 2) / 20)
    hill[3, 3] = 9.0
    axes = (Axis("a", np.arange(20), "integer"), Axis("b", np.arange(20), "integer"))
    place = Geometry.of(axes, grid_points(axes))
    for how in ("median", "worst"):
        found = plateau(place, hill.ravel(), how=how)  # type: ignore[arg-type]
        assert found is not None
        assert (found.point, found.n_neighbours) == ({"a": 14, "b": 13}, 8)
        assert found.worst == pytest.approx(np.exp(-2 / 20))
    down = plateau(place, -hill.ravel(), better=-1)
    assert down is not None
    assert down.point == {"a": 14, "b": 13}
    assert down.score == pytest.approx(-plateau(place, hill.ravel()).score)  # type: ignore[union-attr]


@given(st.lists(st.one_of(st.floats(-5, 5), st.just(np.nan)), min_size=12, max_size=12))
@settings(deadline=None)
def test_plateau__agrees_with_a_loop(values: list[float]) -> None:
    place = geometry()
    array = np.array(values)
    found = plateau(place, array)
    scores = {}
    for i in range(12):
        mine = [digits[i] for digits in place.digits]
        around = [
            array[j]
            for j in range(12)
            if place.digits[2][j] == mine[2]  # a word has no neighbours
            and all(abs(place.digits[axis][j] - mine[axis]) <= 1 for axis in (0, 1))
            and np.isfinite(array[j])
        ]
        if np.isfinite(array[i]):
            scores[i] = (len(around) - 1, float(np.median(around)), min(around))
    if found is None:
        assert not scores
        return
    most = max(n for n, _, _ in scores.values())
    best = max((score, -i) for i, (n, score, _) in scores.items() if 2 * n >= most)
    assert found.score == pytest.approx(best[0])
    n, score, worst = scores[found.point_index]
    assert (found.n_neighbours, found.worst) == (n, worst)
    assert score == pytest.approx(found.score)


def test_plane__reduces_a_million_trials_in_a_second() -> None:
    axes = (
        Axis("a", np.arange(200), "integer"),
        Axis("b", np.arange(100), "integer"),
        Axis("c", np.arange(50), "integer"),
    )
    place = Geometry.of(axes, grid_points(axes))
    values = np.random.default_rng(2).normal(size=(1, 1_000_000))
    found = plane(place, values, np.zeros((1, 1_000_000), np.uint8), np.arange(1_000_000)[None], x="a", y="b")
    np.testing.assert_allclose(found.value, np.median(values.reshape(200, 100, 50), axis=2).T)
