"""Surface: where is it good? One run over two of its axes, with what is missing seen as missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.surface import MAX_X, MAX_Y, CellState, Marks, surface_line, surface_map, surface_scatter, window_of
from app.views import _card, _parts, _shown, _url
from app.views._shown import Shown

if TYPE_CHECKING:
    from quantbot.measures import Measure
    from quantbot.parameters import Value
    from sweeps.surface import Plateau
    from sweeps.trial import Axis

KEYS = ("run", "fold", "asset", "s.x", "s.y", "s.m", "s.how", "s.win.x", "s.win.y", "s.point")
PREFIXES = ("s.at.", _url.POINT)
ALL = "all"
_HOWS = ("median", "mean", "min", "max")
_SLIDER = 60  # values that a slider takes; more are a list with search


@dataclass(frozen=True)
class Controls:
    """What the controls say."""

    x: Axis
    y: Axis | None
    measure: Measure
    how: str
    fold: str
    asset: str | None
    pins: Mapping[str, Value]

    @property
    def title(self) -> str:
        """What a cell shows, in words."""
        return self.measure.label if self.how == "one" else f"{_how(self.how)} {self.measure.label}"


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
    gone: list[str] = []
    if not shown.plan.axes:
        st.info("Nothing varies in this run: it has one point.")
        _card.point(shown, 0, "all", None, {}, view)
    elif not shown.mark:
        st.info("No trial is done yet; the map appears with the first ones.")
    else:
        _surface(shown, view, gone)
    _parts.warnings([*gone, *shown.plan.warnings])
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


def _surface(shown: Shown, view: dict[str, str], gone: list[str]) -> None:
    answer = st.container()
    controls = _controls(shown, view, gone)
    best = reads.best(shown.identity, shown.mark, controls.measure.name, controls.fold, controls.asset)
    plateau = reads.plateau(shown.identity, shown.mark, controls.measure.name, controls.fold, controls.asset)
    with answer:
        _answer(shown, controls, best, plateau, view)
    if any(axis.sampled for axis in shown.plan.axes):
        _sampled(shown, controls, best, view)
    elif controls.y is None:
        _line(shown, controls, best, plateau, view)
    else:
        _map(shown, controls, best, plateau, view)
    _tables(shown, controls, best)


def _controls(shown: Shown, view: dict[str, str], gone: list[str]) -> Controls:
    plan = shown.plan
    axes = {axis.name: axis for axis in plan.axes}
    names = list(axes)
    measures = shown.measures
    places = iter(st.columns([2, 2, 2.4, 2, 2, 2] if len(names) > 1 else [2, 2.4, 2, 2, 3.4]))
    with next(places):
        x = _url.choose("x", names, "s.x", view, default=_larger(axes)[0], gone=gone)
    y = None
    if len(names) > 1:
        rest = [name for name in names if name != x]
        with next(places):
            y = _url.choose("y", rest, "s.y", view, default=next(n for n in _larger(axes) if n != x), gone=gone)
    with next(places):
        metric = _url.choose(
            "Measure", list(measures), "s.m", view, default=plan.spec.objective.metric,
            text=lambda name: measures[name].label, gone=gone, help=fmt.plain(_docs(measures)),
        )  # fmt: skip
    folds, assets = [fold.name for fold in plan.folds], [ALL, *plan.assets]
    with next(places):
        fold = _url.choose("Fold", folds, "fold", view, default=folds[0], gone=gone, disabled=len(folds) < 2)
    with next(places):
        asset = _url.choose(
            "Asset", assets, "asset", view, default=assets[1], gone=gone, disabled=len(plan.assets) < 2
        )  # one asset by default: a median over instruments says little
    one_asset = None if asset == ALL else asset
    others = [name for name in names if name not in (x, y)]
    how = "one"
    pins: dict[str, Value] = {}
    if not any(axis.sampled for axis in plan.axes):
        if others or one_asset is None:
            place = next(places, None)
            with place if place is not None else st.container():
                how = _url.choose("Over the rest", _HOWS, "s.how", view, default="median", text=_how, gone=gone)
        pins = _pins([axes[name] for name in others], view, gone)
        if len(pins) == len(others) and one_asset is not None:
            how = "one"
    return Controls(axes[x], axes[y] if y else None, measures[metric], how, fold, one_asset, pins)


def _larger(axes: Mapping[str, Axis]) -> list[str]:
    """Return the two axes that make the best map: those with most values; of drawn ones the first."""
    if any(axis.sampled for axis in axes.values()):
        return list(axes)[:2]
    return sorted(axes, key=lambda name: -len(axes[name]))[:2] if len(axes) > 2 else list(axes)


def _docs(measures: Mapping[str, Measure]) -> str:
    return " ".join(f"{measure.label}: {measure.doc}" for measure in list(measures.values())[:3])


def _how(how: str) -> str:
    return {"max": "largest", "min": "smallest"}.get(how, how)


def _pins(others: list[Axis], view: dict[str, str], gone: list[str]) -> dict[str, Value]:
    pins: dict[str, Value] = {}
    if not others:
        return pins
    places = st.columns(max(len(others), 3))
    for number, axis in enumerate(others):
        values: list[Any] = axis.values.tolist()
        key = f"s.at.{axis.name}"
        with places[number % len(places)]:
            pinned = _pin(axis.name, values, key, view, gone)
        if pinned != ALL:
            pins[axis.name] = pinned
    return pins


def _pin(name: str, values: list[Any], key: str, view: dict[str, str], gone: list[str]) -> Any:
    options = [ALL, *values]
    if len(values) > _SLIDER:
        return _url.choose(name, options, key, view, default=ALL, text=fmt.value, code=fmt.value, gone=gone)
    codes = {fmt.value(option): option for option in options}
    wanted = view.pop(key, None)
    if st.session_state.get(key) not in options:
        if wanted is not None and wanted not in codes:
            gone.append(f"{name} = {wanted} of the link is not in this run")
        st.session_state[key] = codes.get(wanted or "", ALL)
    chosen = st.select_slider(name, options, key=key, format_func=fmt.value)
    if chosen != ALL:
        view[key] = fmt.value(chosen)
    return chosen


def _answer(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> None:
    measure = controls.measure
    widths = [3, 3, 2] if plateau is not None else [3, 2]
    left, *between, right = st.columns(widths)
    if not best:
        left.markdown(fmt.plain(f"No trial of fold {controls.fold} has a {measure.label}."))
        return
    top = best[0]
    with left.container(border=True, height="stretch"):
        text = fmt.measure(float(top["measures"][measure.name]), measure)
        st.metric(
            f"Best {measure.label}, one trial", text, help="Its interval is unknown: a maximum of many trials flatters."
        )
        point = top["point"]
        st.caption(fmt.plain(f"{fmt.point(point)}{_edge(shown, point)}"))
        _card.trial_link(shown, int(top["trial"]), "Open best", view)
    if plateau is not None:
        with between[0].container(border=True, height="stretch"):
            st.metric(
                f"Plateau of {measure.label}", fmt.measure(plateau.score, measure),
                help=f"Median of a point and its {plateau.n_neighbours} neighbours: less luck than the best.",
            )  # fmt: skip
            worst = fmt.measure(plateau.worst, measure)
            st.caption(fmt.plain(f"{fmt.point(plateau.point)}; worst neighbour {worst}"))
            fold, asset = _place(shown, controls)
            _card.trial_link(shown, shown.plan.trial_index(plateau.point_index, asset, fold), "Open plateau", view)
    hold = f"hold_{measure.name}"
    with right.container(border=True, height="stretch"):
        if hold in top["measures"]:
            st.metric("Buy and hold", fmt.measure(float(top["measures"][hold]), shown.measures[hold]))
            st.caption("the same asset and fold")
        else:
            n_done, n_failed = shown.status.n_done, shown.status.n_failed
            st.metric("Trials", fmt.count(n_done))
            st.caption(fmt.plain(f"{fmt.count(n_failed)} failed"))


def _edge(shown: Shown, point: Mapping[str, Value]) -> str:
    """Say on which axes a point lies at an end, since better ones may lie beyond."""
    ends = [
        axis.name
        for axis in shown.plan.axes
        if axis.kind != "choice" and not axis.sampled and len(axis) > 2
        and point[axis.name] in (axis.values[0].item(), axis.values[-1].item())
    ]  # fmt: skip
    return f"; at an edge of {', '.join(ends)}" if ends else ""


def _place(shown: Shown, controls: Controls) -> tuple[int, int]:
    fold = [fold.name for fold in shown.plan.folds].index(controls.fold)
    return fold, shown.plan.assets.index(controls.asset) if controls.asset else 0


def _map(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> None:
    x, y = controls.x, controls.y
    assert y is not None
    plane = reads.plane(
        shown.identity, shown.mark, x.name, y.name, controls.measure.name,
        "median" if controls.how == "one" else controls.how, controls.pins, controls.fold, controls.asset,
    )  # fmt: skip
    columns, rows = _windows(x, y, view)
    window = window_of(plane, columns, rows)
    selected = _selected(view, x, y)
    marks = Marks(
        best=(best[0]["point"][x.name], best[0]["point"][y.name]) if best else None,
        plateau=(plateau.point[x.name], plateau.point[y.name]) if plateau else None,
        selected=selected,
    )
    chart, card = st.columns([11, 4], gap="medium")
    with chart:
        n_cells = window.states.size
        figure = surface_map(
            window, window.states, x=x.name, y=y.name, measure=controls.measure,
            limits=reads.limits(shown.identity, shown.mark, controls.measure, controls.fold), marks=marks,
            value_name=controls.title,
        )  # fmt: skip
        st.plotly_chart(
            figure, key="s.map", on_select=_on_cell, selection_mode="points", alt=_alt(shown, controls, best),
            config={"displayModeBar": False},
        )  # fmt: skip
        st.caption(fmt.plain(_behind(window, n_cells, controls)))
    with card:
        _card.cell(shown, plane, controls, selected, view)


def _behind(window: Any, n_cells: int, controls: Controls) -> str:
    most = int(window.n_planned.max()) if window.n_planned.size else 0
    each = (
        "one trial a square" if most == 1 else f"a square is the {_how(controls.how)} of up to {fmt.count(most)} trials"
    )
    return f"{fmt.plural(n_cells, 'square')}, {each}; colours end at 2 and 98 % of all trials. Click one."


def _windows(x: Axis, y: Axis, view: dict[str, str]) -> tuple[slice, slice]:
    if len(x) <= MAX_X and len(y) <= MAX_Y:
        return slice(None), slice(None)
    left, right = st.columns(2)
    with left:
        columns = _window(x, MAX_X, "s.win.x", view)
    with right:
        return columns, _window(y, MAX_Y, "s.win.y", view)


def _window(axis: Axis, most: int, key: str, view: dict[str, str]) -> slice:
    """Return which values of an axis are drawn; a long one gets a control for it, in units of its index."""
    if len(axis) <= most:
        view.pop(key, None)
        return slice(None)
    starts = list(range(0, len(axis), most))
    chosen = _url.choose(
        f"Part of {axis.name}", starts, key, view, default=0,
        text=lambda start: f"{fmt.value(axis.values[start].item())} to "
        f"{fmt.value(axis.values[min(start + most, len(axis)) - 1].item())}",
    )  # fmt: skip
    return slice(chosen, chosen + most)


def _on_cell() -> None:
    points = st.session_state["s.map"]["selection"]["points"]
    if points:
        st.session_state["s.clicked"] = points[0]


def _selected(view: dict[str, str], x: Axis, y: Axis | None) -> tuple[Value, ...] | None:
    """Return the selected cell: the one clicked just now, or the address's."""
    axes = [axis for axis in (x, y) if axis is not None]
    clicked = st.session_state.pop("s.clicked", None)
    texts = {axis.name: view.get(f"{_url.POINT}{axis.name}", "") for axis in axes}
    if clicked is not None:
        texts = {axis.name: fmt.value(clicked[letter]) for axis, letter in zip(axes, ("x", "y"), strict=False)}
    for key in [key for key in view if key.startswith(_url.POINT)]:
        del view[key]
    values = [{fmt.value(value): value for value in axis.values.tolist()}.get(texts[axis.name]) for axis in axes]
    if any(value is None for value in values):
        return None
    view |= {f"{_url.POINT}{name}": text for name, text in texts.items()}
    return tuple(value for value in values if value is not None)


