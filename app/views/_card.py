"""What lies behind a square or a point: its numbers, its reason where it has none, and the way to its trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.plane import place_of
from app.figures.strip import fold_strip
from app.figures.surface import CellState, trial_states
from app.views import _url
from app.views._sides import SideText, compare_link, written

if TYPE_CHECKING:
    from app.views._controls import Controls
    from app.views._shown import Shown
    from quantbot.parameters import Value
    from sweeps.surface import Plane

PIN = "s.pin"
_WORDS = {
    CellState.MISSING: "Not run yet.",
    CellState.FAILED: "Failed.",
    CellState.UNDEFINED: "Ran, but this measure is undefined: no trades, or a path that never moved.",
    CellState.SKIPPED: "Not promoted: the search gave this point up on less history.",
    CellState.LOCKED: "Locked: the test of a holdout that nobody has looked at. quantbot sweep unlock shows it, and "
    "puts the look on record.",
    CellState.EXCLUDED: "Excluded by the run's condition, or filtered away.",
}
_GROUPS = ("core", "trades")
_HEIGHT = 640  # px
_EDGE = "beyond the edge"
_CHOICES = 400  # of an axis: more are not listed; a click or the arrow keys choose


def invite() -> None:
    """Say what a click does."""
    with st.container(border=True):
        st.markdown("**Selected point**")
        st.caption("Click a mark, or open one from the table.")


def trial_link(shown: Shown, trial: int, label: str, view: Mapping[str, str]) -> None:
    """Link to a trial, carrying the surface's view along for the way back."""
    st.page_link(_url.TRIAL, label=label, icon=":material/show_chart:", query_params=trial_query(shown, trial, view))


def trial_query(shown: Shown, trial: int, view: Mapping[str, str]) -> dict[str, str]:
    """Return the address of a trial's page."""
    carried = {key: text for key, text in view.items() if key.startswith("s.")}
    point = {f"{_url.POINT}{name}": fmt.value(value) for name, value in shown.plan.trial(trial).point}
    return {"run": shown.identity, "trial": str(trial), **point, **carried}


def cell(
    shown: Shown, plane: Plane, controls: Controls, selected: tuple[Value, ...] | None, view: dict[str, str]
) -> int | None:
    """Show what stands behind the selected square, and let it be chosen by keyboard too; return its trial."""
    # As high as the map: what is below stays where it is when a square is chosen.
    with st.container(border=True, height=_HEIGHT if selected else "content"):
        st.markdown("**Selected point**")
        if selected is None:
            st.caption("Click a square, move over the map with the arrow keys and Enter, or choose values here.")
        places = st.columns(len(controls.axes))
        for number, axis in enumerate(controls.axes):
            if len(axis) <= _CHOICES:
                with places[number]:
                    _chooser(axis.name, axis.values.tolist(), selected[number] if selected else None, "xy"[number])
        place = None if selected is None else place_of(plane, selected)
        if place is None:
            return None
        column, row = place
        if min(place) < 0:
            st.caption("It lies outside of the part that is shown.")
            return None
        state = CellState(int(trial_states(plane.value, plane.status)[row, column]))
        behind, planned = int(plane.n_trials[row, column]), int(plane.n_planned[row, column])
        title = controls.title(plane)
        if state is CellState.VALUE:
            st.metric(title, fmt.measure(float(plane.value[row, column]), controls.measure))
        else:
            st.markdown(fmt.plain(_WORDS[state]))
        if plane.pooled:
            st.markdown(fmt.plain(_square(plane, column, row)))
        if planned > 1:
            st.caption(fmt.plain(f"{fmt.count(behind)} of {fmt.plural(planned, 'trial')} behind this square"))
        trial = int(plane.argbest[row, column])
        if trial < 0:
            _reason(shown, plane, controls, column, row)
            return None
        if plane.pooled and plane.how not in ("min", "max"):
            st.caption("A pooled square is no point: zoom in until one square is one point, or take its best trial.")
        _trial(shown, trial, "Open trial" if planned == 1 else f"Open the best of {fmt.count(planned)}", controls, view)
        return trial


