"""Into blocks: how long a bar-step takes, how many points ride one block, what a run will cost."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Engine, Job, Points
from quantbot.errors import InputError, TooLargeError
from quantbot.market import BAR_FIELDS

MOST_POINTS = 65_536  # of one block: its rows stay near 10 MB
_NOMINAL_WORKERS = 8
_NOMINAL_MEMORY = 2 * 2**30
_BLOCKS_PER_WORKER = 4  # so that the last blocks to finish leave no worker idle for long
_SHORTEST_SECONDS = 0.05  # below it a block's own overhead is what one would divide
_LANES = 64  # blocks hold whole groups of lanes, whatever the kernel's width
_PROBE_SECONDS = 0.05
_BYTES_PER_BAR = 8 * (len(BAR_FIELDS) + 2)  # time and adjustment too


@dataclass(frozen=True)
class Machine:
    """What a worker may take.

    Attributes
    ----------
    memory_bytes
        Most that one block may need.
    """

    workers: int
    memory_bytes: int

    @classmethod
    def here(cls, workers: int | None, memory_bytes: int | None, *, nominal: bool) -> Machine:
        """Describe this machine, or a nominal one so that the partition depends on nothing but the spec."""
        if workers is not None and workers < 1:
            raise InputError(f"workers must be at least 1, was {workers}")
        if memory_bytes is not None and memory_bytes < 1:
            raise InputError(f"memory_limit_bytes must be at least 1, was {memory_bytes}")
        if nominal:
            return cls(workers or _NOMINAL_WORKERS, memory_bytes or _NOMINAL_MEMORY)
        workers = workers or len(os.sched_getaffinity(0))
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(workers, memory_bytes or max(physical // 2 // workers, 256 * 2**20))


def probe_ns(engine: Engine, job: Job, data: Any, points: Points) -> float:
    """Return the nanoseconds that one bar of one trial takes, measured on a short run.

    The first run warms caches and is not counted; the engine has compiled before (`Engine.check`).
    """
    part, window, few = engine.probe(job, data, points)
    engine.run(job, part, window, few)
    best, spent = math.inf, 0.0
    while spent < _PROBE_SECONDS:
        part, window, few = engine.probe(job, data, points)  # anew: an engine may remember what it worked out
        began = time.perf_counter()
        engine.run(job, part, window, few)
        seconds = time.perf_counter() - began
        best, spent = min(best, seconds), spent + max(seconds, 1e-4)
    return max(best * 1e9 / ((window[1] - window[0]) * len(few)), 1e-3)


def data_bytes(n_bars: int, n_assets: int = 1) -> int:
    """Return the decoded bytes of the bars of one asset, or of many together."""
    return n_bars * _BYTES_PER_BAR * n_assets


def points_per_block(
    engine: Engine,
    job: Job,
    n_points: int,
    n_groups: int,
    n_bars: int,
    n_steps: int,
    ns: float,
    seconds: float,
    machine: Machine,
) -> int:
    """Return how many points ride one block.

    Parameters
    ----------
    n_groups
        Pairs of asset and fold: a block never spans two.
    n_bars
        Bars of the longest asset, history included: what a block reads.
    n_steps
        Bars of the longest fold: what a trial steps over.
    ns
        Nanoseconds per bar-step.
    seconds
        How long a block should take.

    Raises
    ------
    TooLargeError
        If not even one point fits into a worker's memory.
    """
    limit = machine.memory_bytes
    least = memory_bytes(engine, job, n_bars, 1)
    if least > limit:
        raise TooLargeError(
            f"a block of one trial over {n_bars:,} bars needs {_size(least)} but a worker may take {_size(limit)}; "
            "use a shorter period or coarser bars, fewer workers a machine, or a larger memory limit"
        )
    per_point = max(n_steps, 1) * ns * 1e-9
    wanted = max(1, int(seconds / per_point))
    least_blocks = math.ceil(machine.workers * _BLOCKS_PER_WORKER / n_groups)
    shared = max(math.ceil(n_points / least_blocks), int(_SHORTEST_SECONDS / per_point), 1)
    size = min(wanted, shared, n_points, MOST_POINTS)
    while memory_bytes(engine, job, n_bars, size) > limit:
        size = max(1, size // 2)
    n_blocks = math.ceil(n_points / size)
    even = math.ceil(n_points / n_blocks)  # no small last block
    return even if even <= _LANES else min(math.ceil(even / _LANES) * _LANES, size)


def memory_bytes(engine: Engine, job: Job, n_bars: int, n_points: int) -> int:
    """Return an upper bound of what one block needs: bars as read and as decoded, and the engine's own state."""
    return 2 * data_bytes(n_bars, max(len(job.assets), 1)) + engine.memory_bytes(job, n_bars, n_points)


def block_starts(
    n_points: int,
    n_groups: int,
    size: int,
    point_starts: NDArray[np.int64] | None = None,
    seams: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the first trial of each block and, last, the number of trials.

    Parameters
    ----------
    point_starts
        Points at which a block begins whatever its size, and, last, the number of points; 0 and that where not said.
    seams
        Points, from 0 rising, at which a block should begin: each is moved back to the nearest, by less than `size`.

    Examples
    --------
    >>> block_starts(5, 2, 2).tolist()
    [0, 2, 4, 5, 7, 9, 10]
    >>> block_starts(6, 1, 4, seams=np.array([0, 3])).tolist()
    [0, 3, 6]
    """
    if not size >= 1:
        raise InputError(f"block_points must be at least 1, was {size}")
    starts = np.array([0, n_points]) if point_starts is None else point_starts
    within = np.concatenate([np.arange(*part, size, dtype=np.int64) for part in pairwise(starts.tolist())])
    if seams is not None:
        before = seams[np.searchsorted(seams, within, side="right") - 1]
        within = np.union1d(starts[:-1], np.where(within - before < size, before, within))
    groups = np.arange(n_groups, dtype=np.int64) * n_points
    return np.append((groups[:, None] + within).ravel(), n_groups * n_points)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"
