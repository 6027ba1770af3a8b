"""What lies behind a cell or a point: its numbers, its reason where it has none, and the way to its trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app.figures.surface import CellState, trial_states
from app.views import _url

if TYPE_CHECKING:
    from app.views._shown import Shown
    from app.views.surface import Controls
    from quantbot.measures import Measure
    from quantbot.parameters import Value
    from sweeps.surface import Plane

_WORDS = {
    CellState.MISSING: "Not run yet.",
    CellState.FAILED: "Failed.",
    CellState.UNDEFINED: "Ran, but this measure is undefined: no trades, or a path that never moved.",
    CellState.SKIPPED: "Not promoted: the search gave this point up on less history.",
    CellState.EXCLUDED: "Excluded by the run's condition.",
}


def invite() -> None:
    """Say what a click does."""
    with st.container(border=True):
        st.markdown("**Selected point**")
        st.caption("Click a square, or choose its values here.")


def trial_link(shown: Shown, trial: int, label: str, view: Mapping[str, str]) -> None:
    """Link to a trial, carrying the surface's view along for the way back."""
    carried = {key: text for key, text in view.items() if key.startswith("s.")}
    point = {f"{_url.POINT}{name}": fmt.value(value) for name, value in shown.plan.trial(trial).point}
    st.page_link(
        _url.TRIAL, label=label, icon=":material/show_chart:",
        query_params={"run": shown.identity, "trial": str(trial), **point, **carried},
    )  # fmt: skip


def cell(
    shown: Shown, plane: Plane, controls: Controls, selected: tuple[Value, ...] | None, view: dict[str, str]
) -> None:
    """Show what stands behind the selected cell, and let it be chosen by keyboard too."""
    axes = [axis for axis in (controls.x, controls.y) if axis is not None]
    with st.container(border=True):
        st.markdown("**Selected point**")
        if selected is None:
            st.caption("Click a square, or choose its values here.")
        for number, axis in enumerate(axes):
            _chooser(axis.name, axis.values.tolist(), selected[number] if selected else None, "xy"[number])
        if selected is None:
            return
        place = tuple(axis.values.tolist().index(value) for axis, value in zip(axes, selected, strict=True))
        row, column = (place[1], place[0]) if len(place) > 1 else (0, place[0])
        state = CellState(int(trial_states(plane.value, plane.status)[row, column]))
        behind, planned = int(plane.n_trials[row, column]), int(plane.n_planned[row, column])
        if state is CellState.VALUE:
            st.metric(controls.title, fmt.measure(float(plane.value[row, column]), controls.measure))
        else:
            st.markdown(fmt.plain(_WORDS[state]))
        if planned > 1:
            st.caption(fmt.plain(f"{fmt.count(behind)} of {fmt.plural(planned, 'trial')} behind this square"))
        trials = _trials(shown, controls, axes, selected)
        if not trials.size:
            return
        trial = int(plane.argbest[row, column])
        trial = trial if trial >= 0 else int(trials[0])
        _trial(shown, trial, "Open trial" if trials.size == 1 else f"Open the best of {fmt.count(trials.size)}", view)


def point(
    shown: Shown, index: int, fold: str, asset: str | None, pins: Mapping[str, Value], view: dict[str, str]
) -> None:
    """Show one point of a run that has no grid."""
    folds = [fold.name for fold in shown.plan.folds]
    asset_index = shown.plan.assets.index(asset) if asset else 0
    trial = shown.plan.trial_index(index, asset_index, folds.index(fold) if fold in folds else 0)
    with st.container(border=True):
        st.markdown("**Selected point**")
        text = fmt.point(shown.plan.points.point(index) | dict(pins))
        if text:
            st.markdown(fmt.plain(text))
        _trial(shown, trial, "Open trial", view)


def _chooser(name: str, values: list[Any], selected: Any, letter: str) -> None:
    key = f"card.{letter}"
    if selected is not None or st.session_state.get(key) not in values:
        st.session_state[key] = selected
    st.selectbox(
        name, values, key=key, index=None, format_func=fmt.value, on_change=_choose, placeholder="choose a value"
    )