def point(shown: Shown, index: int, controls: Controls | None, view: dict[str, str]) -> int:
    """Show one point of a run that has no map, or whose points were drawn."""
    fold, asset = (controls.fold, controls.asset) if controls else (None, None)
    trial = shown.run.slices(fold, asset)[0] * shown.plan.n_points + index
    with st.container(border=True):
        st.markdown("**Selected point**")
        text = fmt.point(shown.plan.points.point(index))
        if text:
            st.markdown(fmt.plain(text))
        _trial(shown, trial, "Open trial", controls, view)
    return trial


def _chooser(name: str, values: list[Any], selected: Any, letter: str) -> None:
    key = f"card.{letter}"
    if selected is not None or st.session_state.get(key) not in values:
        st.session_state[key] = selected
    st.selectbox(
        name, values, key=key, index=None, format_func=fmt.value, on_change=_choose, placeholder="choose a value"
    )


def _choose() -> None:
    """Treat a chosen cell as a clicked one, once each of its axes has a value."""
    now = [st.session_state[key] for letter in "xy" if (key := f"card.{letter}") in st.session_state]
    if all(value is not None for value in now):
        st.session_state["s.clicked"] = tuple(now)


def _square(plane: Plane, column: int, row: int) -> str:
    """Say which values a pooled square holds."""
    parts = []
    for name, axis, edges, at in (
        (plane.x, plane.x_axis, plane.x_edges, column), (plane.y, plane.y_axis, plane.y_edges, row),
    ):  # fmt: skip
        if name:
            first, last = axis[edges[at]].item(), axis[edges[at + 1] - 1].item()
            parts.append(f"{name} {fmt.value(first)}" + (f" to {fmt.value(last)}" if first != last else ""))
    return ", ".join(parts)


def _reason(shown: Shown, plane: Plane, controls: Controls, column: int, row: int) -> None:
    """Say why the trials behind a square failed, by the first of them that has a reason."""
    point = {plane.x: plane.x_axis[plane.x_edges[column]].item(), **controls.pins}
    if plane.y:
        point[plane.y] = plane.y_axis[plane.y_edges[row]].item()
    columns = shown.plan.points.columns
    mask = np.ones(shown.plan.n_points, np.bool_)
    for name, value in point.items():
        mask &= columns[name] == value
    for slice_index in shown.run.slices(controls.fold, controls.asset):
        for index in np.flatnonzero(mask)[:3].tolist():
            found = shown.run.row(slice_index * shown.plan.n_points + index)
            if found["reason"]:
                st.error(fmt.plain(found["reason"]))
                st.page_link(_url.RUNS, label="Retry what failed", icon=":material/refresh:",
                             query_params={"run": shown.identity})  # fmt: skip
                return


def _trial(shown: Shown, trial: int, label: str, controls: Controls | None, view: Mapping[str, str]) -> None:
    row = shown.run.row(trial)
    at = f"{fmt.point(row['point'])}; " if row["point"] else ""
    st.caption(fmt.plain(f"{at}{row['asset']}, fold {row['fold']}"))
    if row["state"] not in ("not run yet", "locked"):
        trial_link(shown, trial, label, view)
    _beside(shown, trial, view)
    if row["state"] == "ok":
        lines = [
            f"| {fmt.plain(measure.label)} | {fmt.plain(fmt.measure(row['measures'][name], measure))} |"
            for name, measure in shown.measures.items()
            if measure.group in _GROUPS[:1]
        ]
        st.markdown("\n".join(["| trial | " + fmt.plain(fmt.count(trial)) + " |", "|:--|--:|", *lines]))
        measure = controls.measure.name if controls else shown.run.objective
        _folds(shown, trial, measure)
        _neighbours(shown, trial, measure)
    elif row["reason"]:
        st.error(fmt.plain(row["reason"]))
    elif row["state"] == "not promoted":
        st.caption(_WORDS[CellState.SKIPPED])


