"""Seeing every receipt and every second of a drive: progress, costs, and whether it must end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from quantbot.errors import StoreError
from sweeps.lease import Lease
from sweeps.progress import Progress, Tally, eta
from sweeps.runstore import RunStore
from sweeps.service.budgets import budget_of
from sweeps.service.metering import Meter, Usage
from sweeps.task import Receipt

if TYPE_CHECKING:
    from sweeps.plan import Plan

CANCEL, PAUSE = "cancel.json", "service/pause.json"
LOOK_SECONDS = 1.0  # between two looks at the store
_WRITE_SECONDS = 5.0  # between two writings of the meter: what a killed driver forgets

Ending = Literal["cancelled", "paused", "budget spent", "drained", "yielded"]


class Stopped(Exception):  # an event, not an error: it never leaves the drive
    """The drive ends here."""


class LeaseLost(Stopped):
    """Somebody else holds the lease."""


class Ended(Stopped):
    """The run was asked to stop; what is finished is kept."""

    def __init__(self, ending: Ending, n_computed: int) -> None:
        super().__init__()
        self.ending, self.n_computed = ending, n_computed


class Watch:
    """Sees every receipt and every second of a drive: reports progress, and ends the drive when it must end.

    A cancellation ends it at once. Everything else closes it: no block is begun any more, and it ends once those in
    flight have ended, or after `grace_seconds`.
    """

    def __init__(
        self,
        run: RunStore,
        plan: Plan,
        missing: list[int],
        lease: Lease,
        report: Callable[[Progress], None],
        started: float,
        meter: Meter,
        stop: Callable[[], Ending | None],
        grace_seconds: float,
    ) -> None:
        self.n_computed = 0
        self.engine_seconds = 0.0
        self._meter, self._stop, self._grace = meter, stop, grace_seconds
        self._budget = budget_of(run)
        self._closing: tuple[Ending, float] | None = None
        self._withheld = False
        self._charged = self._wrote = started
        self._run, self._plan, self._lease, self._report = run, plan, lease, report
        self._started = self._began = started
        self._looked = 0.0
        self.note = ""
        there = sorted(set(range(plan.n_blocks)) - set(missing))
        self._tally = run.tally(Tally(plan), [plan.block(index) for index in there])
        self._n_reused = self._tally.n_blocks_done
        self._n_before = self._tally.n_done
        self._seen: set[int] = set()
        self._recent: list[tuple[float, int]] = []

    def begin(self) -> None:
        """Start the clock of the rate: the first block is about to run."""
        self._began = time.monotonic()

    def say(self, note: str) -> None:
        """Show a sentence with the progress."""
        self.note = note
        self.look()

    def issue(self, blocks: Iterable[int]) -> Iterator[int]:
        """Yield blocks to compute, until the drive is closing."""
        for block in blocks:
            if self._closing is not None:
                self._withheld = True
                return
            yield block

    def end_if_unwanted(self) -> None:
        """End the drive before it begins where nobody wants it to: paused, or its budget is spent already."""
        self.poll()
        self._check_budget()
        if self._closing is not None:
            raise Ended(self._closing[0], self.n_computed)

    def end_if_withheld(self) -> None:
        """End the drive where blocks were not begun any more."""
        if self._withheld and self._closing is not None:
            raise Ended(self._closing[0], self.n_computed)

    def add(self, receipt: Receipt) -> None:
        """Count a block that is in the store now."""
        if receipt.block not in self._seen:
            self._seen.add(receipt.block)
            self._tally.count(receipt)
            self.n_computed += 1
            self.engine_seconds += receipt.engine_seconds
            self._recent = [*self._recent[-19:], (time.monotonic(), self._tally.n_done)]
        self._meter.add(Usage.of(receipt))
        self._check_budget()
        self.look()

    def poll(self) -> None:
        """Raise when the drive must end; look at the store at most once a second."""
        if self._lease.lost.is_set():
            raise LeaseLost
        now = time.monotonic()
        if self._closing is not None and now - self._closing[1] > self._grace:
            raise Ended(self._closing[0], self.n_computed)
        if (word := self._stop()) is not None:
            self._close(word)
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            self._listen(now)
        except StoreError as error:
            # The lease decides for how long: blocks in flight may still end.
            self.note = f"the store doesn't answer: {error}"
        self.look()

    def charge(self) -> None:
        """Write down what the drive cost so far; a store that is down now will say so by itself."""
        now = time.monotonic()
        self._meter.add(Usage(wall_seconds=now - self._charged))
        self._charged = now
        self._meter.write()

    def _listen(self, now: float) -> None:
        if self._run.store.exists(CANCEL):
            raise Ended("cancelled", self.n_computed)
        if self._run.store.exists(PAUSE):
            self._close("paused")
        if now - self._wrote > _WRITE_SECONDS:
            self._wrote = now
            self.charge()
            self._check_budget()

    def _check_budget(self) -> None:
        if self._closing is not None or not self._budget.spent(self._meter.total):
            return
        self._budget = budget_of(self._run)  # somebody may have given more meanwhile
        if self._budget.spent(self._meter.total):
            self._close("budget spent")

    def _close(self, ending: Ending) -> None:
        if self._closing is None:
            self._closing = ending, time.monotonic()

    def look(self) -> None:
        """Report."""
        tally, plan, now = self._tally, self._plan, time.monotonic()
        elapsed = now - self._began
        rate = (tally.n_done - self._n_before) / elapsed if self.n_computed and elapsed > 0 else 0.0
        recent = None
        if len(self._recent) > 2:
            (first, n_first), (last, n_last) = self._recent[0], self._recent[-1]
            recent = (n_last - n_first) / max(last - first, 1e-3)
        progress = Progress(
            identity=plan.identity,
            n_trials=plan.n_trials,
            n_done=tally.n_done,
            n_failed=tally.n_failed,
            n_blocks=plan.n_blocks,
            n_blocks_done=tally.n_blocks_done,
            n_reused=self._n_reused,
            seconds=now - self._started,
            rate=rate,
            eta_seconds=eta(plan.n_trials - tally.n_done, rate, recent),
            best_trial=tally.best.trial,
            best_value=tally.best.value,
            note=self.note,
        )
        self._report(progress)
