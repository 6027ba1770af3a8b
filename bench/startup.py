"""From starting a process to its first finished row of a shipped strategy, with a cold and a warm kernel cache.

`python bench/startup.py`: starts fresh Python processes as a cluster starts workers. Each gets a strategy's bundle,
loads it, runs one block of trials and writes a line when the first row is there: wall time from the process's start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

CHILD = """
import sys
from quantbot.engine import Job, Points, get_engine
from quantbot.strategies.loader import SourceBundle, load_bundle
from quantbot.strategies.sentinel import synthetic_bars
import numpy as np

strategy = load_bundle(SourceBundle.from_json(sys.stdin.read()))
bars = synthetic_bars(5_000, seed=1)
first = strategy.parameters[0]
values = np.arange(64) + int(first.default)
job = Job(strategy, {**strategy.defaults(), "execution.fee_bps": 10.0}, ("core", "path", "trades"))
rows = get_engine("bars").run(job, bars, (0, len(bars)), Points(64, {first.name: values}))
assert (rows.status == 0).all() and np.isfinite(rows.measures["final_equity"]).all()
print("row")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="warm starts of each strategy")
    arguments = parser.parse_args()
    from quantbot.strategies.loader import bundle
    from quantbot.strategies.registry import shipped

    print("| strategy | cold, s | warm, s |\n|---|---:|---:|")
    for name in shipped():
        with tempfile.TemporaryDirectory() as cache:
            text = bundle(name).to_json()
            cold = seconds(text, cache)
            warm = median(seconds(text, cache) for _ in range(arguments.repeats))
        print(f"| {name} | {cold:.1f} | {warm:.2f} |", flush=True)


def seconds(bundle_json: str, cache: str) -> float:
    """Return the wall time from starting a process to its first row."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "QUANTBOT_CACHE_DIR": cache},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(bundle_json)
        process.stdin.close()
        line = process.stdout.readline()
        elapsed = time.perf_counter() - start
    if line.strip() != "row":
        sys.exit("the process ended without a row; its error stands above")
    return elapsed


if __name__ == "__main__":
    main()
