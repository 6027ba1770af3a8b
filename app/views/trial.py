"""Trial: how did this point earn it? Replayed now, and compared with the stored row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads, reads_trial
from app.figures.trial import trial_chart
from app.scope import noun_of
from app.views import _parts, _shown, _sides, _trial_book, _trial_tabs, _url
from quantbot.errors import NotFoundError, QuantBotError

if TYPE_CHECKING:
    from app.views._shown import Shown
    from sweeps.neighbours import Neighbour
    from sweeps.results import TrialReplay

KEYS = ("run", "trial", "t", "t.log", *_trial_tabs.KEYS)
CARRIED = ("s.", _url.POINT)  # the surface's view rides along, so that the way back works after a reload
_CHIPS = 6
_HEADLINE = ("total_return", "sharpe", "max_drawdown", "exposure", "n_trades", "n_fills", "inventory_max")


@_parts.page
def page() -> None:
    """Show one trial."""
    view = _url.arrive("trial", KEYS, CARRIED)
    st.subheader("Trial", anchor=False)
    known = reads.runs()
    if not known:
        _shown.none_yet()
        return
    if "run" not in view:
        _parts.empty(
            "No trial is chosen. Open one from a surface: click a square, then Open trial.", "Surface", _url.SURFACE
        )
        return
    shown = _shown.show(reads.find_run(view["run"]))
    _parts.scope(shown.plan, shown.name, shown.status, reads.currency(shown.plan))
    trial = _trial_index(shown, view)
    _ways(shown, trial, view)
    row = shown.run.row(trial)
    beside = reads_trial.neighbours(shown.identity, shown.mark, trial, _names(shown))
    _chips(shown, row, beside, view)
    if row["state"] == "failed":
        st.error(fmt.plain(f"This trial failed: {row['reason']}"))
        _trial_tabs.neighbours(shown, beside, _names(shown), _go)
    elif row["state"] in ("locked", "not promoted"):
        st.info(fmt.plain(_WITHOUT_ROW[row["state"]]), icon=_ICONS[row["state"]])
        _trial_tabs.neighbours(shown, beside, _names(shown), _go)
    else:
        _replayed(shown, trial, row, beside, view)
    _url.keep("trial", view)


_WITHOUT_ROW = {
    "locked": "Locked: this trial tests a holdout that nobody has looked at yet. quantbot sweep unlock shows it, and"
    " puts the look on record.",
    "not promoted": "Not promoted: the search gave this point up on less history, so it was never run on this much.",
}
_ICONS = {"locked": ":material/lock:", "not promoted": ":material/trending_down:"}


def _trial_index(shown: Shown, view: dict[str, str]) -> int:
    text = view.get("trial", "")
    if not text:
        best = shown.run.best(1)
        if not best:
            raise NotFoundError(f"run {shown.name} has no trial with a value yet")
        text = view["trial"] = str(best[0]["trial"])
    if not text.isdecimal() or int(text) >= shown.plan.n_trials:
        raise NotFoundError(f"run {shown.name} has trials 0 to {shown.plan.n_trials - 1}, no trial {text!r:.40}")
    return int(text)


def _ways(shown: Shown, trial: int, view: dict[str, str]) -> None:
    """Lead back to the surface, and on to a comparison."""
    last = _url.last_view("surface")
    carried = last if last.get("run") == shown.identity else {k: v for k, v in view.items() if k.startswith("s.")}
    with st.container(horizontal=True):
        st.page_link(
            _url.SURFACE, label="Back to the surface", icon=":material/arrow_back:",
            query_params={**carried, "run": shown.identity},
        )  # fmt: skip
        _sides.compare_link(shown.identity, trial)
        if _trial_book.holds_books(shown):
            _trial_book.link(shown, trial)
        if shown.plan.members:
            st.page_link(
                _url.RISK, label="Risk", icon=":material/shield:",
                query_params={**carried, "run": shown.identity, "trial": str(trial), "r.from": "run"},
                help="Where its risk comes from: contributions, frontier, tail, stress.",
            )  # fmt: skip


def _names(shown: Shown) -> list[str]:
    """Return the measures that neighbours are compared by: the objective, and what belongs beside it."""
    wanted = (shown.plan.spec.objective.metric, "sharpe", "total_return", "max_drawdown", "n_trades")
    return [name for name in dict.fromkeys(wanted) if name in shown.measures]


# --------------------------------------------------------------------------------------------------------------- chips


def _chips(shown: Shown, row: dict[str, Any], beside: tuple[Neighbour, ...], view: dict[str, str]) -> None:
    """Show the point, each parameter with one step to either side; asset and fold to choose from."""
    for key in [key for key in view if key.startswith(_url.POINT)]:
        del view[key]
    view |= {f"{_url.POINT}{name}": fmt.value(value) for name, value in row["point"].items()}
    steps = {(one.axis, one.step): one for one in beside}
    chips = [*row["point"], "asset", "fold"]
    places: list[Any] = []
    for number, name in enumerate(chips):
        places = places if number % _CHIPS else st.columns(min(len(chips), _CHIPS))
        with places[number % _CHIPS].container(border=True, height="stretch", gap="xsmall"):
            st.caption(fmt.plain(noun_of(shown.plan) if name == "asset" else name))
            if name in ("asset", "fold"):
                _other(shown, row, name)
                continue
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                _step(shown, steps.get((name, -1)))
                st.markdown(f"**{fmt.plain(fmt.value(row['point'][name]))}**", width="content")
                _step(shown, steps.get((name, 1)))


def _step(shown: Shown, one: Neighbour | None) -> None:
    if one is None:
        return
    declared = shown.measures[shown.plan.spec.objective.metric]
    delta = one.deltas.get(declared.name, math.nan)
    told = f"{one.axis} one step {'down' if one.step < 0 else 'up'}"
    told += f" to {fmt.value(one.value)}" if one.value is not None else ""
    told += f": {one.state}" if one.state != "ok" else ""
    told += f": {declared.label} changes by {_trial_tabs.delta(delta, declared)}" if delta == delta else ""
    st.button(
        "", key=f"t.step.{one.axis}.{one.step}", disabled=one.trial is None, type="tertiary",
        icon=":material/remove:" if one.step < 0 else ":material/add:", on_click=_go, args=(one.trial,),
        help=fmt.plain(told),
    )  # fmt: skip


def _other(shown: Shown, row: dict[str, Any], noun: str) -> None:
    """Show asset or fold: as text if there is one, else to choose from."""
    names = list(shown.plan.assets) if noun == "asset" else [fold.name for fold in shown.plan.folds]
    if len(names) < 2:
        st.markdown(f"**{fmt.plain(row[noun])}**")
        return
    key = f"t.{noun}"
    st.session_state[key] = row[noun]
    place = shown.plan.trial(row["trial"])
    st.selectbox(
        noun, names, key=key, label_visibility="collapsed", on_change=_elsewhere,
        args=(key, names, shown.plan.n_points, len(shown.plan.folds),
              (place.point_index, place.asset_index, place.fold_index)),
    )  # fmt: skip


def _elsewhere(key: str, names: list[str], n_points: int, n_folds: int, place: tuple[int, int, int]) -> None:
    """Go to the same point on another asset or in another fold."""
    point, asset, fold = place
    chosen = names.index(st.session_state[key])
    asset, fold = (chosen, fold) if key == "t.asset" else (asset, chosen)
    _go((asset * n_folds + fold) * n_points + point)


def _go(trial: int | None) -> None:
    _url.turn("trial", trial=str(trial))


# ------------------------------------------------------------------------------------------------------------ replayed


def _replayed(
    shown: Shown, trial: int, row: dict[str, Any], beside: tuple[Neighbour, ...], view: dict[str, str]
) -> None:
    try:
        replay, seconds = reads.replay(shown.identity, shown.mark, trial)
    except QuantBotError as error:
        st.warning("This trial can't be replayed here; below is the stored row.")
        _parts.problem(error)
        _headline(shown, trial, row["measures"], "", replayed=False)
        _trial_tabs.measures(shown, row["measures"], "")
        return
    if replay.equal is False:
        st.error(fmt.plain(f"Not the stored row: {replay.mismatch}"), icon=":material/error:")
    else:
        same = "equals the stored row bit for bit" if replay.equal else "the store has no row of it yet"
        st.caption(fmt.plain(f"Replayed in {fmt.duration(seconds)}, {same}."))
    measures: Mapping[str, float] = replay.row if row["state"] != "ok" else row["measures"]
    currency = reads.currency(shown.plan, row["asset"])
    _headline(shown, trial, measures, currency, replayed=True)
    window, log = _period(replay, view)
    figure = trial_chart(replay, currency=currency, window=window, log=log)
    figure.update_layout(dragmode="select", selectdirection="h")
    # A new figure is a new chart: what was selected in the old one is not a wish any more.
    turn = st.session_state.setdefault("t.turn", 0)
    st.plotly_chart(
        figure, key=f"t.chart.{turn}", alt=_alt(shown, row, measures), on_select=_on_drag, selection_mode="box",
        config={"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]},
    )  # fmt: skip
    st.caption("Drag across the chart to see a period in full; times are UTC.")
    path = reads_trial.curves(shown.identity, shown.mark, trial)
    _trial_tabs.show(shown, trial, path, beside, _names(shown), window, view, go=_go, zoom=_zoom)


def _headline(shown: Shown, trial: int, measures: Mapping[str, float], currency: str, *, replayed: bool) -> None:
    names = [name for name in _HEADLINE if name in measures]
    found = reads_trial.intervals(shown.identity, shown.mark, trial) if replayed else "not replayed here"
    for place, name in zip(st.columns(max(len(names), 1)), names, strict=False):
        declared = shown.measures[name]
        with place:
            reason = "no trades" if measures.get("n_trades") == 0 else fmt.UNDEFINED
            st.metric(
                declared.label, fmt.measure(measures[name], declared, currency=currency, reason=reason),
                delta=_hold(shown, measures, name), delta_color="off", delta_arrow="off", help=fmt.plain(declared.doc),
            )  # fmt: skip
            for line in (_interval(found, name), _folds(shown, trial, name)):
                if line:
                    st.caption(fmt.plain(line))


def _hold(shown: Shown, measures: Mapping[str, float], name: str) -> str | None:
    hold = f"hold_{name}"
    if hold not in measures:
        return None
    return f"buy and hold {fmt.measure(measures[hold], shown.measures[hold])}"


def _interval(found: Any, name: str) -> str:
    """Say how far the number may be off, by drawing its bars again."""
    if name not in ("sharpe", "max_drawdown"):
        return ""
    if isinstance(found, str):
        return f"interval unknown: {found}"
    own = getattr(found, name)
    if not (math.isfinite(own.low) and math.isfinite(own.high)):
        return "interval unknown: it hardly moves"
    low, high = (
        f"{end:+.2f}".replace("-", fmt.MINUS) if name == "sharpe" else fmt.percent(end) for end in (own.low, own.high)
    )
    return f"{fmt.percent(found.confidence, 0)} interval {low} to {high}"


def _folds(shown: Shown, trial: int, name: str) -> str:
    """Say what the measure is in every fold: one number alone hides how much it varies."""
    if len(shown.plan.folds) < 2:
        return ""
    declared = shown.measures[name]
    parts = []
    for one in reads_trial.spread(shown.identity, shown.mark, trial, name):
        text = fmt.measure(one.median, declared, reason="none")
        if one.n > 1:
            text += f" ({fmt.measure(one.low, declared)} to {fmt.measure(one.high, declared)} in {one.n})"
        parts.append(f"{one.role} {text}")
    return "; ".join(parts)


# -------------------------------------------------------------------------------------------------------------- window


def _period(replay: TrialReplay, view: dict[str, str]) -> tuple[tuple[int, int] | None, bool]:
    """Return the window (nanoseconds; None for all) and whether axes are logarithmic; both stand in the address."""
    ends = int(replay.ts_end_ns[0]), int(replay.ts_end_ns[-1])
    window = _window(view.get("t", ""), replay)
    if window is None and view.pop("t", ""):
        st.caption(":orange[:material/warning:] The period of the link is not in this trial; all of it is shown.")
    first, last = (_date(ts) for ts in ends)
    st.session_state["t.from"], st.session_state["t.to"] = (
        min(max(_date(ts), first), last) for ts in (window or ends)
    )  # fmt: skip
    start, stop, whole, log_place = st.columns([2, 2, 2, 5], vertical_alignment="bottom")
    for place, label, key in ((start, "From", "t.from"), (stop, "To", "t.to")):
        place.date_input(label, min_value=first, max_value=last, key=key, format="YYYY-MM-DD", on_change=_on_dates)
    whole.button("Whole period", key="t.whole", disabled=window is None, icon=":material/zoom_out:", on_click=_zoom)
    if "t.log" not in st.session_state:
        st.session_state["t.log"] = view.get("t.log", "") == "1"
    view.pop("t.log", None)
    log = log_place.toggle("Logarithmic price and equity", key="t.log")
    if log:
        view["t.log"] = "1"
    return window, log


def _window(text: str, replay: TrialReplay) -> tuple[int, int] | None:
    """Read ``<from>-<to>`` in nanoseconds; None unless at least two bars lie there."""
    start, dash, stop = text.partition("-")
    if not dash or not start.isdecimal() or not stop.isdecimal() or max(len(start), len(stop)) > 19:
        return None
    window = int(start), int(stop)
    if window[1] > np.iinfo(np.int64).max or np.count_nonzero(
        (replay.ts_end_ns >= window[0]) & (replay.ts_end_ns <= window[1])
    ) < 2:  # fmt: skip
        return None
    return window


def _zoom(window: tuple[int, int] | None = None) -> None:
    """Show a period, or all of them; the next run of the page takes it from the address."""
    st.session_state["t.turn"] = st.session_state.get("t.turn", 0) + 1
    if window is None:
        _url.turn("trial", t=None)
    else:
        _url.turn("trial", t=f"{max(window[0], 0)}-{window[1]}")


def _on_dates() -> None:
    start, stop = sorted((st.session_state["t.from"], st.session_state["t.to"]))
    _zoom((_ns(datetime.combine(start, time.min, UTC)), _ns(datetime.combine(stop, time.max, UTC))))


def _on_drag() -> None:
    boxes = st.session_state[f"t.chart.{st.session_state['t.turn']}"]["selection"]["box"]
    texts = boxes[0].get("x", []) if boxes else []
    if len(texts) != 2:
        return
    stamps = sorted(int(np.datetime64(str(text).replace(" ", "T"), "ns").astype(np.int64)) for text in texts)
    _zoom((stamps[0], stamps[1]))


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) * 10**6


def _date(ts_ns: int) -> date:
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).date()


def _alt(shown: Shown, row: dict[str, Any], measures: Mapping[str, float]) -> str:
    value = fmt.measure(measures["total_return"], shown.measures["total_return"]) if "total_return" in measures else ""
    return f"Price with fills, equity, drawdown and what is held at {fmt.point(row['point'])}; total return {value}"


if __name__ == "__main__":
    page()
