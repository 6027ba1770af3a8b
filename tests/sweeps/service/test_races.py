"""Many runners and one queue: each request has one result, each block is computed once, none is lost."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest

import sweeps.task
from datasets.store import Store
from sweeps.executors import serial
from sweeps.lease import acquire
from sweeps.results import run_status
from sweeps.run import drive
from sweeps.runstore import RunStore
from sweeps.service import Runner, runners, tickets
from sweeps.service.heartbeat import leave
from sweeps.spec import parse_spec
from sweeps.submission import submit


def spec(small: Any, number: int) -> dict[str, Any]:
    """Return a run of 4 trials of its own for each number."""
    grid = {"fast": {"values": [5, 7]}, "slow": {"values": [20, 30]}}
    execution = {"slippage_bps": number / 10}
    data = {"dataset": "test/small", "assets": ["AAA"]}
    alone = {"parameters": grid, "execution": execution, "data": data, "search": {}, "folds": {"method": "none"}}
    return {**small.spec, "run": {"name": f"request-{number}"}, **alone}


def test_runners__that_start_the_same_requests_at_once_compute_each_block_once(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    race(root, small, monkeypatch, n_runners=3, n_requests=3)


@pytest.mark.slow
@pytest.mark.parametrize("n_runners", [2, 4, 8])
def test_runners__lose_none_of_a_hundred_requests(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch, n_runners: int
) -> None:
    race(root, small, monkeypatch, n_runners=n_runners, n_requests=100, n_expired=10)


def race(
    root: Store, small: Any, patch: pytest.MonkeyPatch, *, n_runners: int, n_requests: int, n_expired: int = 0
) -> None:
    begun: Counter[tuple[str, int]] = Counter()
    compute = sweeps.task.compute

    def counted(root_url: str, identity: str, block: Any) -> Any:
        begun[identity, block.index] += 1
        return compute(root_url, identity, block)

    made = []
    for number in range(n_requests):
        text = spec(small, number)
        made.append(submit(parse_spec(text), root, plan=small.plan(root, text, 1), user=f"user-{number % 3}"))
    with serial() as executor:
        digests = {made[0]: drive(root, made[0], executor).result_digest}
    patch.setattr(sweeps.task, "compute", counted)
    # Some were taken by drivers that died with nothing done.
    expired = random.Random(n_runners).sample(made[1:], n_expired)
    for identity in expired:
        assert acquire(RunStore(root, identity).store, 1.0) is not None
    start = threading.Barrier(n_runners)

    def serve(index: int) -> None:
        runner = Runner(root, serial, name=f"racer-{index}", ttl_seconds=60.0, poll_seconds=0.1)
        start.wait()
        runner.run(once=True)
        while any(ticket.identity in expired for ticket in tickets(root)):
            runner = Runner(root, serial, name=f"racer-{index}-again", ttl_seconds=60.0, poll_seconds=0.1)
            runner.run(once=True)

    threads = [threading.Thread(target=serve, args=(index,)) for index in range(n_runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(280)
    assert not any(thread.is_alive() for thread in threads)
    assert tickets(root) == []
    for runner in runners(root):
        leave(root, runner.name)
    states = [run_status(root, identity) for identity in made]
    assert {status.state for status in states} == {"done"}
    assert begun == {(status.identity, block): 1 for status in states[1:] for block in range(status.n_blocks)}
    assert {digests.get(status.identity, status.result_digest) == status.result_digest for status in states} == {True}
    assert sum(status.usage.n_blocks for status in states) == sum(status.n_blocks for status in states)
