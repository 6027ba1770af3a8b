"""What the Overnight page reads and does: schedules, their jobs, their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import reads, reads_user
from quantbot.errors import NotFoundError

if TYPE_CHECKING:
    from sweeps.schedule.overview import JobLine, ScheduleView


def schedules() -> list[ScheduleView]:
    """Return every schedule with its newest jobs; at most a few seconds old."""
    return _schedules(reads.store_url())


@st.cache_resource(ttl=5, max_entries=4, show_spinner="Reading the schedules")
def _schedules(url: str) -> list[ScheduleView]:
    from sweeps.schedule.overview import overview

    return overview(reads.store(), reads.store().now_ns())


def report(line: JobLine) -> bytes:
    """Return a job's report as its scheduler has written it, or made of its record where none did."""
    from app.morning_report import morning_report
    from sweeps.schedule.jobs import Job

    job = Job(reads.store(), line.schedule, line.due_ns)
    try:
        return job.root.get(job.report_key)
    except NotFoundError:
        return morning_report(line.record or {}).encode()


def pause(name: str) -> None:
    """Let a schedule rest."""
    from sweeps.schedule.jobs import Shelf

    store = reads.store()
    with reads_user.acting("schedule", name, what="pause") as who:
        Shelf(store, name).pause(who.name, store.now_ns())
    _schedules.clear()


def resume(name: str) -> None:
    """Let a schedule fall due again, from now on."""
    from sweeps.schedule.jobs import Shelf

    store = reads.store()
    with reads_user.acting("schedule", name, what="resume"):
        Shelf(store, name).resume(store.now_ns())
    _schedules.clear()
