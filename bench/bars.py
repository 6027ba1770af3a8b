"""Bar trials a second, beside vectorbt in the same run: `python bench/bars.py --help`.

Every time is CPU time of one core, the median over interleaved calls (ours, theirs, ours, theirs); both sides have
compiled everything before, and both compute their indicators within the time. What is measured on our side is
`Engine.run`, on theirs the calls in `bench/peers/vectorbt_bars.py`. Our rows carry drawdown and Sharpe ratio even
where the peer computes the return alone. The peer is timed on a part of each grid, evenly spread over it. Single runs,
a few milliseconds each, are called again and again for half a second at a time, on both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from peer import Process

from quantbot.engine import Job, Points, Rows, get_engine
from quantbot.market import Bars, Instrument
from quantbot.strategies.loader import load_strategy

HERE = Path(__file__).parent
OWN = f"{HERE / 'own_strategy.py'}:dip_buyer"
FEE_BPS = 10.0
PERIODS_PER_YEAR = 252.0
COMBINATIONS_A_CALL = 8  # of the peer: its fastest on these machines; 16 and more spill its caches
PARITY = ("final_equity", "max_drawdown", "sharpe")

SINGLE: dict[str, dict[str, float]] = {
    "sma_cross": {"fast": 20, "slow": 100},
    "ema_cross": {"fast": 12, "slow": 26},
    "donchian": {"entry": 20, "leave": 10},
    "bollinger": {"window": 20, "width": 2.0},
    "rsi": {"window": 14, "lower": 30, "upper": 70, "leave": 50},
    "momentum": {"window": 252, "volatility_window": 60, "target": 0.15},
    OWN: {"window": 50, "dip": 0.01},
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    label: str
    strategy: str
    points: Mapping[str, Sequence[float]]
    n_bars: int
    groups: tuple[str, ...] = ("core",)
    execution: Mapping[str, float] = field(default_factory=dict)
    peer: Mapping[str, Any] | None = field(default_factory=dict)  # None: vectorbt has nothing to set beside it
    floor: float | None = None

    @property
    def n_points(self) -> int:
        """How many trials."""
        return max(len(values) for values in self.points.values())


def main() -> None:
    arguments = parse()
    bars = read_bars(arguments)
    if arguments.memory:
        print(json.dumps({"peak_mb": peak_memory(arguments, bars)}))
        return
    print(f"bars: {arguments.bars or f'synthetic, seed {arguments.seed}'}, {len(bars):,}; CPU time, median of"
          f" {arguments.pairs} interleaved pairs; fee {FEE_BPS:g} bps\n")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.npz"
        names = ("open", "high", "low", "close", "volume")
        np.savez(path, **{name: getattr(bars, name) for name in names})
        with Peer(arguments.peer_python, path) as peer:
            ok = table(arguments, bars, peer)
            ok &= parity(arguments, bars, peer)
    ok &= memory(arguments)
    sys.exit(0 if ok or not arguments.check else 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=Path, help="CSV (header) or npz with open, high, low, close; default synthetic")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic bars")
    parser.add_argument("--n-single", type=int, default=500_000, help="bars of a single run")
    parser.add_argument("--n-grid", type=int, default=100_000, help="bars of the grid")
    parser.add_argument("--fast", default="5:55:2", help="start:stop:step of the grid's fast windows")
    parser.add_argument("--slow", default="60:140:2", help="start:stop:step of the grid's slow windows")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of single runs in a row, on both sides")
    parser.add_argument("--peer-python", default=str(HERE / ".env-vectorbt/bin/python"))
    parser.add_argument("--peer-combinations", type=int, default=64, help="of the grid that the peer is timed on")
    parser.add_argument("--only", default="", help="run the rows whose label contains this")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a floor is missed")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def cases(arguments: argparse.Namespace) -> list[Case]:
    fast, slow = (list(range(*map(int, text.split(":")))) for text in (arguments.fast, arguments.slow))
    grid = {"fast": [a for a in fast for _ in slow], "slow": [b for _ in fast for b in slow]}
    one = {name: {key: [value] for key, value in point.items()} for name, point in SINGLE.items()}
    n, m = arguments.n_single, arguments.n_grid
    size = f"{len(grid['fast']):,} x {m:,}"
    stops = {"execution.stop_loss": 0.02, "execution.take_profit": 0.04}
    peer_stops = {"stops": {"sl_stop": 0.02, "tp_stop": 0.04}}
    path, trades, tail = ("core", "path"), ("core", "path", "trades"), ("core", "path", "trades", "tail")
    sma = "sma_cross"
    rows = [
        Case(f"single {n:,}: equity, drawdown, Sharpe", sma, one[sma], n, floor=20),
        Case(f"single {n:,}: return alone", sma, one[sma], n, peer={"measures": False}, floor=5),
        Case(f"grid {size}: equity, drawdown, Sharpe", sma, grid, m, floor=100),
        Case(f"grid {size}: return alone", sma, grid, m, peer={"measures": False}, floor=50),
        *(Case(f"{called(name)}, 100 x {m:,}", name, spread(name), m, floor=20) for name in SINGLE),
        *(Case(f"{called(name)}, single {n:,}", name, point, n) for name, point in one.items() if name != sma),
        Case(f"single {n:,}: + path", sma, one[sma], n, path, peer=None),
        Case(f"single {n:,}: + path, trades", sma, one[sma], n, trades, peer=None),
        Case(f"single {n:,}: + path, trades, tail", sma, one[sma], n, tail, peer=None),
        Case(f"single {n:,}: stop-loss and take-profit", sma, one[sma], n, execution=stops, peer=peer_stops),
        Case(f"grid {size}: + path", sma, grid, m, path, peer=None),
        Case(f"grid {size}: + path, trades", sma, grid, m, trades, peer=None),
        Case(f"grid {size}: + path, trades, tail", sma, grid, m, tail, peer=None),
        Case(f"grid {size}: stop-loss and take-profit", sma, grid, m, execution=stops, peer=peer_stops),
        Case(f"grid {size}: lots of one unit", sma, grid, m, execution={"execution.lot_size": 1.0}, peer=None),
    ]
    return [row for row in rows if arguments.only in row.label]


def called(name: str) -> str:
    return "a strategy of your own" if name == OWN else name


def spread(name: str) -> dict[str, list[float]]:
    """Return 100 points around a strategy's single one: ten values of its first parameter by ten of its second."""
    (first, a), (second, b), *rest = SINGLE[name].items()
    ones: list[float] = [a + step for step in range(10)]
    twos: list[float] = [b * (1 + step / 10) if isinstance(b, float) else b + step for step in range(10)]
    points = {first: [one for one in ones for _ in twos], second: [two for _ in ones for two in twos]}
    return points | {key: [value] * 100 for key, value in rest}


