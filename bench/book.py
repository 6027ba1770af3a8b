"""Agents on one replay of a book, beside hftbacktest's separate replays: `python bench/book.py --help`.

Every time is CPU time of one core, events in memory and code compiled on both sides, the median over interleaved
pairs (ours, theirs). But for the row "from files to rows": ours opens a store, decodes, replays and measures into rows,
theirs reads its own npz file (not compressed) for each set, replays, and reads off the final state. The peer replays
some of the sets and is scaled to all; where that was fewer than all, the row says so. Fills, position and balance are
compared by `bench/book_parity.py`; here the number of fills is, of the sets that the peer replayed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from book_feed import load, save, synthetic
from book_parity import MAKER_BPS, TAKER_BPS, Peer, ours, usual_lots, usual_spread

from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.store import open_store
from quantbot.book.events import Events
from quantbot.engine import Job, Points, Rows, get_engine
from quantbot.strategies.market_maker import market_maker
from sweeps.feeds import open_feed

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    label: str
    stream: str
    n: int
    floor: float
    queue: str = "risk_averse"
    own_latency: bool = False
    n_quotes: int = 1
    envelope: bool = False
    files: bool = False


CASES = (
    Case("one strategy", "L2", 1, 5),
    Case("64, one latency", "L2", 64, 120),
    Case("64, a latency each", "L2", 64, 40, own_latency=True),
    Case("1,024, one latency", "L2", 1024, 600),
    Case("64, five orders a side", "L2", 64, 30, n_quotes=5),
    Case("64 by order, fifo", "L3", 64, 120, queue="fifo"),
    Case("64, power3 queue", "L2", 64, 120, queue="power3:3"),
    Case("64, power3 queue, with the envelope", "L2", 64, 0, queue="power3:3", envelope=True),
    Case("64, from files to rows", "L2", 64, 50, files=True),
)
STORED = "bench/book"


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        files = streams(arguments)
        for name, events in files.items():
            save(events, Path(folder) / f"{name}.npz")
        stored(files["L2"], Path(folder)) if "L2" in files else None
        sizes = ", ".join(f"{name} {len(events):,} events" for name, events in files.items())
        print(
            f"{sizes}; CPU time of one core, median of {arguments.pairs} pairs; asked every {arguments.period_ms} ms\n"
        )
        print("| case | ours, ns/event | hftbacktest, ns/event and set | ratio | floor | fills |")
        print("|---|---:|---:|---:|---:|---:|")
        with Peer(arguments.peer_python, Path(folder)) as peer:
            chosen = [one for one in CASES if one.stream in files and arguments.only in one.label]
            done = [row(arguments, peer, one, files[one.stream], Path(folder)) for one in chosen]
    sys.exit(0 if all(done) or not arguments.check else 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, help="npz or Binance raw stream; default: a synthetic market")
    parser.add_argument("--n-events", type=int, default=1_000_000, help="of the synthetic market, by order")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic market")
    parser.add_argument("--gap-us", type=float, default=200.0, help="mean time between its events")
    parser.add_argument("--half-spread", default="1:5", help="range of the grid, in units of a usual spread")
    parser.add_argument("--skew", default="0:0.2", help="range of the grid, ticks a usual trade")
    parser.add_argument("--period-ms", type=int, default=100)
    parser.add_argument("--entry-us", type=int, default=500)
    parser.add_argument("--answer-us", type=int, default=700)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--peer-sets", type=int, default=4, help="sets that the peer replays, evenly from the grid")
    parser.add_argument("--peer-python", default=str(HERE / ".env-hftbacktest/bin/python"))
    parser.add_argument("--only", default="", help="run the rows whose label contains this")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a floor is missed")
    return parser.parse_args()


def streams(arguments: argparse.Namespace) -> dict[str, Events]:
    if arguments.events:
        events = load(arguments.events)
        return {"L3" if events.instrument.kind == "by_order" else "L2": events}
    by_order, by_price = synthetic(arguments.n_events, arguments.seed, arguments.gap_us * 1000.0)
    return {"L2": by_price, "L3": by_order}


def grid(arguments: argparse.Namespace, case: Case, events: Events) -> dict[str, list[Any]]:
    """Return the sets of a case, spread over the ranges; the first one is their middle where there is one only."""
    scale, lots = usual_spread(events), usual_lots(events)
    ends = [[float(end) for end in text.split(":")] for text in (arguments.half_spread, arguments.skew)]
    draws = np.random.default_rng(arguments.seed)
    half = (
        np.round(np.linspace(*ends[0], case.n) * scale * 2) / 2 if case.n > 1 else np.array([np.mean(ends[0]) * scale])
    )
    skew = draws.uniform(*ends[1], case.n) / lots
    n = case.n
    return {
        "half_spread": half.tolist(), "skew": skew.tolist(), "spacing": [0 if case.n_quotes == 1 else 2] * n,
        "n_quotes": [case.n_quotes] * n, "lots": [lots] * n, "most": [20 * lots] * n,
    }  # fmt: skip


def stored(events: Events, folder: Path) -> None:
    """Write events into a store, the way an ingest does."""
    with EventsWriter(open_store(str(folder)), STORED, EventsMeta("Benchmark", "drawn", synthetic=True)) as writer:
        writer.add(replace(events, session="2024-01-02"))
        writer.finish()


def from_files(
    folder: Path, points: dict[str, list[Any]], queue: str, *, period_ns: int, entry_ns: Any, answer_ns: Any, start_ns:
    int,
) -> Rows:  # fmt: skip
    """Return the rows of every point: the store opened, its events decoded, replayed and measured anew."""
    feed = open_feed(STORED, open_store(str(folder)))
    session = feed.data(feed.assets[0])
    window = (0, len(session))
    settings = {
        "queue": queue, "exchange": "no_partial", "on_gap": "keep", "period_ms": period_ns / 1e6,
        "phase_ms": (start_ns - session.bounds_ns(window)[0]) / 1e6, "maker_bps": MAKER_BPS, "taker_bps": TAKER_BPS,
    }  # fmt: skip
    own = {name: np.asarray(points[name]) for name in ("half_spread", "skew", "lots", "most")}
    own |= {"execution.entry_us": np.asarray(entry_ns) / 1e3, "execution.answer_us": np.asarray(answer_ns) / 1e3}
    engine = get_engine("book")
    job = Job(market_maker, {f"execution.{name}": value for name, value in settings.items()}, engine.default_groups)
    return engine.run(job, session, window, Points(len(own["skew"]), own))


def row(arguments: argparse.Namespace, peer: Peer, case: Case, events: Events, folder: Path) -> bool:
    """Measure a case and print its row; return whether the floor is reached."""
    points = grid(arguments, case, events)
    own = np.linspace(0.5, 1.5, case.n) if case.own_latency else np.ones(case.n)
    entry, answer = (own * arguments.entry_us * 1000).astype(int), (own * arguments.answer_us * 1000).astype(int)
    period = arguments.period_ms * 1_000_000
    asked: dict[str, Any] = {"period_ns": period, "entry_ns": entry, "answer_ns": answer}
    chosen = np.unique(np.linspace(0, case.n - 1, min(arguments.peer_sets, case.n)).astype(int))
    kind, _, power = case.queue.partition(":")
    request = {name: [column[i] for i in chosen] for name, column in points.items()} | {
        "events": f"{case.stream}.npz", "queue": kind, "power": float(power or 0), "period_ns": period, "fills": False,
        "stop_ns": int(events.ts_received_ns[-1]) + 1, "most_fills": 1, "entry_ns": entry[chosen].tolist(),
        "answer_ns": answer[chosen].tolist(), "maker_fee": MAKER_BPS * 1e-4, "taker_fee": TAKER_BPS * 1e-4,
        "from_file": case.files,
    }  # fmt: skip

    def run() -> Any:
        """Return how many fills each point has."""
        if case.files:
            rows = from_files(folder, points, kind, **asked, start_ns=int(events.ts_exchange_ns.min()))
            return rows.measures["n_fills"]
        replay = ours(events, points, case.queue, **asked, record=False, envelope=case.envelope)
        return (replay.agents["n_maker"] + replay.agents["n_taker"])[: case.n]

    run()
    peer.ask(request)
    mine, theirs = [], []
    for _ in range(arguments.pairs):
        start = time.process_time()
        fills = run()
        mine.append(time.process_time() - start)
        answer_ = peer.ask(request)
        theirs.append(float(np.mean(answer_["seconds"])))
    found = fills[chosen].astype(int).tolist()
    same = "equal" if found == answer_["fills"] else f"DIFFERENT: {found[:4]}, theirs {answer_['fills'][:4]}"
    ratio = median(theirs) * case.n / median(mine)
    scaled = "" if len(chosen) == case.n else f" (from {len(chosen)} sets)"
    each = 1e9 / len(events)
    print(f"| {case.label} | {median(mine) * each:.1f} | {median(theirs) * each:.1f}{scaled} | {ratio:.1f}x |"
          f" {f'{case.floor:g}x' if case.floor else ''} | {int(np.sum(fills)):,}, {same} |", flush=True)  # fmt: skip
    return ratio >= case.floor and found == answer_["fills"]


if __name__ == "__main__":
    main()
