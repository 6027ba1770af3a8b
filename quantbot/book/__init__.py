"""Limit-order books: events, and the books that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.book.depth import Depth, depth_between
    from quantbot.book.events import Action, BookInstrument, Events, EventsCheck, Flag
    from quantbot.book.rebuild import Book, Counts, Ladder, Snapshot, ladders
    from quantbot.book.session import BookSession

_MODULES = {
    "depth": ("Depth", "depth_between"),
    "events": ("Action", "BookInstrument", "Events", "EventsCheck", "Flag"),
    "rebuild": ("Book", "Counts", "Ladder", "Snapshot", "ladders"),
    "session": ("BookSession",),
}
__all__ = [
    "Action",
    "Book",
    "BookInstrument",
    "BookSession",
    "Counts",
    "Depth",
    "Events",
    "EventsCheck",
    "Flag",
    "Ladder",
    "Snapshot",
    "depth_between",
    "ladders",
]


__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
