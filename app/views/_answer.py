"""The answer above the map: the best, the plateau, and how much of it is luck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import format as fmt
from app import reads
from app.views import _card

if TYPE_CHECKING:
    from app.views._controls import Controls
    from app.views._shown import Shown
    from quantbot.parameters import Value
    from sweeps.surface import Plateau


def answer(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> None:
    """Show four numbers: what the best trial says, what its plateau says, and what luck alone would say."""
    measure = controls.measure
    if not best:
        st.info(fmt.plain(f"No trial of fold {controls.fold} has a {measure.label} yet."))
        return
    luck = reads.luck(shown.identity, shown.mark)
    tiles = iter(st.columns([3, 3, 2, 2.4]))
    with next(tiles).container(border=True, height="stretch"):
        top = best[0]
        interval = _interval(luck, int(top["trial"]), controls)
        st.metric(
            f"Best {measure.label}, one trial", fmt.measure(float(top["measures"][measure.name]), measure),
            help="A maximum of many trials flatters: read it beside the plateau and the luck line.",
        )  # fmt: skip
        st.caption(fmt.plain(f"{interval}; at {fmt.point(top['point'])}{_edge(shown, top['point'])}"))
        _card.trial_link(shown, int(top["trial"]), "Open best", view)
    with next(tiles).container(border=True, height="stretch"):
        _plateau(shown, controls, plateau, view)
    with next(tiles).container(border=True, height="stretch"):
        _deflated(luck)
    with next(tiles).container(border=True, height="stretch"):
        _luck_line(luck)


def _interval(luck: Any, trial: int, controls: Controls) -> str:
    found = getattr(luck, "best_interval", None)
    if found is None or _trial(luck) != trial:
        return "interval unknown"
    low, high = (fmt.measure(float(end), controls.measure) for end in (found[0], found[1]))
    return f"{fmt.percent(float(found[2]), 0)} interval {low} to {high}"


def _trial(luck: Any) -> int | None:
    best = getattr(luck, "best", None)
    found = getattr(best, "trial", None) if best is not None else None
    return None if found is None else int(found)


def _plateau(shown: Shown, controls: Controls, plateau: Plateau | None, view: dict[str, str]) -> None:
    measure = controls.measure
    if plateau is None:
        st.metric(f"Plateau of {measure.label}", "none")
        sampled = any(axis.sampled for axis in shown.plan.axes)
        st.caption("Drawn points have no neighbours." if sampled else "No point has neighbours with a value.")
        return
    st.metric(
        f"Plateau of {measure.label}", fmt.measure(plateau.score, measure),
        help=f"Median of a point and its {plateau.n_neighbours} neighbours: less luck than the best.",
    )  # fmt: skip
    worst = fmt.measure(plateau.worst, measure)
    st.caption(fmt.plain(f"worst neighbour {worst}; at {fmt.point(plateau.point)}{_edge(shown, plateau.point)}"))
    at = shown.run.slices(controls.fold, controls.asset)[0]
    _card.trial_link(shown, at * shown.plan.n_points + plateau.point_index, "Open plateau", view)


def _deflated(luck: Any) -> None:
    value = getattr(luck, "deflated_sharpe", None)
    st.metric(
        "Deflated Sharpe", "unknown" if value is None else f"{float(value):.2f}",
        help="The probability that the best trial's true Sharpe ratio is above zero, after counting every trial of "
        "this strategy on this data (Bailey and Lopez de Prado, 2014). Above 0.95 is rarely luck.",
    )  # fmt: skip
    if value is None:
        st.caption(fmt.plain(_unknown(luck, "deflated_sharpe")))
        return
    n_trials, effective = getattr(luck, "n_trials", None), getattr(luck, "n_effective", None)
    counted = "trials not counted" if n_trials is None else f"{fmt.plural(int(n_trials), 'trial')} in the ledger"
    if effective is not None:
        counted += f", {fmt.count(round(float(effective)))} effective"
    pbo = getattr(luck, "pbo", None)
    if pbo is not None:
        counted += f"; overfit {fmt.percent(float(pbo), 0)}"
    st.caption(fmt.plain(counted))


def _luck_line(luck: Any) -> None:
    value, n_trials = getattr(luck, "luck_line", None), getattr(luck, "n_trials", None)
    shown = "unknown" if value is None else f"{float(value):+.2f}".replace("-", fmt.MINUS)
    st.metric("Luck line, annual Sharpe", shown, help="What the best of so many trials would reach on noise alone.")
    if value is None:
        st.caption(fmt.plain(_unknown(luck, "luck_line")))
        return
    told = "noise alone would reach about this"
    if n_trials is not None:
        told += f" in {fmt.plural(int(n_trials), 'trial')}"
    p = getattr(luck, "spa_p", None)
    st.caption(fmt.plain(told + (f"; SPA p {float(p):.2f}" if p is not None else "")))


def _unknown(luck: Any, field: str) -> str:
    reasons: Mapping[str, str] = getattr(luck, "unknown", None) or {}
    return reasons.get(field, "not computed for this run")


def _edge(shown: Shown, point: Mapping[str, Value]) -> str:
    """Say on which axes a point lies at an end, since better ones may lie beyond."""
    ends = [
        axis.name
        for axis in shown.plan.axes
        if axis.kind != "choice" and not axis.sampled and len(axis) > 2
        and point[axis.name] in (axis.values[0].item(), axis.values[-1].item())
    ]  # fmt: skip
    return f"; at an edge of {', '.join(ends)}" if ends else ""


def advice(shown: Shown) -> list[str]:
    """Return the warnings that a careful colleague would give."""
    luck = reads.luck(shown.identity, shown.mark) if shown.mark else None
    return [str(getattr(warning, "text", warning)) for warning in getattr(luck, "warnings", ()) or ()]
