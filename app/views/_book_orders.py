"""A trial's own orders on the Book page: which one is looked at, its way to the exchange and back, its queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads_book
from app.figures.book import Own, own_of, price_text

if TYPE_CHECKING:
    from datasets.moments import Look
    from quantbot.book import BookInstrument
    from sweeps.results import TrialReplay

_MOST = 60  # orders to choose from
_ENDS = {"filled": "filled", "cancelled": "cancelled", "expired": "refused, or nothing left to take",
         "rests": "rests to the end", "sent": "never arrived"}  # fmt: skip


def own(
    replay: TrialReplay, trial: tuple[str, int, int], seen: Look, instrument: BookInstrument, view: dict[str, str],
    turn: int,
) -> Own:  # fmt: skip
    """Show which of the orders around the moment is looked at, and return what the pictures draw.

    Parameters
    ----------
    trial
        The run's identity and mark, and the trial.
    turn
        Grows with each move to another moment: the order is chosen anew then.
    """
    lives = replay.tables["lives"]
    row = _choose(lives, seen, instrument, view, turn)
    if row is None:
        return own_of(replay.orders, lives)
    st.caption(fmt.plain(_story(lives, row)))
    span = int(seen.picture.start_ns), int(seen.picture.ends_ns[-1])
    return own_of(replay.orders, lives, row, reads_book.queue(*trial, span))


def _choose(lives: Any, seen: Look, instrument: BookInstrument, view: dict[str, str], turn: int) -> int | None:
    around = _around(lives, seen)
    wanted = view.pop("b.order", "")
    if not len(around):
        return None
    rows = around.tolist()
    key = f"b.order.{turn}"
    if st.session_state.get(key) not in rows:
        st.session_state[key] = (
            int(wanted) if wanted.isdecimal() and int(wanted) in rows else nearest(lives, rows, seen)
        )

    def named(row: int) -> str:
        side = "buy" if lives["side"][row] > 0 else "sell"
        price = price_text(int(lives["ticks"][row]), instrument)
        sent = fmt.moment(int(lives["sent_ns"][row]), date=False)
        return (
            f"{side} {fmt.count(int(lives['lots'][row]))} at {price}, decided {sent}: {_ENDS[str(lives['end'][row])]}"
        )

    row: int = st.selectbox("Own order", rows, key=key, format_func=named, help="Its way and its queue are drawn.")
    view["b.order"] = str(row)
    return row


def _around(lives: Any, seen: Look) -> Any:
    """Return the orders that the window touches, at most those nearest to the moment, in their order."""
    start, stop = int(seen.picture.start_ns), int(seen.picture.ends_ns[-1])
    rows = np.flatnonzero((lives["sent_ns"] < stop) & (np.maximum(lives["end_ns"], lives["told_ns"]) > start))
    if len(rows) > _MOST:
        away = np.abs(lives["arrived_ns"][rows] - seen.ts_ns)
        rows = np.sort(rows[np.argsort(away, kind="stable")[:_MOST]])
    return rows


def nearest(lives: Any, rows: list[int], seen: Look) -> int:
    """Return the order that is most likely asked for: filled at the moment, else resting then, else the nearest."""

    def rank(row: int) -> tuple[int, int]:
        start, end = int(lives["arrived_ns"][row]), int(lives["end_ns"][row])
        if lives["end"][row] == "filled" and end == seen.ts_ns:
            return 0, 0
        if lives["rested"][row] and start <= seen.ts_ns <= end:
            return 1, seen.ts_ns - start
        return 2, min(abs(start - seen.ts_ns), abs(end - seen.ts_ns))

    return min(rows, key=rank)


def _story(lives: Any, row: int) -> str:
    """Say an order's way in words: legs are too short to be seen in a wide window."""
    life = {name: column[row].item() for name, column in lives.items()}
    told = [f"Decided {fmt.moment(life['sent_ns'], date=False)}"]
    if life["end"] == "sent":
        return f"{told[0]}, never at the exchange: the session ended before."
    told.append(f"at the exchange {_leg(life['arrived_ns'] - life['sent_ns'])} later")
    if life["rested"]:
        told[-1] += f", behind {life['ahead']:.4g} lots"
    if life["heard_ns"]:
        told.append(f"known {_leg(life['heard_ns'] - life['arrived_ns'])} after that")
    if life["cancel_ns"]:
        told.append(f"cancel sent {fmt.moment(life['cancel_ns'], date=False)}")
    if life["end"] != "rests":
        told.append(f"{_ENDS[life['end']]} {fmt.moment(life['end_ns'], date=False)}")
        told[-1] += f", known {_leg(life['told_ns'] - life['end_ns'])} after"
    return "; ".join(told) + "."


def _leg(span_ns: int) -> str:
    """Write how long a message took: legs are of microseconds."""
    return f"{span_ns / 1e3:,.4g} µs".replace(",", " ") if span_ns < 10**6 else fmt.duration(span_ns / 1e9)
