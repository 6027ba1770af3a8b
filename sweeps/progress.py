"""How far a run is: counted from the store or from receipts, never stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.rows import BlockHeader
    from sweeps.task import Receipt


@dataclass(frozen=True)
class Progress:
    """One look at a run that is being driven.

    Attributes
    ----------
    n_done, n_failed
        Trials that are in the store, and those of them that failed.
    n_reused
        Blocks that were there before this drive.
    rate
        Trials per second of this drive; 0 while unknown.
    eta_seconds
        Shortest and longest time left, in seconds; None while unknown.
    best_trial, best_value
        The best by the run's objective among what is done.
    followed
        Whether another process drives the run and this one looks on.
    note
        What a person should know: a retry, another driver.
    """

    identity: str
    n_trials: int
    n_done: int
    n_failed: int
    n_blocks: int
    n_blocks_done: int
    n_reused: int
    seconds: float
    rate: float = 0.0
    eta_seconds: tuple[float, float] | None = None
    best_trial: int | None = None
    best_value: float | None = None
    followed: bool = False
    note: str = ""


def eta(n_left: int, rate: float, recent_rate: float | None = None) -> tuple[float, float] | None:
    """Return shortest and longest time left, in seconds, from the mean rate and the recent one.

    Examples
    --------
    >>> eta(100, 10.0, 8.0)
    (8.0, 15.0)
    """
    if rate <= 0:
        return None
    rates = sorted({rate, recent_rate if recent_rate and recent_rate > 0 else rate})
    return 0.8 * n_left / rates[-1], 1.2 * n_left / rates[0]


class Best:
    """The best of what was seen, ties broken by trial index, so that the order of completion doesn't matter."""

    def __init__(self, better: int) -> None:
        self.trial: int | None = None
        self.value: float | None = None
        self._better = better

    def see(self, trial: int | None, value: float | None) -> None:
        """Consider one candidate."""
        if trial is None or value is None:
            return
        if self.trial is None or self.value is None:
            self.trial, self.value = trial, value
            return
        mine, new = (self._better * self.value, -self.trial), (self._better * value, -trial)
        if new > mine:
            self.trial, self.value = trial, value


class Tally:
    """Counts of one drive: what was there, and the receipts that came.

    The best is sought where a choice may be made (`sweeps.task.judged_folds`), never in a test fold.
    """

    def __init__(self, plan: Plan) -> None:
        from sweeps.task import judged_folds, objective

        self.n_done = 0
        self.n_failed = 0
        self.n_blocks_done = 0
        self.best = Best(objective(plan)[1])
        self._plan = plan
        self._judged = frozenset(judged_folds(plan))

    def count(self, found: Receipt | BlockHeader) -> None:
        """Count one finished block."""
        self.n_done += found.n_trials
        self.n_failed += found.n_failed
        self.n_blocks_done += 1
        if self._plan.block(found.block).fold_index in self._judged:
            self.best.see(found.best_trial, found.best_value)
