"""Accounts of many assets a second, beside vectorbt in the same run: `python bench/portfolio.py --help`.

Every few bars the best assets by past return get equal weights, out of one pool of cash, at the close of the decision,
for a proportional fee: `Portfolio.from_orders(size_type="targetpercent", group_by=..., cash_sharing=True,
call_seq="auto")` there, `momentum_targets` and `run_accounts` here. Every time is CPU time, signals included, the
median over interleaved calls (ours, theirs, ours, theirs), each repeated for half a second; both sides have compiled
everything before. Both give final equity and maximum drawdown; ours volatility and Sharpe ratio beside. The peer is
timed on a part of many lookbacks, evenly spread over them, four accounts a call (its fastest here). What is not asked
of the peer, costs and guards, is timed for ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from peer import Process

from quantbot.engine import Points
from quantbot.market import Instrument, Panel
from quantbot.portfolio import Targets, account_returns, momentum_targets, run_accounts

HERE = Path(__file__).parent
CASH = 100_000.0
PLAIN = {"execution.fill": "same_close", "execution.initial_cash": CASH}
COSTS = {
    "execution.fill": "next_open", "execution.half_spread_bps": 2.0, "execution.participation": 0.1,
    "execution.impact": 0.5, "execution.cash_rate": 0.02, "execution.lot_size": 1.0, "execution.initial_cash": CASH,
}  # fmt: skip
GUARDS = {
    "guards.max_drawdown": 0.3, "guards.daily_loss": 0.1, "guards.max_gross": 1.0, "guards.max_weight": 0.15,
    "guards.max_turnover": 1.0,
}  # fmt: skip
ACCOUNTS_A_CALL = 8  # of ours: their targets lie in memory together


def main() -> None:
    arguments = parse()
    close = read(arguments)
    panel = panel_of(close)
    many = np.unique(np.linspace(10, 250, arguments.lookbacks).astype(int)).tolist()
    print(f"prices: {arguments.prices or f'synthetic, seed {arguments.seed}'}, {close.shape[1]} assets x"
          f" {close.shape[0]:,} bars, every {arguments.every} bars to the best {arguments.share:.0%}, fee"
          f" {arguments.fee_bps:g} bps; CPU time, median of {arguments.pairs} interleaved pairs")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "close.npy"
        np.save(path, close)
        with Process(arguments.peer_python, "vectorbt_portfolio.py", str(path), target="bench-portfolio") as peer:
            print(f"peer: vectorbt {peer.answer()['version']}\n")
            bench = Bench(arguments, panel, peer, Path(folder))
            print("| case | ours, ms | vectorbt numba, ms | vectorbt rust, ms | ratio to the better | floor |")
            print("|---|---:|---:|---:|---:|---:|")
            ok = bench.compared(f"one account, lookback {arguments.lookback}", [arguments.lookback])
            ok &= bench.compared(f"{len(many)} lookbacks, 10 to 250", many)
            bench.alone()
            ok &= bench.parity([10, arguments.lookback, 250])
    sys.exit(0 if ok or not arguments.check else 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--prices", type=Path, help="npy or csv (header, dates first or none) of closes, (n_bars, n_assets); synthetic"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic prices")
    parser.add_argument("--assets", type=int, default=100)
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=5, help="bars between rebalancings")
    parser.add_argument("--share", type=float, default=0.1, help="of the assets that is held")
    parser.add_argument("--lookback", type=int, default=60, help="of the single account")
    parser.add_argument("--lookbacks", type=int, default=100, help="how many, from 10 to 250")
    parser.add_argument("--fee-bps", type=float, default=10.0)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of calls in a row, on both sides")
    parser.add_argument("--peer-python", default=str(HERE / ".env-vectorbt/bin/python"))
    parser.add_argument("--peer-lookbacks", type=int, default=8, help="of the many that the peer is timed on")
    parser.add_argument("--floor", type=float, default=20.0)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the floor or parity is missed")
    return parser.parse_args()


class Bench:
    """The cases, each a line of the table."""

    def __init__(self, arguments: argparse.Namespace, panel: Panel, peer: Process, folder: Path) -> None:
        self.arguments, self.panel, self.peer, self.folder = arguments, panel, peer, folder

    def compared(self, case: str, lookbacks: list[int]) -> bool:
        """Time one or many lookbacks on both sides; return whether the floor is reached."""
        wanted, pairs = self.arguments.seconds, self.arguments.pairs
        part = np.unique(np.linspace(0, len(lookbacks) - 1, min(len(lookbacks), self.arguments.peer_lookbacks)))
        asked = [lookbacks[int(row)] for row in part]

        def ours() -> object:
            return [self.ours(lookbacks[i : i + ACCOUNTS_A_CALL]) for i in range(0, len(lookbacks), ACCOUNTS_A_CALL)]

        engines = ("numba", "auto")  # "auto" is Rust, where it is installed
        ours()
        calls = {"ours": in_a_row(timed(ours, 1), wanted)}
        for engine in engines:
            self.theirs(asked, engine)
            calls[engine] = in_a_row(self.theirs(asked, engine)["seconds"], wanted)
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(pairs):
            for engine in engines:
                seconds["ours"].append(timed(ours, calls["ours"]) / len(lookbacks))
                seconds[engine].append(self.theirs(asked, engine, calls[engine])["seconds"] / len(asked))
        taken = {name: median(values) * len(lookbacks) * 1e3 for name, values in seconds.items()}
        ratio = min(taken["numba"], taken["auto"]) / taken["ours"]
        missed = ratio < self.arguments.floor
        texts = " | ".join(f"{taken[name]:,.1f}" for name in ("ours", "numba", "auto"))
        print(f"| {case} | {texts} | {ratio:.1f} | {self.arguments.floor:g}{' MISSED' if missed else ''} |", flush=True)
        return not missed

    def alone(self) -> None:
        """Time what the peer is not asked for: the account without its signals, with costs, and with guards."""
        targets = self.targets([self.arguments.lookback])
        fee = {"execution.fee_bps": self.arguments.fee_bps}
        cases: dict[str, dict[str, Any]] = {
            "the account alone": PLAIN | fee,
            "spread, impact, volume, lots, interest": COSTS | fee,
            "and five guards": COSTS | fee | GUARDS,
        }
        for case, settings in cases.items():

            def run(settings: dict[str, Any] = settings) -> object:
                return run_accounts(self.panel, (0, len(self.panel)), targets, settings, Points(1), ("core",))

            run()
            calls = in_a_row(timed(run, 1), self.arguments.seconds)
            taken = median(timed(run, calls) for _ in range(self.arguments.pairs))
            print(f"| {case} | {taken * 1e3:,.2f} |  |  |  |  |", flush=True)

    def parity(self, lookbacks: list[int]) -> bool:
        """Compare whole paths of equity and drawdown."""
        targets, points = self.targets(lookbacks), Points(len(lookbacks))
        settings = PLAIN | {"execution.fee_bps": self.arguments.fee_bps}
        window = (0, len(self.panel))
        here = CASH * np.cumprod(1.0 + account_returns(self.panel, window, targets, settings, points), axis=1)
        rows = run_accounts(self.panel, window, targets, settings, points, ("core",)).measures
        worst = 0.0
        print(f"\nparity of {len(lookbacks)} accounts x {len(self.panel):,} bars, largest relative difference:")
        for engine, name in (("numba", "numba"), ("auto", "rust")):
            found = self.theirs(lookbacks, engine, paths=str(self.folder / "paths.npy"))
            there = np.load(self.folder / "paths.npy")
            differences = {
                "equity at every bar": np.max(np.abs(here / there - 1.0)),
                "drawdown at every bar": np.max(np.abs(drawdown(here) - drawdown(there))),
                "maximum drawdown": np.max(np.abs(rows["max_drawdown"] / np.array(found["max_drawdown"]) - 1.0)),
                "final equity": np.max(np.abs(rows["final_equity"] / np.array(found["final_equity"]) - 1.0)),
            }
            for what, difference in differences.items():
                print(f"  vectorbt {name}, {what}: {difference:.1e}")
                worst = max(worst, float(difference))
        print(f"  {'within' if worst <= 1e-9 else 'NOT WITHIN'} 1e-9")
        return worst <= 1e-9

    def targets(self, lookbacks: list[int]) -> Targets:
        return momentum_targets(self.panel, lookbacks, self.arguments.share, self.arguments.every)

    def ours(self, lookbacks: list[int]) -> object:
        """Run one account for each lookback, signals included."""
        settings = PLAIN | {"execution.fee_bps": self.arguments.fee_bps}
        window = (0, len(self.panel))
        return run_accounts(self.panel, window, self.targets(lookbacks), settings, Points(len(lookbacks)), ("core",))

    def theirs(self, lookbacks: list[int], engine: str, calls: int = 1, paths: str = "") -> dict[str, Any]:
        """Ask the peer for one account for each lookback."""
        n_bars, n_assets = self.panel.close.shape
        n_best = max(int(self.arguments.share * n_assets + 1e-9), 1)
        request = {
            "lookbacks": lookbacks, "engine": engine, "calls": calls, "paths": paths, "share": self.arguments.share,
            "every": self.arguments.every, "fee": self.arguments.fee_bps / 1e4, "cash": CASH, "accounts_a_call": 4,
            "max_orders": n_bars // self.arguments.every * 2 * n_best,
        }  # fmt: skip
        return self.peer.ask(request)


def in_a_row(seconds: float, wanted: float) -> int:
    """Return how often to call at a time: a core that was idle takes a while to be as fast as it can."""
    return max(round(wanted / max(seconds, 1e-6)), 1)


def timed(run: Callable[[], object], calls: int) -> float:
    """Return the CPU seconds of one of so many calls in a row."""
    start = time.process_time()
    for _ in range(calls):
        run()
    return (time.process_time() - start) / calls


def drawdown(equity: np.ndarray) -> np.ndarray:
    """Return the fraction of the peak lost, of paths (n_paths, n_bars)."""
    return np.asarray(1.0 - equity / np.maximum.accumulate(equity, axis=1))


def read(arguments: argparse.Namespace) -> np.ndarray:
    """Return closes, (n_bars, n_assets)."""
    shape = arguments.bars, arguments.assets
    if arguments.prices is None:
        draw = np.random.Generator(np.random.Philox(arguments.seed))
        moves = 0.006 * draw.standard_normal((arguments.bars, 1)) + 0.01 * draw.standard_normal(shape)
        return np.asarray(100.0 * np.cumprod(1.0003 + moves, axis=0))
    path = arguments.prices
    found = np.load(path) if path.suffix == ".npy" else np.genfromtxt(path, delimiter=",", skip_header=1)
    found = found[:, ~np.isnan(found).all(axis=0)]  # a column of dates
    if found.shape[0] < shape[0] or found.shape[1] < shape[1]:
        sys.exit(f"{path} has {found.shape[0]:,} bars of {found.shape[1]} assets; asked for are {shape}")
    return np.ascontiguousarray(found[-shape[0] :, : shape[1]])


def panel_of(close: np.ndarray) -> Panel:
    """Return bars that open where the last one closed."""
    opened = np.vstack([close[:1], close[:-1]])
    names = tuple(Instrument(f"A{j:03d}") for j in range(close.shape[1]))
    ts_end_ns = np.arange(1, close.shape[0] + 1, dtype=np.int64) * 86_400_000_000_000
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return Panel(names, ts_end_ns, opened, high, low, close, np.full_like(close, 1e5), 252.0)


if __name__ == "__main__":
    main()
