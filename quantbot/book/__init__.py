"""Limit-order books: events, and the books that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.book.events import Action, BookInstrument, Events, Flag

_MODULES = {
    "events": ("Action", "BookInstrument", "Events", "Flag"),
}
__all__ = ["Action", "BookInstrument", "Events", "Flag"]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
