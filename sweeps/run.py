"""Driving a run: find what is missing, have it computed, commit.

A driver holds nothing that matters: kill it at any moment and another finds in the store what it would have found.
``python -m sweeps.run ROOT IDENTITY`` drives as a detached process (`sweeps.submission.start_driver`).
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from quantbot.errors import CorruptError, RunError
from sweeps.adaptive import open_phase
from sweeps.blocks import compute_blocks
from sweeps.executors.base import Executor
from sweeps.lease import TTL_SECONDS, Lease, acquire, lease_state
from sweeps.progress import Progress, Tally, eta
from sweeps.runstore import SHORT, Manifest, RunStore
from sweeps.task import Receipt, warm

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan

CANCEL = "cancel.json"
_LOOK_SECONDS = 1.0  # between two looks at the store


@dataclass(frozen=True)
class Outcome:
    """What a drive came to.

    Attributes
    ----------
    result_digest
        SHA-256 over the rows in trial order; empty when the run was cancelled.
    n_computed, n_reused
        Blocks that this drive had computed, and those that were in the store before it.
    followed
        Whether another process drove the run for at least a part of the time.
    engine_seconds
        CPU time that the engine took, in all workers together, for the blocks that this drive had computed.
    """

    identity: str
    result_digest: str
    n_trials: int
    n_blocks: int
    n_computed: int
    n_reused: int
    n_failed: int
    seconds: float
    followed: bool
    state: Literal["done", "cancelled"] = "done"
    engine_seconds: float = 0.0


class _Stopped(Exception):  # an event, not an error: it never leaves this file
    """The drive ends here: cancelled, or its lease is another's."""


class _Cancelled(_Stopped):
    def __init__(self, n_computed: int) -> None:
        super().__init__()
        self.n_computed = n_computed


class _LeaseLost(_Stopped):
    pass


def drive(
    root: Store,
    identity: str,
    executor: Executor,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    wait: bool = True,
    ttl_seconds: float = TTL_SECONDS,
    resume: bool = True,
) -> Outcome:
    """Bring a submitted run to its end: compute what is missing, commit, publish.

    Only one process drives a run at a time. While another does, this one follows it, reporting the progress that the
    store shows, and takes over when the other's lease ends.

    Parameters
    ----------
    on_progress
        Called about once a second and after every block.
    wait
        Whether to follow another driver; without, `RunError` says who drives.
    resume
        Whether to overrule a cancellation from before this call.

    Returns
    -------
    The outcome; its `state` is "cancelled" when somebody cancelled the run meanwhile. What is finished is kept.

    Raises
    ------
    RunError
        If blocks can't be computed; the others are finished then. `DivergenceError` when a block gives other bytes
        than it did before.
    """
    from sweeps.luck import settle

    started = time.monotonic()
    run = RunStore(root, identity)
    plan = run.plan()
    executor.check_root(root.url)
    if resume:
        run.store.delete(CANCEL)
    followed = False
    report = on_progress or (lambda _: None)
    with _terminable():
        while True:
            manifest = run.manifest()
            if manifest is not None and is_complete(run, manifest):
                settle(run, plan, manifest)
                return _outcome(plan, manifest, 0, started, followed)
            lease = acquire(run.store, ttl_seconds)
            if lease is not None:
                try:
                    with lease:
                        return _drive(run, plan, executor, lease, report, started, followed)
                except _LeaseLost:
                    continue
                except _Cancelled as stop:
                    return _cancelled(run, plan, stop.n_computed, started, followed)
            if not wait:
                raise RunError(f"run {identity[:SHORT]} is driven by {lease_state(run.store).holder}")
            followed = True
            if _follow(run, plan, report, started) == "cancelled":
                return _cancelled(run, plan, 0, started, followed)


def is_complete(run: RunStore, manifest: Manifest) -> bool:
    """Return whether a committed run's blocks are all listed and its rows are published."""
    from sweeps.publish import is_published

    return len(run.finished()) >= len(manifest.blocks) and is_published(run)


def _drive(
    run: RunStore,
    plan: Plan,
    executor: Executor,
    lease: Lease,
    report: Callable[[Progress], None],
    started: float,
    followed: bool,
) -> Outcome:
    """Drive under a held lease; its note says afterwards why it was given back."""
    from sweeps.luck import settle
    from sweeps.publish import publish

    try:
        n_computed, engine_seconds, manifest = 0, 0.0, None
        while manifest is None:
            missing = _missing(run, plan)
            try:
                engine_seconds += _compute(run, plan, missing, executor, lease, report, started)
                n_computed += len(missing)
                manifest = run.commit(plan)
            except CorruptError:
                # Bytes that contradict their own digest are nobody's result: without them the block is missing.
                if n_computed > 2 * plan.n_blocks or not run.discard_damaged(plan):
                    raise
        publish(run, plan, manifest)
        settle(run, plan, manifest)
        lease.note = "done"
        return replace(_outcome(plan, manifest, n_computed, started, followed), engine_seconds=engine_seconds)
    except _Stopped as stop:
        lease.note = "cancelled" if isinstance(stop, _Cancelled) else ""
        raise
    except (KeyboardInterrupt, SystemExit):
        lease.note = "interrupted"
        raise
    except Exception as error:
        lease.note = f"failed: {error}"[:2000]
        raise


