"""One scheduled job in full: what changed, what failed, the best and its luck, pinned trials, data, cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import morning as told
from app import reads, reads_schedule
from app.figures.overnight import best_figure, cost_figure
from app.views import _parts, _url

if TYPE_CHECKING:
    from sweeps.schedule.overview import JobLine, ScheduleView


def show(schedule: ScheduleView, line: JobLine) -> None:
    """Show a job, its neighbours a click away."""
    head, before, after, report = st.columns([6, 1, 1, 1.3], vertical_alignment="center")
    head.markdown(f"**{fmt.plain(schedule.title)}**  ·  {fmt.plain(fmt.instant(line.due_ns, schedule.zone))}")
    jobs = list(schedule.jobs)
    place = [job.key for job in jobs].index(line.key)
    _step(before, "Before", ":material/chevron_left:", jobs[place + 1] if place + 1 < len(jobs) else None)
    _step(after, "After", ":material/chevron_right:", jobs[place - 1] if place else None)
    record = line.record
    if record is None:
        st.info(f"This job is {line.state}: its report comes when all of its runs have ended.")
        return
    _parts.export_button(
        report, "Report", lambda: reads_schedule.report(line), f"{line.schedule}-{line.key}.html", "text/html",
        subject=f"{line.schedule}/{line.key}", key="o.report", icon=":material/description:",
        help="The morning report as one file that needs nothing else, made for print and mail.",
    )  # fmt: skip
    st.caption(fmt.plain(told.scope(record)))
    _parts.warnings(told.remarks(record))
    _lists(record)
    _bests(record)
    shows: dict[str, Callable[[], None]] = {
        "Trend": lambda: _trend(record),
        f"Pins ({len(record['pins'])})": lambda: _pins(record),
        f"Data ({len(record['data'])})": lambda: _data(record),
        "Cost": lambda: _cost(record),
    }
    codes = {name.split(" (")[0]: name for name in shows}
    if st.session_state.get("o.tab") not in codes:
        st.session_state["o.tab"] = "Trend"
    chosen = st.segmented_control(
        "Look at", list(codes), key="o.tab", required=True, label_visibility="collapsed", format_func=codes.__getitem__
    )
    shows[codes[str(chosen)]]()


def _step(place: Any, label: str, icon: str, job: JobLine | None) -> None:
    place.button(
        label, key=f"o.{label.lower()}", icon=icon, disabled=job is None, on_click=_open,
        args=(job.schedule, job.key) if job else ("", ""), width="stretch",
    )  # fmt: skip


def _open(schedule: str, key: str) -> None:
    _url.turn("overnight", schedule=schedule, due=key)


def _lists(record: Mapping[str, Any]) -> None:
    changed, failed = told.changes(record), told.failures(record)
    left, right = st.columns(2)
    with left:
        st.markdown("**What changed**")
        st.markdown("\n".join(f"- {fmt.plain(line)}" for line in changed) or fmt.plain(told.unchanged(record)))
    with right:
        st.markdown("**What failed**")
        st.markdown("\n".join(f"- {fmt.plain(line)}" for line in failed) or "Nothing failed.")


def _bests(record: Mapping[str, Any]) -> None:
    """Show each run's best beside last time's and its luck, with the way to its surface."""
    for index, run in enumerate(record["runs"]):
        with st.container(border=True, key=f"best-{index}"):
            name, best, was, luck = st.columns([2.4, 2.6, 2, 2.4], vertical_alignment="center")
            if run["identity"]:
                name.page_link(_url.SURFACE, label=fmt.plain(run["name"]), icon=":material/grid_on:",
                               query_params={"run": run["identity"]}, help="Open the surface")  # fmt: skip
            else:
                name.markdown(fmt.plain(run["name"]))
            declared = reads.measures([run["objective"]], run["engine"])[run["objective"]]
            if run["best"] is None:
                best.markdown(fmt.plain(run["state"]))
                if run["previous"]:
                    was.markdown(fmt.plain(f"was {fmt.measure(run['previous']['best']['value'], declared)}"))
                continue
            best.markdown(f"{fmt.plain(declared.label)} **{fmt.plain(fmt.measure(run['best']['value'], declared))}**")
            best.caption(fmt.plain(f"at {fmt.point(run['best']['point'])}"))
            previous = run["previous"]
            if previous:
                was.markdown(fmt.plain(f"was {fmt.measure(previous['best']['value'], declared)}"))
                now = previous.get("value_now")
                if now is not None:
                    was.caption(fmt.plain(f"last best is {fmt.measure(now, declared)} now"))
            luck.markdown(fmt.plain(told.luck_words(run["luck"])))


def _trend(record: Mapping[str, Any]) -> None:
    with_trend = [run for run in record["runs"] if len(run.get("trend", ())) > 1]
    if not with_trend:
        st.caption("A trend comes with the second job that has a best.")
    for index, run in enumerate(with_trend):
        declared = reads.measures([run["objective"]], run["engine"])[run["objective"]]
        words = f"Best {declared.label} of {run['name']} over {fmt.plural(len(run['trend']), 'job')}"
        st.plotly_chart(best_figure(run["trend"], declared), key=f"o.best.{index}", alt=words)
        st.caption(fmt.plain(f"{words}; the luck line is the annual Sharpe ratio that noise alone would reach"))


def _cost(record: Mapping[str, Any]) -> None:
    costs = record["costs"]
    if any(one["core_seconds"] for one in costs):
        words = f"Core-seconds of {fmt.plural(len(costs), 'job')}"
        st.plotly_chart(cost_figure(costs), key="o.cost", alt=words)
    cost = record["cost"]
    st.caption(fmt.plain(
        f"This job: {fmt.duration(cost['core_seconds'])} of cores, {fmt.duration(cost['wall_seconds'])} of wall time, "
        f"{fmt.plural(int(cost['n_blocks']), 'block')}" if cost["core_seconds"]
        else "This job computed nothing: everything was there, or nothing ran."
    ))  # fmt: skip


def _pins(record: Mapping[str, Any]) -> None:
    if not record["pins"]:
        st.caption("No trial is pinned: add a [[pin]] to the schedule's file.")
        return
    st.dataframe(pd.DataFrame([told.pin_row(pin) for pin in record["pins"]]), hide_index=True, alt="Pinned trials")
    st.caption(told.PINS_TOLD)
    for pin in record["pins"]:
        if pin["identity"]:
            st.page_link(_url.TRIAL, label=fmt.plain(pin["name"]), icon=":material/show_chart:",
                         query_params={"run": pin["identity"]})  # fmt: skip


def _data(record: Mapping[str, Any]) -> None:
    if not record["data"]:
        st.caption("This schedule refreshes no data.")
        return
    rows = [told.data_row(entry) for entry in record["data"]]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Refreshed datasets")
    lines = told.findings(record)
    if lines:
        st.markdown("\n".join(f"- {fmt.plain(line)}" for line in lines))
    for entry in record["data"]:
        st.page_link(_url.DATA, label=fmt.plain(entry["dataset"]), icon=":material/database:",
                     query_params={"dataset": entry["dataset"]})  # fmt: skip
