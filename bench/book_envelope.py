"""The fill envelope against the exact queue: how often the truth lies between the pessimistic and the optimistic model.

    python bench/book_envelope.py --events 200000 --agents 1000 --seeds 1 2

A drawn market by order is degraded to one by price. The agents trade on the first with the exact queue (first in, first
out), and on the second with both bounds. Each line is one market, kind of agent, exchange and timer: the share of
agents of which orders filled, lots filled, fills (parts count) and P&L lie between the bounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from datasets.synthetic_book import SyntheticBook, by_price
from quantbot.book import BookSession, Events
from quantbot.book.strategy import BookStrategy, book_strategy
from quantbot.engine import Job, Points, get_engine
from quantbot.parameters import integer, number
from quantbot.strategies.market_maker import market_maker

COLUMNS = {"n_filled": "orders", "lots_filled": "lots", "n_fills": "fills", "total_return": "P&L"}
SESSION_MS = 8 * 3_600_000 * 13 // 16  # of a drawn day


@book_strategy(
    parameters=[number("half_spread", 1.0, 0.0, 99.0, "From mid."), integer("lots", 1, 1, 99, "Of each quote.")],
    n_memory=1,
)
def in_turn(
    bid_ticks: int, ask_ticks: int, bid_lots: int, ask_lots: int, half_spread: float, lots: int, memory: Any,
    buy_ticks: Any, buy_lots: Any, sell_ticks: Any, sell_lots: Any,
) -> None:  # fmt: skip
    """Quote both sides, cancel both, and so on: the same orders whatever fills."""
    memory[0] = 1.0 - memory[0]
    if memory[0] == 1.0 and bid_lots > 0 and ask_lots > 0:
        centre = 0.5 * (bid_ticks + ask_ticks)
        buy_ticks[0], buy_lots[0] = min(int(centre - half_spread), ask_ticks - 1), lots
        sell_ticks[0], sell_lots[0] = max(int(centre + half_spread + 0.5), bid_ticks + 1), lots


def agents(n: int, seed: int, widest: float) -> list[tuple[str, BookStrategy, dict[str, Any]]]:
    """Return each kind of agent with its drawn points."""
    draws = np.random.default_rng(seed)
    own = {
        "half_spread": np.round(draws.uniform(0.5, widest, n) * 2) / 2,
        "execution.entry_us": draws.uniform(100, 5_000, n),
        "lots": draws.integers(1, 9, n),
    }
    skew, most = draws.uniform(0.0, 0.3, n), draws.integers(10, 60, n)
    flat, free = np.zeros(n), np.full(n, 10**9)
    return [
        ("the same orders", in_turn, own),
        ("makers, no look at position", market_maker, own | {"skew": flat, "most": free}),
        ("makers with a limit", market_maker, own | {"skew": flat, "most": most}),
        ("makers with limit and skew", market_maker, own | {"skew": skew, "most": most}),
    ]


def shares(low: Mapping[str, Any], exact: Mapping[str, Any], high: Mapping[str, Any]) -> list[float]:
    """Return the share of agents between their bounds, for each of `COLUMNS`; of P&L whichever bound is the lower."""
    found = []
    for name in COLUMNS:
        a, b = low[name], high[name]
        if name == "total_return":
            a, b = np.minimum(a, b), np.maximum(a, b)
        found.append(float(np.mean((a <= exact[name]) & (exact[name] <= b))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--widest", type=float, default=2.0, help="half spread, ticks: agents draw from 0.5 to this")
    asked = parser.parse_args()
    engine = get_engine("book")
    print("| seed | agents | exchange | timer | " + " | ".join(COLUMNS.values()) + " | median | apart |")
    print("|" + "---|" * (6 + len(COLUMNS)))
    for seed in asked.seeds:
        by_order = Events.joined(list(SyntheticBook(asked.events, seed).blocks()))
        levels = Events.joined(list(by_price(iter([by_order]))))
        truth, degraded = BookSession.of(by_order), BookSession.of(levels)
        for name, strategy, columns in agents(asked.agents, seed, asked.widest):
            points = Points(asked.agents, columns)
            for exchange in ("partial", "no_partial"):
                for period_ms in (20.0 * SESSION_MS / asked.events, 20_000.0):
                    settings = {"execution.exchange": exchange, "execution.period_ms": period_ms}
                    rows = [
                        engine.run(
                            Job(strategy, settings | {"execution.queue": queue}, ("core", "fills")),
                            data, (0, len(data)), points,
                        ).measures
                        for queue, data in (("risk_averse", degraded), ("fifo", truth), ("optimistic", degraded))
                    ]  # fmt: skip
                    told = " | ".join(f"{100 * share:.1f} %" for share in shares(*rows))
                    low, exact, high = (row["n_filled"] for row in rows)
                    told += f" | {np.median(exact):,.0f} | {np.median(high - low):,.0f} |"
                    print(f"| {seed} | {name} | {exchange} | {period_ms / 1e3:.1f} s | {told}", flush=True)


if __name__ == "__main__":
    main()
