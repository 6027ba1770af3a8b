"""What the Trial page has of an order book's trial: fills and their reasons, mark-outs, where its profit is from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app.figures.book_trial import bars, envelope_rows
from app.views import _url
from quantbot.engine import get_engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.views._shown import Shown
    from sweeps.results import TrialReplay

PARTS = ("Fills", "Profit")
ROWS = 500
_SPLIT = {"pnl_spread": "spread", "pnl_inventory": "inventory", "pnl_fees": "fees", "pnl_impact": "impact"}


def holds_books(shown: Shown) -> bool:
    """Return whether the trials of a run trade on order books."""
    return get_engine(shown.plan.engine).dataset_kind == "events"


def link(shown: Shown, trial: int, ts_ns: int | None = None, label: str = "Book") -> None:
    """Lead to the book of a trial, at one of its fills where one is chosen."""
    at = {"b.t": str(ts_ns), "b.clock": "exchange"} if ts_ns is not None else {}
    st.page_link(
        _url.BOOK, label=label, icon=":material/layers:",
        query_params={"run": shown.identity, "trial": str(trial), **at},
        help="The book around its fills: depth, own orders, why each fill happened.",
    )  # fmt: skip


def show(part: str, shown: Shown, trial: int, replay: TrialReplay, currency: str) -> None:
    """Show one of `PARTS`."""
    if part == "Fills":
        _fills(shown, trial, replay)
    else:
        _profit(shown, replay, currency)


def _fills(shown: Shown, trial: int, replay: TrialReplay) -> None:
    orders = replay.orders
    n_fills = len(orders["ts_ns"])
    if not n_fills:
        st.info("Nothing was filled.")
        return
    names, counts = np.unique(np.asarray(orders["reason"]).astype(str), return_counts=True)
    told = "; ".join(f"{name}: {fmt.count(n)}" for name, n in zip(names.tolist(), counts.tolist(), strict=True))
    st.markdown(fmt.plain(f"{fmt.plural(n_fills, 'fill')}. {told}"))
    left, right = st.columns([5, 3])
    with left:
        chosen = fill_table(orders, "t.fills")
        if chosen is None:
            st.caption("Choose a fill to open the book there.")
        else:
            link(
                shown,
                trial,
                int(orders["ts_ns"][chosen]),
                f"Book at this fill ({fmt.moment(int(orders['ts_ns'][chosen]))})",
            )
    with right:
        found = _marks(replay.row)
        if found:
            alt = "; ".join(f"{when} {value:+.2f} ticks" for when, value in found.items())
            st.plotly_chart(
                bars(found, "mark-out (ticks)"), key="t.markouts", config={"displayModeBar": False},
                alt=f"Mark-outs: {alt}",
            )  # fmt: skip
            st.caption(
                "Mid less the fill's price, times its side, mean over lots filled; what falls after the fill is"
                " adverse selection."
            )


def _marks(row: Mapping[str, float]) -> dict[str, float]:
    """Return what fills were better than mid by, at once and later."""
    marks = {
        name.removeprefix("markout_"): value
        for name, value in row.items()
        if name.startswith("markout_") and not name.endswith(("_pessimistic", "_optimistic"))
    }
    at_once = {"at the fill": row["spread_captured"]} if marks and "spread_captured" in row else {}
    return {when: value for when, value in (at_once | marks).items() if np.isfinite(value)}


def fill_table(orders: Any, key: str) -> int | None:
    """Show fills, at most the first 500; return the one that is chosen."""
    rows = slice(0, ROWS)
    frame = pd.DataFrame({
        "time (UTC)": [fmt.moment(ts, date=False) for ts in orders["ts_ns"][rows].tolist()],
        "side": np.where(orders["side"][rows] > 0, "▲ buy", "▼ sell"),
        "lots": orders["lots"][rows],
        "price": orders["price"][rows],
        "why": np.asarray(orders["reason"])[rows].astype(str),
        "as": np.where(orders["maker"][rows], "maker", "taker"),
        "ahead (lots)": orders["queue_lots"][rows],
        "rested (ms)": (orders["ts_ns"][rows] - orders["placed_ns"][rows]) / 1e6,
        "fee": orders["fee"][rows],
        "position": orders["position"][rows],
    })  # fmt: skip
    picked = st.dataframe(
        frame, hide_index=True, key=key, on_select="rerun", selection_mode="single-row", height=360, alt="Fills",
        column_config={"rested (ms)": st.column_config.NumberColumn(format="%.3f")},
    )  # fmt: skip
    if len(orders["ts_ns"]) > ROWS:
        st.caption(fmt.plain(f"The first {ROWS} of {fmt.count(len(orders['ts_ns']))} fills; Orders has them all."))
    chosen = picked["selection"]["rows"]
    return int(chosen[0]) if chosen else None


def _profit(shown: Shown, replay: TrialReplay, currency: str) -> None:
    found = {label: replay.row[name] for name, label in _SPLIT.items() if np.isfinite(replay.row.get(name, np.nan))}
    left, right = st.columns(2)
    with left:
        if found:
            alt = "; ".join(f"{source} {fmt.money(value, currency)}" for source, value in found.items())
            st.plotly_chart(
                bars(found | {"total": sum(found.values())}, f"profit ({currency})"), key="t.split",
                config={"displayModeBar": False}, alt=f"Profit by source: {alt}",
            )  # fmt: skip
            st.caption("Spread: what fills were better than mid by. Inventory: what mid did while lots were held.")
        else:
            st.info("This run has no split of its profit; add the measure group split.")
    with right:
        rows = envelope_rows(replay.row, {name: measure.label for name, measure in shown.measures.items()})
        if rows:
            st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Measures by queue model")
            st.caption(
                "The same trial where its place in the queue is taken at its worst and at its best: a range of"
                " scenarios, not a bound on profit."
            )
