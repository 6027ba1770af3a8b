"""The same fills as hftbacktest, one by one: `python bench/book_parity.py --help`.

A two-sided maker over a grid of parameter sets, on each event file and model. What is compared of every set: each
fill's time, side, price, size and whether it was maker; final position, balance and fees. What makes a difference
possible at all is said in `docs/concepts/book.md`.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from book_feed import binance, load, save, synthetic

from quantbot.book.events import Events
from quantbot.book.layout import Latency, Queue
from quantbot.book.replay import Agents, BookReplay, Exchange
from quantbot.book.window import tick_window
from quantbot.strategies.grid_maker import grid_maker
from quantbot.strategies.market_maker import market_maker

HERE = Path(__file__).parent
RAW = HERE.parent.parent / "shared/data/binance/raw_stream"
MODELS = ("risk_averse", "power:3", "power2:2", "power3:3", "log", "log2")
MAKER_BPS, TAKER_BPS = -0.5, 5.0


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        files = streams(arguments)
        for name, events in files.items():
            save(events, Path(folder) / f"{name}.npz")
        with Peer(arguments.peer_python, Path(folder)) as peer:
            done = [case(arguments, peer, *one) for one in cases(arguments, files)]
            ok = all(done)
    print("\nall equal" if ok else "\nDIFFERENT")
    sys.exit(0 if ok else 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, action="append", help="npz or Binance raw stream; default: see below")
    parser.add_argument("--n-events", type=int, default=200_000, help="of the synthetic streams")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic streams")
    parser.add_argument("--half-spread", default="0.5,1,1.5,2,3,4,6,8", help="ticks; times the scale of a stream")
    parser.add_argument("--skew", default="0,0.05,0.1,0.3", help="ticks a lot held")
    parser.add_argument("--most", default="5,20", help="lots")
    parser.add_argument("--models", default=",".join(MODELS), help="queue models by price, kind:power")
    parser.add_argument("--period-ms", type=int, default=100)
    parser.add_argument("--entry-us", type=int, default=500)
    parser.add_argument("--answer-us", type=int, default=700)
    parser.add_argument("--latency", default="constant,recorded")
    parser.add_argument("--scale", type=float, default=0, help="ticks of a half spread of 1; 0: from the spread")
    parser.add_argument("--peer-python", default=str(HERE / ".env-hftbacktest/bin/python"))
    return parser.parse_args()


def streams(arguments: argparse.Namespace) -> dict[str, Events]:
    """Return the event streams by name: those asked for, else Binance's two and a synthetic market both ways."""
    if arguments.events:
        return {path.name.replace(".", "-"): load(path) for path in arguments.events}
    by_order, by_price = synthetic(arguments.n_events, arguments.seed)
    found = {"synthetic-L2": by_price, "synthetic-L3": by_order}
    for path in sorted(RAW.glob("*/*.gz")):
        found[path.parent.name] = binance(path)
    return found


def cases(arguments: argparse.Namespace, files: Mapping[str, Events]) -> list[tuple[str, Events, str, str]]:
    """Return (name, events, queue model, latency) of each comparison."""
    chosen = []
    for name, events in files.items():
        models = ["fifo"] if events.instrument.kind == "by_order" else arguments.models.split(",")
        for latency in arguments.latency.split(","):
            chosen += [(name, events, model, latency) for model in models]
    return chosen


def points(arguments: argparse.Namespace, events: Events) -> dict[str, list[float]]:
    """Return the grid: distances in the stream's own scale, by skew, by largest position."""
    scale = arguments.scale or usual_spread(events)
    lots = usual_lots(events)
    grid = [
        (float(a) * scale, float(b) * scale / lots, int(c) * lots)
        for a in arguments.half_spread.split(",")
        for b in arguments.skew.split(",")
        for c in arguments.most.split(",")
    ]
    half, skew, most = (list(column) for column in zip(*grid, strict=True))
    n = len(grid)
    single = {"spacing": [0] * n, "n_quotes": [1] * n, "lots": [lots] * n}
    return {"half_spread": half, "skew": skew, "most": most} | single


def usual_spread(events: Events) -> float:
    """Return half the distance that trades jump, in ticks: a scale on which quotes are filled."""
    ticks = events.price_ticks[np.isin(events.action, (5, 6))]
    return max(float(np.abs(np.diff(ticks)).mean()) / 2, 1.0) if ticks.shape[0] > 1 else 1.0


