"""Runs: what is running, what is done, what broke; read from the store once a second. One of them in full."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import streamlit as st

from app import format as fmt
from app import reads, reads_runs, reads_user
from app.sweeping import usage_words
from app.views import _parts, _run_details, _url
from quantbot.errors import QuantBotError

if TYPE_CHECKING:
    from sweeps.status import RunStatus, RunSummary

STATES = ("running", "waiting", "stalled", "paused", "budget spent", "failed", "cancelled", "done")
_BADGES = {
    "running": (":material/play_arrow:", "blue"),
    "waiting": (":material/schedule:", "gray"),
    "stalled": (":material/warning:", "orange"),
    "paused": (":material/pause:", "gray"),
    "budget spent": (":material/savings:", "orange"),
    "failed": (":material/error:", "red"),
    "cancelled": (":material/stop:", "gray"),
    "done": (":material/check:", "green"),
}
_MEANINGS = {
    "running": "A process computes it; it goes on when this page is closed.",
    "waiting": "Submitted, but nobody computes it: start it, or wait for a runner.",
    "stalled": "Nothing gets done, for the cause below; what is finished is kept.",
    "paused": "Waits in its place until somebody has it go on; what is finished is kept.",
    "budget spent": "It took what it may take; with a larger budget it goes on.",
    "failed": "It can't be computed: its note says why. What is finished is kept.",
    "cancelled": "Stopped on purpose; what is finished is kept.",
    "done": "Every trial is in the store, and committed.",
}
_SHOWN = 30
_WIDTHS = [3.4, 1.4, 2.4, 2.6, 2.0, 1.2, 0.9]


@_parts.page
def page() -> None:
    """Show all runs."""
    view = _url.arrive("runs", ("run",))
    title, button = st.columns([5, 2], vertical_alignment="center")
    title.subheader("Runs", anchor=False)
    if reads_user.allowed("submit"):
        with button.container(horizontal=True, horizontal_alignment="right"):
            st.page_link(_url.NEW, label="New sweep", icon=":material/add:")
    if not reads.runs():
        st.markdown(fmt.plain(f"0 runs in {reads.store_url()}"))
        _parts.empty("There is no run yet. A sweep is a grid of backtests over stored bars.", "New sweep", _url.NEW)
        _url.keep("runs", {})
        return
    text, states = st.columns([2, 3], vertical_alignment="bottom")
    text.text_input("Search", key="r.text", placeholder="name, strategy, dataset or identity")
    states.pills("State", STATES, selection_mode="multi", key="r.states")
    if "run" in view:
        _run_details.details(view["run"])
    _live(view.get("run", ""))
    _url.keep("runs", view)


# The period is the store's own: once a second is what a reader sees as live, and one listing serves all viewers.
@st.fragment(run_every=timedelta(seconds=1))
def _live(marked: str) -> None:
    try:
        _parts.trouble()  # a fragment runs without its page, for as long as it is open
        known = reads.runs()
    except QuantBotError as error:
        _parts.problem(error)
        return
    counts = {state: sum(1 for run in known if run.state == state) for state in STATES}
    told = ", ".join(f"{fmt.count(number)} {state}" for state, number in counts.items() if number)
    st.markdown(fmt.plain(f"{fmt.plural(len(known), 'run')} in {reads.store_url()}: {told}"))
    words = str(st.session_state.get("r.text") or "").lower().split()
    wanted = st.session_state.get("r.states") or STATES
    shown = [run for run in known if run.state in wanted and all(word in _words(run) for word in words)]
    # The one that a link names comes first, then what is computed now; the sort is stable.
    shown.sort(key=lambda run: (run.identity != marked, run.state != "running"))
    if not shown:
        st.info("No run is like that; clear the search or the states.")
        return
    _header()
    for run in shown[:_SHOWN]:
        _row(run)
    if len(shown) > _SHOWN:
        st.caption(f"The newest {_SHOWN} of {fmt.count(len(shown))}; search for others.")


_LUCK = (
    "The probability that the best has a Sharpe ratio above zero, after counting every trial of its strategy on its "
    "data; and the annual Sharpe ratio that so many would reach on noise."
)


def _open(identity: str) -> None:
    _url.keep("runs", {"run": identity})


def _words(run: RunSummary) -> str:
    return " ".join((run.name, run.strategy, run.dataset, run.identity, *run.axes)).lower()


def _header() -> None:
    names = ("Run", "State", "Strategy and data", "Trials", "Best", "Submitted", "")
    for place, name in zip(st.columns(_WIDTHS), names, strict=True):
        place.caption(name)


def _row(run: RunSummary) -> None:
    status = run.status
    with st.container(border=True, key=f"run-{run.short}"):
        name, state, what, trials, best, since, more = st.columns(_WIDTHS, vertical_alignment="center")
        with name.container(gap=None):
            st.page_link(
                _url.SURFACE, label=fmt.plain(run.name or "unnamed"), icon=":material/grid_on:",
                query_params={"run": run.identity}, help="Open the surface",
            )  # fmt: skip
            st.caption(run.short)
        icon, colour = _BADGES[run.state]
        with state.container(gap=None):
            st.badge(run.state, icon=icon, color=colour, help=_MEANINGS[run.state])  # type: ignore[arg-type]
            if run.state in ("stalled", "failed") and status.trouble:
                st.caption(fmt.plain(status.trouble))
        with what.container(gap=None):
            st.markdown(fmt.plain(run.strategy))
            st.caption(fmt.plain(f"{run.dataset}, {_parts.listed(run.assets, 'asset')}"))
        with trials:
            _progress(status)
        with best.container(gap=None):
            st.markdown(fmt.plain(_best(status, run.engine)))
            if run.state == "done" and status.best_value is not None:
                st.caption(fmt.plain(reads_runs.luck_words(run.identity, reads.mark_of(status))), help=_LUCK)
        since.caption(fmt.plain(_since(run.submitted_ns)))
        with more, st.popover(":material/more_horiz:", help="Actions"):
            _drawer(run)


def _progress(status: RunStatus) -> None:
    failed = f", {fmt.count(status.n_failed)} failed" if status.n_failed else ""
    if status.state == "done":
        st.markdown(fmt.plain(f"{fmt.count(status.n_done)}{failed}"))
        return
    text = f"{fmt.count(status.n_done)} of {fmt.count(status.n_trials)}{failed}"
    st.progress(status.n_done / max(status.n_trials, 1), text=fmt.plain(text))
    if status.state == "running":
        parts = [f"{fmt.count(round(status.rate))}/s"] if status.rate else ["starting"]
        if status.eta_seconds:
            low, high = status.eta_seconds
            parts.append(f"{fmt.duration(low)} to {fmt.duration(high)} left")
        st.caption(fmt.plain(", ".join(parts)))


def _best(status: RunStatus, engine: str) -> str:
    if status.best_value is None:
        return "none yet" if status.state != "done" else "none"
    declared = reads.measures([status.objective], engine)[status.objective]
    return f"{declared.label} {fmt.measure(status.best_value, declared)}"


def _since(submitted_ns: int) -> str:
    return fmt.instant(submitted_ns).removesuffix(" UTC") if submitted_ns else "unknown"


def _drawer(run: RunSummary) -> None:
    status = run.status
    if status.note:
        st.caption(fmt.plain(status.note))
    if status.driver:
        st.caption(fmt.plain(f"Computed by {status.driver}"))
    if took := usage_words(status.usage):
        st.caption(fmt.plain(f"Took {took}"))
    if st.button("Details", key=f"open-{run.identity}", icon=":material/info:", on_click=_open, args=(run.identity,)):
        st.rerun()  # the whole page: the details stand outside of what is read once a second
    going = run.state in ("running", "stalled", "waiting")
    if going and reads_user.allowed("pause", reads_user.owner_of(run.identity)):
        st.button(
            "Pause", key=f"pause-{run.identity}", icon=":material/pause:", args=(run.identity,),
            on_click=reads_user.told(reads.pause), help="It waits in its place after the blocks in flight.",
        )  # fmt: skip
    if (run.state == "running" or (going and reads.has_runners())) and reads_user.allowed(
        "cancel", reads_user.owner_of(run.identity)
    ):
        _stop(run)
    if run.state not in ("running", "done") and reads_user.allowed("resume", reads_user.owner_of(run.identity)):
        st.button(
            "Go on",
            key=f"go-{run.identity}",
            icon=":material/play_arrow:",
            args=(run.identity,),
            on_click=reads_user.told(reads.resume),
        )
    if reads_user.allowed("submit"):
        st.page_link(
            _url.NEW, label="Start another from it", icon=":material/add:", query_params={"from": run.identity}
        )


def _stop(run: RunSummary) -> None:
    """Stop a run: asks once, and says what is kept."""
    key = f"stopping-{run.identity}"
    if not st.session_state.get(key):
        st.button("Stop", key=f"stop-{run.identity}", icon=":material/stop:", on_click=_ask, args=(key, True))
        return
    kept = fmt.plural(run.status.n_done, "finished trial")
    st.markdown(fmt.plain(f"Stop it? All of its {kept} stay, and it can go on from there at any time."))
    with st.container(horizontal=True):
        st.button("Stop it", key=f"yes-{run.identity}", type="primary", on_click=_stopped, args=(run.identity, key))
        st.button("Let it run", key=f"no-{run.identity}", on_click=_ask, args=(key, False))


def _ask(key: str, asking: bool) -> None:
    st.session_state[key] = asking


def _stopped(identity: str, key: str) -> None:
    _ask(key, False)
    reads_user.told(reads.stop)(identity)


if __name__ == "__main__":
    page()
