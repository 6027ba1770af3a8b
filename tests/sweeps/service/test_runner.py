"""A runner: takes what waits, in order, drives it to its end, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from store_faults import WRITES, StoreFaults

from datasets.store import Store
from quantbot.errors import AccessError, InputError
from sweeps.executors import serial
from sweeps.executors.base import ClusterLostError, Limits
from sweeps.executors.serial import SerialExecutor
from sweeps.lease import acquire, lease_state
from sweeps.results import run_status
from sweeps.run import drive
from sweeps.runstore import RunStore
from sweeps.service import Budget, Runner, enqueue, runners, tickets, usage_of_run, usage_of_users
from sweeps.service.budgets import budget_of
from sweeps.submission import cancel, pause, resume, submit


@pytest.fixture(scope="module")
def digest(small: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an undisturbed serial drive gives."""
    root = small.root(tmp_path_factory.mktemp("undisturbed"))
    with serial() as executor:
        return drive(root, small.submit(root), executor).result_digest


def spec(small: Any, fast: int) -> dict[str, Any]:
    """Return a small run of its own for each `fast`."""
    grid = {"fast": fast, "slow": {"values": [20, 30]}}
    return {**small.spec, "run": {"name": f"fast-{fast}"}, "parameters": grid, "search": {}}


@contextmanager
def running(runner: Runner) -> Iterator[Runner]:
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        yield runner
    finally:
        runner.drain()
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


class Broken(SerialExecutor):
    """A cluster that is away for its first so many uses."""

    def __init__(self, left: list[int]) -> None:
        self.left = left

    def prepare(self, run: Callable[[], object], limits: Limits | None = None) -> None:
        if self.left:
            self.left.pop()
            raise ClusterLostError("no scheduler answers at tcp://nowhere:1")
        super().prepare(run, limits)


