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

from quantbot.errors import CorruptError, FormatError, RunError, StoreError
from sweeps.adaptive import open_phase
from sweeps.beside import settle_aside, try_out
from sweeps.blocks import compute_blocks
from sweeps.executors.base import ClusterError, Executor
from sweeps.lease import TTL_SECONDS, Lease, acquire, lease_state
from sweeps.progress import Progress, Tally, eta
from sweeps.quarantine import lift
from sweeps.runstore import SHORT, Manifest, RunStore
from sweeps.service.metering import Account, Meter
from sweeps.service.queue import remove, ticket_of
from sweeps.watch import CANCEL, LOOK_SECONDS, PAUSE, Ended, Ending, LeaseLost, Watch

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan

# A connection that broke under a library's hands says as little about the run as one whose loss was noticed.
NOT_THE_RUNS_FAULT = (ClusterError, OSError)


@dataclass(frozen=True)
class Outcome:
    """What a drive came to.

    Attributes
    ----------
    result_digest
        SHA-256 over the rows in trial order; empty when the drive ended before the run did.
    n_computed, n_reused
        Blocks that this drive had computed, and those that were in the store before it.
    followed
        Whether another process drove the run for at least a part of the time.
    state
        "done", or why the drive ended before: the run was "cancelled" or "paused", its "budget spent"; or the caller's
        `stop` said so ("drained", "yielded").
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
    state: Literal["done"] | Ending = "done"
    engine_seconds: float = 0.0


class DrivenError(RunError):
    """Another process drives the run."""


def drive(
    root: Store,
    identity: str,
    executor: Executor,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    wait: bool = True,
    ttl_seconds: float = TTL_SECONDS,
    resume: bool = True,
    stop: Callable[[], Ending | None] | None = None,
    grace_seconds: float = 30.0,
    account: Account | None = None,
) -> Outcome:
    """Bring a submitted run to its end: compute what is missing, commit, publish.

    Only one process drives a run at a time. While another does, this one follows it, reporting the progress that the
    store shows, and takes over when the other's lease ends.

    Parameters
    ----------
    on_progress
        Called about once a second and after every block.
    wait
        Whether to follow another driver; without, `DrivenError` says who drives.
    resume
        Whether to overrule a cancellation or a pause from before this call, and to try quarantined blocks again.
    stop
        Asked about once a second; a word ends the drive once the blocks in flight have ended.
    grace_seconds
        How long these may take then, or when the run is paused or its budget is spent.
    account
        What is charged with the costs, where this process has one already.

    Returns
    -------
    The outcome; its `state` says when the drive ended before the run did. What is finished is kept.

    Raises
    ------
    RunError
        If blocks can't be computed; the others are finished then. `DivergenceError` when a block gives other bytes
        than it did before. `ClusterError` when the cluster or the store can't go on now, and another try may.
    """
    started = time.monotonic()
    run = RunStore(root, identity)
    plan = run.plan()
    executor.check_root(root.url)
    if resume:
        for key in (CANCEL, PAUSE):
            run.store.delete(key)
        lift(run)
    followed = False
    report = on_progress or (lambda _: None)
    with _terminable():
        while True:
            manifest = run.manifest()
            if manifest is not None and is_complete(run, manifest):
                settle_aside(run, plan, manifest, executor)
                if (ticket := ticket_of(root, identity)) is not None:
                    remove(root, ticket.keys)
                return _outcome(plan, manifest, 0, started, followed)
            ticket = ticket_of(root, identity)
            waiting = ticket.keys if ticket is not None else ()
            lease = acquire(run.store, ttl_seconds)
            if lease is not None:
                try:
                    with lease:
                        user = ticket.user if ticket is not None else str(run.request().get("user", ""))
                        meter = Meter(run, lease.number, user, account)
                        watching = partial(
                            Watch, run, plan, lease=lease, report=report, started=started, meter=meter,
                            stop=stop or _never, grace_seconds=grace_seconds,
                        )  # fmt: skip
                        found = _drive(run, plan, executor, lease, watching, started, followed)
                    remove(root, waiting)
                    return found
                except LeaseLost:
                    continue
                except Ended as end:
                    if end.ending == "cancelled":
                        remove(root, waiting)
                    return _ended(run, plan, end, started, followed)
                except NOT_THE_RUNS_FAULT:
                    raise
                except Exception:
                    # It would fail again; whoever has put it right asks for it again.
                    with contextlib.suppress(StoreError):
                        remove(root, waiting)
                    raise
            if not wait:
                raise DrivenError(f"run {identity[:SHORT]} is driven by {lease_state(run.store).holder}")
            followed = True
            if _follow(run, plan, report, started) == "cancelled":
                return _ended(run, plan, Ended("cancelled", 0), started, followed)


def _never() -> None:
    return None


def is_complete(run: RunStore, manifest: Manifest) -> bool:
    """Return whether a committed run's blocks are all listed and its rows are published."""
    from sweeps.publish import is_published

    return len(run.finished()) >= len(manifest.blocks) and is_published(run)


