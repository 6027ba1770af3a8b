"""Having the missing blocks of a run computed: tried again by what kept them from it, named when nothing helps."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from quantbot.errors import DivergenceError, RunError, StoreError, StrategyError
from sweeps.executors.base import POISON, Answer, ClusterError, Executor, Failure, Isolation, Limits, error_of
from sweeps.quarantine import Quarantined, QuarantineError, quarantine, quarantined
from sweeps.runstore import SHORT, RunStore
from sweeps.task import Receipt, run_block

if TYPE_CHECKING:
    from sweeps.plan import Plan

_RETRIES = 5  # of a block that the store or the cluster failed; reliability.md, rule 10
_LEAST_SECONDS = 120.0  # that a block may take: the first one of a process also compiles and reads data
_PATIENCE = 30.0  # times what the plan expects
_LEAST_BYTES = 2 * 2**30
_ROOM = 4
_MANY_FAILURES = 20  # blocks that fail before any ends: the rest would too
_FATAL = (DivergenceError.__name__, RunError.__name__, StrategyError.__name__)  # every block would say the same


class Watch(Protocol):
    """Who sees every receipt and every second of a drive."""

    @property
    def n_computed(self) -> int: ...  # noqa: D102

    def issue(self, blocks: Iterable[int]) -> Iterator[int]:
        """Yield blocks to compute, for as long as the drive is to begin any."""
        ...

    def end_if_withheld(self) -> None:
        """Raise where some were not begun."""
        ...

    def add(self, receipt: Receipt) -> None:
        """Take note of a block that is in the store now."""
        ...

    def poll(self) -> None:
        """Raise when the drive must end."""
        ...

    def say(self, note: str) -> None:
        """Show a sentence with the progress."""
        ...


def compute_blocks(run: RunStore, plan: Plan, executor: Executor, todo: list[int], watch: Watch) -> None:
    """Have blocks computed that wait for nothing; raise what kept some from it once all others are there.

    Raises
    ------
    QuarantineError
        If some are quarantined, before this or now.
    RunError
        If others can't be computed.
    """
    held = quarantined(run)
    drive = _Drive(run, executor, watch, held={block: held[block] for block in held.keys() & set(todo)})
    todo = [block for block in todo if block not in held]
    drive.go(todo, limits_of(plan, executor.isolation))
    if drive.suspects:
        # Whoever was there when a worker died runs in a process of its own: it ends nobody else's work.
        drive.go(sorted(drive.suspects), limits_of(plan, replace(executor.isolation or Isolation(), which="all")))
    if drive.failures:
        raise _error(run, drive.failures)
    if drive.held:
        raise QuarantineError(run.identity, drive.held)


def limits_of(plan: Plan, isolation: Isolation | None) -> Limits | None:
    """Return what a block of a plan may take where it is to run in a process of its own, else None.

    The limits are far from what the plan expects: they end what hangs, not what is slow.
    """
    own = plan.bundle.kind in ("file", "module")
    if isolation is None or isolation.which == "none" or (isolation.which == "own" and not own):
        return None
    largest = float(np.diff(plan.block_starts).max()) / plan.n_trials
    seconds = isolation.seconds or max(_LEAST_SECONDS, _PATIENCE * plan.estimate.core_seconds * largest)
    memory = isolation.memory_bytes or _LEAST_BYTES + _ROOM * plan.estimate.memory_bytes
    return Limits(seconds, int(memory))


@dataclass
class _Drive:
    """Blocks on their way, and what kept some from being computed, by cause."""

    run: RunStore
    executor: Executor
    watch: Watch
    held: dict[int, Quarantined]
    failures: dict[int, Failure] = field(default_factory=dict)
    strikes: dict[int, Failure] = field(default_factory=dict)
    suspects: set[int] = field(default_factory=set)

    def go(self, todo: list[int], limits: Limits | None) -> None:
        """Have blocks computed, again as often as their failures' causes allow."""
        self.suspects = set()
        n_outages = 0
        while todo:
            again = dict[int, Failure]()
            struck = list[int]()
            for block, failure in self._round(todo, limits):
                if failure.cause in POISON:
                    if self._strike(block, failure):
                        struck.append(block)
                elif failure.cause == "killed" and limits is None:
                    self.suspects.add(block)
                elif failure.cause == "raised":
                    self.failures[block] = failure
                    _stop_if_hopeless(failure, self.failures, self.watch)
                else:
                    again[block] = failure
            self.watch.end_if_withheld()
            if again:
                n_outages += 1
                if n_outages == _RETRIES:
                    self.failures |= again
                    again = {}
                else:
                    self.watch.say(f"{len(again)} blocks again: {next(iter(again.values()))}")
                    _pause(min(2.0 ** (n_outages - 1), 15.0) * random.uniform(0.7, 1.3), self.watch)
            todo = sorted([*again, *struck])

    def _strike(self, block: int, failure: Failure) -> bool:
        """Note that a block ended its process; return whether it may try once more, elsewhere."""
        first = self.strikes.setdefault(block, failure)
        if first is failure:
            return True
        self.held[block] = quarantine(self.run, block, first, failure)
        self.watch.say(f"quarantined: {self.held[block]}")
        return False

    def _round(self, blocks: list[int], limits: Limits | None) -> Iterator[tuple[int, Failure]]:
        """Run blocks; yield those that failed."""
        found: Answer[int, Receipt]
        for found in self.executor.map(
            partial(run_block, self.run.root.url, self.run.identity),
            self.watch.issue(blocks),
            label=f"block-{self.run.identity[:SHORT]}",
            poll=self.watch.poll,
            limits=limits,
            avoid={block: self.strikes[block].worker for block in blocks if block in self.strikes},
        ):
            if found.value is not None:
                self.watch.add(found.value)
            elif found.failure is not None:
                yield found.item, found.failure


def _stop_if_hopeless(failure: Failure, failures: dict[int, Failure], watch: Watch) -> None:
    if failure.kind in _FATAL:
        raise error_of(failure)
    if len(failures) >= _MANY_FAILURES and not watch.n_computed:
        raise RunError(f"the first {len(failures)} blocks all failed; the last said {failure}\n{failure.trace}")


def _error(run: RunStore, failures: dict[int, Failure]) -> RunError:
    lines = [f"  block {block}: {failure}" for block, failure in sorted(failures.items())[:10]]
    trace = next((failure.trace for failure in failures.values() if failure.trace), "")
    text = (
        f"{len(failures)} blocks of run {run.identity[:SHORT]} could not be computed; all others are in the store\n"
        + "\n".join(lines)
        + f"\nTry them again with: quantbot sweep resume {run.identity[:SHORT]}"
        + (f"\n{trace}" if trace else "")
    )
    if all(isinstance(error_of(failure), StoreError) for failure in failures.values()):
        return ClusterError(text, "store down")
    if all(failure.cause == "lost" for failure in failures.values()):
        return ClusterError(text, "scheduler down")
    return RunError(text)


def _pause(seconds: float, watch: Watch) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch.poll()
        time.sleep(0.2)
