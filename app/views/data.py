"""Data: what is in the store, and whether it can be trusted."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.bars import bars_chart, bars_per_candle
from app.views import _parts, _url

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.catalog import Entry

KEYS = ("dataset", "asset", "d.from", "d.to")


@_parts.page
def page() -> None:
    """Show the catalogue, then one dataset."""
    view = _url.arrive("data", KEYS)
    gone: list[str] = []
    st.subheader("Data", anchor=False)
    entries = reads.catalogue()
    n_broken = sum(1 for entry in entries if entry.problem)
    broken = f", {n_broken} of them can't be opened" if n_broken else ""
    st.markdown(fmt.plain(f"{fmt.plural(len(entries), 'dataset')} in {reads.store_url()}{broken}"))
    if not entries:
        st.info("There is no dataset yet. Bring one in from the command line; this page finds it.")
        st.code("quantbot ingest demo\nquantbot ingest csv mine/prices prices.csv --help", language="bash")
        _url.keep("data", {})
        return
    _catalogue_table(entries)
    usable = [entry for entry in entries if not entry.problem]
    for entry in entries:
        if entry.problem:
            st.error(fmt.plain(f"{entry.name}: {entry.problem}"))
    if usable:
        left, right, start, stop = st.columns([3, 2, 2, 2])
        with left:
            entry = _url.choose(
                "Dataset", usable, "dataset", view, default=usable[0], text=_named, code=_named, gone=gone
            )
        _dataset(entry, view, (right, start, stop), gone)
    _parts.warnings(gone)
    _url.keep("data", view)


def _named(entry: Entry) -> str:
    return entry.name


def _catalogue_table(entries: list[Entry]) -> None:
    rows = [
        {
            "name": entry.name,
            "what": entry.title,
            "kind": f"{entry.kind} {entry.interval}".strip() + (", synthetic" if entry.synthetic else ""),
            "assets": len(entry.assets),
            "times": entry.n_times,
            "from": fmt.day(entry.start_ns) if entry.n_times else "",
            "to": fmt.day(entry.end_ns) if entry.n_times else "",
            "version": fmt.short(entry.version),
            "versions": entry.n_versions,
            "since": fmt.instant(entry.created_ns) if entry.created_ns else "",
        }
        for entry in entries
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Catalogue of datasets")


def _dataset(entry: Entry, view: dict[str, str], places: tuple[Any, Any, Any], gone: list[str]) -> None:
    dataset = reads.dataset(entry.name, entry.version)
    with places[0]:
        asset = _url.choose("Asset", dataset.assets, "asset", view, default=dataset.assets[0], gone=gone)
    bars = reads.bars(entry.name, entry.version, asset)
    window = _window(bars.ts_end_ns[0], bars.ts_end_ns[-1], places[1:], view)
    meta = dataset.meta
    facts = [
        f"**{fmt.plain(entry.name)}** `{fmt.short(entry.version)}`",
        fmt.plain(f"{asset}: {fmt.plural(len(bars), 'bar')} of {meta.interval}"),
        fmt.plain(
            f"{fmt.instant(int(bars.ts_end_ns[0]), meta.zone)} to {fmt.instant(int(bars.ts_end_ns[-1]), meta.zone)}"
        ),
        fmt.plain(f"{bars.instrument.currency}, multiplier {bars.instrument.multiplier:g}"),
        fmt.plain(f"calendar {meta.calendar or 'unknown'}"),
        fmt.plain(f"{bars.periods_per_year:g} bars a year"),
    ]
    st.markdown("  ·  ".join(facts))
    if meta.synthetic:
        st.caption(":orange[:material/warning:] Synthetic: made by a random generator, not by a market.")
    st.caption(fmt.plain(f"Source: {meta.source}" + (f"; licence: {meta.license}" if meta.license else "")))
    shown = int(((bars.ts_end_ns >= window[0]) & (bars.ts_end_ns <= window[1])).sum())
    figure = bars_chart(bars, window=window)
    st.plotly_chart(figure, key="d.chart", alt=f"Price and volume of {asset}, {shown} bars")
    each = fmt.plural(bars_per_candle(shown), "bar")
    told = (
        f"{fmt.plural(shown, 'bar')} shown, one candle is {each}; hollow candles rise, filled ones fall; times in UTC"
    )
    st.caption(fmt.plain(told))
    _quality(dataset)


def _window(first_ns: int, last_ns: int, places: tuple[Any, ...], view: dict[str, str]) -> tuple[int, int]:
    first, last = (datetime.fromtimestamp(int(ts) // 10**9, UTC).date() for ts in (first_ns, last_ns))
    ends = []
    for place, key, label, default in zip(places, ("d.from", "d.to"), ("From", "To"), (first, last), strict=True):
        wanted = _day(view.pop(key, ""), default)
        if key not in st.session_state or not first <= st.session_state[key] <= last:
            st.session_state[key] = min(max(wanted, first), last)
        with place:
            chosen = st.date_input(label, min_value=first, max_value=last, key=key, format="YYYY-MM-DD")
        if chosen != default:
            view[key] = chosen.isoformat()
        ends.append(chosen)
    start = datetime.combine(ends[0], time.min, UTC)
    end = datetime.combine(max(ends), time.max, UTC)
    return int(start.timestamp()) * 10**9, int(end.timestamp() * 1000) * 10**6


def _day(text: str, default: date) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return default


def _quality(dataset: Dataset) -> None:
    st.markdown("**Quality report**")
    findings = dataset.quality.get("findings", [])
    if not findings:
        st.markdown("Nothing was found: no gap, duplicate, impossible bar or outlier.")
    rows = [
        {
            "severity": finding.get("severity", ""),
            "asset": finding.get("asset", ""),
            "finding": finding.get("text", ""),
            "count": finding.get("count", 0),
            "first places": ", ".join(_placed(place) for place in finding.get("places", [])[:5]),
            "rule": finding.get("rule", ""),
        }
        for finding in findings
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Findings of the quality report")


def _placed(place: dict[str, Any]) -> str:
    """Write where a finding is: its time, and what stands there."""
    ts_ns = place.get("ts_end_ns")
    words = [fmt.instant(ts_ns)] if ts_ns is not None else []
    return " ".join([*words, str(place.get("text") or "")]).strip()


if __name__ == "__main__":
    page()
