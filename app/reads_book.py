"""What the Book page reads: sessions of events at a moment; cached like everything in `app.reads`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import reads, reads_data
from quantbot.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datasets.catalog import Entry
    from datasets.moments import Look, Moments
    from quantbot.book.depth import Clock

Place = tuple[str, str, str, str]  # dataset, version, asset, session


def entries() -> list[Entry]:
    """Return the datasets of order-book events, one line each."""
    return [entry for entry in reads.catalogue() if entry.kind == "events" and not entry.problem]


def sessions(name: str, version: str, asset: str) -> tuple[str, ...]:
    """Return the sessions of an instrument."""
    return reads_data.events(name, version).sessions(asset)


def moments(place: Place) -> Moments:
    """Return a session; the last few keep what they decoded."""
    return _moments(reads.store_url(), *place)


@st.cache_resource(max_entries=3, show_spinner="Opening the session")
def _moments(url: str, name: str, version: str, asset: str, session: str) -> Moments:
    from datasets.moments import Moments

    return Moments(reads_data.events(name, version), asset, session)


def look(place: Place, ts_ns: int, span_ns: int, clock: Clock) -> Look:
    """Return what there is to see of a session at a moment."""
    return _look(reads.store_url(), place, ts_ns, span_ns, clock)


@st.cache_resource(max_entries=32, show_spinner="Rebuilding the book")
def _look(url: str, place: Place, ts_ns: int, span_ns: int, clock: Clock) -> Look:
    return _moments(url, *place).look(ts_ns, span_ns, clock)


def queue(identity: str, mark: int, trial: int, span_ns: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Return the lots ahead of a trial's own resting orders through a window; see `sweeps.queues.queue_path`."""
    return _queue(reads.store_url(), identity, mark, trial, span_ns)


@st.cache_resource(max_entries=32, show_spinner="Following the queue")
def _queue(url: str, identity: str, mark: int, trial: int, span_ns: tuple[int, int]) -> dict[str, NDArray[Any]]:
    from sweeps.queues import queue_path

    return queue_path(reads.open_run(identity, mark), trial, span_ns)


def place_of(identity: str, mark: int, trial: int) -> Place:
    """Return the session that a trial trades on."""
    from sweeps.feeds import EventsFeed, feed_of

    plan = reads.open_run(identity, mark).plan
    feed = feed_of(reads_data.events(plan.dataset_name, plan.dataset_version))
    if not isinstance(feed, EventsFeed):
        raise InputError(f"trials of run {identity[:12]} trade on {feed.dataset.kind}; a book needs events")
    return (plan.dataset_name, plan.dataset_version, *feed.place(plan.trial(trial).asset))
