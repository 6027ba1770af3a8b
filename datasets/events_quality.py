"""What is odd about events: books that cross, orders that nobody added, gaps, clocks that disagree, halts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from datasets.quality import Finding, Place, QualityReport, Severity
from quantbot.book import Book, BookInstrument, Events
from quantbot.errors import DataError

if TYPE_CHECKING:
    from datasets.events import EventsDataset

__all__ = ["SessionCheck", "check_events", "report_of"]

_SENTENCES: dict[str, tuple[Severity, str]] = {
    "crossed": ("warning", "complete events that leave the best bid above the best ask"),
    "locked": ("info", "complete events that leave the best bid at the best ask"),
    "unknown_ids": ("warning", "events that name an order which does not rest; they change nothing"),
    "duplicates": ("warning", "orders added under an id that rests already; they change nothing"),
    "oversized": ("warning", "cancels or executions of more than their order had, or orders without a size"),
    "other_price": ("info", "executions at another price than their order's"),
    "absent_levels": ("info", "removals of levels that are not there (usual beyond a snapshot's depth)"),
    "gaps": ("warning", "gaps: events were lost before these"),
    "halts": ("info", "trading halts"),
    "times_back": ("info", "exchange times that go back; events are in the order of their receipt"),
    "received_early": ("info", "receipts before the exchange's own time: the clocks differ"),
}


class SessionCheck:
    """The findings of one session, whose events come part by part."""

    def __init__(self, instrument: BookInstrument, session: str) -> None:
        self.symbol, self.session = instrument.symbol, session
        self.book = Book(instrument)
        self.counts: dict[str, int] = {"n_events": 0, "first_ns": 0, "last_ns": 0}
        self._places: dict[str, Place] = {}
        self._last_exchange = 0

    def add(self, events: Events) -> None:
        """Check events and apply them to the book.

        Raises
        ------
        DataError
            For what can't be: see `Events.check`; and for a receipt before the last one.
        """
        if not len(events):
            return
        n = self.counts["n_events"]
        checked = events.check(first=n)
        received = events.ts_received_ns
        if n and received[0] < self.counts["last_ns"]:
            raise DataError(
                f"ts_received_ns goes back at event {n} of {self.symbol}/{self.session}: {received[0]} after "
                f"{self.counts['last_ns']}"
            )
        before, after = self.book.counts, self.book.apply(events)
        new = {each.name: getattr(after, each.name) - getattr(before, each.name) for each in fields(after)}
        back = int(n > 0 and events.ts_exchange_ns[0] < self._last_exchange)
        new |= {"unknown_ids": after.unknown_ids - before.unknown_ids, "times_back": checked.times_back + back}
        new["received_early"] = checked.received_early
        for rule in _SENTENCES:
            if new[rule]:
                self.counts[rule] = self.counts.get(rule, 0) + new[rule]
                place = Place(int(received[0]), f"among events {n:,} to {n + len(events):,}")
                self._places.setdefault(rule, place)
        self._last_exchange = int(events.ts_exchange_ns[-1])
        first = self.counts["first_ns"] if n else int(received[0])
        self.counts |= {"n_events": n + len(events), "first_ns": first, "last_ns": int(received[-1])}

    def forget_book(self) -> None:
        """Free the book's memory: no event follows."""
        self.book = Book(self.book.instrument, window_ticks=64)

    def findings(self) -> list[Finding]:
        """Return what was found at least once."""
        return [
            Finding(
                self.symbol,
                rule,
                severity,
                self.counts[rule],
                f"{text} (session {self.session})",
                (self._places[rule],),
            )
            for rule, (severity, text) in _SENTENCES.items()
            if self.counts.get(rule)
        ]


def report_of(checks: Sequence[SessionCheck], remarks: tuple[Finding, ...] = ()) -> QualityReport:
    """Return the report of several sessions, counts summed by symbol."""
    assets: dict[str, dict[str, int]] = {}
    for check in checks:
        counts = assets.setdefault(check.symbol, dict.fromkeys(("n_events",), 0))
        first, last = counts.get("first_ns", check.counts["first_ns"]), counts.get("last_ns", 0)
        for rule, count in check.counts.items():
            counts[rule] = counts.get(rule, 0) + count
        counts["first_ns"], counts["last_ns"] = min(first, check.counts["first_ns"]), max(last, check.counts["last_ns"])
    return QualityReport(assets, (*remarks, *(finding for check in checks for finding in check.findings())))


def check_events(dataset: EventsDataset) -> QualityReport:
    """Check a stored dataset again, block by block.

    Raises
    ------
    CorruptError
        If stored events are not the events that were written.
    """
    checks = []
    for asset in dataset.assets:
        for session in dataset.sessions(asset):
            check = SessionCheck(dataset.instrument(asset), session)
            for block in dataset.blocks(asset, session):
                check.add(block)
            checks.append(check)
    return report_of(checks)
