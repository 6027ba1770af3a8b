"""What the Data page shows of one dataset beside its bars: coverage, findings, versions, and who used it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads, reads_data
from app.figures.coverage import coverage_alt, coverage_figure
from app.views import _parts, _url
from quantbot.errors import QuantBotError

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.catalog import Entry

SEVERITIES = ("error", "warning", "info")
_ROWS = 40  # assets to a page of the map
_FOUND = 200  # findings in a table
_AROUND = 40  # bars to either side of a place that is opened


def parts(entry: Entry, dataset: Dataset, asset: str) -> dict[str, Callable[[], None]]:
    """Return what can be looked at, by its name."""
    findings = dataset.quality.get("findings", [])
    used = [run for run in reads.runs() if run.dataset == entry.name]
    return {
        "Coverage": lambda: _coverage(dataset),
        f"Findings ({fmt.count(len(findings))})": lambda: _findings(dataset, findings),
        f"Versions ({fmt.count(entry.n_versions)})": lambda: _versions(entry),
        f"Used by ({fmt.count(len(used))})": lambda: _used(entry, used),
    }


def wanted() -> dict[str, str]:
    """Return what a chosen finding wants the page to show: its asset, the days around it, the bars."""
    goto: dict[str, str] = st.session_state.pop("d.goto", {})
    for key in goto:
        st.session_state.pop(key, None)  # the widgets start from the view again
    return goto


def _coverage(dataset: Dataset) -> None:
    assets = dataset.assets
    n_pages = -(-len(assets) // _ROWS)
    page = 1
    if n_pages > 1:
        page = int(st.number_input(f"Page of {n_pages}", 1, n_pages, 1, key="d.page"))
    chosen = assets[(page - 1) * _ROWS : page * _ROWS]
    try:
        found = reads_data.coverage(dataset.name, dataset.version, chosen)
    except QuantBotError as error:
        _parts.problem(error)
        return
    st.plotly_chart(coverage_figure(found), key="d.coverage", alt=coverage_alt(found), config={"displayModeBar": False})
    days = int(found.edges_ns[1] - found.edges_ns[0]) // (86_400 * 10**9)
    of = f"{fmt.plural(len(chosen), 'asset')} of {fmt.count(len(assets))}; " if n_pages > 1 else ""
    st.caption(fmt.plain(
        f"{of}one square is {fmt.plural(days, 'day')}; where no asset trades it is empty. Red: the report found "
        "something there; it keeps the first places of each finding."
    ))  # fmt: skip
    with st.expander("As a table"):
        rows = [{"asset": asset, "bars": int(counts.sum()), "empty spans": int((share == 0).sum()),
                 "spans with a finding": int(bad.sum())}
                for asset, counts, share, bad in zip(found.assets, found.n_bars, found.share, found.flagged,
                                                     strict=True)]  # fmt: skip
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Coverage by asset")


def _findings(dataset: Dataset, findings: list[dict[str, Any]]) -> None:
    if not findings:
        st.markdown("Nothing was found: no gap, duplicate, impossible bar or outlier.")
        return
    counts = {name: sum(1 for each in findings if each.get("severity") == name) for name in SEVERITIES}
    labels = {name: f"{name} ({fmt.count(number)})" for name, number in counts.items() if number}
    chosen = st.pills(
        "Severity", list(labels), selection_mode="multi", key="d.severity", format_func=labels.__getitem__
    )
    ranked = sorted(findings, key=lambda each: _rank(str(each.get("severity", ""))))
    shown = [each for each in ranked if not chosen or each.get("severity") in chosen]
    table = st.dataframe(
        pd.DataFrame([
            {
                "severity": each.get("severity", ""), "asset": each.get("asset", ""), "finding": each.get("text", ""),
                "count": each.get("count", 0),
                "first places": ", ".join(_placed(place) for place in each.get("places", [])[:5]),
                "rule": each.get("rule", ""),
            } for each in shown[:_FOUND]
        ]), hide_index=True, key="d.findings", on_select="rerun", selection_mode="single-row",
        alt="Findings of the quality report",
    )  # fmt: skip
    left = len(shown) - _FOUND
    st.caption(fmt.plain("Choose a line to see the bars there." + (f" {fmt.count(left)} more not shown." * (left > 0))))
    rows = table["selection"]["rows"]
    if rows and rows[0] < len(shown):
        _open(dataset, shown[rows[0]])


def _open(dataset: Dataset, finding: dict[str, Any]) -> None:
    """Offer the places of a finding; each opens the bars around it."""
    places = [place for place in finding.get("places", []) if place.get("ts_end_ns")]
    asset = str(finding.get("asset", ""))
    if not places or asset not in dataset.assets:
        st.caption("The report has no place of it.")
        return
    with st.container(horizontal=True):
        for number, place in enumerate(places[:5]):
            st.button(
                fmt.plain(f"{asset}, {fmt.instant(place['ts_end_ns'])}"), key=f"d.place.{number}",
                icon=":material/candlestick_chart:", on_click=_goto, args=(dataset, asset, place["ts_end_ns"]),
            )  # fmt: skip


def _goto(dataset: Dataset, asset: str, ts_ns: int) -> None:
    bars = reads.bars(dataset.name, dataset.version, asset)
    at = int(np.searchsorted(bars.ts_end_ns, ts_ns))
    ends = (max(at - _AROUND, 0), min(at + _AROUND, len(bars) - 1))
    days = [datetime.fromtimestamp(int(bars.ts_end_ns[end]) // 10**9, UTC).date().isoformat() for end in ends]
    st.session_state["d.goto"] = {"asset": asset, "d.from": days[0], "d.to": days[1], "d.view": "bars"}


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _placed(place: dict[str, Any]) -> str:
    """Write where a finding is: its time, and what stands there."""
    ts_ns = place.get("ts_end_ns")
    words = [fmt.instant(ts_ns)] if ts_ns is not None else []
    return " ".join([*words, str(place.get("text") or "")]).strip()


def _versions(entry: Entry) -> None:
    versions = reads_data.versions(entry.name)
    datasets = [reads.dataset(entry.name, version.version) for version in versions]
    st.dataframe(
        pd.DataFrame([
            {
                "version": fmt.short(version.version) + (" (in force)" if number == 0 else ""),
                "since": fmt.instant(version.created_ns) if version.created_ns else "",
                "assets": len(one.assets), "times": one.n_times,
                "from": fmt.day(one.start_ns), "to": fmt.day(one.end_ns),
                "bars": sum(one.n_bars(asset) for asset in one.assets),
            } for number, (version, one) in enumerate(zip(versions, datasets, strict=True))
        ]), hide_index=True, alt="Versions of the dataset",
    )  # fmt: skip
    if len(versions) < 2:
        st.caption("There is one version. Bringing in other bars under this name makes another; runs keep theirs.")
        return
    names = [version.version for version in versions]
    left, right, _ = st.columns([2, 2, 4])
    older = left.selectbox("What changed from", names[1:], key="d.older", format_func=fmt.short)
    newer = right.selectbox("to", [name for name in names if name != older], key="d.newer", format_func=fmt.short)
    found = reads_data.changes(entry.name, str(older), str(newer))
    if not found:
        st.caption("Every asset has the same bars in both; only what is said about them differs.")
        return
    st.dataframe(
        pd.DataFrame([
            {"asset": each.asset, "what": each.what, "bars added": each.n_added, "bars removed": each.n_removed,
             "bars changed": each.n_changed, "first": fmt.instant(each.first_ns)} for each in found
        ]), hide_index=True, alt="What changed between the versions",
    )  # fmt: skip
    same = len(reads.dataset(entry.name, str(newer)).assets) - sum(each.what != "removed" for each in found)
    st.caption(fmt.plain(f"{fmt.plural(same, 'asset')} with the same bars in both."))


def _used(entry: Entry, used: list[Any]) -> None:
    if not used:
        st.caption("No run in this store uses it yet.")
        st.page_link(_url.NEW, label="New sweep", icon=":material/add:")
        return
    for run in used[:30]:
        left, middle, right = st.columns([3, 3, 3], vertical_alignment="center")
        left.page_link(_url.SURFACE, label=fmt.plain(run.name or "unnamed"), icon=":material/grid_on:",
                       query_params={"run": run.identity})  # fmt: skip
        middle.caption(fmt.plain(f"{run.strategy}, {fmt.plural(run.status.n_trials, 'trial')}, {run.state}"))
        older = "" if run.dataset_version == entry.version else ": not the version in force"
        right.caption(fmt.plain(f"version {fmt.short(run.dataset_version)}{older}"))
    if len(used) > 30:
        st.caption(fmt.plain(f"The newest 30 of {fmt.count(len(used))}; search the Runs page for others."))
