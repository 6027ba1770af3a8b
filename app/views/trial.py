"""Trial: how did this point earn it? Replayed now, and compared with the stored row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.trial import trial_chart
from app.views import _parts, _shown, _url
from quantbot.errors import NotFoundError, QuantBotError

if TYPE_CHECKING:
    from app.views._shown import Shown
    from sweeps.results import TrialReplay

KEYS = ("run", "trial", "t.from", "t.to", "t.log")
CARRIED = ("s.", _url.POINT)  # the surface's view rides along, so that the way back works after a reload
_CHIPS = 6


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
    _back(shown, view)
    trial = _trial_index(shown, view)
    row = shown.run.row(trial)
    _chips(shown, trial, row, view)
    if row["state"] == "failed":
        st.error(fmt.plain(f"This trial failed: {row['reason']}"))
    else:
        _replayed(shown, trial, row, view)
    _url.keep("trial", view)


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


def _back(shown: Shown, view: dict[str, str]) -> None:
    last = _url.last_view("surface")
    carried = last if last.get("run") == shown.identity else {k: v for k, v in view.items() if k.startswith("s.")}
    st.page_link(
        _url.SURFACE, label="Back to the surface", icon=":material/arrow_back:",
        query_params={**carried, "run": shown.identity},
    )  # fmt: skip


def _chips(shown: Shown, trial: int, row: dict[str, Any], view: dict[str, str]) -> None:
    """Show the point, each parameter with one step to either side."""
    axes = shown.plan.axes
    for key in [key for key in view if key.startswith(_url.POINT)]:
        del view[key]
    view |= {f"{_url.POINT}{name}": fmt.value(value) for name, value in row["point"].items()}
    axes = shown.plan.axes
    facts = [(name, fmt.value(value)) for name, value in row["point"].items()]
    facts += [("asset", row["asset"]), ("fold", row["fold"])]
    stepped = {axis.name: axis.values.tolist() for axis in axes if not axis.sampled and axis.kind != "choice"}
    places: list[Any] = []
    for number, (name, text) in enumerate(facts):
        places = places if number % _CHIPS else st.columns(min(len(facts), _CHIPS))
        with places[number % _CHIPS].container(border=True, height="stretch", gap="xsmall"):
            st.caption(fmt.plain(name))
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                if name in stepped:
                    _step(shown, row, name, stepped[name], -1)
                st.markdown(f"**{fmt.plain(text)}**", width="content")
                if name in stepped:
                    _step(shown, row, name, stepped[name], +1)


def _step(shown: Shown, row: dict[str, Any], name: str, values: list[Any], step: int) -> None:
    neighbour = _neighbour(shown, row, name, values, values.index(row["point"][name]) + step)
    st.button(
        "", key=f"t.step.{name}.{step}", disabled=neighbour is None, type="tertiary",
        icon=":material/remove:" if step < 0 else ":material/add:", on_click=_go, args=(neighbour,),
        help=fmt.plain(f"{name} one step {'down' if step < 0 else 'up'}"),
    )  # fmt: skip


def _neighbour(shown: Shown, row: dict[str, Any], name: str, values: list[Any], at: int) -> int | None:
    if not 0 <= at < len(values):
        return None
    try:
        return shown.run.trial_index(row["point"] | {name: values[at]}, row["asset"], row["fold"])
    except NotFoundError:  # excluded by the run's condition
        return None


def _go(trial: int | None) -> None:
    st.query_params["trial"] = str(trial)


def _replayed(shown: Shown, trial: int, row: dict[str, Any], view: dict[str, str]) -> None:
    try:
        replay, seconds = reads.replay(shown.identity, shown.mark, trial)
    except QuantBotError as error:
        st.warning("This trial can't be replayed here; below is the stored row.")
        _parts.problem(error)
        _headline(shown, row["measures"], "")
        _measures(shown, row["measures"], "")
        return
    if replay.equal is False:
        st.error(fmt.plain(f"Not the stored row: {replay.mismatch}"))
    else:
        same = "equals the stored row bit for bit" if replay.equal else "the store has no row of it yet"
        st.caption(fmt.plain(f"Replayed in {fmt.duration(seconds)}, {same}."))
    measures: Mapping[str, float] = replay.row if row["state"] != "ok" else row["measures"]
    currency = reads.currency(shown.plan, row["asset"])
    _headline(shown, measures, currency)
    window, log = _period(replay, view)
    figure = trial_chart(replay, currency=currency, window=window, log=log)
    st.plotly_chart(figure, key="t.chart", alt=_alt(shown, row, measures), config={"displaylogo": False})
    every, fills, trades = st.tabs(["All measures", f"Orders ({_n(replay.orders)})", f"Trades ({_n(replay.trades)})"])
    with every:
        _measures(shown, measures, currency)
    with fills:
        _orders(replay)
    with trades:
        _trades(replay, currency)


def _headline(shown: Shown, measures: Mapping[str, float], currency: str) -> None:
    names = [name for name in ("total_return", "sharpe", "max_drawdown", "exposure", "n_trades") if name in measures]
    for place, name in zip(st.columns(max(len(names), 1)), names, strict=False):
        declared = shown.measures[name]
        place.metric(
            declared.label, fmt.measure(measures[name], declared, currency=currency),
            delta=_beside(shown, measures, name), delta_color="off", delta_arrow="off", help=fmt.plain(declared.doc),
        )  # fmt: skip


def _beside(shown: Shown, measures: Mapping[str, float], name: str) -> str | None:
    hold = f"hold_{name}"
    if hold not in measures:
        return None
    return f"buy and hold {fmt.measure(measures[hold], shown.measures[hold])}"


def _period(replay: TrialReplay, view: dict[str, str]) -> tuple[tuple[int, int], bool]:
    first, last = (datetime.fromtimestamp(int(ts) // 10**9, UTC).date() for ts in replay.ts_end_ns[[0, -1]])
    start, stop, log_place = st.columns([2, 2, 6], vertical_alignment="bottom")
    ends = []
    for place, key, label, default in zip(
        (start, stop), ("t.from", "t.to"), ("From", "To"), (first, last), strict=True
    ):
        wanted = _day(view.pop(key, ""), default)
        if key not in st.session_state or not first <= st.session_state[key] <= last:
            st.session_state[key] = min(max(wanted, first), last)
        chosen: date = place.date_input(label, min_value=first, max_value=last, key=key, format="YYYY-MM-DD")
        if chosen != default:
            view[key] = chosen.isoformat()
        ends.append(chosen)
    if "t.log" not in st.session_state:
        st.session_state["t.log"] = view.pop("t.log", "") == "1"
    view.pop("t.log", None)
    log = log_place.toggle("Logarithmic price and equity", key="t.log")
    if log:
        view["t.log"] = "1"
    begin = datetime.combine(min(ends), time.min, UTC)
    end = datetime.combine(max(ends), time.max, UTC)
    return (int(begin.timestamp()) * 10**9, int(end.timestamp() * 1000) * 10**6), log


def _day(text: str, default: date) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return default


def _measures(shown: Shown, measures: Mapping[str, float], currency: str) -> None:
    rows = [
        {
            "measure": declared.label,
            "trial": fmt.measure(measures[name], declared, currency=currency),
            "buy and hold": _hold(shown, measures, name),
            "meaning": declared.doc,
        }
        for name, declared in shown.measures.items()
        if declared.group != "hold" and name in measures
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="All measures of this trial")


def _hold(shown: Shown, measures: Mapping[str, float], name: str) -> str:
    hold = f"hold_{name}"
    return fmt.measure(measures[hold], shown.measures[hold]) if hold in measures else ""


def _orders(replay: TrialReplay) -> None:
    orders = replay.orders
    table = pd.DataFrame(
        {
            "time (UTC)": pd.to_datetime(orders["ts_ns"], unit="ns"),
            "side": ["buy" if side > 0 else "sell" for side in orders["side"]],
            **{name: orders[name] for name in ("units", "price", "fee", "reason") if name in orders},
        }
    )
    st.dataframe(table, hide_index=True, alt="Orders of this trial")


def _trades(replay: TrialReplay, currency: str) -> None:
    columns = {
        name: pd.to_datetime(column, unit="ns") if name.endswith("_ns") else column
        for name, column in replay.trades.items()
    }
    st.dataframe(pd.DataFrame(columns), hide_index=True, alt=f"Trades of this trial, money in {currency}")


def _alt(shown: Shown, row: dict[str, Any], measures: Mapping[str, float]) -> str:
    value = fmt.measure(measures["total_return"], shown.measures["total_return"]) if "total_return" in measures else ""
    return f"Price with fills, equity, drawdown and exposure at {fmt.point(row['point'])}; total return {value}"


def _n(columns: Any) -> str:
    return fmt.count(len(next(iter(columns.values()), ())))


if __name__ == "__main__":
    page()
