"""Planes and plateaus against slow, obvious versions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.engine import Points
from quantbot.errors import InputError
from sweeps.space import grid_points
from sweeps.surface import MAX_BINS, CellStatus, Geometry, Plane, outline, plane, plateau
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
    return array, codes, np.arange(array.shape[0]) * array.shape[1]


def test_plane__keeps_the_order_of_words_as_the_spec_has_it() -> None:
    found = plane(geometry(), *slices(np.arange(12.0)), x="fill", y="fast")
    assert found.x_values.tolist() == ["open", "close"]
    np.testing.assert_array_equal(found.value, [[1.0, 2.0], [5.0, 6.0], [9.0, 10.0]])


def behind(place: Geometry, found: Plane, row: int, column: int, at: dict[str, object], keep: np.ndarray) -> np.ndarray:
    """Return the points behind a cell, one by one."""
    points = []
    for point in range(place.points.n_points):
        inside = bool(keep[point])
        for name, axis, edges, cell in (
            (found.x, found.x_axis, found.x_edges, column), (found.y, found.y_axis, found.y_edges, row),
        ):  # fmt: skip
            if name:
                index = axis.tolist().index(place.points.columns[name][point])
                inside &= edges[cell] <= index < edges[cell + 1]
        inside &= all(place.points.columns[name][point] == value for name, value in at.items())
        if inside:
            points.append(point)
    return np.array(points, np.int64)


def by_hand(how: str, q: float, numbers: np.ndarray) -> float:
    return float(np.quantile(numbers, q)) if how == "quantile" else float(getattr(np, how)(numbers))


@given(
    data=st.data(),
    kind=st.sampled_from(["grid", "where", "sampled"]),
    how=st.sampled_from(["median", "mean", "min", "max", "quantile"]),
    better=st.sampled_from([1, -1]),
    x_y=st.sampled_from([("slow", "fast"), ("fast", "slow"), ("fast", "fill"), ("fill", "slow"), ("slow", "")]),
)
@settings(deadline=None, max_examples=150)
def test_plane__agrees_with_a_loop(data: st.DataObject, kind: str, how: str, better: int, x_y: tuple[str, str]) -> None:
    axes = (
        Axis("fast", np.array([5, 10, 15, 20, 25]), "integer"),
        Axis("slow", np.array([10, 20, 30]), "integer"),
        FILL,
    )
    points = grid_points(axes, "fast < slow" if kind == "where" else "")
    if kind == "sampled":
        rows = np.random.default_rng(3).integers(0, 30, 20)
        points = Points(20, {name: column[rows] for name, column in points.columns.items()})
        axes = tuple(Axis(a.name, np.unique(points.columns[a.name]), a.kind, sampled=True) for a in axes)
    place = Geometry.of(axes, points)
    n = points.n_points
    numbers = st.one_of(st.floats(-9, 9), st.integers(-2, 2).map(float), st.just(np.nan), st.just(np.inf))
    array = np.array(data.draw(st.lists(numbers, min_size=2 * n, max_size=2 * n))).reshape(2, n)
    code = st.sampled_from(data.draw(st.sampled_from([[0], [0, 0, 0, 1, 2, 4], [1, 2, 4], [5, 5, 5, 1], [5]])))
    codes = np.array(data.draw(st.lists(code, min_size=2 * n, max_size=2 * n)), np.uint8).reshape(2, n)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))) | data.draw(st.booleans())
    x, y = x_y
    at = data.draw(st.sampled_from([{}, {"fill": "close"}])) if "fill" not in x_y else {}
    most = data.draw(st.sampled_from([None, 2, 3]))
    window = data.draw(st.sampled_from([None, ((0, 2), (0, 1)), ((1, 9), (0, 9))]))
    q = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    firsts = np.array([100, 500])
    found = plane(place, array, codes, firsts, x=x, y=y, how=how, q=q, better=better, at=at, keep=keep,
                  window=window, most=most)  # type: ignore[arg-type]  # fmt: skip
    assert found.value.shape == (len(found.y_edges) - 1, len(found.x_edges) - 1)
    assert found.x_values.shape == (found.value.shape[1],)
    for row, column in np.ndindex(found.value.shape):
        mine = behind(place, found, row, column, at, keep)
        cell, cell_codes = array[:, mine], codes[:, mine]
        usable = (cell_codes == 0) & np.isfinite(cell)
        assert found.n_trials[row, column] == (cell_codes == 0).sum()
        assert found.n_planned[row, column] == 2 * len(mine)
        kinds = set(cell_codes.ravel().tolist())
        expected = next(
            (code for code, holds in {
                CellStatus.EXCLUDED: not len(mine), CellStatus.VALUE: 0 in kinds, CellStatus.FAILED: kinds == {2},
                CellStatus.SKIPPED: kinds <= {2, 4}, CellStatus.LOCKED: kinds == {5},
            }.items() if holds), CellStatus.NOT_RUN,
        )  # fmt: skip
        assert found.status[row, column] == expected
        if not usable.any():
            assert np.isnan(found.value[row, column])
            assert found.argbest[row, column] == -1
            continue
        assert found.value[row, column] == pytest.approx(by_hand(how, q, cell[usable]), abs=1e-12)
        sign = {"max": 1, "min": -1}.get(how, better)
        trials = firsts[:, None] + mine
        assert found.argbest[row, column] == -max(zip(sign * cell[usable], -trials[usable], strict=True))[1]
    pinned = np.array([all(points.columns[name][i] == v for name, v in at.items()) for i in range(n)]) & keep
    for status in CellStatus:
        if status is not CellStatus.EXCLUDED:
            assert found.counts[status] == (codes[:, pinned] == status).sum()
    assert found.n_undefined == ((codes == 0) & ~np.isfinite(array))[:, pinned].sum()
    left_out = {"where": 2 * (15 if at else 30), "grid": 0, "sampled": 0}[kind]
    expected_out = left_out - 2 * int(np.sum([all(points.columns[m][i] == v for m, v in at.items()) for i in range(n)]))
    assert found.counts[CellStatus.EXCLUDED] == (expected_out if kind == "where" else 0)


def test_plane__never_pools_words_and_says_what_a_square_holds() -> None:
    axes = (Axis("a", np.arange(10), "integer"), Axis("fill", np.array(list("pqrst")), "choice"))
    place = Geometry.of(axes, grid_points(axes))
    found = plane(place, *slices(np.arange(50.0)), x="a", y="fill", most=3)
    assert found.y_values.tolist() == list("pqrst")
    assert found.x_edges.tolist() == [0, 4, 8, 10]
    assert found.x_values.tolist() == [1, 5, 8]
    assert found.pooled
    zoomed = plane(place, *slices(np.arange(50.0)), x="a", y="fill", most=3, window=((4, 7), (1, 3)))
    assert (zoomed.x_values.tolist(), zoomed.y_values.tolist(), zoomed.pooled) == ([4, 5, 6], ["q", "r"], False)
    assert zoomed.value.tolist() == [[21, 26, 31], [22, 27, 32]]


def test_plane__of_a_window_that_is_gone_says_so() -> None:
    with pytest.raises(InputError, match="window of axis fast must have a value of 0 to 3"):
        plane(geometry(), *slices(np.arange(12.0)), x="fast", y="slow", window=((7, 9), (0, 2)))


@pytest.mark.parametrize("how", ["median", "mean", "max", "quantile"])
def test_plane__pools_a_million_points_in_a_second(how: str) -> None:
    axes = (Axis("a", np.arange(1000), "integer"), Axis("b", np.arange(1000), "integer"))
    place = Geometry.of(axes, grid_points(axes))
    values = np.random.default_rng(2).normal(size=(1, 1_000_000))
    assert place.in_order
    began = time.perf_counter()
    found = plane(place, values, np.zeros((1, 1_000_000), np.uint8), np.zeros(1, np.int64), x="a", y="b",
                  how=how, q=0.9, most=200)  # type: ignore[arg-type]  # fmt: skip
    assert time.perf_counter() - began < 1.0
    blocks = values.reshape(200, 5, 200, 5).transpose(2, 0, 1, 3).reshape(200, 200, 25)
    reduce = {
        "median": np.median,
        "mean": np.mean,
        "max": np.max,
        "quantile": lambda v, axis: np.quantile(v, 0.9, axis),
    }
    np.testing.assert_allclose(found.value, reduce[how](blocks, axis=2))  # type: ignore[operator]


def test_plane__tells_missing_failed_and_excluded_apart() -> None:
    place = geometry("fast < slow", (FAST, SLOW))  # leaves (5,10) (5,20) (10,20) (15,20)
    found = plane(place, *slices([1.0, np.nan, np.nan, 4.0], [0, 2, 1, 0]), x="fast", y="slow")
    assert found.status.tolist() == [[0, 3, 3], [2, 1, 0]]
    assert [CellStatus(code).name for code in (0, 1, 2, 3)] == ["VALUE", "NOT_RUN", "FAILED", "EXCLUDED"]


def test_plane__tells_not_promoted_from_failed_and_missing() -> None:
    place = geometry(axes=(FAST, SLOW))
    array, state, _ = slices([1.0, *[np.nan] * 11], [0, 4, 2, 4, 4, 1, 4, 4, 2, 2, 4, 4])
    found = plane(place, array.reshape(2, 6), state.reshape(2, 6), np.array([0, 6]), x="slow", y="fast")
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
    for how in ("cvar", "median", "worst"):
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
    found = plateau(place, array, how="median")
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
    found = plane(place, values, np.zeros((1, 1_000_000), np.uint8), np.zeros(1, np.int64), x="a", y="b")
    np.testing.assert_allclose(found.value, np.median(values.reshape(200, 100, 50), axis=2).T)


def test_outline__is_the_patch_around_the_plateau_and_no_confetti() -> None:
    x, y = np.meshgrid(np.arange(30), np.arange(20), indexing="ij")
    hill = np.exp(-((x - 20) ** 2 + (y - 12) ** 2) / 30) + 0.9 * np.exp(-((x - 4) ** 2 + (y - 3) ** 2) / 8)
    noisy = hill + 0.05 * np.random.default_rng(4).normal(size=hill.shape)
    axes = (Axis("a", np.arange(30), "integer"), Axis("b", np.arange(20), "integer"), FILL)
    place = Geometry.of(axes, grid_points(axes))
    values = np.repeat(noisy[..., None], 2, axis=2)
    values[..., 1] = -1.0
    found = plateau(place, values.ravel())
    assert found is not None
    cells = {tuple(cell) for cell in outline(place, values.ravel(), found.point_index, x="a", y="b").tolist()}
    assert (found.point["a"], found.point["b"]) in cells
    assert (4, 3) not in cells  # another hill, not connected
    assert 20 < len(cells) < 150
    for a, b in cells:
        assert len(cells) == 1 or {(a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)} & cells
    along = outline(place, values.ravel(), found.point_index, x="b")
    assert (along[:, 1] == 0).all()
    assert along[:, 0].tolist() == sorted(b for a, b in cells if a == found.point["a"])