def usual_lots(events: Events) -> int:
    """Return a tenth of the median trade, in lots."""
    lots = events.size_lots[np.isin(events.action, (5, 6))]
    return max(int(np.median(lots)) // 10, 1) if lots.shape[0] else 1


def recorded(events: Events, seed: int) -> np.ndarray:
    """Return samples of (request, exchange, answer) times every half second, their delays between 0.2 and 3 ms."""
    draws = np.random.default_rng(seed)
    request = np.arange(events.ts_exchange_ns.min() - 10**9, events.ts_received_ns[-1] + 10**9, 500_000_000)
    entry, answer = draws.integers(200_000, 3_000_000, (2, request.shape[0]))
    return np.stack([request, request + entry, request + entry + answer], axis=1)


def ours(
    events: Events, grid: Mapping[str, Sequence[float]], queue: str, *, period_ns: int, entry_ns: Any, answer_ns: Any,
    rows: np.ndarray | None = None, record: bool = True, exchange: Exchange | None = None, envelope: bool = False,
) -> BookReplay:  # fmt: skip
    """Return the replay of every point, done; with `envelope` its two bounds beside each, after all points."""
    n = len(grid["half_spread"])
    kind, _, power = queue.partition(":")
    strategy = grid_maker if grid["spacing"][0] else market_maker
    columns = {
        "entry_ns": np.broadcast_to(entry_ns, n), "answer_ns": np.broadcast_to(answer_ns, n),
        "maker_bps": np.full(n, MAKER_BPS), "taker_bps": np.full(n, TAKER_BPS), "capital": np.full(n, 1e9),
    }  # fmt: skip
    if rows is not None:
        columns["latency"] = np.full(n, int(Latency.RECORDED))
    models = [(int(Queue[kind.upper()]), float(power or 0))]
    parameters = np.stack([np.asarray(grid[parameter.name], float) for parameter in strategy.parameters], axis=1)
    if envelope:
        columns = {name: np.tile(column, 3) for name, column in columns.items()}
        columns["queue"], parameters = np.repeat(np.arange(3), n), np.tile(parameters, (3, 1))
        models += [(int(Queue.RISK_AVERSE), 0.0), (int(Queue.OPTIMISTIC), 0.0)]
    zero = np.zeros(len(parameters), np.int64)
    agents = Agents(
        columns,
        parameters,
        np.full(len(parameters), period_ns),
        zero,
        zero,
        models=models,
        latencies=[] if rows is None else [rows],
    )
    order, start, ticks = prepared(events)
    replay = BookReplay(
        events.instrument,
        strategy,
        agents,
        exchange or Exchange(partial=False, cancel_on_gap=False, drain=True, hftbacktest_fifo=kind == "fifo"),
        start_ns=start,
        stop_ns=int(events.ts_received_ns[-1]) + 1,
        ticks=ticks,
        record=record,
    )
    replay.feed(events, final=True, order_of=order)
    return replay


@functools.cache
def prepared(events: Events) -> tuple[np.ndarray | None, int, tuple[int, int]]:
    """Return what is known of a stream beforehand: the exchange's order, the first time, the window of ticks."""
    by_exchange = np.argsort(events.ts_exchange_ns, kind="stable")
    order = None if (np.diff(events.ts_exchange_ns) >= 0).all() else by_exchange
    return order, int(events.ts_exchange_ns[by_exchange[0]]), tick_window(events)


def case(arguments: argparse.Namespace, peer: Peer, name: str, events: Events, queue: str, latency: str) -> bool:
    """Compare every point of one stream under one model; print a line; return whether all are equal."""
    grid, period_ns = points(arguments, events), arguments.period_ms * 1_000_000
    entry, answer = arguments.entry_us * 1000, arguments.answer_us * 1000
    rows = recorded(events, arguments.seed) if latency == "recorded" else None
    replay = ours(events, grid, queue, period_ns=period_ns, entry_ns=entry, answer_ns=answer, rows=rows)
    kind, _, power = queue.partition(":")
    n = len(grid["half_spread"])
    request = grid | {
        "events": f"{name}.npz", "queue": kind, "power": float(power or 0), "period_ns": period_ns, "fills": True,
        "stop_ns": int(events.ts_received_ns[-1]) + 1, "most_fills": 200_000, "entry_ns": [entry] * n,
        "answer_ns": [answer] * n, "maker_fee": MAKER_BPS * 1e-4, "taker_fee": TAKER_BPS * 1e-4,
    }  # fmt: skip
    if rows is not None:
        request["latency_rows"] = rows.tolist()
    theirs = peer.ask(request)
    equal, n_fills, first = 0, 0, ""
    for i in range(n):
        problem = difference(events, replay, theirs, i)
        n_fills += len(theirs["fills"][i])
        equal += not problem
        first = first or problem
    print(f"{name:14} {queue:12} {latency:9} {equal}/{n} sets equal, {n_fills:,} fills{'; ' if first else ''}{first}",
          flush=True)  # fmt: skip
    return equal == n


def difference(events: Events, replay: BookReplay, theirs: Mapping[str, Any], i: int) -> str:
    """Return the first difference of point `i`, or nothing."""
    log = replay.fills[: int(replay.state[0]["n_fills"])]
    log = log[log["agent"] == i]
    lot = events.instrument.lot_size
    mine = sorted(zip(*(log[name].tolist() for name in ("ts_ns", "side", "tick", "lots", "maker")), strict=True))
    other = sorted(tuple(fill) for fill in theirs["fills"][i])
    if mine != other:
        for row, (a, b) in enumerate(zip(mine, other, strict=False)):
            if a != b:
                return f"set {i}, fill {row}: ours {a}, theirs {b}"
        return f"set {i}: {len(mine)} fills, theirs {len(other)}"
    agent, unit = replay.agents[i], events.instrument.tick_size * lot
    fee = (agent["maker_value"] * MAKER_BPS + agent["taker_value"] * TAKER_BPS) * 1e-4 * unit
    found = {"position": agent["position"] * lot, "balance": agent["cash"] * unit, "fee": fee}
    for name, value in found.items():
        scale = max(abs(theirs[name][i]), abs(int(agent["maker_value"])) * unit, 1.0)
        if abs(value - theirs[name][i]) > 1e-9 * scale:
            return f"set {i}: {name} {value!r}, theirs {theirs[name][i]!r}"
    return ""


class Peer:
    """hftbacktest, in an interpreter of its own."""

    def __init__(self, python: str, folder: Path) -> None:
        self._command = [python, str(HERE / "peers/hftbacktest_book.py"), str(folder)]

    def __enter__(self) -> Peer:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the peer's answer to one request."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the peer ended without an answer; make its environment first: make bench-book")
        answer: dict[str, Any] = json.loads(line)
        return answer


if __name__ == "__main__":
    main()