class Slow(SerialExecutor):
    """Says when it has begun, and takes its time."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.began = threading.Event()
        self.seconds = seconds

    def map(self, run: Any, items: Any, **more: Any) -> Any:
        for found in super().map(run, items, **more):
            self.began.set()
            time.sleep(self.seconds)
            yield found


def test_runner__drives_what_waits_and_removes_its_ticket(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root)
    assert [ticket.identity for ticket in tickets(root)] == [identity]
    runner = Runner(root, serial, name="one")
    runner.run(once=True)
    status = run_status(root, identity)
    assert (status.state, status.result_digest) == ("done", digest)
    assert tickets(root) == []
    assert runners(root) == []
    assert (runner.counters.n_done, runner.counters.n_blocks) == (1, status.n_blocks)


def test_what_is_done__gets_no_ticket(root: Store, small: Any) -> None:
    identity = small.submit(root)
    with serial() as executor:
        drive(root, identity, executor)
    assert tickets(root) == []
    assert small.submit(root) == identity
    resume(root, identity)
    assert tickets(root) == []


def test_runner__takes_priority_first_then_the_user_who_took_least(root: Store, small: Any) -> None:
    from sweeps.spec import parse_spec

    said: list[str] = []
    wanted = [("ada", 0), ("ada", 0), ("bob", 0), ("eve", 7)]
    made = []
    for fast, (user, priority) in enumerate(wanted, 4):
        text = spec(small, fast)
        made.append(submit(parse_spec(text), root, plan=small.plan(root, text), user=user, priority=priority))
    Runner(root, serial, say=said.append).run(once=True)
    order = [line.split()[1].rstrip(":") for line in said if "taken" in line]
    # Eve by priority; Ada waited longest; then Bob, since Ada had a run by then.
    assert order == [made[index][:12] for index in (3, 0, 2, 1)]


def test_pause__gives_the_run_back_and_keeps_its_place_and_resume_goes_on(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root, points=4)
    executor = Slow()
    with running(Runner(root, lambda: executor, poll_seconds=0.05, ttl_seconds=5.0)):
        assert executor.began.wait(20)
        pause(root, identity)
        wait_for(lambda: run_status(root, identity).state == "paused")
        run = RunStore(root, identity)
        there = len(run.finished())
        assert 0 < there < run.plan().n_blocks
        time.sleep(0.3)
        assert len(run.finished()) == there, "somebody went on with a paused run"
        assert [ticket.identity for ticket in tickets(root)] == [identity]
        resume(root, identity)
        wait_for(lambda: run_status(root, identity).state == "done")
    assert run_status(root, identity).result_digest == digest


def test_cancelled__is_not_driven_until_it_is_asked_for_again(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root)
    cancel(root, identity)
    enqueue(root, identity)  # a ticket that came from elsewhere
    Runner(root, serial).run(once=True)
    assert run_status(root, identity).state == "cancelled"
    assert tickets(root) == []
    resume(root, identity)
    Runner(root, serial).run(once=True)
    assert run_status(root, identity).result_digest == digest


def test_budget__ends_a_run_with_what_it_has_and_a_larger_one_goes_on(root: Store, small: Any, digest: str) -> None:
    from sweeps.spec import parse_spec

    plan = small.plan(root, points=4)
    tiny = Budget(core_hours=1e-9)
    identity = submit(parse_spec(small.spec), root, plan=plan, budget=tiny)
    runner = Runner(root, serial)
    runner.run(once=True)
    status = run_status(root, identity)
    assert status.state == "budget spent"
    assert "core-hours" in status.note
    assert 0 < status.n_blocks_done < status.n_blocks
    assert tickets(root) == []
    assert budget_of(RunStore(root, identity)) == tiny
    Runner(root, serial).run(once=True)
    assert run_status(root, identity).n_blocks_done == status.n_blocks_done
    resume(root, identity, budget=Budget(core_hours=100.0))
    Runner(root, serial).run(once=True)
    assert run_status(root, identity).result_digest == digest


@pytest.mark.slow
def test_usage__is_kept_by_run_and_by_user(root: Store, small: Any) -> None:
    from sweeps.spec import parse_spec

    identity = submit(parse_spec(small.spec), root, plan=small.plan(root), user="ada")
    runner = Runner(root, serial)
    runner.run(once=True)
    taken = usage_of_run(RunStore(root, identity))
    assert taken.n_blocks == run_status(root, identity).n_blocks
    assert taken.core_seconds > 0
    assert taken.wall_seconds > 0
    assert taken.bytes_read > 0
    of_ada = usage_of_users(root)["ada"]
    assert of_ada.n_blocks == taken.n_blocks
    assert of_ada.core_seconds == pytest.approx(taken.core_seconds)
    assert run_status(root, identity).usage == taken


def test_lost_scheduler__is_waited_for_under_its_name(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root)
    left = [1, 1]
    with running(Runner(root, lambda: Broken(left), name="patient", poll_seconds=0.05, ttl_seconds=1.0)) as runner:
        wait_for(lambda: run_status(root, identity).trouble == "scheduler down")
        assert run_status(root, identity).state == "stalled"
        wait_for(lambda: run_status(root, identity).state == "done")
        assert runner.counters.n_waits == 1
    assert run_status(root, identity).result_digest == digest


def test_refused_credentials__are_waited_for_and_the_run_goes_on(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root, points=4)

    def refused(operation: str, key: str) -> AccessError:
        return AccessError(f"{operation} {key!r}: the token has expired")

    runner = Runner(root, serial, poll_seconds=0.05, ttl_seconds=1.0)
    with StoreFaults(5, forever=True, error=refused, operations=WRITES) as faults, running(runner):
        wait_for(lambda: runner.trouble[0])
        assert runner.trouble[0] == "store down"
        assert "expired" in runner.trouble[1]
        assert len(RunStore(root, identity).finished()) < RunStore(root, identity).plan().n_blocks
        faults.heal()
        wait_for(lambda: run_status(root, identity).state == "done")
    assert run_status(root, identity).result_digest == digest


def test_drain__gives_the_lease_back_and_begins_nothing(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root, points=4)
    executor = Slow()
    with running(Runner(root, lambda: executor, ttl_seconds=30.0)):
        assert executor.began.wait(20)
    run = RunStore(root, identity)
    lease = lease_state(run.store)
    assert (lease.released, lease.note) == (True, "drained")
    assert 0 < len(run.finished()) < run.plan().n_blocks
    assert run_status(root, identity).state == "waiting"
    Runner(root, serial).run(once=True)
    assert run_status(root, identity).result_digest == digest


def test_dead_runners_run__is_taken_over_when_the_lease_ends(root: Store, small: Any, digest: str) -> None:
    identity = small.submit(root)
    assert acquire(RunStore(root, identity).store, 0.5) is not None  # and its holder dies
    with running(Runner(root, serial, poll_seconds=0.05, ttl_seconds=1.0)):
        wait_for(lambda: run_status(root, identity).state == "done")
    assert run_status(root, identity).result_digest == digest


def test_run_that_cannot_be_computed__leaves_the_queue_with_its_reason(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quantbot.errors import RunError

    identity = small.submit(root)

    def broken(*_: object) -> None:
        raise RunError("the strategy has no sense")

    monkeypatch.setattr("sweeps.beside.warm", broken)
    runner = Runner(root, serial)
    runner.run(once=True)
    assert tickets(root) == []
    status = run_status(root, identity)
    assert (status.state, runner.counters.n_failed) == ("failed", 1)
    assert "no sense" in status.note


def test_run_of_another_version__waits_for_its_runner(root: Store, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sweeps.identity

    identity = small.submit(root)
    with monkeypatch.context() as patch:
        patch.setattr(sweeps.identity, "engine_source_digest", lambda: "0" * 64)
        with running(Runner(root, serial, poll_seconds=0.05)):
            wait_for(lambda: run_status(root, identity).trouble == "version refused")
            assert run_status(root, identity).state == "stalled"
    assert [ticket.identity for ticket in tickets(root)] == [identity]
    Runner(root, serial).run(once=True)
    assert run_status(root, identity).state == "done"


def test_no_runner__is_named_once_there_was_one(root: Store, small: Any) -> None:
    identity = small.submit(root)
    assert run_status(root, identity).trouble == "no runner"
    assert run_status(root, identity).state == "waiting"


@pytest.mark.parametrize("priority", [101, -101, 0.5])
def test_priority__is_checked_before_anything_is_written(root: Store, small: Any, priority: Any) -> None:
    from sweeps.spec import parse_spec

    with pytest.raises(InputError, match="-100 to 100"):
        submit(parse_spec(small.spec), root, plan=small.plan(root), priority=priority)
    assert root.list("runs/") == []
