"""Several strategies on one pool: what each has earned, holds and risks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.risk import profit_lines
from sweeps.attribution import strategies_profit

if TYPE_CHECKING:
    from app.reads_risk import Place
    from app.views.risk import Subject
    from sweeps.risk import RiskView

_TIMES = 400


def strategies(subject: Subject, seen: RiskView) -> None:
    """Show who of a pool earned what until now, and who risks what from here on."""
    assert subject.place is not None
    assert subject.shown is not None
    replay, _ = reads.replay(*subject.place)
    currency = reads.currency(subject.shown.plan)
    earned = strategies_profit(replay)
    names = tuple(earned)
    path = np.cumsum(np.column_stack([earned[name] for name in names]), axis=0)
    steps = np.unique(np.linspace(0, len(path) - 1, _TIMES).astype(np.int64))
    sums = path[-1].tolist()
    told = ", ".join(f"{name} {fmt.money(one, currency)}" for name, one in zip(names, sums, strict=True))
    st.plotly_chart(
        profit_lines(replay.ts_end_ns[steps], path[steps], names, currency), key="r.pool",
        config={"displayModeBar": False}, alt=f"Profit of each strategy: {told}",
    )  # fmt: skip
    cvar, volatility = seen.by_strategy(), seen.by_strategy("volatility")
    held = [seen.holdings.by_strategy[name][seen.bar] for name in names]
    rows = [
        {
            "strategy": name,
            "profit after costs": fmt.money(sums[at], currency),
            "held": fmt.percent(float(np.abs(held[at]).sum())),
            "part of CVaR": fmt.risk(float(cvar.component[at])),
            "share of CVaR": fmt.percent(float(cvar.share[at])),
            "share of volatility": fmt.percent(float(volatility.share[at])),
        }
        for at, name in enumerate(names)
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Profit and risk by strategy")
    interest = float(replay.curves["interest"].sum())
    st.caption(
        fmt.plain(
            f"Profits and {fmt.money(interest, currency)} of interest on cash sum to the change of equity; opposite"
            f" wishes meet inside the account and cost nothing. Held: absolute weights at this close. Parts of CVaR"
            f" sum to {fmt.risk(cvar.total)}; below 0 is what hedges the others."
        )
    )


def beside(first: Place, second: Place, labels: tuple[str, str]) -> None:
    """Show what each strategy earned in two trials, where one of them is of several."""
    found = [strategies_profit(reads.replay(*place)[0]) for place in (first, second)]
    names = list(dict.fromkeys(name for own in found for name in own))
    if not names:
        return
    rows = []
    for name in names:
        sums = [float(own[name].sum()) if name in own else None for own in found]
        one, other = sums
        apart = "" if one is None or other is None else f"{other - one:+,.0f}"
        written = ["not there" if amount is None else f"{amount:+,.0f}" for amount in sums]
        rows.append({"strategy": name, labels[0]: written[0], labels[1]: written[1], "difference": apart})
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Profit after costs by strategy")
    st.caption("Profit after costs of each strategy on the pool.")
