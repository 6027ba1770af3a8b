"""Why two trials of portfolios ended apart: signal, sizing, guards, costs and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads_risk
from app.figures.risk import sums_waterfall
from app.views._risk_pool import beside

if TYPE_CHECKING:
    from app.reads_risk import Place

MEANING = {
    "signal": "which assets were held, at equal size",
    "sizing": "how much was held in all",
    "guards": "what guards changed",
    "costs": "fees, spread, impact, borrowing, funding",
    "other": "the moment of the fill, lots, interest on cash",
}
_ROWS = 8
_SMALL = 5e-5  # of the return: less is written as nothing


def explanation(first: Place, second: Place, labels: tuple[str, str], key: str) -> None:
    """Show what the difference of two trials' returns comes from; the parts sum to it."""
    from quantbot.risk import EFFECTS

    one, other = (fmt.plain(label) for label in labels)
    st.markdown(f"**Why {other} differs from {one}**")
    found = reads_risk.explained(second, first)
    if isinstance(found, str):
        st.info(fmt.plain(f"Not explained: {found}."))
        return
    effects = found.difference.effects.tolist()
    told = ", ".join(f"{name} {fmt.percent(value, 2, sign=True)}" for name, value in zip(EFFECTS, effects, strict=True))
    left, right = st.columns([3, 2])
    left.plotly_chart(
        sums_waterfall(EFFECTS, effects, total="difference", percent=True), key=key,
        alt=f"Difference of total returns {fmt.percent(found.difference.total, 2, sign=True)}: {told}",
        config={"displayModeBar": False},
    )  # fmt: skip
    rows = [
        {"effect": name, "points of return": fmt.percent(value, 2, sign=True), "what it is": MEANING[name]}
        for name, value in zip(EFFECTS, effects, strict=True)
    ]
    with right:
        st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Effects that explain the difference")
        by_asset = found.difference.by_asset
        size = np.abs(by_asset).sum(axis=1)
        order = np.argsort(-size, kind="stable")[: min(_ROWS, int((size > _SMALL).sum()))]
        most = [
            {"asset": found.assets[at], "signal": fmt.percent(float(by_asset[at, 0]), 2, sign=True),
             "sizing": fmt.percent(float(by_asset[at, 1]), 2, sign=True)}
            for at in order.tolist()
        ]  # fmt: skip
        if most:
            st.dataframe(pd.DataFrame(most), hide_index=True, height="content", alt="Signal and sizing by asset")
    beside(first, second, labels)
    first_day, last_day = (fmt.day(int(found.ts_end_ns[at])) for at in (0, -1))
    st.caption(
        fmt.plain(
            f"Total return of {labels[1]} less that of {labels[0]} on {fmt.count(len(found.ts_end_ns))} common bars,"
            f" {first_day} to {last_day}: {fmt.percent(found.difference.total, 2, sign=True)}. Effects of single bars"
            " are linked so that they sum to it (Carino 1999)."
        )
    )