def table(arguments: argparse.Namespace, bars: Bars, peer: Peer) -> bool:
    """Print a row for each case; return whether every floor is reached."""
    print("| case | ours, M bar-steps/s | vectorbt numba | vectorbt rust | ratio to the better | floor |")
    print("|---|---:|---:|---:|---:|---:|")
    ok = True
    for case in cases(arguments):
        ours, theirs = measured(case, bars, peer, arguments)
        best = max(theirs.values(), default=0.0)
        ratio = f"{ours / best:.1f}" if best else ""
        texts = [f"{theirs[name]:.1f}" if name in theirs else "" for name in ("numba", "rust")]
        missed = best > 0 and case.floor is not None and ours / best < case.floor
        ok &= not missed
        floor = "" if case.floor is None else f"{case.floor:g}{' MISSED' if missed else ''}"
        print(f"| {case.label} | {ours:,.0f} | {' | '.join(texts)} | {ratio} | {floor} |", flush=True)
    return ok


def measured(case: Case, bars: Bars, peer: Peer, arguments: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """Return million bar-steps a CPU second of ours, and of the peer's engines."""
    run = ours(case, bars)
    engines = [] if case.peer is None else ["numba", "rust"]
    part = sample(case.points, arguments.peer_combinations)
    n_part = max(len(values) for values in part.values())
    run()
    calls = {"ours": in_a_row(case, timed(run, 1), arguments.seconds)}
    for engine in engines:
        peer.run(case, part, engine)
        calls[engine] = in_a_row(case, peer.run(case, part, engine)["seconds"], arguments.seconds)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.pairs):
        for engine in engines or ["numba"]:
            seconds["ours"].append(timed(run, calls["ours"]))
            if engine in engines:
                seconds[engine].append(peer.run(case, part, engine, calls[engine])["seconds"])
    rates = {name: case.n_bars * n_part / median(seconds[name]) / 1e6 for name in engines}
    return case.n_bars * case.n_points / median(seconds["ours"]) / 1e6, rates


