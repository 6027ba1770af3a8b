"""One run in full, above the list of all: what failed and how to run it again, its log, its spec, who asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads, reads_runs
from app.views import _parts, _url
from quantbot.errors import QuantBotError

if TYPE_CHECKING:
    from sweeps.status import RunSummary

_ANY = "every reason"
_TOLD = {
    "failed": "black on the map: each has its reason below",
    "not run yet": "grey: they come with the rest of the run",
    "not promoted": "sand: the search gave them up on less history, on purpose",
    "locked": "slate: the test of a holdout that nobody has looked at; quantbot sweep unlock {short} shows it",
}


def details(which: str) -> None:
    """Show the run that an address names."""
    try:
        run = reads.find_run(which)
    except QuantBotError as error:
        _parts.problem(error)
        return
    with st.container(border=True, key="details"):
        head, button = st.columns([6, 1], vertical_alignment="center")
        who = str(reads_runs.request(run.identity).get("user", "")) or "unknown"
        since = fmt.instant(run.submitted_ns) if run.submitted_ns else "unknown"
        version = f"{run.dataset}@{fmt.short(run.dataset_version)}"
        head.markdown("  ·  ".join([
            _parts.name_and_id(run.name or "unnamed", run.identity), fmt.plain(f"{run.strategy} on {version}"),
            fmt.plain(f"by {who}, {since}"),
        ]))  # fmt: skip
        button.button("Close", key="details.close", icon=":material/close:", on_click=_url.keep, args=("runs", {}))
        mark = reads.mark_of(run.status)
        counts = reads_runs.states(run.identity, mark)
        _states(run, counts)
        _parts.export_button(
            st.container(), "Report", lambda: reads_runs.report(run.identity, mark),
            f"{run.name or 'run'}-{run.short}.html", "text/html",
            subject=run.identity, key="details.report", icon=":material/description:",
            help="What the Surface page says as one file that needs nothing else, made for print.",
        )  # fmt: skip
        shows: dict[str, Callable[[], None]] = {
            f"Failures ({fmt.count(counts.get('failed', 0))})": lambda: _failures(run, mark),
            "Log": lambda: _log(run),
            "Spec": lambda: _spec(run),
            "Python": lambda: _python(run),
        }
        codes = {name.split(" (")[0]: name for name in shows}
        if st.session_state.get("details.tab") not in codes:
            going = "Log" if run.state != "done" else "Spec"
            st.session_state["details.tab"] = "Failures" if counts.get("failed") else going
        chosen = st.segmented_control(
            "Details", list(codes), key="details.tab", required=True, label_visibility="collapsed",
            format_func=lambda code: codes[code],
        )  # fmt: skip
        shows[codes[str(chosen)]]()


def _states(run: RunSummary, counts: dict[str, int]) -> None:
    """Say how many trials are in each state, and what each means: a locked one is neither missing nor given up."""
    lines = [f"{fmt.plural(counts.get('ok', 0), 'trial')} with a row"]
    lines += [f"{fmt.count(counts[name])} {name} ({told.format(short=run.short)})"
              for name, told in _TOLD.items() if counts.get(name)]  # fmt: skip
    st.caption("  \n".join(fmt.plain(line) for line in lines))


def _failures(run: RunSummary, mark: int) -> None:
    rows = reads_runs.failures(run.identity, mark)
    if not rows:
        st.caption("No trial failed.")
        return
    st.dataframe(
        pd.DataFrame({
            "trials": [row["n_trials"] for row in rows], "reason": [row["reason"] for row in rows],
            "first trial": [row["first_trial"] for row in rows],
            "first point": [fmt.point(row["first_point"]) for row in rows],
        }), hide_index=True, alt="Failures by reason",
    )  # fmt: skip
    st.caption(
        "A trial fails the same way each time: put right what broke it (the strategy, the data), then run exactly "
        "these points again, as a sweep of its own."
    )
    options = [_ANY, *(str(row["reason"]) for row in rows)] if len(rows) > 1 else [_ANY]
    chosen = _ANY
    if len(options) > 1:
        place, _ = st.columns([3, 2])
        chosen = str(place.selectbox("Retry what failed for", options, key="details.reason"))
    found = reads_runs.retry(run.identity, mark, None if chosen == _ANY else chosen)
    if isinstance(found, str):
        st.caption(fmt.plain(found))
        return
    more = f"; no condition is short enough to leave out {fmt.plural(found.n_more, 'point')} between them"
    st.caption(fmt.plain(f"{fmt.plural(found.n_points, 'point')}, in every fold{more if found.n_more else ''}"))
    with st.container(horizontal=True):
        if st.button("Retry these", key="details.retry", type="primary", icon=":material/refresh:"):
            _fill(found.spec)
        st.page_link(
            _url.TRIAL, label=f"First failed trial {fmt.count(rows[0]['first_trial'])}", icon=":material/show_chart:",
            query_params={"run": run.identity, "trial": str(rows[0]["first_trial"])},
        )  # fmt: skip


def _fill(spec: str) -> None:
    """Go to the form with this spec in it."""
    kept: dict[str, Any] = st.session_state.setdefault("kept new", {})
    kept |= {"n.face": "TOML", "n.toml": spec}
    for key in ("n.face", "n.toml"):
        st.session_state.pop(key, None)
    st.switch_page(_url.NEW)


def _log(run: RunSummary) -> None:
    status = run.status
    if status.driver:
        st.caption(fmt.plain(f"Computed by {status.driver}"))
    if status.note:
        st.caption(fmt.plain(status.note))
    text = reads_runs.log(run.identity)
    if not text:
        st.caption("No driver on this machine has written a log of it: it was driven from a terminal, or elsewhere.")
        return
    st.code(text, language=None, wrap_lines=True, height=280)
    if status.state == "running":
        st.button("Read again", key="details.log", icon=":material/refresh:")


def _spec(run: RunSummary) -> None:
    st.code(reads.spec_of(run.identity), language="toml")


def _python(run: RunSummary) -> None:
    st.code(
        f"from sweeps import open_run\n\nrun = open_run({reads.store().url!r}, {run.short!r})\ntable = run.to_xarray()",
        language="python",
    )
    st.caption("Identity")
    st.code(run.identity, language=None, wrap_lines=True)