def _line(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> None:
    x = controls.x
    folds = [controls.fold, *(fold.name for fold in shown.plan.folds if fold.name != controls.fold)][:4]
    planes = {
        fold: reads.plane(
            shown.identity, shown.mark, x.name, "", controls.measure.name,
            "median" if controls.how == "one" else controls.how, {}, fold, controls.asset,
        )
        for fold in folds
    }  # fmt: skip
    windows = {fold: window_of(plane) for fold, plane in planes.items()}
    selected = _selected(view, x, None)
    marks = Marks(
        best=(best[0]["point"][x.name],) if best else None, plateau=(plateau.point[x.name],) if plateau else None,
        selected=selected,
    )  # fmt: skip
    chart, card = st.columns([11, 4], gap="medium")
    with chart:
        figure = surface_line(
            x.values, {fold: (window.value[0], window.states[0]) for fold, window in windows.items()}, x=x.name,
            measure=controls.measure, marks=marks, value_name=controls.title,
        )  # fmt: skip
        st.plotly_chart(
            figure, key="s.map", on_select=_on_cell, selection_mode="points", alt=_alt(shown, controls, best),
            config={"displayModeBar": False},
        )  # fmt: skip
        st.caption(fmt.plain(f"{fmt.plural(len(x), 'value')} of {x.name}; this run varies nothing else. Click one."))
    with card:
        _card.cell(shown, planes[controls.fold], controls, selected, view)


def _sampled(shown: Shown, controls: Controls, best: list[dict[str, Any]], view: dict[str, str]) -> None:
    x, y, measure = controls.x, controls.y, controls.measure
    fold, asset = _place(shown, controls)
    n_points = shown.plan.n_known  # a search that learns has not chosen the others yet
    values, states = reads.point_values(shown.identity, shown.mark, measure.name, fold, asset)
    values, states = values[:n_points], states[:n_points]
    columns = {name: column[:n_points] for name, column in shown.plan.points.columns.items()}
    clicked = st.session_state.pop("s.clicked", None)
    if clicked is not None:
        view["s.point"] = str(int(np.asarray(clicked["customdata"]).ravel()[0]))
    text = view.get("s.point", "")
    point = int(text) if text.isdecimal() and int(text) < n_points else None
    y_values = columns[y.name] if y is not None else np.where(states == CellState.VALUE, values, np.nanmin(values))

    def at(row: int) -> tuple[Any, Any]:
        return columns[x.name][row].item(), y_values[row].item()

    marks = Marks(best=at(int(best[0]["trial"]) % shown.plan.n_points) if best else None,
                  selected=at(point) if point is not None else None)  # fmt: skip
    chart, card = st.columns([11, 4], gap="medium")
    with chart:
        figure = surface_scatter(
            columns[x.name], y_values, values, states, x=x.name, y=y.name if y else measure.label, measure=measure,
            limits=reads.limits(shown.identity, shown.mark, measure, controls.fold), marks=marks,
        )  # fmt: skip
        st.plotly_chart(
            figure, key="s.map", on_select=_on_cell, selection_mode="points", alt=_alt(shown, controls, best),
            config={"displayModeBar": False},
        )  # fmt: skip
        told = f"{fmt.plural(n_points, 'point')} drawn by the search, each mark a trial. Click one."
        st.caption(fmt.plain(told))
    with card:
        if point is None:
            _card.invite()
        else:
            _card.point(shown, point, controls.fold, controls.asset, controls.pins, view)


def _alt(shown: Shown, controls: Controls, best: list[dict[str, Any]]) -> str:
    axes = " and ".join(axis.name for axis in (controls.x, controls.y) if axis is not None)
    told = f"{controls.title} of {shown.name} over {axes}"
    if not best:
        return told
    value = fmt.measure(float(best[0]["measures"][controls.measure.name]), controls.measure)
    return f"{told}; best {value} at {fmt.point(best[0]['point'])}"


def _tables(shown: Shown, controls: Controls, best: list[dict[str, Any]]) -> None:
    top, failures, spec = st.tabs(["Best trials", f"Failures ({fmt.count(shown.status.n_failed)})", "Spec"])
    with top:
        _card.best_table(shown, best)
    with failures:
        _card.failures(shown)
    with spec:
        st.code(shown.plan.spec_toml, language="toml")


if __name__ == "__main__":
    page()
