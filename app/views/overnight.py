"""Overnight: what should I know this morning? Each schedule's jobs, what they changed, and what is due next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import format as fmt
from app import reads, reads_schedule, reads_user
from app.figures.overnight import STATES, calendar_alt, calendar_figure
from app.views import _overnight_job, _parts, _url

if TYPE_CHECKING:
    from sweeps.schedule.overview import JobLine, ScheduleView

KEYS = ("schedule", "due")
_BADGES = {
    "ok": (":material/check:", "green"),
    "partial": (":material/contrast:", "orange"),
    "failed": (":material/close:", "red"),
    "running": (":material/play_arrow:", "blue"),
    "interrupted": (":material/hourglass_empty:", "gray"),
    "waiting": (":material/schedule:", "gray"),
}
_WORDS = {state: words for state, _, _, words in STATES}
_WIDTHS = [2.6, 1.4, 2.6, 3.0, 1.2]
_DAY_NS = 86_400 * 10**9


@_parts.page
def page() -> None:
    """Show all schedules, then one job."""
    view = _url.arrive("overnight", KEYS)
    st.subheader("Overnight", anchor=False)
    found = reads_schedule.schedules()
    if not found:
        st.markdown(fmt.plain(f"0 schedules in {reads.store_url()}"))
        st.info("There is no schedule yet: write one, and let a scheduler look after it. This page finds its jobs.")
        st.code("quantbot schedule check schedules\nquantbot schedule run schedules", language="bash")
        _url.keep("overnight", {})
        return
    _said(found)
    _header()
    for schedule in found:
        _row(schedule)
    gone: list[str] = []
    line = _wanted(found, view, gone)
    line = _calendar(found, line) or line
    _parts.warnings(gone)
    if line is None:
        st.info("No job has fallen due yet.")
        _url.keep("overnight", {})
        return
    schedule = next(one for one in found if one.name == line.schedule)
    _overnight_job.show(schedule, line)
    _url.keep("overnight", {"schedule": line.schedule, "due": line.key})


def _said(found: list[ScheduleView]) -> None:
    """Say in one line how the last day went, and warn of what nobody looks after."""
    now_ns = reads.store().now_ns()
    last = [line for schedule in found for line in schedule.jobs if line.due_ns > now_ns - _DAY_NS]
    counts = [f"{fmt.count(n)} {words}" for state, words in _WORDS.items()
              if (n := sum(line.state == state for line in last))]  # fmt: skip
    told = ", ".join(counts) or "no job"
    st.markdown(fmt.plain(f"{fmt.plural(len(found), 'schedule')} in {reads.store_url()}; in the last 24 hours: {told}"))
    _parts.warnings([
        *(f"{one.title}: due {fmt.instant(one.overdue_ns)}, and no scheduler has taken it up: is quantbot schedule "
          "run alive?" for one in found if one.overdue_ns is not None),
        *(f"{one.title}: {one.problem}" for one in found if one.problem),
    ])  # fmt: skip


def _header() -> None:
    for place, name in zip(st.columns(_WIDTHS), ("Schedule", "Last", "Due", "Next", ""), strict=True):
        place.caption(name)


def _row(schedule: ScheduleView) -> None:
    with st.container(border=True, key=f"schedule-{schedule.name}"):
        name, last, due, coming, act = st.columns(_WIDTHS, vertical_alignment="center")
        with name.container(gap=None):
            st.markdown(f"**{fmt.plain(schedule.title)}**")
            st.caption(fmt.plain(schedule.name))
        if schedule.jobs:
            state = schedule.jobs[0].state
            icon, colour = _BADGES[state]
            last.badge(_WORDS[state], icon=icon, color=colour)  # type: ignore[arg-type]
            last.caption(fmt.plain(fmt.instant(schedule.jobs[0].due_ns).removesuffix(" UTC")))
        else:
            last.caption("no job yet")
        due.markdown(fmt.plain(schedule.rule))
        with coming.container(gap=None):
            if schedule.paused:
                st.markdown("paused")
            elif schedule.next_ns:
                st.markdown(fmt.plain(fmt.instant(schedule.next_ns[0], schedule.zone)))
                with st.popover("then", type="tertiary"):
                    for moment in schedule.next_ns[1:]:
                        st.markdown(fmt.plain(fmt.instant(moment, schedule.zone)))
        if reads_user.allowed("schedule"):
            with act:
                _switch(schedule)


def _switch(schedule: ScheduleView) -> None:
    label, icon, act, told = (
        ("Resume", ":material/play_arrow:", reads_schedule.resume,
         "Falls due again from now on; what was due meanwhile is left out.")
        if schedule.paused else
        ("Pause", ":material/pause:", reads_schedule.pause,
         "Nothing falls due till it is resumed; open jobs are finished.")
    )  # fmt: skip
    st.button(
        label,
        key=f"{label}-{schedule.name}",
        icon=icon,
        on_click=reads_user.told(act),
        args=(schedule.name,),
        help=told,
    )


def _wanted(found: list[ScheduleView], view: dict[str, str], gone: list[str]) -> JobLine | None:
    """Return the job that the address names, else the one that a reader should see first: the newest."""
    lines = [line for schedule in found for line in schedule.jobs]
    if "due" in view:
        named = [line for line in lines if (line.schedule, line.key) == (view.get("schedule"), view["due"])]
        if named:
            return named[0]
        gone.append(f"the job {view.get('schedule', '')} {view['due']} of the link is not among the newest")
    return max(lines, key=lambda line: (line.due_ns, line.schedule), default=None)


def _calendar(found: list[ScheduleView], line: JobLine | None) -> JobLine | None:
    """Draw the calendar; return the job that was clicked since the last run."""
    lines = {(one.schedule, one.key): one for schedule in found for one in schedule.jobs}
    chosen = f"{line.schedule} {line.key}" if line else ""
    event: Any = st.plotly_chart(
        calendar_figure(found, chosen), key="o.calendar", on_select="rerun", selection_mode="points",
        alt=calendar_alt(found),
    )  # fmt: skip
    points = (event.get("selection") or {}).get("points", []) if event else []
    clicked = tuple(points[0].get("customdata") or ()) if points else ()
    if len(clicked) != 2 or clicked == st.session_state.get("o.clicked"):
        return None
    st.session_state["o.clicked"] = clicked
    picked = lines.get((str(clicked[0]), str(clicked[1])))
    if picked is not None and (line is None or picked.key != line.key or picked.schedule != line.schedule):
        _url.turn("overnight", schedule=picked.schedule, due=picked.key)
        st.rerun()
    return None


if __name__ == "__main__":
    page()
