"""CVaR portfolios a second, beside skfolio, Riskfolio and HiGHS in the same run: `python bench/cvar.py --help`.

Every time is CPU time of one process on one thread, building of the model included, the median over repetitions; all
have run once before. Ours are `quantbot.portfolio`'s functions on arrays, certificates included. The peers' side is
`bench/peers/cvar_peers.py`, in an environment of its own. Weights are held against each other: "excess" is the CVaR of
the peer's weights less that of ours.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from quantbot.portfolio import Constraints, Linear, Scenarios, cvar_of, efficient_frontier, minimise_cvar, rolling_cvar
from quantbot.risk import risk_contributions

HERE = Path(__file__).parent
BETAS = (0.90, 0.95, 0.99)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder, Peers(arguments.peer_python) as peers:
        bench = Bench(arguments, peers, Path(folder))
        print(bench.source)
        print("| case | ours, ms | gap | skfolio | Riskfolio | HiGHS, best form | x skfolio | x HiGHS | excess |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
        for sizes in arguments.sizes.split(","):
            n, rows = map(int, sizes.split("x"))
            bench.cold(n, rows)
        bench.frontier()
        bench.rolling(1)
        bench.rolling(21)
        bench.constrained()
        bench.components()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--returns",
        type=Path,
        help="a wide CSV of closes (may be .gz): a header, a row for each day, the date first, then a column for each"
        " share; or .npy of returns (n_periods, n_assets). Without it returns are synthetic. Where a case has more"
        " assets than the file, further ones move with the market of the case's years as the file's shares do, and"
        " otherwise as those did in other years; where it has more periods, they are drawn with replacement",
    )
    parser.add_argument(
        "--unrelated", action="store_true", help="further assets are the file's shares in other years as they are"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic returns")
    parser.add_argument("--sizes", default="20x500,50x1000,100x2500,500x2500,50x100000", help="assets x scenarios")
    parser.add_argument("--repeat", type=int, default=7, help="repetitions of ours, more where they take under 0.5 s")
    parser.add_argument("--peer-repeat", type=int, default=3, help="repetitions of a peer that takes under 2 s")
    parser.add_argument("--peer-windows", type=int, default=12, help="windows that the peers are timed on")
    parser.add_argument(
        "--peers", default="skfolio,riskfolio,highs,component", help="component: skfolio's contributions"
    )
    parser.add_argument("--peer-python", default=str(HERE / ".env-cvar/bin/python"))
    return parser.parse_args()


class Bench:
    """The cases, each a line of the table."""

    def __init__(self, arguments: argparse.Namespace, peers: Peers, folder: Path) -> None:
        self.arguments, self.peers, self.folder = arguments, peers, folder
        path = arguments.returns
        self.real = None if path is None else read_returns(path)
        self.source = f"Synthetic returns, seed {arguments.seed}.\n"
        if self.real is not None:
            self.source = f"Returns of {path.name}: {self.real.shape[1]} assets, {self.real.shape[0]:,} periods.\n"

    def cold(self, n: int, rows: int) -> None:
        """Minimise once, from nothing."""
        returns = self.market(n, rows)
        seconds, found = timed(lambda: minimise_cvar(Scenarios.of(returns)), self.arguments.repeat)
        theirs = self.ask(returns, ("skfolio", "riskfolio", "highs"))
        self.line(f"cold, {n} x {rows:,}", seconds, found.gap, theirs, returns, found.cvar)

    def frontier(self) -> None:
        """Trace 50 points of the frontier."""
        returns = self.market(50, 1_000)
        seconds, found = timed(lambda: efficient_frontier(Scenarios.of(returns), n_points=50), self.arguments.repeat)
        theirs = self.ask(returns, ("skfolio", "riskfolio"), points=50)
        self.line("frontier of 50 points, 50 x 1,000", seconds, max(p.gap for p in found.points), theirs)

    def rolling(self, step: int) -> None:
        """Go through windows of 500 periods at three levels, `step` periods apart; the time is that of one problem."""
        n_windows = 252 if step == 1 else 12
        returns = self.market(50, 500 + step * (n_windows - 1))
        seconds, found = timed(
            lambda: [rolling_cvar(returns, window=500, step=step, beta=beta) for beta in BETAS], self.arguments.repeat
        )
        windows = [[i * step, i * step + 500] for i in range(n_windows)][
            :: max(n_windows // self.arguments.peer_windows, 1)
        ]
        theirs = self.ask(returns, ("skfolio", "highs"), windows=windows)
        gap = max(point.gap for chain in found for point in chain.points)
        name = f"rolling, steps of {step}: one of {n_windows} windows x 3 levels, 50 x 500"
        self.line(name, seconds / (3 * n_windows), gap, theirs)

    def constrained(self) -> None:
        """Minimise with a group, a turnover limit and a target return."""
        n = 50
        returns = self.market(n, 1_000)
        scenarios = Scenarios.of(returns)
        target = float(scenarios.mean.mean())
        first = np.repeat([1.0, 0.0], n // 2)
        rules = Constraints(linear=(Linear("first", first, high=0.5),), previous=np.full(n, 1 / n), turnover=1.0,
                            target_return=target)  # fmt: skip
        seconds, found = timed(lambda: minimise_cvar(Scenarios.of(returns), constraints=rules), self.arguments.repeat)
        theirs = self.ask(returns, ("skfolio",), groups=0.5, turnover=1.0, target=target)
        self.line(f"group, turnover and target, {n} x 1,000", seconds, found.gap, theirs)

    def components(self) -> None:
        """Say what each of 500 assets contributes to a portfolio's CVaR."""
        n = 500
        returns = self.market(n, 2_500)
        weights = np.random.default_rng([self.arguments.seed, n]).dirichlet(np.ones(n))
        seconds, found = timed(lambda: risk_contributions(weights, Scenarios.of(returns)), self.arguments.repeat)
        theirs = self.ask(returns, ("component",), weights=weights.tolist())
        if "component" in theirs:
            theirs = {"skfolio": theirs["component"]}
        gap = abs(float(found.component.sum()) - found.total)
        self.line(f"component CVaR, {n} x 2,500 (gap: of their sum)", seconds, gap, theirs)
        if theirs:
            apart = float(np.abs(theirs["skfolio"][1] - found.component).max())
            print(f"\nComponents differ from skfolio's by {apart:.0e} at most.")

    def market(self, n: int, rows: int) -> np.ndarray:
        """Return returns of this size: of the file where one is given, else synthetic."""
        rng = np.random.default_rng([self.arguments.seed, n, rows])
        if self.real is None:
            factors = rng.standard_t(4, (rows, 3)) * 0.006
            own = rng.standard_t(4, (rows, n)) * 0.01
            return np.asarray(factors @ rng.uniform(0.2, 1.2, (3, n)) + own + rng.uniform(0, 0.0008, n))
        n_periods, n_assets = self.real.shape
        n_copies = -(-n // n_assets)
        length = min(rows, n_periods if n_copies == 1 else n_periods // 2)
        shift = (n_periods - length) // max(n_copies - 1, 1)
        ends = [n_periods - k * shift for k in range(n_copies)]
        # A share's return is its beta times the market's (the mean of all), and its own part.
        market = self.real.mean(axis=1)
        beta = np.array([np.cov(share, market)[0, 1] for share in self.real.T]) / market.var(ddof=1)
        own = self.real - np.outer(market, beta)
        years = [np.outer(market[-length:], beta) + own[end - length : end] for end in ends]
        if self.arguments.unrelated:
            years = [self.real[end - length : end] for end in ends]
        wide = np.hstack(years)[:, :n]
        return np.ascontiguousarray(wide if length == rows else wide[rng.integers(0, length, rows)])

    def ask(self, returns: np.ndarray, names: tuple[str, ...], **request: Any) -> dict[str, tuple[float, Any]]:
        """Return seconds of one problem and weights, by peer."""
        path = self.folder / "returns.npy"
        np.save(path, returns)
        answers = {}
        for name in names:
            if name not in self.arguments.peers.split(","):
                continue
            forms = ("simplex", "ipm") if name == "highs" else ("",)
            for form in forms:
                asked = {
                    "peer": name,
                    "returns": str(path),
                    "beta": 0.95,
                    **request,
                    **({"solver": form} if form else {}),
                }
                seconds = []
                for i in range(self.arguments.peer_repeat + 1):
                    answer = self.peers.ask(asked)
                    seconds.append(sum(answer["seconds"]) / len(answer["seconds"]))
                    if i and seconds[-1] > 2:
                        break
                taken = median(seconds[1:]) if len(seconds) > 1 else seconds[0]
                if name not in answers or taken < answers[name][0]:
                    answers[name] = taken, np.array(answer["weights"][0])
        return answers

    @staticmethod
    def line(
        case: str, seconds: float, gap: float, theirs: dict[str, tuple[float, Any]],
        returns: np.ndarray | None = None, cvar: float = np.nan,
    ) -> None:  # fmt: skip
        """Print one row of the table."""
        times = [
            f"{theirs[name][0] * 1e3:,.1f}" if name in theirs else "" for name in ("skfolio", "riskfolio", "highs")
        ]
        ratios = [f"{theirs[name][0] / seconds:,.0f}" if name in theirs else "" for name in ("skfolio", "highs")]
        excess = ""
        if returns is not None and theirs:
            worst = max(abs(cvar_of(-returns @ weights, 0.95)[0] - cvar) for _, weights in theirs.values())
            excess = f"{worst:.0e}"
        cells = (case, f"{seconds * 1e3:,.3f}", f"{gap:.0e}", *times, *ratios, excess)
        print(f"| {' | '.join(cells)} |", flush=True)


def read_returns(path: Path) -> np.ndarray:
    """Return simple returns, shape (n_periods, n_assets), of a wide CSV of closes, or those in an npy file."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path), dtype=np.float64)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        closes = np.array([row[1:] for row in list(csv.reader(file))[1:]], dtype=np.float64)
    if not (closes > 0).all():
        sys.exit(f"{path} must hold closes above 0 in every cell after the date")
    return np.asarray(closes[1:] / closes[:-1] - 1.0)


class Peers:
    """The process of the peers."""

    def __init__(self, python: str) -> None:
        if not Path(python).exists():
            sys.exit(f"{python} is not there; `make bench-cvar` installs the peers")
        command = [python, str(HERE / "peers" / "cvar_peers.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD
        )

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        sys.exit("the peers ended; their error stands above")


def timed(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Return the median CPU seconds of a call, and what it returned."""
    call()
    start = time.process_time()
    call()
    seconds: list[float] = []
    # What takes a fraction of a millisecond is repeated for half a second: a few calls would time the caches.
    for _ in range(max(repeat, min(2_000, int(0.5 / max(time.process_time() - start, 1e-6))))):
        start = time.process_time()
        found = call()
        seconds.append(time.process_time() - start)
    return median(seconds), found


if __name__ == "__main__":
    main()