def _choose() -> None:
    """Treat a chosen cell as a clicked one, once each of its axes has a value."""
    now = {letter: st.session_state[key] for letter in "xy" if (key := f"card.{letter}") in st.session_state}
    if all(value is not None for value in now.values()):
        st.session_state["s.clicked"] = now


def _trials(shown: Shown, controls: Controls, axes: list[Any], selected: tuple[Value, ...]) -> np.ndarray[Any, Any]:
    """Return the trials behind a cell, by their indices."""
    columns = shown.plan.points.columns
    mask = np.ones(shown.plan.n_points, np.bool_)
    for name, value in (
        {axis.name: value for axis, value in zip(axes, selected, strict=True)} | dict(controls.pins)
    ).items():
        mask &= columns[name] == value
    points = np.flatnonzero(mask)
    fold = [fold.name for fold in shown.plan.folds].index(controls.fold)
    assets = [shown.plan.assets.index(controls.asset)] if controls.asset else range(len(shown.plan.assets))
    return np.concatenate([points + shown.plan.trial_index(0, asset, fold) for asset in assets])


def _trial(shown: Shown, trial: int, label: str, view: Mapping[str, str]) -> None:
    row = shown.run.row(trial)
    if row["state"] == "ok":
        groups = ("core", "path", "trades")
        for name, measure in shown.measures.items():
            if measure.group in groups[:1]:
                _line(measure, row["measures"][name])
        _folds(shown, trial)
    elif row["reason"]:
        st.error(fmt.plain(row["reason"]))
    if row["state"] == "not promoted":
        st.caption(_WORDS[CellState.SKIPPED])
    if row["state"] != "not run yet":
        trial_link(shown, trial, label, view)
    st.caption(fmt.plain(f"trial {trial}: {row['asset']}, fold {row['fold']}"))


def _line(measure: Measure, value: float) -> None:
    name, number = st.columns([3, 2])
    name.caption(measure.label)
    number.markdown(fmt.plain(fmt.measure(value, measure)))


def _folds(shown: Shown, trial: int) -> None:
    """Say what the objective is in every fold: one number alone hides how much it varies."""
    plan = shown.plan
    if len(plan.folds) < 2:
        return
    asset = plan.trial(trial).asset_index
    trials = [plan.trial_index(trial % plan.n_points, asset, fold) for fold in range(len(plan.folds))]
    declared = shown.measures[plan.spec.objective.metric]
    values = shown.run.values(declared.name)[trials]
    by_role: dict[str, list[float]] = {}
    for fold, value in zip(plan.folds, values.tolist(), strict=True):
        by_role.setdefault(fold.role, []).append(value)
    st.caption(fmt.plain(f"{declared.label} by fold: {', '.join(_spread(r, v, declared) for r, v in by_role.items())}"))


def _spread(role: str, values: list[float], declared: Measure) -> str:
    finite = np.array(values)[np.isfinite(values)]
    if len(values) == 1 or not finite.size:
        return f"{role} {fmt.measure(values[0], declared)}"
    low, high = fmt.measure(float(finite.min()), declared), fmt.measure(float(finite.max()), declared)
    return f"{role} {fmt.measure(float(np.median(finite)), declared)} ({low} to {high} in {fmt.count(finite.size)})"


def best_table(shown: Shown, best: list[dict[str, Any]]) -> None:
    """Show the best trials as a table."""
    rows = [
        {name: fmt.value(value) for name, value in row["point"].items()}
        | {
            measure.label: fmt.measure(row["measures"][name], measure)
            for name, measure in shown.measures.items()
            if measure.group != "hold"
        }
        for row in best
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="The best trials")
    else:
        st.caption("No trial has a value.")


def failures(shown: Shown) -> None:
    """Show why trials failed, by reason."""
    table = shown.run.failures()
    if table.empty:
        st.caption("No trial failed.")
        return
    rows = pd.DataFrame(
        {
            "trials": table["n_trials"],
            "reason": table["reason"],
            "first point": [fmt.point(point) for point in table["first_point"]],
        }
    )
    st.dataframe(rows, hide_index=True, alt="Failures by reason")
