"""The map as bytes for the component, and the same as a plotly figure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app import format as fmt
from app.figures.plane import legend, number_format, plane_bytes, plane_figure, square_words
from app.figures.surface import CellState, Marks
from quantbot.measures import Measure
from sweeps.space import grid_points
from sweeps.surface import Geometry, Plane, plane
from sweeps.trial import Axis

SHARPE = Measure("sharpe", "Sharpe", "core", "ratio", 1, True, "Mean over deviation.")
DRAWDOWN = Measure("max_drawdown", "Max drawdown", "path", "fraction", -1, False, "Worst fall from a peak.")
AXES = (
    Axis("fast", np.arange(1, 13), "integer"),
    Axis("slow", np.arange(10, 100, 10), "integer"),
    Axis("<b>fill</b>", np.array(["next_open", "same_close"]), "choice"),
)


def drawn(axes: tuple[Axis, ...] = AXES, state: Any = 0, value: Any = None, **asked: Any) -> Plane:
    place = Geometry.of(axes, grid_points(axes))
    n = place.points.n_points
    values = np.arange(n, dtype=float)[None] / n - 0.5 if value is None else np.full((1, n), value)
    codes = np.broadcast_to(np.asarray(state, np.uint8), (1, n))
    x, y = axes[0].name, axes[1].name if len(axes) > 1 else ""
    return plane(place, values, codes, np.zeros(1, np.int64), x=x, y=y, **asked)


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    arrays = {}
    for name, kind, offset, count in header["arrays"]:
        arrays[name] = np.frombuffer(data, np.dtype(f"<{kind}"), count, 4 + length + offset)
    return header, arrays


def test_bytes__hold_the_plane_and_where_each_square_lies() -> None:
    found = drawn()
    header, arrays = unpack(plane_bytes(found, measure=SHARPE, limits=(-0.5, 0.5), title="median Sharpe"))
    np.testing.assert_array_equal(arrays["value"].reshape(9, 12), found.value.astype(np.float32))
    assert set(arrays) == {"value"}  # all values, all of two trials: nothing else to send
    assert (header["behind"], header["zoomed"], header["title"]) == (2, False, "median Sharpe")
    assert header["x"]["labels"] == [str(value) for value in range(1, 13)]
    assert header["y"]["edges"] == list(range(10))
    assert header["ticks"][0] == [0.0, f"≤ {fmt.MINUS}0.50"]
    assert header["ticks"][-1] == [1.0, "≥ +0.50"]


def test_bytes__tell_states_and_what_is_short() -> None:
    state = np.zeros(216, np.uint8)
    state[:2] = 2  # both trials of the first square
    state[2] = 1
    found = drawn(state=state)
    header, arrays = unpack(plane_bytes(found, measure=SHARPE, limits=(-1, 1)))
    assert arrays["states"][0] == CellState.FAILED
    assert arrays["states"][12] == CellState.VALUE
    assert (arrays["short"][0], arrays["short"][12]) == (2, 1)
    assert header["legend"] == [[int(CellState.MISSING), "not run yet 1"], [int(CellState.FAILED), "failed 2"]]


def test_bytes__place_marks_by_value_and_say_which_are_outside() -> None:
    found = drawn(window=((2, 8), (0, 9)))
    marks = Marks(best=(4, 20), plateau=(1, 10), selected=(99, 10))
    header, _ = unpack(plane_bytes(found, measure=SHARPE, limits=(-1, 1), marks=marks))
    assert header["zoomed"]
    assert header["marks"] == [
        {"kind": "best", "x": 1, "y": 1, "away": False},
        {"kind": "plateau", "x": -1, "y": 0, "away": True},
    ]


def test_bytes__pool_the_outline_with_the_squares() -> None:
    found = drawn(most=4)  # squares of 3 x 3
    outline = np.array([[0, 0], [1, 1], [5, 0], [11, 8]])
    _, arrays = unpack(plane_bytes(found, measure=SHARPE, limits=(-1, 1), outline=outline))
    assert arrays["outline"].tolist() == [0, 1, 11]


@pytest.mark.parametrize("failed", [False, True])
def test_bytes__of_the_largest_map_fit_in_one_interaction(failed: bool) -> None:
    axes = (Axis("a", np.arange(1000), "integer"), Axis("b", np.arange(1000), "integer"))
    state = (np.arange(1_000_000) % 97 == 0).astype(np.uint8) * 2 if failed else 0
    data = plane_bytes(drawn(axes, state, most=200), measure=SHARPE, limits=(-1, 1))
    assert len(data) < (300_000 if failed else 180_000)


def test_bytes__of_a_measure_that_is_nowhere_a_number_are_valid_json() -> None:
    found = drawn(value=np.nan)
    header, arrays = unpack(plane_bytes(found, measure=DRAWDOWN, limits=(0, 1)))
    assert (arrays["states"] == CellState.UNDEFINED).all()
    assert header["legend"] == [[int(CellState.UNDEFINED), "undefined 216"]]


def test_bytes__keep_names_as_text() -> None:
    place = Geometry.of(AXES, grid_points(AXES))
    found = plane(place, np.zeros((1, 216)), np.zeros((1, 216), np.uint8), np.zeros(1, np.int64), x="fast",
                  y="<b>fill</b>")  # fmt: skip
    header, _ = unpack(plane_bytes(found, measure=SHARPE, limits=(-1, 1), caption="a/../<b>run"))
    assert header["y"]["name"] == "<b>fill</b>"
    assert header["file"] == "a-..-b-run.png"


def test_figure__shows_the_same_cells_marks_and_reach() -> None:
    found = drawn(most=4)
    figure = plane_figure(
        found, measure=SHARPE, limits=(-1, 1), marks=Marks(best=(12, 90)), outline=np.array([[0, 0], [3, 0]]),
        title="median Sharpe", alt="best +0.5",
    )  # fmt: skip
    heat = next(trace for trace in figure.data if trace.type == "heatmap")
    np.testing.assert_array_equal(heat.z, found.value.astype(np.float32))
    dashed = figure.data[-1]
    assert dashed.line.dash == "dash"
    assert len(dashed.x) == 3 * 6  # two squares side by side have six outer sides
    assert {trace.name for trace in figure.data} >= {"best"}


def test_legend__counts_trials_not_squares() -> None:
    state = np.where(np.arange(216) % 2 == 0, 4, 5).astype(np.uint8)
    assert [words for _, words in legend(drawn(state=state))] == ["not promoted 108", "locked 108"]


def test_square__says_how_many_trials_it_stands_for() -> None:
    axes = (Axis("a", np.arange(1000), "integer"), Axis("b", np.arange(1000), "integer"))
    place = Geometry.of(axes, grid_points(axes))
    found = plane(place, np.zeros((2, 10**6)), np.zeros((2, 10**6), np.uint8), np.array([0, 10**6]), x="a", y="b",
                  most=200)  # fmt: skip
    assert square_words(found).replace(fmt.SPACE, " ") == "1 square = 5 x 5 points x 2 = 50 trials"
    assert square_words(drawn()) == "1 square = 2 trials"


@pytest.mark.parametrize("unit", ["ratio", "fraction", "fraction per year", "per year"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.239, -0.004, 12345.678])
def test_number_format__says_what_format_writes(unit: Any, signed: bool, value: float) -> None:
    measure = Measure("m", "M", "core", unit, 1, signed, "A measure.")
    rule = number_format(measure)
    size = abs(value * rule["scale"])
    fine = rule["fine"] and 1e-9 < size < 0.995
    decimals = min(1 - int(np.floor(np.log10(size))), 3) if fine else rule["decimals"]
    text = f"{size:,.{decimals}f}".replace(",", fmt.SPACE)
    zero = not text.strip("0.")
    sign = "" if zero else fmt.MINUS if value < 0 else "+" if rule["sign"] else ""
    assert fmt.measure(value, measure) == f"{sign}{text}{rule['suffix']}"