def in_a_row(case: Case, seconds: float, wanted: float) -> int:
    """Return how often to call at a time: a core that was idle takes a while to be as fast as it can."""
    return max(round(wanted / max(seconds, 1e-6)), 1) if case.n_points == 1 else 1


def timed(run: Callable[[], Rows], calls: int) -> float:
    """Return the CPU seconds of one of so many calls in a row."""
    start = time.process_time()
    for _ in range(calls):
        run()
    return (time.process_time() - start) / calls


def ours(case: Case, bars: Bars) -> Callable[[], Rows]:
    """Return a call that runs all points of a case."""
    engine, strategy = get_engine("bars"), load_strategy(case.strategy)
    settings = {**strategy.defaults(), "execution.fee_bps": FEE_BPS, **case.execution}
    job = Job(strategy, settings, case.groups)
    points = Points(case.n_points, {name: column(values) for name, values in case.points.items()})
    data = cut(bars, case.n_bars)

    def run() -> Rows:
        return engine.run(job, data, (0, case.n_bars), points)

    return run


def column(values: Sequence[float]) -> np.ndarray:
    return np.array(values, dtype=np.int64 if all(isinstance(v, int) for v in values) else np.float64)


def sample(points: Mapping[str, Sequence[float]], most: int) -> dict[str, list[float]]:
    """Return at most `most` points, evenly spread over the grid."""
    n = max(len(values) for values in points.values())
    rows = np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)).tolist()
    return {name: [values[row] for row in rows] for name, values in points.items()}


def parity(arguments: argparse.Namespace, bars: Bars, peer: Peer) -> bool:
    """Compare results on at least 20 combinations of the grid, under vectorbt's conventions."""
    grid = next(case for case in cases(argparse.Namespace(**{**vars(arguments), "only": ""})) if "grid" in case.label)
    part = sample(grid.points, 24)
    case = Case("parity", grid.strategy, part, grid.n_bars)
    rows = ours(case, bars)().measures
    worst = 0.0
    print(f"\nparity on {case.n_points} combinations x {case.n_bars:,} bars, largest relative difference:")
    for engine in ("numba", "rust"):
        theirs = peer.run(case, part, engine)
        for name in PARITY:
            there, here = np.array(theirs[name]), rows[name]
            difference = float(np.max(np.abs(here - there) / np.maximum(np.abs(there), 1e-300)))
            worst = max(worst, difference)
            print(f"  vectorbt {engine}, {name}: {difference:.1e}")
    print(f"  {'within' if worst <= 1e-9 else 'NOT WITHIN'} 1e-9")
    return worst <= 1e-9


