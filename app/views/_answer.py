"""The answer above the map: the best, the plateau, and how much of it is luck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import format as fmt
from app import reads
from app.views import _card
from sweeps.surface import CellStatus

if TYPE_CHECKING:
    from app.views._controls import Controls
    from app.views._shown import Shown
    from quantbot.parameters import Value
    from sweeps.luck import Luck
    from sweeps.surface import Plateau


def answer(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], plateau: Plateau | None, view: dict[str, str]
) -> None:
    """Show four numbers: what the best trial says, what its plateau says, and what luck alone would say."""
    measure = controls.measure
    if not best:
        st.info(fmt.plain(_without(shown, controls)))
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
    _noise(shown)


def _without(shown: Shown, controls: Controls) -> str:
    """Say why no trial has a value: locked, failed and undefined are three matters, and none of them is "not yet"."""
    rows = shown.run.state.reshape(-1, shown.plan.n_points)[shown.run.slices(controls.fold, controls.asset)]
    what = f"No trial of fold {controls.fold} has a {controls.measure.label}"
    if (rows == CellStatus.LOCKED).all():
        return (
            f"Fold {controls.fold} is locked: nobody has looked at it. quantbot sweep unlock {shown.run.short} shows "
            "it, and puts the look on record."
        )
    if (rows == CellStatus.NOT_RUN).any():
        return f"{what} yet."
    if (rows == CellStatus.FAILED).all():
        return f"{what}: every one failed. The tab Failures says why."
    return f"{what}: it is undefined for all that ran, as where nothing was traded."


def _interval(luck: Luck, trial: int, controls: Controls) -> str:
    if luck.best is None or luck.best.trial != trial:
        return "interval unknown"
    found = luck.best.intervals.get(controls.measure.name)
    if found is None:
        return f"interval unknown: {luck.unknown.get('best_interval', 'this measure has none')}"
    low, high = (fmt.measure(end, controls.measure) for end in (found.low, found.high))
    return f"{fmt.percent(found.level, 0)} interval {low} to {high}"


def _plateau(shown: Shown, controls: Controls, plateau: Plateau | None, view: dict[str, str]) -> None:
    measure = controls.measure
    if plateau is None:
        st.metric(f"Plateau of {measure.label}", "none")
        sampled = any(axis.sampled for axis in shown.plan.axes)
        st.caption("Drawn points have no neighbours." if sampled else "No point has neighbours with a value.")
        return
    st.metric(
        f"Plateau of {measure.label}", fmt.measure(plateau.score, measure),
        help=f"Mean of the worse half of a point and its {plateau.n_neighbours} neighbours: less luck than the best.",
    )  # fmt: skip
    worst = fmt.measure(plateau.worst, measure)
    st.caption(fmt.plain(f"worst neighbour {worst}; at {fmt.point(plateau.point)}{_edge(shown, plateau.point)}"))
    at = shown.run.slices(controls.fold, controls.asset)[0]
    _card.trial_link(shown, at * shown.plan.n_points + plateau.point_index, "Open plateau", view)


def _deflated(luck: Luck) -> None:
    value = luck.deflated_sharpe
    st.metric(
        "Deflated Sharpe", "unknown" if value is None else f"{value:.2f}",
        help="The probability that the best trial's true Sharpe ratio is above zero, after counting every trial of "
        "this strategy on this data (Bailey and Lopez de Prado, 2014). Above 0.95 is rarely luck.",
    )  # fmt: skip
    if value is None or luck.n_trials is None or luck.n_effective is None:
        st.caption(fmt.plain(luck.unknown.get("deflated_sharpe", "")))
        return
    counted = f"{fmt.plural(luck.n_trials, 'trial')} in the ledger, {fmt.count(round(luck.n_effective))} effective"
    if luck.pbo is not None:
        counted += f"; overfit {fmt.percent(luck.pbo, 0)}"
    st.caption(fmt.plain(counted))


def _luck_line(luck: Luck) -> None:
    value = luck.luck_line
    shown = "unknown" if value is None else fmt.signed(value)
    st.metric("Luck line, annual Sharpe", shown, help="What the best of so many trials would reach on noise alone.")
    if value is None or luck.n_trials is None:
        st.caption(fmt.plain(luck.unknown.get("luck_line", "")))
        return
    tested = "" if luck.p is None else f"; p {luck.p:.2f}"
    st.caption(fmt.plain(f"noise alone would reach about this in {fmt.plural(luck.n_trials, 'trial')}{tested}"))


def _noise(shown: Shown) -> None:
    """Show the noise test, where one was run."""
    from app.figures.null import null_chart
    from app.luck import null_sentence

    found = reads.noise(shown.identity, shown.mark)
    if found is None:
        return
    measure = shown.measures[found.objective]
    told = null_sentence(found, measure)
    with st.expander(fmt.plain(told)):
        st.plotly_chart(null_chart(found, measure), key="s.noise", alt=told, config={"displayModeBar": False})


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
    return [warning.sentence for warning in reads.luck(shown.identity, shown.mark).warnings] if shown.mark else []