def _compute(
    run: RunStore,
    plan: Plan,
    missing: list[int],
    executor: Executor,
    lease: Lease,
    report: Callable[[Progress], None],
    started: float,
) -> float:
    """Have the missing blocks computed; raise what kept some from it once all others are there.

    Returns the CPU seconds that the engine took.
    """
    watch = _Watch(run, plan, missing, lease, report, started)
    watch.look()
    if not missing:
        return 0.0
    executor.prepare(partial(warm, run.root.url, run.identity))
    watch.begin()
    for phase in range(len(plan.phases)):
        open_phase(run, plan, phase)
        todo = sorted(set(missing).intersection(plan.phase_blocks(phase).tolist())) if len(plan.phases) > 1 else missing
        if todo:
            watch.note = plan.phases.name(phase)
            compute_blocks(run, plan, executor, todo, watch)
    return watch.engine_seconds


class _Watch:
    """Sees every receipt and every second of a drive: reports progress, and ends the drive when it must end."""

    def __init__(
        self,
        run: RunStore,
        plan: Plan,
        missing: list[int],
        lease: Lease,
        report: Callable[[Progress], None],
        started: float,
    ) -> None:
        self.n_computed = 0
        self.engine_seconds = 0.0
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

    def add(self, receipt: Receipt) -> None:
        """Count a block that is in the store now."""
        if receipt.block not in self._seen:
            self._seen.add(receipt.block)
            self._tally.count(receipt)
            self.n_computed += 1
            self.engine_seconds += receipt.engine_seconds
            self._recent = [*self._recent[-19:], (time.monotonic(), self._tally.n_done)]
        self.look()

    def poll(self) -> None:
        """Raise when the drive must end; look at the store at most once a second."""
        if self._lease.lost.is_set():
            raise _LeaseLost
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if self._run.store.exists(CANCEL):
            raise _Cancelled(self.n_computed)
        self.look()

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


def _follow(
    run: RunStore, plan: Plan, report: Callable[[Progress], None], started: float
) -> Literal["free", "cancelled"]:
    """Report what another driver gets done, until the run is committed, cancelled, or free to be taken."""
    counted: set[int] = set()
    tally, n_before = Tally(plan), 0
    while True:
        lease = lease_state(run.store)
        new = [block for block in run.finished() if block not in counted and block < plan.n_blocks]
        run.tally(tally, [plan.block(index) for index in new])
        n_before = n_before if counted else tally.n_done
        counted.update(new)
        seconds = time.monotonic() - started
        rate = (tally.n_done - n_before) / seconds if seconds > 0 else 0.0
        report(
            Progress(
                identity=plan.identity,
                n_trials=plan.n_trials,
                n_done=tally.n_done,
                n_failed=tally.n_failed,
                n_blocks=plan.n_blocks,
                n_blocks_done=tally.n_blocks_done,
                n_reused=tally.n_blocks_done,
                seconds=seconds,
                rate=rate,
                eta_seconds=eta(plan.n_trials - tally.n_done, rate),
                best_trial=tally.best.trial,
                best_value=tally.best.value,
                followed=True,
                note=f"driven by {lease.holder}",
            )
        )
        if not lease.alive:
            return "cancelled" if run.store.exists(CANCEL) else "free"
        time.sleep(min(_LOOK_SECONDS, lease.ttl_seconds / 3))


def _missing(run: RunStore, plan: Plan) -> list[int]:
    return sorted(set(range(plan.n_blocks)) - set(run.finished()))


def _outcome(plan: Plan, manifest: Manifest, n_computed: int, started: float, followed: bool) -> Outcome:
    return Outcome(
        identity=plan.identity,
        result_digest=manifest.result_digest,
        n_trials=manifest.n_trials,
        n_blocks=len(manifest.blocks),
        n_computed=n_computed,
        n_reused=max(len(manifest.blocks) - n_computed, 0),
        n_failed=manifest.n_failed,
        seconds=time.monotonic() - started,
        followed=followed,
    )


def _cancelled(run: RunStore, plan: Plan, n_computed: int, started: float, followed: bool) -> Outcome:
    tally = run.tally(Tally(plan), [plan.block(index) for index in run.finished() if index < plan.n_blocks])
    return Outcome(
        identity=plan.identity,
        result_digest="",
        n_trials=plan.n_trials,
        n_blocks=plan.n_blocks,
        n_computed=n_computed,
        n_reused=tally.n_blocks_done - n_computed,
        n_failed=tally.n_failed,
        seconds=time.monotonic() - started,
        followed=followed,
        state="cancelled",
    )


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a drive like Ctrl-C does: the lease is given back and the cluster ended."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(arguments: list[str] | None = None) -> int:
    """Drive one run as a process of its own; progress goes to standard output, a line at most every ten seconds."""
    import argparse

    from datasets.store import open_store
    from quantbot.errors import QuantBotError
    from sweeps.executors import dask_executor

    parser = argparse.ArgumentParser(prog="python -m sweeps.run", description="Drive a submitted run to its end.")
    parser.add_argument("root", help="URL of the store")
    parser.add_argument("identity", help="the run's identity, 64 hexadecimal digits")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scheduler", help="tcp://host:port or tls://host:port; default: a cluster of its own")
    parser.add_argument("--keep-cancelled", action="store_true", help="don't overrule a cancellation")
    options = parser.parse_args(arguments)
    said = [0.0]

    def say(progress: Progress) -> None:
        if time.monotonic() - said[0] > 10:
            said[0] = time.monotonic()
            text = f"{progress.n_done} of {progress.n_trials} trials, {progress.n_failed} failed, {progress.rate:.0f}/s"
            print(f"{text} {progress.note}".rstrip(), flush=True)

    try:
        with dask_executor(options.workers, options.threads, scheduler=options.scheduler) as executor:
            root = open_store(options.root)
            found = drive(root, options.identity, executor, on_progress=say, resume=not options.keep_cancelled)
    except QuantBotError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished blocks are kept", flush=True)
        return 130
    print(replace(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
