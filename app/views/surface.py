"""Surface: where is it good, and is that luck? One run over two of its axes, with what is missing seen as missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.plane import square_words
from app.figures.surface import CellState, Marks, surface_line, surface_scatter, window_of
from app.views import _answer, _card, _controls, _parallel, _parts, _plane, _shown, _tabs, _url
from app.views._controls import Controls
from app.views._shown import Shown

if TYPE_CHECKING:
    from quantbot.parameters import Value
    from sweeps.surface import Plane, Plateau

KEYS = ("run", "fold", "asset", "s.instrument", "s.session", "s.x", "s.y", "s.m", "s.how", "s.win", "s.view", "s.m2",
        "s.sort", "s.order", "s.state", "s.point", _card.PIN)  # fmt: skip
PREFIXES = ("s.at.", _controls.WITHIN, _url.POINT)
_SCATTER = 2_000  # drawn points up to this many are shown where they lie; more are binned


@_parts.page
def page() -> None:
    """Show one run."""
    view = _url.arrive("surface", KEYS, PREFIXES)
    known = reads.runs()
    title, picker = st.columns([3, 2], vertical_alignment="center")
    title.subheader("Surface", anchor=False)
    if not known:
        _shown.none_yet()
        return
    wanted = reads.find_run(view["run"]) if "run" in view else known[0]
    with picker:
        summary = _pick(known, wanted, view)
    shown = _shown.show(summary)
    _parts.scope(shown.plan, shown.name, shown.status, reads.currency(shown.plan))
    _shown.band(shown)
    warnings, gone = st.container(), []
    if "s.pinned" in st.session_state:
        view[_card.PIN] = st.session_state.pop("s.pinned")
        if not view[_card.PIN]:
            del view[_card.PIN]
    if not shown.plan.axes:
        st.info("Nothing varies in this run: it has one point.")
        _card.point(shown, 0, None, view)
    elif not shown.mark:
        st.info("No trial is done yet; the map appears with the first ones.")
        st.page_link(_url.RUNS, label="Start or follow it on the Runs page", icon=":material/list:",
                     query_params={"run": shown.identity})  # fmt: skip
    else:
        gone = _surface(shown, view)
    with warnings:
        _parts.warnings([*gone, *shown.plan.warnings, *_answer.advice(shown)])
    _url.keep("surface", view)


def _pick(known: list[Any], wanted: Any, view: dict[str, str]) -> Any:
    by_identity = {run.identity: run for run in known}
    if st.session_state.get("run") not in by_identity:
        st.session_state["run"] = wanted.identity
    chosen = st.selectbox(
        "Run", list(by_identity), key="run", label_visibility="collapsed",
        format_func=lambda identity: f"{by_identity[identity].name or 'unnamed'} · {by_identity[identity].short}",
    )  # fmt: skip
    if view.get("run") and by_identity[chosen].identity != wanted.identity:  # another run has other axes
        for key in list(view):
            del view[key]
    view["run"] = chosen
    return by_identity[chosen]


def _surface(shown: Shown, view: dict[str, str]) -> list[str]:
    gone: list[str] = []
    answer = st.container()
    _zoom(view)
    _parallel.take_brush(view)
    controls = _controls.controls(shown, view, gone)
    asked = shown.identity, shown.mark, controls.measure.name, controls.fold, controls.asset
    best, plateau = reads.best(*asked), reads.plateau(*asked)
    with answer:
        _answer.answer(shown, controls, best, plateau, view)
    _filters(controls, view)
    if any(axis.sampled for axis in shown.plan.axes) and shown.plan.n_known <= _SCATTER:
        trial = _sampled(shown, controls, best, view)
    elif controls.y is None and len(controls.x) <= reads.MAX_CELLS:
        trial = _line(shown, controls, best, plateau, view)
    else:
        trial = _map(shown, controls, best, plateau, view)
    _tabs.tabs(shown, controls, best, trial, view, gone)
    return gone


def _zoom(view: dict[str, str]) -> None:
    """Take over the window that a wheel, a box or a key asked for, before the controls read it."""
    window = st.session_state.pop("s.zoomed", None)
    on = view.get("s.x", ""), view.get("s.y", "")
    if window is not None:
        view.pop("s.win", None)
        if "whole" not in window:
            view["s.win"] = ",".join(f"{start}:{stop}" for start, stop in (window["x"], window["y"]))
            st.session_state["s.win.on"] = on
    elif "s.win" in view and (st.session_state.get("s.x"), st.session_state.get("s.y", "")) not in ((None, ""), on):
        del view["s.win"]  # other axes: a window of the old ones means nothing


def _filters(controls: Controls, view: dict[str, str]) -> None:
    """Say what is filtered away, with a way back."""
    if not controls.within:
        return
    told, button = st.columns([6, 1], vertical_alignment="center")
    parts = [f"{name} {fmt.value(low)} to {fmt.value(high)}" for name, (low, high) in controls.within.items()]
    told.info(fmt.plain(f"Only points with {', '.join(parts)}, in the map and in every tab."))
    if button.button("Show all", key="filter.clear", icon=":material/filter_alt_off:"):
        st.session_state["s.brushed"] = {}
        st.rerun()


def _map(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> int | None:
    names = [axis.name for axis in controls.axes]
    plane = reads.plane(shown.identity, shown.mark, **controls.question())
    selected = _selected(view, plane)
    marks = Marks(
        best=tuple(best[0]["point"][name] for name in names) if best else None,
        plateau=tuple(plateau.point[name] for name in names) if plateau else None,
        selected=selected,
        pinned=_pinned(shown, names, view),
    )
    outline = None
    if plateau is not None:
        outline = reads.outline(
            shown.identity, shown.mark, controls.measure.name, controls.fold, controls.asset, plane.x, plane.y
        )
    title = controls.title(plane)
    chart, side = st.columns([10, 4], gap="medium")
    with chart:
        _plane.chart(
            plane, key="s.map", measure=controls.measure, title=title, marks=marks, outline=outline,
            limits=reads.limits(shown.identity, shown.mark, controls.measure.name, controls.fold),
            alt=_alt(shown, controls, best, plateau), caption=f"{title}, {shown.name} {shown.identity[:12]}",
            on_pick=lambda x, y: _click(plane, x, y), on_open=lambda x, y: _open(plane, x, y), on_window=_window,
        )  # fmt: skip
        st.caption(fmt.plain(
            f"{square_words(plane)}; colours end at 2 and 98 % of all trials. Drag a box or turn the wheel to zoom, "
            "double click for the whole; arrow keys and Enter work too."
        ))  # fmt: skip
    with side:
        trial = _card.cell(shown, plane, controls, selected, view)
    if st.session_state.pop("s.open", False) and trial is not None:
        _url.keep("surface", view)
        st.switch_page(_url.TRIAL, query_params=_card.trial_query(shown, trial, view))
    return trial


def _click(plane: Plane, x: int, y: int) -> None:
    at = plane.x_axis[x].item(), plane.y_axis[y].item()
    st.session_state["s.clicked"] = at if plane.y else at[:1]


def _open(plane: Plane, x: int, y: int) -> None:
    _click(plane, x, y)
    st.session_state["s.open"] = True


def _window(window: Any) -> None:
    st.session_state["s.zoomed"] = window


def _pinned(shown: Shown, names: list[str], view: dict[str, str]) -> tuple[Value, ...] | None:
    text = view.get(_card.PIN, "")
    if not text.isdecimal() or int(text) >= shown.plan.n_trials:
        view.pop(_card.PIN, None)
        return None
    point = shown.plan.trial(int(text)).settings
    return tuple(point[name] for name in names)


def _selected(view: dict[str, str], plane: Plane) -> tuple[Value, ...] | None:
    """Return the selected values of x and y: those clicked just now, or the address's."""
    names = [name for name in (plane.x, plane.y) if name]
    clicked = st.session_state.pop("s.clicked", None)
    if clicked is not None and len(clicked) == len(names):
        texts = {name: fmt.value(value) for name, value in zip(names, clicked, strict=True)}
    else:
        texts = {name: view.get(f"{_url.POINT}{name}", "") for name in names}
    for key in [key for key in view if key.startswith(_url.POINT)]:
        del view[key]
    values = [_value_of(texts[name], axis) for name, axis in zip(names, (plane.x_axis, plane.y_axis), strict=False)]
    if any(value is None for value in values):
        return None
    view |= {f"{_url.POINT}{name}": text for name, text in texts.items()}
    return tuple(value for value in values if value is not None)