def memory(arguments: argparse.Namespace) -> bool:
    """Print the peak memory of a process that runs the grid and nothing else."""
    peaks = []
    for _ in range(2):  # the first fills the kernel cache where it is cold: a compiler takes more than the grid
        done = subprocess.run([sys.executable, *sys.argv, "--memory"], capture_output=True, text=True, check=True)
        peaks.append(json.loads(done.stdout)["peak_mb"])
    peak = peaks[1]
    print(f"\npeak memory of a process that runs the grid: {peak:.0f} MB (below 300: {'yes' if peak < 300 else 'NO'})")
    return bool(peak < 300)


def peak_memory(arguments: argparse.Namespace, bars: Bars) -> float:
    arguments.only = ""
    for case in cases(arguments):
        if case.floor is not None and "grid" in case.label:
            ours(case, cut(bars, case.n_bars))()
    # Not getrusage: its ru_maxrss starts with what the parent process had.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


class Peer(Process):
    """vectorbt in an environment and a process of its own."""

    def __init__(self, python: str, bars: Path) -> None:
        super().__init__(python, "vectorbt_bars.py", str(bars), target="bench")
        print(f"peer: vectorbt {self.answer()['version']}, {COMBINATIONS_A_CALL} combinations a call\n")

    def run(self, case: Case, points: Mapping[str, Sequence[float]], engine: str, calls: int = 1) -> dict[str, Any]:
        """Run points there, `calls` times; return results and CPU seconds of one call."""
        request = {
            "strategy": case.strategy.rpartition(":")[2],
            "engine": "auto" if engine == "rust" else engine,
            "point": points,
            "n_bars": case.n_bars,
            "fee": FEE_BPS / 1e4,
            "periods_per_year": PERIODS_PER_YEAR,
            "combinations_a_call": COMBINATIONS_A_CALL,
            "measures": True,
            "calls": calls,
            **(case.peer or {}),
        }
        return self.ask(request)


def read_bars(arguments: argparse.Namespace) -> Bars:
    n = max(arguments.n_single, arguments.n_grid)
    if arguments.bars is None:
        return synthetic(arguments.n_grid if arguments.memory else n, arguments.seed)
    if arguments.bars.suffix == ".npz":
        with np.load(arguments.bars) as arrays:
            columns = {name: np.asarray(arrays[name], dtype=np.float64) for name in arrays.files}
    else:
        table = np.genfromtxt(arguments.bars, delimiter=",", names=True, dtype=np.float64)
        columns = {name.lower(): np.ascontiguousarray(table[name]) for name in table.dtype.names or ()}
    have = columns["close"].shape[0]
    if have < n:
        sys.exit(f"{arguments.bars} has {have:,} bars; --n-single and --n-grid ask for {n:,}")
    fields = [np.ascontiguousarray(columns[name][:n]) for name in ("open", "high", "low", "close")]
    return made(*fields)


def synthetic(n_bars: int, seed: int) -> Bars:
    """Return a seeded random walk of minute bars with small gaps at the open."""
    draw = np.random.Generator(np.random.Philox(seed))
    close = 100.0 * np.cumprod(1.0 + 0.001 * draw.standard_normal(n_bars))
    opening = np.concatenate([[100.0], close[:-1]]) * (1.0 + 0.0002 * draw.standard_normal(n_bars))
    high = np.maximum(opening, close) * (1.0 + 0.0005 * draw.uniform(size=n_bars))
    low = np.minimum(opening, close) * (1.0 - 0.0005 * draw.uniform(size=n_bars))
    return made(opening, high, low, close)


def made(opening: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> Bars:
    ts_end_ns = np.arange(1, close.shape[0] + 1, dtype=np.int64) * 60_000_000_000
    volume = np.full(close.shape[0], 1000.0)
    return Bars(Instrument("BENCH"), ts_end_ns, opening, high, low, close, volume, PERIODS_PER_YEAR)


def cut(bars: Bars, n: int) -> Bars:
    names = ("open", "high", "low", "close")
    return made(*(getattr(bars, name)[:n].copy() for name in names))


if __name__ == "__main__":
    main()
