"""What a sweep will cost and whether it is allowed: the right side of the form, always in sight."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import format as fmt
from app import reads, reads_user
from app.figures.folds import MOST, folds_alt, folds_strip
from app.scope import noun_of
from app.views import _parts, _url
from app.views._keeping import first
from quantbot.errors import QuantBotError


def cost(text: str) -> None:
    """Check the spec, show what its run would take, and offer to start it."""
    st.markdown("**What it will cost**")
    if not text.strip():
        st.caption("Complete the form on the left.")
        return
    try:
        plan = reads.plan(text)
    except QuantBotError as error:
        _parts.problem(error)
        return
    _estimate(plan)


def _estimate(plan: Any) -> None:
    factors = [f"{fmt.plural(plan.n_points, 'point')}"]
    factors += [fmt.plural(len(plan.folds), "fold"), fmt.plural(len(plan.assets), noun_of(plan))]
    st.metric("Trials", fmt.count(plan.n_trials), help=" x ".join(factors))
    st.caption(f"{' x '.join(factors)}, in {fmt.plural(plan.n_blocks, 'block')}")
    workers, asked = reads.cores(), dict[str, Any]()
    if reads.has_runners():
        asked = _for_runners()
    else:
        first("n.workers", workers)
        workers = int(st.number_input("Workers", 1, 64, key="n.workers", help="Processes on this machine."))
    for label, value in reads.cost(plan, workers).items():
        st.markdown(f"{label}: {fmt.plain(value)}")
    _parts.warnings(plan.warnings)
    if len(plan.folds) > 1:
        st.plotly_chart(folds_strip(plan.folds), key="n.strip", alt=folds_alt(plan.folds),
                        config={"displayModeBar": False})  # fmt: skip
        gaps = "a gap is purge and embargo"
        cut = f"the first {MOST} of {fmt.plural(len(plan.folds), 'fold')}; " if len(plan.folds) > MOST else ""
        st.caption(fmt.plain(cut + gaps))
    existing = reads.status_or_none(plan.identity)
    label = "Start sweep"
    if existing is not None and existing.state == "done":
        st.info("Exactly this sweep is in the store already: nothing needs to be computed.")
        label = "Open it"
    elif existing is not None:
        st.info(
            f"Exactly this sweep is in the store already, {existing.state}: {fmt.count(existing.n_done)} trials done."
        )
        label = "Go on with it"
    done = existing is not None and existing.state == "done"
    may = reads_user.allowed("submit")
    if st.button(label, type="primary", key="n.start", icon=":material/play_arrow:", disabled=not (may or done),
                 help=None if may or done else "Starting sweeps needs the role of a researcher."):  # fmt: skip
        # One step without a Streamlit call in between, so that a second click can't come between the two.
        identity = reads.submit(plan, workers=workers, **asked) if may else plan.identity
        st.switch_page(_url.SURFACE if done else _url.RUNS, query_params={"run": identity})


def _for_runners() -> dict[str, Any]:
    """Ask what runners want to know: who goes first, and when to stop."""
    left, right = st.columns(2)
    first("n.priority", 0)
    priority = left.number_input("Priority", -100, 100, key="n.priority", help="Runners take the higher first.")
    hours = right.number_input(
        "Core-hours", 0.0, None, value=None, key="n.core_hours", placeholder="no limit",
        help="What it may take of workers before it stops with what it has; a larger one goes on.",
    )  # fmt: skip
    return {"priority": int(priority), "core_hours": hours or None}
