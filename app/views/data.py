"""Data: what is in the store, and whether it can be trusted."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads
from app.described import beside_prices
from app.figures.bars import bars_chart, bars_per_candle
from app.views import _data_events, _data_parts, _parts, _url

if TYPE_CHECKING:
    from datasets.catalog import Entry

KEYS = ("dataset", "asset", "d.from", "d.to", "d.view")
BARS = "Bars"


@_parts.page
def page() -> None:
    """Show the catalogue, then one dataset."""
    view = _url.arrive("data", KEYS) | _data_parts.wanted()
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
        if entry.kind == "events":
            _data_events.show(entry, view, right, gone)
        else:
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
    if more := beside_prices(dataset):
        facts.append(fmt.plain(f"with {more}"))
    st.markdown("  ·  ".join(facts))
    if meta.synthetic:
        st.caption(":orange[:material/warning:] Synthetic: made by a random generator, not by a market.")
    st.caption(fmt.plain(f"Source: {meta.source}" + (f"; licence: {meta.license}" if meta.license else "")))
    shown = int(((bars.ts_end_ns >= window[0]) & (bars.ts_end_ns <= window[1])).sum())
    parts = _data_parts.parts(entry, dataset, asset)
    chosen = _part(list(parts), view)
    if chosen != BARS:
        parts[chosen]()
        return
    figure = bars_chart(bars, window=window)
    st.plotly_chart(figure, key="d.chart", alt=f"Price and volume of {asset}, {shown} bars")
    each = fmt.plural(bars_per_candle(shown), "bar")
    told = (
        f"{fmt.plural(shown, 'bar')} shown, one candle is {each}; hollow candles rise, filled ones fall; times in UTC"
    )
    st.caption(fmt.plain(told))


def _part(names: list[str], view: dict[str, str]) -> str:
    """Show what of the dataset to look at; the address has the first word of it."""
    codes = {name.split(" (")[0].lower(): name for name in (BARS, *names)}
    wanted = view.pop("d.view", "")
    if st.session_state.get("d.view") not in codes:
        st.session_state["d.view"] = wanted if wanted in codes else next(iter(codes))
    chosen = st.segmented_control(
        "Look at", list(codes), key="d.view", required=True, label_visibility="collapsed", format_func=codes.__getitem__
    )
    view["d.view"] = str(chosen)
    return codes[str(chosen)]


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


if __name__ == "__main__":
    page()
