"""A store whose n-th operation fails: what was asked for is done, or goes on to the same digest afterwards."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from store_faults import Moment, StoreFaults

from datasets.store import Store, open_store
from quantbot.errors import QuantBotError
from sweeps.executors import serial
from sweeps.results import open_run, run_status
from sweeps.run import drive
from sweeps.service import Runner, tickets

# zarr leaves coroutines behind when one of those that it gathers fails.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def market(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("market") / "store"
    small.root(path)
    return path


@pytest.fixture
def fresh(market: Path, tmp_path: Path) -> Callable[[object], Store]:
    """Make a store with the market, of its own for each name: caches know stores by their URL."""

    def make(name: object) -> Store:
        return open_store(shutil.copytree(market, tmp_path / str(name)))

    return make


@pytest.fixture(scope="module")
def undisturbed(small: Any, market: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int, int]:
    """Digest of a run, and how many operations a runner and a drive take for it."""
    copies = [shutil.copytree(market, tmp_path_factory.mktemp("undisturbed") / "store") for _ in range(2)]
    with StoreFaults() as counted:
        identity = serve(open_store(copies[0]), small)
    with StoreFaults() as driven:
        by_hand(open_store(copies[1]), small)
    return run_status(open_store(copies[0]), identity).result_digest, counted.n, driven.n


def submitted(root: Store, small: Any) -> str:
    identity: str = small.submit(root, points=64)
    return identity


def serve(root: Store, small: Any) -> str:
    """Submit, have it driven by a runner, and read the result."""
    identity = submitted(root, small)
    Runner(root, serial, ttl_seconds=30.0, poll_seconds=0.01).run(once=True)
    open_run(root, identity).values()
    return identity


def by_hand(root: Store, small: Any) -> str:
    """Submit, drive and read."""
    identity = submitted(root, small)
    with serial() as executor:
        drive(root, identity, executor, ttl_seconds=0.3)
    open_run(root, identity).values()
    return identity


def check(root: Store, small: Any, digest: str) -> None:
    """Ask again, now that the store is well: the same result, and nothing left in the queue."""
    identity = serve(root, small)
    status = run_status(root, identity)
    if status.state != "done" or tickets(root):  # a lease whose end was not written has to run out
        with serial() as executor:
            drive(root, identity, executor)
        status = run_status(root, identity)
    assert (status.state, status.result_digest) == ("done", digest)
    assert tickets(root) == []


def once(root: Store, small: Any, nth: int, moment: str, digest: str) -> None:
    # Whoever asked was told; nothing else may come out of it.
    with StoreFaults(nth, cast("Moment", moment)), contextlib.suppress(QuantBotError):
        serve(root, small)
    check(root, small, digest)


def outage(root: Store, small: Any, nth: int, digest: str) -> None:
    with StoreFaults(nth, forever=True) as faults:
        with contextlib.suppress(QuantBotError):
            by_hand(root, small)
        faults.heal()
    check(root, small, digest)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "moment"), [(0.1, "after"), (0.5, "before"), (0.9, "after")])
def test_operation_that_fails_once__changes_no_result(
    fresh: Callable[[object], Store], small: Any, undisturbed: tuple[str, int, int], part: float, moment: str
) -> None:
    digest, n, _ = undisturbed
    once(fresh("once"), small, round(part * n), moment, digest)


@pytest.mark.slow
def test_store_that_goes_away__leaves_what_goes_on_to_the_same_result(
    fresh: Callable[[object], Store], small: Any, undisturbed: tuple[str, int, int]
) -> None:
    digest, _, n = undisturbed
    outage(fresh("outage"), small, round(0.6 * n), digest)


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_operation_that_fails_once__changes_no_result(
    fresh: Callable[[object], Store], small: Any, undisturbed: tuple[str, int, int], moment: str
) -> None:
    digest, n, _ = undisturbed
    for nth in range(1, n + 10):
        once(fresh(nth), small, nth, moment, digest)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_store_that_goes_away_at_any_operation__leaves_what_goes_on_to_the_same_result(
    fresh: Callable[[object], Store], small: Any, undisturbed: tuple[str, int, int]
) -> None:
    digest, _, n = undisturbed
    for nth in range(1, n + 10):
        outage(fresh(nth), small, nth, digest)
