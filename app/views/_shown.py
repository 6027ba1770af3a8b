"""Which part of a run a page shows: run, mark, measure, fold and asset; and the band of a run that still grows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import streamlit as st

from app import format as fmt
from app import reads
from app.views import _parts

if TYPE_CHECKING:
    from quantbot.measures import Measure
    from sweeps.plan import Plan
    from sweeps.results import Run
    from sweeps.status import RunStatus, RunSummary


@dataclass(frozen=True)
class Shown:
    """A run as this session shows it.

    Attributes
    ----------
    mark
        How many trials were done when the reader last asked for the state of things, and how many looked at a locked
        holdout: see `app.reads`.
    """

    summary: RunSummary
    status: RunStatus
    mark: int
    run: Run

    @property
    def identity(self) -> str:
        """The run's identity."""
        return self.summary.identity

    @property
    def plan(self) -> Plan:
        """The run's plan."""
        return self.run.plan

    @property
    def name(self) -> str:
        """The run's name."""
        return self.summary.name or self.plan.spec.name

    @property
    def measures(self) -> dict[str, Measure]:
        """The declarations of what its rows carry."""
        return reads.measures(self.plan.measures, self.plan.engine)


def show(summary: RunSummary) -> Shown:
    """Open a run at this session's mark."""
    status = summary.status
    key, now = _mark_key(summary.identity), reads.mark_of(status)
    mark = int(st.session_state.setdefault(key, now))
    if not mark or mark >= status.n_trials:  # nothing was shown yet, or all of it: only a look can have come
        mark = st.session_state[key] = now
    return Shown(summary, status, mark, reads.open_run(summary.identity, mark))


def band(shown: Shown) -> None:
    """Show how far an unfinished run is, once a second; the reader pulls what is new."""
    if shown.mark < shown.plan.n_trials:
        _band(shown.identity, shown.mark)


@st.fragment(run_every=timedelta(seconds=1))
def _band(identity: str, mark: int) -> None:
    summary = next((run for run in reads.runs() if run.identity == identity), None)
    if summary is None:
        st.warning("This run is not in the store any more.")
        return
    status = summary.status
    new = status.n_done - mark
    done = status.n_done / max(status.n_trials, 1)
    parts = [f"{fmt.percent(done, 0)} done, {status.state}"]
    if status.state == "running" and status.eta_seconds:
        low, high = status.eta_seconds
        parts.append(f"{fmt.duration(low)} to {fmt.duration(high)} left")
    if status.note:
        parts.append(status.note)
    if new > 0:
        parts.append(f"{fmt.plural(new, 'new trial')} not shown here yet")
    bar, button = st.columns([6, 1], vertical_alignment="center")
    bar.progress(done, text=fmt.plain("; ".join(parts)))
    if new > 0 and (mark == 0 or button.button("Show", key="band.show", icon=":material/refresh:")):
        st.session_state[_mark_key(identity)] = status.n_done
        st.rerun()


def none_yet() -> None:
    """Say that there is no run to show."""
    st.markdown(fmt.plain(f"0 runs in {reads.store_url()}"))
    _parts.empty("There is no run yet, so there is nothing to see here.", "New sweep", "views/new.py")


def _mark_key(identity: str) -> str:
    return f"mark {identity}"
