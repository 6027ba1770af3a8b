from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray

from app import format as fmt
from app.figures import theme
from app.figures.surface import (
    CellState,
    Marks,
    colour_limits,
    state_counts,
    surface_line,
    surface_map,
    surface_scatter,
    window_of,
)
from quantbot.measures import Measure
from sweeps.surface import CellStatus, Plane

SHARPE = Measure("sharpe", "Sharpe", "core", "ratio", 1, True, "Mean over deviation.")
DRAWDOWN = Measure("max_drawdown", "Maximum drawdown", "core", "fraction", -1, False, "Fraction of the peak lost.")


@dataclass(frozen=True)
class Cells:
    x_values: NDArray[Any]
    y_values: NDArray[Any]
    value: NDArray[np.float64]
    n_trials: NDArray[np.int64]

    @property
    def n_planned(self) -> NDArray[np.int64]:
        return self.n_trials + 1


def cells(n_x: int = 4, n_y: int = 3) -> tuple[Cells, NDArray[np.uint8]]:
    value = np.arange(n_x * n_y, dtype=float).reshape(n_y, n_x) / 10
    states = np.full((n_y, n_x), CellState.VALUE, np.uint8)
    return Cells(np.arange(5, 5 + n_x), np.array([80.0, 100.0, 150.5][:n_y]), value, np.full((n_y, n_x), 7)), states


def draw(plane: Cells, states: NDArray[np.uint8], **more: Any) -> go.Figure:
    options: dict[str, Any] = {"x": "fast", "y": "slow", "measure": SHARPE, "limits": (-1.0, 1.0)}
    return surface_map(plane, states, **(options | more))


def legend(figure: go.Figure) -> set[str]:
    return {trace.name for trace in figure.data if trace.showlegend is not False and trace.name}


def test_map__draws_values_as_cells_on_their_own_axes() -> None:
    plane, states = cells()
    figure = draw(plane, states)
    heat = figure.data[0]
    assert heat.type == "heatmap"
    assert list(heat.x) == ["5", "6", "7", "8"]
    assert list(heat.y) == ["80", "100", "150.5"]
    np.testing.assert_allclose(heat.z, plane.value)
    assert tuple(figure.layout.xaxis.range) == (-0.5, 3.5)
    assert heat.zsmooth in (None, False), "interpolation between trials misleads"


def test_map__shows_every_state_with_its_count() -> None:
    plane, states = cells()
    states[0, :3] = CellState.MISSING
    states[1, 0] = CellState.FAILED
    states[1, 1:3] = CellState.UNDEFINED
    states[2, 3] = CellState.EXCLUDED
    figure = draw(plane, states)
    assert legend(figure) == {"not run yet 3", "failed 1", "undefined 2", "excluded 1"}
    below, values = (trace for trace in figure.data if trace.type == "heatmap")
    assert np.isnan(np.asarray(values.z)[states != CellState.VALUE]).all()
    assert np.asarray(below.z)[1, 0] == CellState.FAILED
    assert np.isnan(np.asarray(below.z)[2, 3]), "an excluded cell is empty"


def test_map__without_gaps_has_no_state_in_its_legend() -> None:
    assert legend(draw(*cells())) == set()


def test_map__lets_every_cell_be_picked_but_excluded_ones() -> None:
    plane, states = cells()
    states[0, 0] = CellState.EXCLUDED
    states[0, 1] = CellState.FAILED
    pickers = next(trace for trace in draw(plane, states).data if trace.opacity == 0)
    assert len(pickers.x) == 11
    assert ("5", "80") not in set(zip(pickers.x, pickers.y, strict=True))
    assert pickers.hoverinfo != "skip", "plotly reports no click on a trace that skips hover"
    assert pickers.text[0] == "failed"


def test_map__picks_a_large_plane_in_webgl() -> None:
    plane = Cells(np.arange(200), np.arange(100), np.zeros((100, 200)), np.ones((100, 200)))
    figure = draw(plane, np.zeros((100, 200), np.uint8))
    assert next(trace for trace in figure.data if trace.opacity == 0).type == "scattergl"
    assert len(figure.to_json()) < 700_000


def test_map__marks_best_plateau_and_selection_twice() -> None:
    figure = draw(*cells(), marks=Marks(best=(5, 80.0), plateau=(6, 100), selected=(8, 150.5)))
    assert legend(figure) == {"best", "plateau", "selected"}
    rings = [trace for trace in figure.data if trace.name == "best" and trace.x[0] is not None]
    assert [ring.marker.color for ring in rings] == ["white", "black"]
    assert (rings[0].x[0], rings[0].y[0]) == ("5", "80")


def test_map__leaves_out_a_mark_beyond_its_window() -> None:
    assert legend(draw(*cells(), marks=Marks(best=(99, 80)))) == set()


def test_map__takes_words_as_an_axis() -> None:
    plane, states = cells(2, 2)
    named = Cells(np.array(["next_open", "same_close"]), plane.y_values, plane.value, plane.n_trials)
    assert list(draw(named, states).data[0].x) == ["next_open", "same_close"]


def test_map__keeps_markup_in_names_as_text() -> None:
    pickers = next(trace for trace in draw(*cells(), x="<b>%{y}").data if trace.opacity == 0)
    assert pickers.hovertemplate.startswith("&lt;b>% {y} %{x}")


@pytest.mark.parametrize(("measure", "scale"), [(SHARPE, "RdBu"), (DRAWDOWN, "Cividis")])
def test_map__diverges_only_where_zero_divides_good_from_bad(measure: Measure, scale: str) -> None:
    from plotly.colors import get_colorscale

    heat = draw(*cells(), measure=measure, limits=(0, 1)).data[0]
    assert [colour for _, colour in heat.colorscale] == [colour for _, colour in get_colorscale(scale)]


