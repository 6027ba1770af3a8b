"""The tab of parallel coordinates: a brush on an axis filters the map and every tab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import format as fmt
from app import reads
from app.figures.parallel import measure_scale, parallel_bytes, range_of
from app.views import _controls

if TYPE_CHECKING:
    from app.views._controls import Controls
    from app.views._shown import Shown

_HERE = Path(__file__).parent
_CHART: Any = (
    st.components.v2.component(
        "quantbot_parallel",
        js=(_HERE / "parallel.js").read_text(encoding="utf-8"),
        css=(_HERE / "parallel.css").read_text(encoding="utf-8"),
    )
    if hasattr(st.components, "v2")
    else None
)


def parallel(shown: Shown, controls: Controls, view: dict[str, str]) -> None:
    """Show at most a thousand lines, and let ranges be kept by brush or by numbers."""
    measure = controls.measure
    sample = reads.of_run(
        "parallel_sample", shown.identity, shown.mark, measure.name, fold=controls.fold, asset=controls.asset,
        within=controls.within,
    )  # fmt: skip
    ends = measure_scale(sample.values)
    axes = {axis.name: axis for axis in shown.plan.axes}
    told = _told(shown, controls, sample)

    def brushed() -> None:
        found = (st.session_state.get("s.parallel") or {}).get("brush")
        if found:
            within = dict(controls.within)
            if found["range"] is None:
                within.pop(found["name"], None)
            else:
                brush = float(found["range"][0]), float(found["range"][1])
                within[found["name"]] = range_of(brush, axes.get(found["name"]), ends)
            st.session_state["s.brushed"] = within

    if _CHART is not None:
        data = parallel_bytes(
            sample, shown.plan.points, shown.plan.axes, measure=measure, within=controls.within, alt=told
        )
        _CHART(key="s.parallel", data=data, on_brush_change=brushed)
    st.caption(fmt.plain(f"{told}. Drag along an axis to keep a range; click it to let go."))
    with st.expander("Ranges by numbers", expanded=_CHART is None):
        _ranges(shown, controls)


def _told(shown: Shown, controls: Controls, sample: Any) -> str:
    n_top, n_lines = int(sample.top.sum()), len(sample.points)
    told = f"{fmt.plural(n_lines, 'line')} of {fmt.plural(sample.n_points, 'point')}"
    if n_lines < sample.n_points:
        return (
            f"{told}: the {fmt.count(n_top)} best by {controls.measure.label} in colour, others evenly by rank in grey"
        )
    return f"{told}, the best tenth by {controls.measure.label} in colour"


def _ranges(shown: Shown, controls: Controls) -> None:
    """Offer the same ranges to the keyboard."""
    places = st.columns(3)
    for number, axis in enumerate(shown.plan.axes):
        if len(axis) < 2:
            continue
        values: list[Any] = axis.values.tolist()
        words = axis.kind == "choice"
        low, high = controls.within.get(axis.name, (0, len(values) - 1) if words else (values[0], values[-1]))
        inside = [place for place, value in enumerate(values) if low <= (place if words else value) <= high]
        start = (values[inside[0]], values[inside[-1]]) if inside else (values[0], values[-1])
        # Its own default tells Streamlit that it is a range; another range is another widget, which starts from it.
        key = f"range.{axis.name}.{start[0]}.{start[1]}"
        with places[number % 3]:
            st.select_slider(axis.name, values, start, key=key, format_func=fmt.value, on_change=_ranged,
                             args=(key, axis.name, values, words, dict(controls.within)))  # fmt: skip


def _ranged(key: str, name: str, values: list[Any], words: bool, within: dict[str, tuple[float, float]]) -> None:
    first, last = st.session_state[key]
    if (first, last) == (values[0], values[-1]):
        within.pop(name, None)
    elif words:
        within[name] = float(values.index(first)), float(values.index(last))
    else:
        within[name] = float(first), float(last)
    st.session_state["s.brushed"] = within


def take_brush(view: dict[str, str]) -> None:
    """Take over the ranges that a brush left, before the controls read the view."""
    within = st.session_state.pop("s.brushed", None)
    if within is not None:
        _controls.keep_within(view, within)
