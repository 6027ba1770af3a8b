"""The line that says what is shown, the same on every page and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app import format as fmt
from sweeps.sessions import has_sessions

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.status import RunStatus

_MANY = 4
FIDELITIES = {"bars": "F0 bars", "portfolio": "F0 bars", "book": "order book"}
_OF_BOOKS = {"by_price": "F3: order book by price", "by_order": "F4: order book by order"}


def scope_parts(plan: Plan, status: RunStatus, currency: str, kinds: Sequence[str] = ()) -> list[str]:
    """Return what follows a run's name: trials, folds, period, data version, currency, fidelity.

    `kinds` are those of a run's books, as `kinds_of` gives them.
    """
    start, end = min(fold.start_ns for fold in plan.folds), max(fold.end_ns for fold in plan.folds)
    return [
        f"{fmt.count(status.n_done)} of {fmt.plural(plan.n_trials, 'trial')} done, {fmt.count(status.n_failed)} failed",
        listed([fold.name for fold in plan.folds], "fold"),
        f"{fmt.day(start)} to {fmt.day(end - 1)}",
        f"{plan.dataset_name}@{fmt.short(plan.dataset_version)}: {listed(plan.symbols, noun_of(plan))}",
        currency,
        fidelity(plan.engine, kinds),
    ]


def fidelity(engine: str, kinds: Sequence[str] = ()) -> str:
    """Return how close to the market the trials of an engine are: F0 bars, F3 books by price, F4 books by order.

    Examples
    --------
    >>> fidelity("bars"), fidelity("book", ["by_order"])
    ('F0 bars', 'F4: order book by order')
    """
    return " and ".join(_OF_BOOKS[kind] for kind in sorted(kinds)) or FIDELITIES[engine]


def noun_of(plan: Plan) -> str:
    """Return what the assets of a run are called: sessions where each is one session of an instrument."""
    return "session" if has_sessions(plan) else "asset"


def kinds_of(root_url: str, name: str, version: str, assets: Sequence[str]) -> tuple[str, ...]:
    """Return of which kinds the books of these sessions are, "by_price" or "by_order"; none of bars."""
    from sweeps.feeds import EventsFeed, open_feed_version

    feed = open_feed_version(root_url, name, version)
    if not isinstance(feed, EventsFeed):
        return ()
    return tuple(sorted({feed.dataset.instrument(feed.place(asset)[0]).kind for asset in assets}))


def listed(names: Sequence[str], noun: str) -> str:
    """Return ``fold all``, ``folds train, test`` or ``37 assets``."""
    if len(names) > _MANY:
        return fmt.plural(len(names), noun)
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def currencies(root_url: str, name: str, version: str, assets: Sequence[str]) -> str:
    """Return the currency of assets of a dataset; several where they differ."""
    from sweeps.feeds import open_feed_version

    feed = open_feed_version(root_url, name, version)
    return ", ".join(sorted({feed.currency(asset) for asset in assets}))
