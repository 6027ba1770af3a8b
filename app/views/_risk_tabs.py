"""The parts of the Risk page, one at a time: the part that is shown stands in the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads, reads_risk
from app.figures.risk import (
    contributions_bars,
    contributions_through_time,
    frontier_chart,
    shocks_bars,
    sums_waterfall,
    weights_area,
)
from app.views import _parts, _risk_pool, _url
from quantbot.errors import QuantBotError
from sweeps.risk import FALLS, FRONTIERS, LONG_ONLY, OWN_LIMITS, largest

if TYPE_CHECKING:
    from app.views.risk import Subject
    from quantbot.measures import Measure
    from sweeps.risk import RiskView

KEYS = ("r.part", "r.fall", "r.front")
WEIGHTS = {
    LONG_ONLY: "long only", "130/30": "long and short: 130/30", "150/50": "long and short: 150/50",
    "200/100": "long and short: 200/100", OWN_LIMITS: "the run's own limits",
}  # fmt: skip
ALLOWED = {
    LONG_ONLY: "from 0 to 1, sum 1, without the run's own limits",
    **{name: f"sum 1, sum of absolute weights at most {gross:g}" for name, gross in FRONTIERS.items() if gross > 1},
    OWN_LIMITS: "within what the run says of them, before costs and turnover",
}
_TIMES = 400  # of a picture through time: a screen shows no more
_MOST_ROWS = 500
_STILL = {"displayModeBar": False}


def show(subject: Subject, seen: RiskView, window: int, view: dict[str, str]) -> None:
    """Show the part that the address names."""
    parts: dict[str, Callable[[], None]] = {
        "Contributions": lambda: _contributions(subject, seen),
        "Through time": lambda: _through_time(subject, seen, window),
        "Frontier": lambda: _frontier(subject, seen, view),
        "Tail": lambda: _tail(seen),
        "Factors": lambda: _factors(seen),
        "Stress": lambda: _stress(seen),
    }
    if subject.place is not None:
        place = subject.place
        parts |= {
            "Weights": lambda: _weights(subject),
            "Profit": lambda: _profit(subject),
            "Drawdowns": lambda: _drawdowns(place, view),
            "Guards": lambda: _guards(subject),
        }
    if subject.holdings.by_strategy:
        parts["Strategies"] = lambda: _risk_pool.strategies(subject, seen)
    wanted = view.pop("r.part", "")
    if st.session_state.get("r.part") not in parts:
        st.session_state["r.part"] = wanted if wanted in parts else next(iter(parts))
    chosen = str(st.segmented_control("Part", list(parts), key="r.part", required=True, label_visibility="collapsed"))
    view["r.part"] = chosen
    if chosen != "Drawdowns":
        view.pop("r.fall", None)
    try:
        parts[chosen]()
    except QuantBotError as error:
        _parts.problem(error)


def _contributions(subject: Subject, seen: RiskView) -> None:
    found = seen.contributions()
    spread = (
        reads_risk.intervals(subject.key, seen) if seen.method == "historical" else "only historical scenarios have"
    )
    low, high = (None, None) if isinstance(spread, str) else (spread.low, spread.high)
    left, right = st.columns([3, 2])
    with left:
        st.plotly_chart(
            contributions_bars(found.names, found.component, low=low, high=high, weights=seen.weights), key="r.bars",
            alt=f"Parts of CVaR: {_first(found.names, found.component)}", config=_STILL,
        )  # fmt: skip
        told = f"The parts sum to CVaR: {fmt.risk(float(found.component.sum()))} of {fmt.risk(found.total)}."
        if isinstance(spread, str):
            told += f" Intervals unknown: {spread}."
        else:
            told += (
                f" Whiskers: {fmt.percent(spread.confidence, 0)} intervals of {spread.n_draws} bootstrap draws in"
                f" blocks of {spread.block_length:.0f} bars; CVaR itself {fmt.risk(spread.total_low)} to"
                f" {fmt.risk(spread.total_high)}."
            )
        st.caption(fmt.plain(told))
    with right:
        volatility = seen.contributions("volatility")
        order = np.argsort(-found.component, kind="stable")
        order = order[seen.weights[order] != 0]
        rows = [
            {
                "asset": seen.assets[at],
                "weight": fmt.percent(float(seen.weights[at])),
                "part of CVaR": fmt.risk(float(found.component[at])),
                "share": fmt.percent(float(found.share[at])),
                "share of volatility": fmt.percent(float(volatility.share[at])),
                "marginal": fmt.risk(float(found.marginal[at])),
            }
            for at in order.tolist()
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Contributions by asset")
        st.caption("Marginal: what CVaR would change by for one more unit of weight, paid from cash.")


def _through_time(subject: Subject, seen: RiskView, window: int) -> None:
    times, found = reads_risk.through_time(subject.key, subject.holdings, window, seen.beta)
    parts, names = largest(found.component, found.names, 10)
    worst = int(np.argmax(found.total))
    st.plotly_chart(
        contributions_through_time(times, parts, names, found.total), key="r.time", config=_STILL,
        alt=f"CVaR through time by asset; greatest {fmt.risk(float(found.total[worst]))} at"
        f" {fmt.day(int(times[worst]))}",
    )  # fmt: skip
    n = min(window, len(subject.holdings.returns) // 2)
    told = (
        f"CVaR {100 * seen.beta:g} % of what was held at each of {fmt.plural(len(times), 'close')}, judged by the"
        f" {fmt.count(n)} bars before it; below 0 is what hedges; the largest {min(len(names), 10)} apart."
    )
    st.caption(fmt.plain(told))


def _frontier(subject: Subject, seen: RiskView, view: dict[str, str]) -> None:
    known = [name for name in WEIGHTS if name in FRONTIERS or seen.holdings.rules is not None]
    which = _url.choose("Weights", known, "r.front", view, default=LONG_ONLY, text=WEIGHTS.__getitem__)
    front, cloud = reads_risk.frontier(subject.key, seen, which)
    scenarios = seen.scenarios
    from quantbot.portfolio import cvar_of

    alone = [
        (name, cvar_of(-scenarios.returns[:, at], seen.beta, scenarios.probabilities)[0],
         float(scenarios.probabilities @ scenarios.returns[:, at]))
        for at, name in enumerate(seen.assets)
    ]  # fmt: skip
    mean = float(scenarios.probabilities @ (scenarios.returns @ seen.weights))
    risk = seen.contributions().total
    figure = frontier_chart(
        front, cloud, (risk, mean), alone, periods_per_year=subject.holdings.periods_per_year, beta=seen.beta,
        bar="bar", called=WEIGHTS[which].replace(":", ""),
    )  # fmt: skip
    at_same = float(np.interp(mean, front.mean, front.cvar)) if front.mean[0] <= mean <= front.mean[-1] else None
    st.plotly_chart(
        figure, key="r.front.chart", config=_STILL,
        alt=f"Frontier of mean return against CVaR; held {fmt.risk(risk)}",
    )  # fmt: skip
    told = (
        f"{len(front.points)} portfolios, each of least CVaR for its mean return, proven to"
        f" {max(point.gap for point in front.points):.0e}; weights {ALLOWED[which]}."
        f" Grey: frontiers of {len(cloud)} histories drawn again from this one, which is how far to trust it."
    )
    if at_same is not None:
        told += f" For the mean return that is held, {fmt.risk(at_same)} would do instead of {fmt.risk(risk)}."
    st.caption(fmt.plain(told))


def _tail(seen: RiskView) -> None:
    bars, losses, parts = seen.tail()
    rows = []
    for bar, loss, own in zip(bars.tolist(), losses.tolist(), parts, strict=True):
        order = np.argsort(-own, kind="stable")[:3]
        who = ", ".join(f"{seen.assets[at]} {fmt.risk(float(own[at]))}" for at in order.tolist() if own[at] > 0)
        rows.append({"close": fmt.instant(int(seen.holdings.ts_end_ns[bar])), "loss": fmt.risk(loss),
                     "who lost most": who})  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="The worst bars of the history")
    n = len(seen.rows) * (1 - seen.beta)
    told = f"What today's weights would have lost in the worst bars of this history. CVaR averages the worst {n:.1f}"
    st.caption(fmt.plain(f"{told}{'' if seen.method == 'historical' else ' under historical scenarios'}."))


def _factors(seen: RiskView) -> None:
    datasets = [entry for entry in reads.catalogue() if not entry.problem and entry.kind == "bars"]
    options = [(entry.name, asset) for entry in datasets for asset in entry.assets[:50]]
    chosen = st.multiselect(
        "Factors", options, key="r.factors", format_func=lambda one: f"{one[1]} ({one[0]})",
        placeholder="the mean of all assets; or choose indices, ETFs, ... of a dataset", max_selections=8,
    )  # fmt: skip
    factors, names = None, None
    if chosen:
        factors, names = reads_risk.factor_returns(tuple(chosen), seen)
    found = seen.factors(factors, names) if names else seen.factors()
    volatility = seen.factors(factors, names, "volatility") if names else seen.factors(method="volatility")
    rows = [
        {
            "factor": name,
            "exposure": f"{exposure:+.2f}".replace("-", fmt.MINUS),
            "part of CVaR": fmt.risk(part),
            "share of CVaR": fmt.percent(part / found.total),
            "share of volatility": fmt.percent(own / volatility.total),
        }
        for name, exposure, part, own in zip(
            found.names, found.exposures.tolist(), found.component.tolist(), volatility.component.tolist(), strict=True
        )
    ]
    rest, calm = found.specific + found.constant, volatility.specific + volatility.constant
    rows.append({"factor": "no factor: the assets' own", "exposure": "", "part of CVaR": fmt.risk(rest),
                 "share of CVaR": fmt.percent(rest / found.total),
                 "share of volatility": fmt.percent(calm / volatility.total)})  # fmt: skip
    rows.append({"factor": "sum", "exposure": "", "part of CVaR": fmt.risk(found.total),
                 "share of CVaR": fmt.percent(1.0),
                 "share of volatility": fmt.percent(1.0)})  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Risk by factor")
    st.caption(
        "Exposure: what the portfolio moves by when the factor moves by one, by least squares over this history."
    )


def _stress(seen: RiskView) -> None:
    found = seen.stress()
    known = np.isfinite(found.loss)
    st.plotly_chart(
        shocks_bars(found.names, found.loss), key="r.stress", config=_STILL,
        alt=f"Shocks: {_first([n for n, k in zip(found.names, known, strict=True) if k], found.loss[known])}",
    )  # fmt: skip
    lacking = [
        f"{name} (no whole history of {', '.join(missing[:5])})"
        for name, missing in zip(found.names, found.missing, strict=True)
        if missing
    ]
    told = "Shocks of the spec's own; falls" if seen.holdings.shocks else "Falls"
    told += " of everything at once, and stretches of history over again, first day to last, weights left alone."
    if lacking:
        told += f" Unknown: {'; '.join(lacking)}."
    if len(found.names) == len(FALLS) + len(seen.holdings.shocks):
        told += " No known fall lies within the bars shown."
    st.caption(fmt.plain(told))


# ------------------------------------------------------------------------------------------------------- trials alone


def _weights(subject: Subject) -> None:
    holdings = subject.holdings
    assert subject.place is not None
    replay, _ = reads.replay(*subject.place)
    bars = np.unique(np.linspace(holdings.first, len(holdings.ts_end_ns) - 1, _TIMES).astype(np.int64))
    weights, names = largest(holdings.weights[bars], holdings.assets)
    decisions = replay.tables["decisions"]
    kept = decisions["ts_ns"][decisions["status"] == "fallback"]
    st.plotly_chart(
        weights_area(holdings.ts_end_ns[bars], weights, names, kept=kept[-40:]), key="r.weights", config=_STILL,
        alt=f"Weights through time of {', '.join(names[:5])} and others",
    )  # fmt: skip
    n = len(decisions["bar"])
    gap = np.nanmax(decisions["gap"], initial=0.0)
    told = f"Weights at the closes, drifting between {fmt.plural(n, 'decision')}; what is missing to 100 % is cash."
    told += f" Worst proven gap of a decision: {gap:.0e}." if np.isfinite(decisions["gap"]).any() else ""
    told += (
        f" Dotted: {fmt.plural(len(kept), 'decision')} without an answer, what was held was kept." if len(kept) else ""
    )
    st.caption(fmt.plain(told))


def _profit(subject: Subject) -> None:
    assert subject.place is not None
    found = reads_risk.profit(subject.place)
    currency = reads.currency(subject.shown.plan) if subject.shown else ""
    sums, kinds = found.sums, np.array(found.kinds)
    assets = np.flatnonzero(kinds == "asset")
    others = np.flatnonzero((kinds != "asset") & (sums != 0))
    order = assets[np.argsort(-sums[assets], kind="stable")]
    shown = order if len(order) <= 14 else np.concatenate([order[:7], order[-7:]])
    names = [found.names[at] for at in shown.tolist()]
    amounts = sums[shown].tolist()
    if len(shown) < len(order):
        names.insert(7, f"{len(order) - 14} others")
        amounts.insert(7, float(sums[order[7:-7]].sum()))
    names += [found.names[at] for at in others.tolist()]
    amounts += sums[others].tolist()
    st.plotly_chart(
        sums_waterfall(names, amounts, total="profit", percent=False), key="r.profit", config=_STILL,
        alt=f"Profit by source, {fmt.money(found.total, currency)} in all",
    )  # fmt: skip
    told = f"{fmt.money(found.total, currency)} in all; the sources sum to the change of equity, bar by bar."
    if "guard" in found.kinds:
        told += " Assets as they would have earned without guards; what guards changed is a source of its own."
    st.caption(fmt.plain(told))


def _drawdowns(place: Any, view: dict[str, str]) -> None:
    found = reads_risk.drawdowns(place)
    if not found:
        st.info("Equity never fell.")
        return
    replay, _ = reads.replay(*place)
    stamps = replay.ts_end_ns

    def label(number: int) -> str:
        fall = found[number].drawdown
        peak = fmt.day(int(stamps[max(fall.peak, 0)]))
        return f"{fmt.percent(-fall.depth)}, {peak} to {fmt.day(int(stamps[fall.trough]))}"

    wanted = view.pop("r.fall", "1")
    if st.session_state.get("r.fall") not in range(len(found)):
        st.session_state["r.fall"] = int(wanted) - 1 if wanted.isdecimal() and 0 < int(wanted) <= len(found) else 0
    number = st.selectbox("Drawdown", range(len(found)), key="r.fall", format_func=label)
    view["r.fall"] = str(number + 1)
    one = found[number]
    st.plotly_chart(
        contributions_bars(one.names, -one.component, unit="the fall", less="it gained"), key="r.fall.bars",
        config=_STILL, alt=f"Who made this drawdown: {_first(one.names, -one.component)}",
    )  # fmt: skip
    total = float(-one.component.sum())
    st.caption(fmt.plain(f"From peak to trough; the parts sum to {fmt.risk(total)} of the equity at the peak."))


def _guards(subject: Subject) -> None:
    assert subject.place is not None
    assert subject.shown is not None
    replay, _ = reads.replay(*subject.place)
    found = reads_risk.guard_effects(subject.place)
    if not found:
        st.info("No guard is on in this trial.")
        return
    measures = subject.shown.measures
    names = [name for name in ("total_return", "sharpe", "max_drawdown", "turnover") if name in measures]
    rows = [{"": "as it is", "interventions": ""} | _written(replay.row, names, measures)]
    rows += [
        {"": f"without {one.guard}", "interventions": fmt.count(one.n)} | _written(one.off, names, measures)
        for one in found
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="The trial with and without each guard")
    st.caption("Each guard off by itself, all else as it is; interventions are those of the trial as it is.")
    table = replay.tables["interventions"]
    if not len(table["bar"]):
        st.info("None of them was reached.")
        return
    rows = [
        {"close": fmt.instant(ts), "guard": guard, "wanted": f"{wanted:.4g}", "done": f"{done:.4g}"}
        for ts, guard, wanted, done in zip(
            *(table[name][:_MOST_ROWS].tolist() for name in ("ts_ns", "guard", "wanted", "done")), strict=True
        )
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Interventions of guards")
    told = f"{fmt.plural(len(table['bar']), 'intervention')}"
    told += f", the first {_MOST_ROWS} shown" if len(table["bar"]) > _MOST_ROWS else ""
    told += "; of stops and margins the gross exposure, of limits the limited quantity, of rates orders or turnover."
    st.caption(fmt.plain(told))


def _written(row: Mapping[str, float], names: Sequence[str], measures: Mapping[str, Measure]) -> dict[str, str]:
    return {measures[name].label: fmt.measure(row[name], measures[name]) for name in names}


def _first(names: Any, values: Any, n: int = 3) -> str:
    order = np.argsort(-np.asarray(values), kind="stable")[:n]
    return ", ".join(f"{names[at]} {fmt.risk(float(values[at]))}" for at in order.tolist())
