"""What a trial's page has below its chart, one part at a time: the part that is shown stands in the address."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads, reads_trial
from app.figures.trial_path import (
    distribution_chart,
    distribution_facts,
    months_alt,
    months_table,
    rolling_chart,
)
from app.views import _parts, _trial_book, _url

if TYPE_CHECKING:
    from app.views._shown import Shown
    from quantbot.measures import Measure
    from sweeps.curves import TrialCurves
    from sweeps.neighbours import Neighbour

PARTS = (
    "Months", "Rolling", "Distribution", "Drawdowns", "Trades", "Orders", "Neighbours", "All measures", "Export",
)  # fmt: skip
KEYS = ("t.part", "t.roll", "t.page", "t.sort")
ROWS = 50
Window = tuple[int, int] | None
_SORTS = {"entry": "by entry", "worst": "worst first", "best": "best first", "longest": "longest first"}


def show(
    shown: Shown,
    trial: int,
    path: TrialCurves,
    beside: tuple[Neighbour, ...],
    names: Sequence[str],
    window: Window,
    view: dict[str, str],
    *,
    go: Callable[[int | None], None],
    zoom: Callable[[Window], None],
) -> None:
    """Show the part that the address names."""
    parts = (*_trial_book.PARTS, *PARTS[1:]) if _trial_book.holds_books(shown) else PARTS
    wanted = view.pop("t.part", parts[0])
    if st.session_state.get("t.part") not in parts:
        st.session_state["t.part"] = wanted if wanted in parts else parts[0]
    part = st.segmented_control("Part", parts, key="t.part", label_visibility="collapsed", required=True)
    view["t.part"] = part or parts[0]
    currency = reads.currency(shown.plan, shown.plan.trial(trial).asset)
    match part:
        case "Fills" | "Profit":
            _trial_book.show(part, shown, trial, path.replay, currency)
        case "Rolling":
            _rolling(shown, trial, path, window, view)
        case "Distribution":
            _distribution(path)
        case "Drawdowns":
            _drawdowns(path, zoom)
        case "Trades":
            _trades(path, currency, view)
        case "Orders":
            _orders(path, view)
        case "Neighbours":
            neighbours(shown, beside, names, go)
        case "All measures":
            measures(shown, shown.run.row(trial)["measures"] if path.replay.equal else path.replay.row, currency)
        case "Export":
            _export(shown, trial)
        case _:
            found = path.months()
            st.plotly_chart(months_table(found), key="t.months", alt=months_alt(found), config=_STILL)
            st.caption("Months and years in UTC; a month compounds from the last bar of the month before.")
    for key in KEYS[1:]:
        if key not in _USED.get(part or "", ()):
            view.pop(key, None)


_STILL = {"displayModeBar": False}
_USED = {"Rolling": ("t.roll",), "Trades": ("t.page", "t.sort"), "Orders": ("t.page",)}


def delta(value: float, declared: Measure) -> str:
    """Write a difference of a measure, always with its sign."""
    text = fmt.measure(abs(value), declared)
    return text if not value else f"{'+' if value > 0 else fmt.MINUS}{text.lstrip('+')}"


def _rolling(shown: Shown, trial: int, path: TrialCurves, window: Window, view: dict[str, str]) -> None:
    sizes = path.window_sizes()
    size = _url.choose(
        "Window", sizes, "t.roll", view, default=sizes[min(2, len(sizes) - 1)],
        text=lambda bars: f"{fmt.count(bars)} bars, {_years(bars / path.periods_per_year)}", width=260,
    )  # fmt: skip
    found = reads_trial.rolling(shown.identity, shown.mark, trial, size)
    if not found.last.size:
        st.info(f"A window of {size} bars is longer than this trial.")
        return
    figure = rolling_chart(path.ts_end_ns, found, window=window)
    low, high = float(np.nanmin(found.sharpe, initial=np.inf)), float(np.nanmax(found.sharpe, initial=-np.inf))
    spread = f"Sharpe ratio between {low:+.2f} and {high:+.2f}" if low <= high else "it never moves"
    st.plotly_chart(figure, key="t.rolling", alt=f"Windows of {size} bars: {spread}", config=_STILL)
    told = f"Each point looks back over {fmt.count(size)} bars; {spread.replace('-', fmt.MINUS)}."
    st.caption(fmt.plain(told))


def _years(years: float) -> str:
    if years < 0.95:
        return f"{12 * years:.2g} months"
    return f"{years:.2g} year{'' if f'{years:.2g}' == '1' else 's'}"


def _distribution(path: TrialCurves) -> None:
    found = path.distribution()
    if not found.counts.size:
        st.info("No bar has a return other than 0: this trial never held anything that moved.")
        return
    chart, facts = st.columns([3, 1])
    alt = f"Histogram of {fmt.count(found.n_bars - found.n_flat)} returns per bar beside a normal distribution"
    chart.plotly_chart(distribution_chart(found), key="t.distribution", alt=alt, config=_STILL)
    with facts:
        for label, text in distribution_facts(found):
            st.caption(fmt.plain(label))
            st.markdown(fmt.plain(text))


def _drawdowns(path: TrialCurves, zoom: Callable[[Window], None]) -> None:
    falls = path.drawdowns(10)
    if not falls:
        st.info("No drawdown: equity never fell below its peak.")
        return
    widths = [0.5, 1.2, 1.6, 1.6, 1.8, 1.4, 1.6]
    heads = ("", "Depth", "Peak", "Trough", "Recovered", "Length", "")
    for place, head in zip(st.columns(widths), heads, strict=True):
        place.caption(head)
    for number, fall in enumerate(falls, start=1):
        places = st.columns(widths, vertical_alignment="center")
        recovered = fmt.day(int(path.ts_end_ns[fall.recovery])) if fall.recovery is not None else "not yet"
        texts = (
            f"{number}", fmt.percent(-fall.depth),
            fmt.day(int(path.ts_end_ns[fall.peak])) if fall.peak >= 0 else "the start",
            fmt.day(int(path.ts_end_ns[fall.trough])), recovered, f"{fmt.count(fall.n_bars)} bars",
        )  # fmt: skip
        for place, text in zip(places, texts, strict=False):
            place.markdown(fmt.plain(text))
        places[-1].button(
            "Zoom there", key=f"t.fall.{number}", icon=":material/zoom_in:", type="tertiary", on_click=zoom,
            args=(path.window_of(fall),), help="Show this drawdown in the charts above",
        )  # fmt: skip


def _page(n_rows: int, view: dict[str, str], noun: str) -> tuple[int, int]:
    """Let the reader turn pages; return the half-open range of rows that is shown."""
    n_pages = max(-(-n_rows // ROWS), 1)
    text = view.pop("t.page", "1")
    if not 1 <= int(st.session_state.get("t.page", 0)) <= n_pages:
        st.session_state["t.page"] = min(max(int(text) if text.isdecimal() and len(text) < 9 else 1, 1), n_pages)
    if n_pages == 1:
        st.session_state["t.page"] = 1
        st.caption(fmt.plain(fmt.plural(n_rows, noun)))
        return 0, n_rows
    left, right = st.columns([1, 4], vertical_alignment="bottom")
    page = int(left.number_input(f"Page of {n_pages}", 1, n_pages, key="t.page"))
    first, stop = (page - 1) * ROWS, min(page * ROWS, n_rows)
    told = f"{noun}s {fmt.count(first + 1)} to {fmt.count(stop)} of {fmt.count(n_rows)}"
    right.markdown(fmt.plain(told))
    view["t.page"] = str(page)
    return first, stop


def _trades(path: TrialCurves, currency: str, view: dict[str, str]) -> None:
    from sweeps.curves import trade_frame

    frame = trade_frame(path.replay)
    if frame.empty:
        st.info("No trades: the strategy never opened a position.")
        return
    _round_trips(path, currency)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = _url.choose(
            "Order", list(_SORTS), "t.sort", view, default="entry", text=lambda sort: _SORTS[sort], width=200
        )
    if order != "entry":
        column = {"worst": "pnl", "best": "pnl", "longest": "n_bars"}[order]
        frame = frame.sort_values(column, ascending=order == "worst", kind="stable")
    first, stop = _page(len(frame), view, "trade")
    shown = frame.iloc[first:stop]
    table = pd.DataFrame(
        {
            "entry (UTC)": shown["entry"],
            "exit (UTC)": shown["exit"].mask(shown["open"]),
            "side": ["long" if units > 0 else "short" for units in shown["units"]],
            "units": [fmt.value(abs(units)) for units in shown["units"]],
            "entry price": [fmt.price(price) for price in shown["entry_price"]],
            "exit price": [fmt.price(price) for price in shown["exit_price"]],
            f"profit ({currency})": [fmt.money(pnl) for pnl in shown["pnl"]],
            "return": [fmt.percent(rate, 2, sign=True) for rate in shown["return"]],
            "bars": shown["n_bars"],
        }
    )  # fmt: skip
    st.dataframe(table, hide_index=True, height="content", placeholder="still open",
                 alt=f"Trades {first + 1} to {stop}, money in {currency}")  # fmt: skip


def _round_trips(path: TrialCurves, currency: str) -> None:
    found = path.round_trips()
    facts = [
        ("Won", f"{fmt.count(found.n_won)} of {fmt.count(found.n)}"),
        ("Mean win", _money(found.mean_won, currency)),
        ("Mean loss", _money(-found.mean_lost, currency)),
        ("Win over loss", f"{found.payoff:.2f}" if math.isfinite(found.payoff) else fmt.UNDEFINED),
        ("Best trade's share", fmt.percent(found.best_share, 0) if math.isfinite(found.best_share) else "no profit"),
        ("Longest streak", f"{found.most_won} won, {found.most_lost} lost"),
    ]
    for place, (label, text) in zip(st.columns(len(facts)), facts, strict=True):
        place.caption(fmt.plain(label))
        place.markdown(fmt.plain(text))


def _money(value: float, currency: str) -> str:
    return fmt.money(value, currency) if math.isfinite(value) else "none"


def _orders(path: TrialCurves, view: dict[str, str]) -> None:
    from sweeps.curves import order_frame

    frame = order_frame(path.replay)
    if frame.empty:
        st.info("No orders were sent.")
        return
    first, stop = _page(len(frame), view, "order")
    shown = frame.iloc[first:stop].rename(columns={"time": "time (UTC)"})
    st.dataframe(shown, hide_index=True, height="content", alt=f"Orders {first + 1} to {stop} of this trial")


def neighbours(
    shown: Shown, beside: tuple[Neighbour, ...], names: Sequence[str], go: Callable[[int | None], None]
) -> None:
    """Show what lies one step away: a point that is good among bad ones is more often luck."""
    if not beside:
        st.info("No neighbours: these points were drawn, not laid out on a grid, or nothing with an order varies.")
        return
    declared = [shown.measures[name] for name in names]
    widths = [1.6, 1.2, *[1.6] * len(names), 0.8]
    heads = ["One step of", "to", *(measure.label for measure in declared), ""]
    for place, head in zip(st.columns(widths), heads, strict=True):
        place.caption(fmt.plain(head))
    for one in beside:
        places = st.columns(widths, vertical_alignment="center")
        places[0].markdown(fmt.plain(f"{one.axis} {'up' if one.step > 0 else 'down'}"))
        places[1].markdown(fmt.plain("edge of the grid" if one.value is None else fmt.value(one.value)))
        if one.state != "ok":
            places[2].markdown(fmt.plain(one.state))
        else:
            for place, measure in zip(places[2:], declared, strict=False):
                place.markdown(_beside(one.measures, one.deltas, measure))
        if one.trial is not None:
            places[-1].button(
                "Open", key=f"t.beside.{one.axis}.{one.step}", type="tertiary", on_click=go, args=(one.trial,)
            )


def _beside(measures: Mapping[str, float], deltas: Mapping[str, float], declared: Measure) -> str:
    value, change = measures[declared.name], deltas[declared.name]
    text = fmt.plain(fmt.measure(value, declared))
    if change != change or not declared.better:
        return text
    colour = "gray" if not change else "blue" if change * declared.better > 0 else "red"
    return f"{text} :{colour}[{fmt.plain(delta(change, declared))}]"


def measures(shown: Shown, values: Mapping[str, float], currency: str) -> None:
    """Show all measures with their meaning, beside buy-and-hold's."""
    reason = "no trades" if values.get("n_trades") == 0 else fmt.UNDEFINED
    rows = [
        {
            "measure": declared.label,
            "trial": fmt.measure(values[name], declared, currency=currency, reason=reason),
            "buy and hold": _hold(shown, values, name),
            "meaning": declared.doc,
        }
        for name, declared in shown.measures.items()
        if declared.group != "hold" and name in values
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="All measures of this trial")


