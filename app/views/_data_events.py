"""What the Data page shows of a dataset of order-book events: its sessions, and what its report found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads_data
from app.views import _url

if TYPE_CHECKING:
    from datasets.catalog import Entry


def show(entry: Entry, view: dict[str, str], place: Any, gone: list[str]) -> None:
    """Show one dataset of events."""
    dataset = reads_data.events(entry.name, entry.version)
    with place:
        asset = _url.choose("Asset", dataset.assets, "asset", view, default=dataset.assets[0], gone=gone)
    instrument, meta = dataset.instrument(asset), dataset.meta
    by = "market by order" if instrument.kind == "by_order" else "market by price"
    facts = [
        f"**{fmt.plain(entry.name)}** `{fmt.short(entry.version)}`",
        fmt.plain(f"{asset}: {fmt.plural(dataset.n_events(asset), 'event')}, {by}"),
        fmt.plain(f"tick {instrument.tick_size:g}, lot {instrument.lot_size:g}"),
        fmt.plain(f"{instrument.currency}, multiplier {instrument.multiplier:g}"),
    ]
    st.markdown("  ·  ".join(facts))
    if meta.synthetic:
        st.caption(":orange[:material/warning:] Synthetic: made by a random generator, not by a market.")
    st.caption(fmt.plain(f"Source: {meta.source}" + (f"; licence: {meta.license}" if meta.license else "")))
    sessions = [dataset.session(asset, each) for each in dataset.sessions(asset)]
    st.dataframe(
        pd.DataFrame([
            {
                "session": each.session, "events": each.n_events, "first": fmt.instant(each.start_ns),
                "last": fmt.instant(each.end_ns), "low": each.low_ticks * instrument.tick_size,
                "high": each.high_ticks * instrument.tick_size, "stored books": each.n_snapshots,
            } for each in sessions
        ]), hide_index=True, alt="Sessions of the dataset",
    )  # fmt: skip
    st.page_link(
        _url.BOOK, label="Look into the book", icon=":material/layers:",
        query_params={"dataset": entry.name, "asset": asset, "b.session": sessions[0].session},
    )  # fmt: skip
    findings = [each for each in dataset.quality.get("findings", []) if each.get("asset") in (asset, "*")]
    if not findings:
        st.markdown("Nothing was found: no crossed book, unknown order, gap or halt.")
        return
    st.dataframe(
        pd.DataFrame([
            {"severity": each["severity"], "finding": each["text"], "count": each["count"], "rule": each["rule"]}
            for each in findings
        ]), hide_index=True, alt="Findings of the quality report",
    )  # fmt: skip