def test_colour_bar__says_that_its_ends_hold_what_lies_beyond() -> None:
    texts = draw(*cells(), limits=(-0.6, 0.6)).data[0].colorbar.ticktext
    assert texts[0] == f"≤ {fmt.MINUS}0.60"
    assert texts[-1] == "≥ +0.60"


def test_limits__ignore_outliers_and_are_symmetric_for_signed_measures() -> None:
    values = np.concatenate([np.linspace(-0.5, 1.0, 999), [1e9, np.nan, -np.inf]])
    low, high = colour_limits(values, SHARPE)
    assert low == -high
    assert 0.9 < high < 1.0


@pytest.mark.parametrize("values", [[], [np.nan], [0.0, 0.0], [0.25]])
@pytest.mark.parametrize("measure", [SHARPE, DRAWDOWN])
def test_limits__are_a_range_even_without_variety(values: list[float], measure: Measure) -> None:
    low, high = colour_limits(np.array(values), measure)
    assert np.isfinite([low, high]).all()
    assert low < high


def test_counts__add_up() -> None:
    states = np.array([[0, 1, 2, 4], [3, 6, 6, 5]], np.uint8)
    assert state_counts(states) == {CellState.VALUE: 1, CellState.MISSING: 1, CellState.FAILED: 1,
                                    CellState.UNDEFINED: 1, CellState.SKIPPED: 1, CellState.LOCKED: 1,
                                    CellState.EXCLUDED: 2}  # fmt: skip


def test_line__draws_one_line_a_fold_and_a_strip_for_what_is_missing() -> None:
    values = np.array([5, 10, 15, 20])
    numbers = np.array([0.1, np.nan, 0.3, np.nan])
    states = np.array([0, CellState.FAILED, 0, CellState.MISSING], np.uint8)
    results = {"train": (numbers, states), "test": (np.zeros(4), np.zeros(4, np.uint8))}
    figure = surface_line(values, results, x="fast", measure=SHARPE, marks=Marks(best=(15,), plateau=(10,)))
    assert legend(figure) == {"train", "test", "failed 1", "not run yet 1", "best"}
    assert figure.data[0].line.dash != figure.data[1].line.dash
    assert not figure.data[0].connectgaps
    strip = next(trace for trace in figure.data if trace.name == "failed 1")
    assert list(strip.x) == [10]
    assert strip.y[0] < 0.1


def test_line__has_no_line_between_words() -> None:
    results = {"all": (np.array([0.1, 0.2]), np.zeros(2, np.uint8))}
    figure = surface_line(np.array(["a", "b"]), results, x="fill", measure=SHARPE, marks=Marks(best=("b",)))
    assert figure.data[0].mode == "markers"
    assert legend(figure) == {"best"}


def test_line__survives_a_run_without_any_value() -> None:
    nothing = (np.full(2, np.nan), np.full(2, CellState.FAILED, np.uint8))
    assert legend(surface_line(np.array([1, 2]), {"all": nothing}, x="n", measure=SHARPE)) == {"failed 2"}


def test_scatter__carries_the_index_of_each_point_whatever_its_state() -> None:
    states = np.array([0, CellState.FAILED, 0, CellState.MISSING], np.uint8)
    values = np.array([0.5, np.nan, -0.5, np.nan])
    figure = surface_scatter(
        np.arange(4.0), np.arange(4.0) * 2, values, states, x="a", y="b", measure=SHARPE, limits=(-1, 1)
    )
    by_name = {trace.name: list(trace.customdata) for trace in figure.data}
    assert by_name == {None: [0, 2], "failed 1": [1], "not run yet 1": [3]}


def test_marks__are_white_under_black_with_a_legend_entry_for_any_page() -> None:
    outer, inner, entry = theme.outlined([1], [2], "best", "circle-open")
    assert outer.marker.line.width > inner.marker.line.width
    assert (outer.showlegend, inner.showlegend, entry.marker.color) == (False, False, theme.GREY)
    assert {mark.hoverinfo for mark in (outer, inner, entry)} == {"skip"}


def plane(n_x: int = 4, n_y: int = 3) -> Plane:
    drawn, _ = cells(n_x, n_y)
    counts = np.full((n_y, n_x), 2)
    status = np.zeros((n_y, n_x), np.uint8)
    best = np.arange(n_x * n_y).reshape(n_y, n_x)
    return Plane(
        "fast",
        "slow",
        "sharpe",
        "median",
        drawn.x_values,
        drawn.y_values,
        drawn.value,
        counts,
        counts,
        status,
        best,
        np.arange(n_x + 1),
        np.arange(n_y + 1),
        drawn.x_values,
        drawn.y_values,
        {},
        0,
    )


def test_window__tells_undefined_from_failed_missing_and_excluded() -> None:
    whole = plane()
    whole.value[0, :] = np.nan
    whole.status[0, :3] = CellStatus.NOT_RUN, CellStatus.FAILED, CellStatus.EXCLUDED
    whole.value[1, 0], whole.status[1, 0] = np.nan, CellStatus.SKIPPED
    states = window_of(whole).states
    assert states[0].tolist() == [CellState.MISSING, CellState.FAILED, CellState.EXCLUDED, CellState.UNDEFINED]
    assert states[1, 0] == CellState.SKIPPED
    assert (states[1:].ravel()[1:] == CellState.VALUE).all()


def test_window__cuts_every_array_alike() -> None:
    part = window_of(plane(), slice(1, 3), slice(0, 2))
    assert part.x_values.tolist() == [6, 7]
    assert part.argbest.tolist() == [[1, 2], [5, 6]]
    assert part.value.shape == part.states.shape == part.n_planned.shape == (2, 2)
