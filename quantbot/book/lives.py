"""Every order that a trial sent: when it was decided on, came to the exchange, was heard of, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.book.layout import ANSWERED, Answer, Message

if TYPE_CHECKING:
    from quantbot.book.replay import BookReplay


def lives(book: BookReplay, agent: int = 0) -> dict[str, NDArray[Any]]:
    """Return the orders of an agent as columns, in the order in which they were sent.

    `sent_ns` (the decision), `arrived_ns` (at the exchange), `heard_ns` (its first answer known), `cancel_ns` (a
    cancel was sent; 0: never), `end_ns` (it left the exchange), `told_ns` (that was known), `side`, `ticks`, `lots`,
    `rested`, `ahead` (lots ahead on arrival, as the queue model has it), `end`: "filled", "cancelled", "expired"
    (refused, not to be taken, or off at a gap), "rests" (to the end), "sent" (never arrived).

    Parameters
    ----------
    book
        A replay that is done, with `n_said` messages kept.
    """
    st = book.state[0]
    log = book.said[: int(st["n_said"])]
    log = log[log["order"] // int(st["n_slots"]) == agent]
    stop_ns = int(st["stop"])
    made: list[dict[str, Any]] = []
    current: dict[int, dict[str, Any]] = {}
    columns = (log[name].tolist() for name in ("ts", "due", "tick", "lots", "front", "order", "what", "side"))
    for ts, due, tick, lots, front, slot, what, side in zip(*columns, strict=True):
        if what == Message.NEW:
            life = {
                "sent_ns": ts, "arrived_ns": due, "heard_ns": 0, "cancel_ns": 0, "end_ns": stop_ns, "told_ns": 0,
                "side": side, "ticks": tick, "lots": lots, "rested": False, "ahead": 0.0, "end": "sent",
            }  # fmt: skip
            current[slot] = life
            made.append(life)
            continue
        life = current[slot]
        if what == Message.CANCEL:
            life["cancel_ns"] = ts
        elif what >= ANSWERED:
            life["heard_ns"] = life["heard_ns"] or due
            kind = what - ANSWERED
            if kind == Answer.ACCEPTED:
                life |= {"arrived_ns": ts, "rested": True, "ahead": max(front, 0.0), "end": "rests"}
            elif kind == Answer.FILLED:
                life |= {"end_ns": ts, "told_ns": due, "end": "filled"}
            elif kind == Answer.EXPIRED:  # also the answer to a cancel
                life |= {"end_ns": ts, "told_ns": due, "end": "cancelled" if life["cancel_ns"] else "expired"}
    return {name: np.array([life[name] for life in made], dtype) for name, dtype in _TYPES.items()}


_TYPES: dict[str, Any] = {
    **dict.fromkeys(("sent_ns", "arrived_ns", "heard_ns", "cancel_ns", "end_ns", "told_ns"), np.int64),
    "side": np.int64, "ticks": np.int64, "lots": np.int64, "rested": np.bool_, "ahead": np.float64, "end": str,
}  # fmt: skip