def _drive(
    run: RunStore,
    plan: Plan,
    executor: Executor,
    lease: Lease,
    watching: Callable[[list[int]], Watch],
    started: float,
    followed: bool,
) -> Outcome:
    """Drive under a held lease; its note says afterwards why it was given back."""
    from sweeps.publish import publish

    try:
        n_computed, engine_seconds, manifest = 0, 0.0, None
        while manifest is None:
            missing = _missing(run, plan)
            try:
                engine_seconds += _compute(run, plan, missing, executor, watching)
                n_computed += len(missing)
                manifest = run.commit(plan)
            except (CorruptError, FormatError):
                # Bytes that contradict their own digest are nobody's result: without them the block is missing. So is
                # one that the store acknowledged and never had.
                if n_computed > 2 * plan.n_blocks or not (run.discard_damaged(plan) or _missing(run, plan)):
                    raise
        publish(run, plan, manifest)
        settle_aside(run, plan, manifest, executor)
        lease.note = "done"
        return replace(_outcome(plan, manifest, n_computed, started, followed), engine_seconds=engine_seconds)
    except Ended as end:
        lease.note = end.ending
        raise
    except LeaseLost:
        raise
    except (KeyboardInterrupt, SystemExit):
        lease.note = "interrupted"
        raise
    except NOT_THE_RUNS_FAULT as error:
        lease.trouble = trouble_of(error)
        lease.note = str(error)[:2000]
        raise
    except Exception as error:
        lease.note = f"failed: {error}"[:2000]
        raise


def trouble_of(error: BaseException) -> str:
    """Return the name of what kept a run from going on, though the run itself is sound."""
    if isinstance(error, ClusterError):
        return error.trouble
    return "store down" if isinstance(error, StoreError) else "scheduler down"


def _compute(
    run: RunStore, plan: Plan, missing: list[int], executor: Executor, watching: Callable[[list[int]], Watch]
) -> float:
    """Have the missing blocks computed; raise what kept some from it once all others are there.

    Returns the CPU seconds that the engine took.
    """
    watch = watching(missing)
    watch.look()
    if not missing:
        return 0.0
    watch.end_if_unwanted()
    try_out(run, plan, executor)
    watch.begin()
    try:
        for phase in range(len(plan.phases)):
            open_phase(run, plan, phase)
            phased = len(plan.phases) > 1
            todo = sorted(set(missing).intersection(plan.phase_blocks(phase).tolist())) if phased else missing
            if todo:
                watch.note = plan.phases.name(phase)
                compute_blocks(run, plan, executor, todo, watch)
    finally:
        with contextlib.suppress(StoreError):  # a store that is down now will say so by itself
            watch.charge()
    return watch.engine_seconds


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
        time.sleep(min(LOOK_SECONDS, lease.ttl_seconds / 3))


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


def _ended(run: RunStore, plan: Plan, end: Ended, started: float, followed: bool) -> Outcome:
    tally = run.tally(Tally(plan), [plan.block(index) for index in run.finished() if index < plan.n_blocks])
    return Outcome(
        identity=plan.identity,
        result_digest="",
        n_trials=plan.n_trials,
        n_blocks=plan.n_blocks,
        n_computed=end.n_computed,
        n_reused=tally.n_blocks_done - end.n_computed,
        n_failed=tally.n_failed,
        seconds=time.monotonic() - started,
        followed=followed,
        state=end.ending,
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
    import json
    import os

    from datasets.store import open_store
    from quantbot.errors import QuantBotError
    from quantbot.redaction import keep_secrets, redact
    from sweeps.executors import Isolation, dask_executor

    keep_secrets(os.environ)
    parser = argparse.ArgumentParser(prog="python -m sweeps.run", description="Drive a submitted run to its end.")
    parser.add_argument("root", help="URL of the store")
    parser.add_argument("identity", help="the run's identity, 64 hexadecimal digits")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scheduler", help="tcp://host:port or tls://host:port; default: a cluster of its own")
    parser.add_argument("--tls", help="folder of the certificates to show a tls:// scheduler")
    parser.add_argument("--isolation", type=json.loads, default={}, help="fields of Isolation, as JSON")
    parser.add_argument("--keep-cancelled", action="store_true", help="don't overrule a cancellation")
    options = parser.parse_args(arguments)
    said = [0.0]

    def say(progress: Progress) -> None:
        if time.monotonic() - said[0] > 10:
            said[0] = time.monotonic()
            text = f"{progress.n_done} of {progress.n_trials} trials, {progress.n_failed} failed, {progress.rate:.0f}/s"
            print(f"{text} {progress.note}".rstrip(), flush=True)

    try:
        isolation = Isolation(**options.isolation)
        with dask_executor(
            options.workers, options.threads, scheduler=options.scheduler, tls=options.tls, isolation=isolation
        ) as executor:
            root = open_store(options.root)
            found = drive(root, options.identity, executor, on_progress=say, resume=not options.keep_cancelled)
    except QuantBotError as error:
        print(redact(f"{type(error).__name__}: {error}"), flush=True)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished blocks are kept", flush=True)
        return 130
    print(replace(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
