"""What runs a strategy beside its blocks: trying it out before the first, judging the run after the last.

A user's strategy does neither in the driver, which it could end or hang: both happen where blocks run.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sweeps.blocks import limits_of
from sweeps.executors.base import Executor, Limits, error_of
from sweeps.task import warm

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.runstore import Manifest, RunStore

_LEAST_SECONDS = 600.0  # that compiling may take, or running many trials again


def try_out(run: RunStore, plan: Plan, executor: Executor) -> None:
    """Compile what the run needs on each machine, by running it on a few bars; raise what that raises."""
    executor.prepare(partial(warm, run.root.url, run.identity), _limits(plan, executor))


def settle_aside(run: RunStore, plan: Plan, manifest: Manifest, executor: Executor) -> None:
    """Write what a committed run owes to its luck (`sweeps.luck.settle`); only a store that fails is raised."""
    from sweeps.assessment import is_assessed
    from sweeps.luck import settle, settle_stored

    limits = None if is_assessed(run) else _limits(plan, executor)
    if limits is None:
        settle(run, plan, manifest)
        return
    for found in executor.map(partial(settle_stored, run.root.url), [run.identity], label="settle", limits=limits):
        if found.failure is not None and found.failure.cause == "outage":
            raise error_of(found.failure)


def _limits(plan: Plan, executor: Executor) -> Limits | None:
    limits = limits_of(plan, executor.isolation)
    return None if limits is None else replace(limits, seconds=max(10 * limits.seconds, _LEAST_SECONDS))