def _hold(shown: Shown, values: Mapping[str, float], name: str) -> str:
    hold = f"hold_{name}"
    return fmt.measure(values[hold], shown.measures[hold]) if hold in values else ""


def _export(shown: Shown, trial: int) -> None:
    tables: dict[str, reads_trial.Table] = {"Curves": "curves", "Orders": "orders", "Trades": "trades"}
    formats: dict[str, reads_trial.Format] = {"CSV": "csv", "Parquet": "parquet"}
    for label, table in tables.items():
        place = st.container(horizontal=True, vertical_alignment="center")
        place.markdown(label, width=90)
        for name, form in formats.items():
            _parts.export_button(
                place, name, _file(shown, trial, table, form), f"{shown.name}-{trial}-{table}.{form}",
                "text/csv" if form == "csv" else "application/vnd.apache.parquet",
                subject=shown.identity, key=f"t.export.{table}.{form}",
            )  # fmt: skip
    st.caption("Copy Python")
    st.code(
        "from datasets.store import open_store\nfrom sweeps.results import open_run\n"
        "from sweeps.curves import curves_of\n\n"
        f"run = open_run(open_store({reads.store().url!r}), {fmt.short(shown.identity)!r})\n"
        f"path = curves_of(run, run.replay({trial}))\n"
        "path.frame(), path.months(), path.drawdowns()",
        language="python",
    )  # fmt: skip


def _file(shown: Shown, trial: int, table: Any, form: Any) -> Callable[[], bytes]:
    """Return what makes a file once somebody wants it: a page should not write six of them to show their buttons."""
    return lambda: reads_trial.export(shown.identity, shown.mark, trial, table, form)
