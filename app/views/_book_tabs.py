"""What the Book page shows beside the picture: the events around the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app import format as fmt
from app.figures.book import price_text
from quantbot.book import Action, Flag

if TYPE_CHECKING:
    from datasets.moments import Look
    from quantbot.book import BookInstrument

_SIDES = {1: "bid", -1: "ask", 0: ""}
_AGGRESSORS = {1: "buyer", -1: "seller", 0: "unknown"}
_PRICELESS = (Action.CLEAR, Action.HALT, Action.RESUME)


def events(instrument: BookInstrument, seen: Look) -> None:
    """Show the events around the moment; the ones until then are marked."""
    st.markdown("**Events around the moment**")
    rows = []
    columns = zip(*(column.tolist() for column in seen.around.columns().values()), strict=True)
    for number, (exchange, received, action, side, price, size, order_id, flags) in enumerate(columns, seen.first):
        kind = Action(action)
        rows.append({
            "": "▶" if number == seen.n_before - 1 else "",
            "event": number,
            "received": fmt.moment(received, date=False),
            "exchange": fmt.moment(exchange, date=False),
            "latency µs": (received - exchange) / 1e3,
            "what": kind.name.lower(),
            "side": _AGGRESSORS[side] if kind == Action.TRADE else _SIDES[side],
            "price": "" if kind in _PRICELESS else price_text(price, instrument),
            "lots": size,
            "order": str(order_id) if order_id else "",
            "notes": ", ".join(flag.name.lower() for flag in Flag if flags & flag and flag.name),
        })  # fmt: skip
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height=min(36 * (len(rows) + 1), 560), alt="Events around the moment",
        column_config={"latency µs": st.column_config.NumberColumn(format="%.1f")},
    )  # fmt: skip
    st.caption(
        "Times are UTC. The arrow marks the last event until the moment. last: the exchange's event is complete; the"
        " book is looked at only then."
    )
