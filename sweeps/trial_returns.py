"""Returns per bar of some trials of a run, computed again in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Engine, Job, Points, get_engine
from sweeps.task import NOT_A_TRIALS_FAULT, load_data

if TYPE_CHECKING:
    from sweeps.plan import Plan

Floats = NDArray[np.float64]
_PIECE_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Returns:
    """Some trials of one asset in one fold.

    Attributes
    ----------
    places
        Shape (n,): where these trials stand among those asked for.
    window
        Half-open range of the asset's bars.
    ts_end_ns
        Shape (n_bars,): the ends of the window's bars.
    returns
        Shape (n, n_bars): simple returns on equity, those behind the rows; NaN where a trial failed.
    """

    asset: int
    fold: int
    places: NDArray[np.int64]
    window: tuple[int, int]
    ts_end_ns: NDArray[np.int64]
    periods_per_year: float
    returns: Floats


def trial_returns(plan: Plan, trials: NDArray[np.int64]) -> Iterator[Returns]:
    """Yield the returns of trials, slice by slice, at most 32 MB at a time; a slice without bars is left out.

    Parameters
    ----------
    plan
        With every point known (`sweeps.adaptive.known_plan`).
    trials
        Shape (n,): indices of trials, in any order.
    """
    engine, job = get_engine(plan.engine), plan.job()
    slices, points = np.divmod(np.asarray(trials, np.int64), plan.n_points)
    for number in np.unique(slices).tolist():
        asset, fold = divmod(number, len(plan.folds))
        bars = load_data(plan, plan.assets[asset])
        start, stop = plan.folds[fold].window(bars.ts_end_ns)
        if stop - start < 1:
            continue
        places = np.flatnonzero(slices == number)
        step = max(_PIECE_BYTES // (8 * (stop - start)), 1)
        for first in range(0, len(places), step):
            piece = places[first : first + step]
            returns = _returns(engine, job, bars, (start, stop), plan.points.take(points[piece]))
            times = bars.ts_end_ns[start:stop]
            yield Returns(asset, fold, piece, (start, stop), times, bars.periods_per_year, returns)


def _returns(engine: Engine, job: Job, bars: Any, window: tuple[int, int], points: Points) -> Floats:
    """Return the returns of points; where the engine raises, halve them until it is one that fails, as rows do."""
    try:
        return engine.returns(job, bars, window, points)
    except NOT_A_TRIALS_FAULT:
        raise
    except Exception:
        if len(points) == 1:
            return np.full((1, window[1] - window[0]), np.nan)
    middle = len(points) // 2
    halves = (points[:middle], points[middle:])
    return np.concatenate([_returns(engine, job, bars, window, half) for half in halves])
