"""A sweep of CVaR portfolios, from the command to the committed run: `python bench/portfolio_sweep.py --help`.

Least CVaR of real daily returns at every month's end, over confidence levels, target returns and costs of trading in
the optimisation, the weights traded by the portfolio engine with fees. The run goes through `quantbot sweep run` in a
fresh store with worker processes, then by other ways whose results must be the same: serially, in blocks of another
size, and killed (SIGKILL) and driven again. "Problems" are optimisations that a row counts once for each distinct
setting.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLOSES = Path(__file__).parents[2] / "shared" / "data" / "bars" / "skfolio" / "sp500_dataset.csv.gz"
DATASET = "bench/stocks"
EXIT_FAILED_TRIALS = 3


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        spec = Path(folder) / "spec.toml"
        spec.write_text(specification(arguments))
        found = {"command": by_command(arguments, Path(folder) / "command", spec)}
        if not arguments.once:
            found["serial"] = by_command(arguments, Path(folder) / "serial", spec, "--serial")
            found["blocks of 7 points"] = by_blocks(arguments, Path(folder) / "blocks", spec, 7)
            found["killed and resumed"] = killed(arguments, Path(folder) / "killed", spec)
    show(arguments, found)
    digests = {one["digest"] for one in found.values()}
    sys.exit(1 if len(digests) > 1 or (arguments.check and found["command"]["committed"] > arguments.check) else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closes", type=Path, default=CLOSES, help="wide CSV of daily closes, one column a symbol")
    parser.add_argument("--windows", type=numbers, default=[500], help="returns in a window")
    parser.add_argument("--betas", type=numbers, default=[0.9, 0.95, 0.99])
    parser.add_argument("--targets", type=numbers, default=[-1, 0.05, 0.1], help="returns a year; -1: none")
    parser.add_argument("--costs", type=numbers, default=[0, 5, 10, 20], help="bps, in the optimisation")
    parser.add_argument("--fees", type=numbers, default=[5], help="bps, paid by fills")
    parser.add_argument("--calendar", default="month_end")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--once", action="store_true", help="the command alone")
    parser.add_argument("--folder", help="where the temporary folder is made")
    parser.add_argument("--check", type=float, metavar="SECONDS", help="exit with 1 where the commit came later")
    return parser.parse_args()


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def specification(arguments: argparse.Namespace) -> str:
    axes = {
        "scenarios.window": [int(value) for value in arguments.windows],
        "optimise.beta": arguments.betas,
        "optimise.target_return": arguments.targets,
        "constraints.cost_bps": arguments.costs,
        "execution.fee_bps": arguments.fees,
    }
    lines = "\n".join(f'"{name}" = {{ values = {json.dumps(values)} }}' for name, values in axes.items())
    return f"""version = 1
[run]
name = "cvar"
engine = "portfolio"
[data]
dataset = "{DATASET}"
start = 1994-01-01
[constraints]
max_weight = 0.25
[rebalance]
calendar = "{arguments.calendar}"
[parameters]
{lines}
"""


def prepared(arguments: argparse.Namespace, folder: Path) -> str:
    """Return the URL of a fresh store with the closes in it."""
    from datasets.ingest import BarOptions, ingest_csv
    from datasets.store import open_store

    url = f"file://{folder}"
    options = BarOptions(wide=True, zone="America/New_York", calendar="XNYS")
    ingest_csv(open_store(url), DATASET, arguments.closes, options)
    return url


def command(arguments: argparse.Namespace, url: str, spec: Path, *more: str) -> list[str]:
    how = more or ("--workers", str(arguments.workers))
    return [sys.executable, "-m", "app", "sweep", "run", str(spec), "--store", url, "--yes", *how]


def by_command(arguments: argparse.Namespace, folder: Path, spec: Path, *more: str) -> dict[str, Any]:
    """Run the command, and return what it took until the manifest was there, and until it ended."""
    url = prepared(arguments, folder)
    began, at = time.time(), time.perf_counter()
    done = subprocess.run(command(arguments, url, spec, *more), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - at
    if done.returncode not in (0, EXIT_FAILED_TRIALS):
        sys.exit(done.stdout + done.stderr)
    return read(url) | {"seconds": seconds, "committed": committed_at(folder) - began}


def by_blocks(arguments: argparse.Namespace, folder: Path, spec: Path, points: int) -> dict[str, Any]:
    """Run it here, in blocks of so many points."""
    from datasets.store import open_store
    from sweeps.executors import serial
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.spec import load_spec
    from sweeps.submission import submit

    url = prepared(arguments, folder)
    began, at = time.time(), time.perf_counter()
    root, loaded = open_store(url), load_spec(spec)
    identity = submit(loaded, root, plan=make_plan(loaded, root, block_points=points, probe=False))
    with serial() as executor:
        drive(root, identity, executor)
    return read(url) | {"seconds": time.perf_counter() - at, "committed": committed_at(folder) - began}


def killed(arguments: argparse.Namespace, folder: Path, spec: Path) -> dict[str, Any]:
    """Kill the command with all its workers once a block is there, then give it again."""
    url = prepared(arguments, folder)
    began, at = time.time(), time.perf_counter()
    with subprocess.Popen(
        command(arguments, url, spec), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while process.poll() is None and not list(folder.glob("runs/*/blocks/*")):
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    n_there = len(list(folder.glob("runs/*/blocks/*")))
    for lease in folder.glob("runs/*/lease/*"):  # as if its time had run out
        lease.unlink()
    done = subprocess.run(command(arguments, url, spec), capture_output=True, text=True, check=False)
    if done.returncode not in (0, EXIT_FAILED_TRIALS):
        sys.exit(done.stdout + done.stderr)
    seconds = time.perf_counter() - at
    return read(url) | {"seconds": seconds, "committed": committed_at(folder) - began, "kept": n_there}


def committed_at(folder: Path) -> float:
    (manifest,) = folder.glob("runs/*/manifest*")
    return manifest.stat().st_mtime


def read(url: str) -> dict[str, Any]:
    """Return what the run of a store says of itself."""
    import numpy as np

    from sweeps.results import open_run

    run = open_run(url, "cvar")
    assert run.manifest is not None
    problems = run.values("n_problems")
    own = [column for name, column in run.plan.points.columns.items() if not name.startswith("execution")]
    chains = np.unique(np.column_stack(own), axis=0, return_index=True)[1]
    return {
        "digest": run.manifest.result_digest,
        "n_trials": run.plan.n_trials,
        "n_blocks": run.plan.n_blocks,
        "n_failed": int(run.status.n_failed),
        "n_problems": int(np.nansum(problems[chains])),
        "n_fallbacks": int(np.nansum(run.values("n_fallbacks")[chains])),
        "worst_gap": float(np.nanmax(run.values("worst_gap"))),
    }


def show(arguments: argparse.Namespace, found: Mapping[str, Mapping[str, Any]]) -> None:
    first = found["command"]
    print(
        f"{first['n_problems']:,} optimisations for {first['n_trials']:,} trials ({first['n_failed']:,} failed,"
        f" {first['n_fallbacks']:,} fallbacks, worst gap {first['worst_gap']:.1e}), {arguments.workers} workers\n"
    )
    print(f"{'way':20} {'blocks':>6} {'committed':>10} {'ended':>8}  digest")
    for way, one in found.items():
        kept = f"  ({one['kept']} blocks were there)" if "kept" in one else ""
        print(
            f"{way:20} {one['n_blocks']:6} {one['committed']:9.1f}s {one['seconds']:7.1f}s  {one['digest'][:16]}{kept}"
        )


if __name__ == "__main__":
    main()