def _value_of(text: str, axis: np.ndarray[Any, Any]) -> Value | None:
    """Return the axis's value that is written so."""
    if axis.dtype.kind == "U":
        return text if text in axis.tolist() else None
    try:
        near = int(np.argmin(np.abs(axis - float(text))))
    except ValueError:
        return None
    value: Value = axis[near].item()
    return value if fmt.value(value) == text else None


def _line(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> int | None:
    x = controls.x
    folds = [controls.fold, *(fold.name for fold in shown.plan.folds if fold.name != controls.fold)][:4]
    question = controls.question() | {"window": None}
    planes = {fold: reads.plane(shown.identity, shown.mark, **question | {"fold": fold}) for fold in folds}
    windows = {fold: window_of(plane) for fold, plane in planes.items()}
    plane = planes[controls.fold]
    if (clicked := st.session_state.get("s.clicked")) and isinstance(clicked, dict):
        found = _value_of(fmt.value(clicked["x"]), plane.x_axis)
        st.session_state["s.clicked"] = None if found is None else (found,)
    selected = _selected(view, plane)
    marks = Marks(
        best=(best[0]["point"][x.name],) if best else None, plateau=(plateau.point[x.name],) if plateau else None,
        selected=selected, pinned=_pinned(shown, [x.name], view),
    )  # fmt: skip
    chart, side = st.columns([10, 4], gap="medium")
    with chart:
        figure = surface_line(
            x.values, {fold: (window.value[0], window.states[0]) for fold, window in windows.items()}, x=x.name,
            measure=controls.measure, marks=marks, value_name=controls.title(plane),
        )  # fmt: skip
        st.plotly_chart(
            figure, key="s.line", on_select=lambda: _on_mark("s.line"), selection_mode="points",
            alt=_alt(shown, controls, best, plateau), config={"displayModeBar": False},
        )  # fmt: skip
        st.caption(fmt.plain(f"{fmt.plural(len(x), 'value')} of {x.name}; this run varies nothing else. Click one."))
    with side:
        return _card.cell(shown, plane, controls, selected, view)


def _on_mark(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points:
        st.session_state["s.clicked"] = points[0]


def _sampled(shown: Shown, controls: Controls, best: list[dict[str, Any]], view: dict[str, str]) -> int | None:
    x, y, measure = controls.x, controls.y, controls.measure
    fold = next((index for index, fold in enumerate(shown.plan.folds) if controls.fold in (fold.name, fold.role)), 0)
    asset = shown.run.slices(controls.fold, controls.asset)[0] // len(shown.plan.folds)
    n_points = shown.plan.n_known  # a search that learns has not chosen the others yet
    values, states = reads.point_values(shown.identity, shown.mark, measure.name, fold, asset)
    values, states = values[:n_points], states[:n_points]
    keep = reads.of_run("kept", shown.identity, shown.mark, controls.within, measure.name, controls.fold,
                        controls.asset)  # fmt: skip
    if keep is not None:
        states = np.where(keep[:n_points], states, np.uint8(CellState.EXCLUDED))
    columns = {name: column[:n_points] for name, column in shown.plan.points.columns.items()}
    clicked = st.session_state.pop("s.clicked", None)
    if isinstance(clicked, dict) and "customdata" in clicked:
        view["s.point"] = str(int(np.asarray(clicked["customdata"]).ravel()[0]))
    text = view.get("s.point", "")
    point = int(text) if text.isdecimal() and int(text) < n_points else None
    foot = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
    y_values = columns[y.name] if y is not None else np.where(states == CellState.VALUE, values, foot)

    def at(row: int) -> tuple[Any, Any]:
        return columns[x.name][row].item(), y_values[row].item()

    marks = Marks(best=at(int(best[0]["trial"]) % shown.plan.n_points) if best else None,
                  selected=at(point) if point is not None else None)  # fmt: skip
    chart, side = st.columns([10, 4], gap="medium")
    with chart:
        figure = surface_scatter(
            columns[x.name], y_values, values, states, x=x.name, y=y.name if y else measure.label, measure=measure,
            limits=reads.limits(shown.identity, shown.mark, measure.name, controls.fold), marks=marks,
        )  # fmt: skip
        st.plotly_chart(
            figure, key="s.scatter", on_select=lambda: _on_mark("s.scatter"), selection_mode="points",
            alt=_alt(shown, controls, best, None), config={"displayModeBar": False},
        )  # fmt: skip
        told = f"{fmt.plural(n_points, 'point')} drawn by the search, each mark a trial. Click one."
        st.caption(fmt.plain(told))
    with side:
        if point is None:
            _card.invite()
            return None
        return _card.point(shown, point, controls, view)


def _alt(shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None) -> str:
    """Say the finding in words."""
    axes = " and ".join(axis.name for axis in controls.axes)
    told = f"{controls.title()} of {shown.name} over {axes}"
    if not best:
        return f"{told}; no trial has a value"
    measure = controls.measure
    told += f"; best {fmt.measure(float(best[0]['measures'][measure.name]), measure)} at {fmt.point(best[0]['point'])}"
    if plateau is not None:
        told += f"; plateau {fmt.measure(plateau.score, measure)} at {fmt.point(plateau.point)}"
    return told


if __name__ == "__main__":
    page()
