"""What is watched on a grid of time: equity, drawdown, inventory; and the mid some time after each fill."""

from __future__ import annotations

from typing import Any

from quantbot.book.kernels_memory import agent_at, fill_at, put, put_number, whole
from quantbot.kernels import inner


@inner
def equity(st: Any, agent: Any) -> Any:
    """Return an agent's equity in account currency: capital, cash and position at mid, less fees."""
    fees = (
        (agent.maker_bps * agent.maker_value + agent.taker_bps * agent.taker_value) * 1e-4 * st.unit
        + agent.maker_lot_fee * agent.maker_lots
        + agent.taker_lot_fee * agent.taker_lots
        + agent.trade_fee * (agent.n_maker + agent.n_taker)
        + (agent.impact_cost - agent.tier_saved) * st.unit
    )
    return agent.capital + 0.5 * st.unit * (2 * agent.cash + agent.position * st.mid2) - fees


@inner
def sample(st: Any) -> None:
    """Take every agent's equity once; add to the sums that a row is made of."""
    n = st.n_samples
    for a in range(st.n_agents):
        agent = agent_at(st, a)
        now = equity(st, agent)
        r = now / agent.equity - 1.0
        agent.equity = now
        agent.sum_r += r
        agent.sum_r2 += r * r
        if r < 0.0:
            agent.sum_down2 += r * r
        agent.peak = max(agent.peak, now)
        agent.drawdown = max(agent.drawdown, 1.0 - now / agent.peak)
        agent.sum_abs_position += abs(agent.position)
        agent.sum_position += agent.position
        agent.sum_pos2 += float(agent.position) * agent.position
        if n < st.n_curve:
            put_number(st.at_curve, a * st.n_curve + n, now)
        if n < st.n_positions:
            put(st.at_positions, a * st.n_positions + n, agent.position)
    if n < st.n_mids:
        put_number(st.at_mids, n, 0.5 * st.mid2)
    st.n_samples = n + 1


@inner
def mark(st: Any, ts: int) -> None:
    """Add the mid at `ts` to the mark-outs whose time has come."""
    n = st.n_horizons
    for h in range(n):
        horizon, at = whole(st.at_horizons, h), whole(st.at_marked, h)
        while at < st.n_fills and fill_at(st, at).ts_ns + horizon <= ts:
            fill = fill_at(st, at)
            i = fill.agent * n + h
            put(st.at_marks, i, whole(st.at_marks, i) + fill.side * fill.lots * (st.mid2 - 2 * fill.tick))
            at += 1
        put(st.at_marked, h, at)
