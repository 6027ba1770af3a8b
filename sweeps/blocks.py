"""Having the missing blocks of a run computed: tried again by what kept them from it, named when nothing helps."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from quantbot.errors import DivergenceError, RunError, StrategyError
from sweeps.executors.base import Executor, Failure, error_of
from sweeps.runstore import SHORT, RunStore
from sweeps.task import Receipt, run_block

if TYPE_CHECKING:
    from sweeps.plan import Plan

_RETRIES = 5  # of a block that the store or the cluster failed; reliability.md, rule 10
_MANY_FAILURES = 20  # blocks that fail before any ends: the rest would too
_FATAL = (DivergenceError.__name__, RunError.__name__, StrategyError.__name__)  # every block would say the same


class Watch(Protocol):
    """Who sees every receipt and every second of a drive."""

    @property
    def n_computed(self) -> int: ...  # noqa: D102

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
    """Have blocks computed that wait for nothing; raise what kept some from it once all others are there."""
    del plan
    suspects, failures = list[int](), dict[int, Failure]()
    for attempt in range(_RETRIES):
        again = []
        for block, failure in _round(run, executor, todo, watch):
            if failure.cause == "killed":
                suspects.append(block)
            elif failure.cause == "raised":
                failures[block] = failure
                _stop_if_hopeless(failure, failures, watch)
            else:
                again.append((block, failure))
        if not again:
            break
        todo = sorted(block for block, _ in again)
        if attempt == _RETRIES - 1:
            failures |= dict(again)
        else:
            watch.say(f"{len(todo)} blocks again: {again[0][1]}")
            _pause(min(2.0**attempt, 15.0) * random.uniform(0.7, 1.3), watch)
    # Each suspect alone: whichever dies then has no neighbour to blame.
    for suspect in sorted(suspects):
        failures |= dict(_round(run, executor, [suspect], watch, at_a_time=1))
    if failures:
        raise _error(run, failures)


def _round(
    run: RunStore, executor: Executor, blocks: list[int], watch: Watch, at_a_time: int | None = None
) -> Iterator[tuple[int, Failure]]:
    """Run blocks; yield those that failed."""
    work = partial(run_block, run.root.url, run.identity)
    label = f"block-{run.identity[:SHORT]}"
    for found in executor.map(work, blocks, label=label, poll=watch.poll, at_a_time=at_a_time):
        if found.value is not None:
            watch.add(found.value)
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
    return RunError(
        f"{len(failures)} blocks of run {run.identity[:SHORT]} could not be computed; all others are in the store\n"
        + "\n".join(lines)
        + f"\nTry them again with: quantbot sweep resume {run.identity[:SHORT]}"
        + (f"\n{trace}" if trace else "")
    )


def _pause(seconds: float, watch: Watch) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch.poll()
        time.sleep(0.2)