def _folds(shown: Shown, trial: int, name: str) -> None:
    """Draw the measure in every fold: one number alone hides how much it varies."""
    plan, declared = shown.plan, shown.measures[name]
    if len(plan.folds) < 2:
        return
    where = plan.trial(trial)
    trials = [plan.trial_index(where.point_index, where.asset_index, fold) for fold in range(len(plan.folds))]
    values = shown.run.values(name)[trials]
    words = [
        f"{spread.role} {fmt.measure(spread.median, declared, reason='unknown')}"
        + (f" ({fmt.measure(spread.low, declared)} to {fmt.measure(spread.high, declared)}, {spread.n} folds)"
           if spread.n > 1 else "")
        for spread in reads.of_run("fold_spread", shown.identity, shown.mark, trial, name)
    ]  # fmt: skip
    told = f"{declared.label} by fold: {', '.join(words)}"
    strip = fold_strip(values, [fold.name for fold in plan.folds], [fold.role for fold in plan.folds])
    st.image(strip, width="stretch", alt=told)
    st.caption(fmt.plain(told))


def _neighbours(shown: Shown, trial: int, name: str) -> None:
    """Show what one step on each axis changes."""
    declared = shown.measures[name]
    found = reads.of_run("neighbours", shown.identity, shown.mark, trial, (name,))
    rows: dict[str, dict[int, str]] = {}
    for step in found:
        if step.trial is None:
            text = "edge" if step.state == _EDGE else step.state
        elif not np.isfinite(step.deltas[name]):
            text = f"{fmt.value(step.value)}: {step.state if step.state != 'ok' else 'undefined'}"
        else:
            text = f"{fmt.value(step.value)}: {_delta(step.deltas[name], declared)}"
        rows.setdefault(step.axis, {})[step.step] = text
    if rows:
        lines = [f"| {fmt.plain(axis.rpartition('.')[2])} | {_unbroken(of.get(-1, ''))} | {_unbroken(of.get(1, ''))} |"
                 for axis, of in rows.items()]  # fmt: skip
        st.markdown("\n".join([f"| neighbour | step{fmt.SPACE}down | step{fmt.SPACE}up |", "|:--|--:|--:|", *lines]))


def _unbroken(text: str) -> str:
    return fmt.plain(text).replace(" ", fmt.SPACE)


def _delta(delta: float, declared: Any) -> str:
    text = fmt.measure(abs(delta), declared).removeprefix("+")
    zero = not any(digit in "123456789" for digit in text)
    return f"±{text}" if zero else f"{'+' if delta > 0 else fmt.MINUS}{text}"


def _beside(shown: Shown, trial: int, view: Mapping[str, str]) -> None:
    """Offer to keep this trial for a comparison, and to compare it with the one that was kept."""
    pinned = view.get(PIN, "")
    left, right = st.columns(2)
    if pinned == str(trial):
        left.button("Unpin", key="card.unpin", icon=":material/keep_off:", on_click=_pin, args=("",))
    else:
        left.button(
            "Pin", key="card.pin", icon=":material/keep:", on_click=_pin, args=(str(trial),),
            help="Keep this trial in sight: marked on the map, and the other side of a comparison.",
        )  # fmt: skip
    with right:
        if pinned and pinned != str(trial):
            both = [str(SideText(shown.identity, int(side))) for side in (pinned, str(trial))]
            st.page_link(_url.COMPARE, label="Compare with the pinned", icon=":material/compare_arrows:",
                         query_params=written(both))  # fmt: skip
        else:
            compare_link(shown.identity, trial)


def _pin(trial: str) -> None:
    st.session_state["s.pinned"] = trial
