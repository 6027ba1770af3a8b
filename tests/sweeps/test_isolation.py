"""Items in processes that can be ended: what becomes of them, of their neighbours, and of the run."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.store import Store
from sweeps.executors import Isolation, Limits, dask_executor, serial
from sweeps.executors.base import Failure
from sweeps.executors.isolation import Children
from sweeps.feeds import open_feed
from sweeps.quarantine import QuarantineError, lift, quarantined
from sweeps.replay import replay
from sweeps.run import drive
from sweeps.runstore import RunStore

ROOMY = Limits(20.0, 2**30)
MODULE = """
import ctypes, signal, sys, time
import numba

def sleeps(_):
    time.sleep(60)

@numba.njit
def _holds_the_gil(n):
    while n >= 0:
        n += 1 - n % 2
    return n

@numba.njit(nogil=True)
def _nogil(n):
    while n >= 0:
        n += 1 - n % 2
    return n

def gil(n):
    return _holds_the_gil(n)

def nogil(n):
    return _nogil(n)

def deaf(_):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)

def hoards(n):
    kept = []
    for _ in range(n):
        kept.append(b"x" * 10_000_000)
        time.sleep(0.01)

def leaks(n, kept=[]):
    kept.append(b"x" * n)

def prints(n):
    for _ in range(n):
        sys.stdout.write("y" * 100_000)
    print("the last line")

def complains(code):
    print("before the end", file=sys.stderr, flush=True)
    import os
    os._exit(code)
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give a module of bad functions, and children that can import it."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.py").write_text(MODULE)
    children = Children()
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(folder))
        module = __import__("faults")
        module.children = children
        yield module
    children.close()


def _fails(faults: Any, run: Callable[[Any], Any], item: Any, limits: Limits = ROOMY) -> Failure:
    failure: Failure | None = faults.children.run(run, item, limits).failure
    assert failure is not None
    return failure


def test_child__lives_from_item_to_item_and_is_replaced_after_a_fault(faults: Any) -> None:
    first = faults.children.run(os.getpgid, 0, ROOMY).value
    assert first not in (None, os.getpid())
    assert faults.children.run(os.getpgid, 0, ROOMY).value == first
    assert _fails(faults, int, "no number").cause == "raised"
    assert faults.children.run(os.getpgid, 0, ROOMY).value == first
    _fails(faults, os._exit, 0)
    assert faults.children.run(os.getpgid, 0, ROOMY).value not in (None, first)


@pytest.mark.parametrize(
    ("run", "item", "ended"),
    [
        (os._exit, 0, "exit code 0"),
        (os._exit, 7, "exit code 7"),
        (ctypes.string_at, 0, "signal 11 (SIGSEGV)"),
    ],
)
def test_crash__is_an_answer_with_signal_or_code(faults: Any, run: Callable[[Any], Any], item: Any, ended: str) -> None:
    failure = _fails(faults, run, item)
    assert (failure.cause, failure.ended) == ("crashed", ended)
    assert failure.peak_bytes > 10e6


def test_crash__keeps_the_last_that_was_printed(faults: Any) -> None:
    assert _fails(faults, faults.complains, 3).stderr == "before the end\n"


@pytest.mark.parametrize("name", ["sleeps", "gil", "nogil", "deaf"])
def test_hang__of_every_kind_ends_at_its_limit(faults: Any, name: str) -> None:
    began = time.monotonic()
    failure = _fails(faults, getattr(faults, name), 1, Limits(0.6, 2**30))
    assert (failure.cause, failure.ended) == ("deadline", "limit of 0.6 s")
    assert time.monotonic() - began < 0.6 + 2


@pytest.mark.parametrize(("run", "item"), [("hoards", 60), (bytearray, 4 * 2**30)])
def test_memory__beyond_its_limit_ends_an_item_slowly_filled_or_at_once(faults: Any, run: Any, item: int) -> None:
    failure = _fails(faults, getattr(faults, run) if isinstance(run, str) else run, item, Limits(20, 200_000_000))
    assert (failure.cause, failure.ended) == ("oom", "limit of 200 MB")
    assert failure.peak_bytes < 400e6


def test_leak__goes_with_its_child_and_blames_no_item(faults: Any) -> None:
    limits = Limits(20, 300_000_000)
    for _ in range(30):
        assert faults.children.run(faults.leaks, 30_000_000, limits).failure is None


def test_output__is_cut_and_said_so(faults: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert faults.children.run(faults.prints, 300, ROOMY).failure is None
    passed = capfd.readouterr().err
    assert len(passed) < 1_000_100
    assert passed.endswith("[output cut: a block may print 1,000,000 bytes]\n")


def test_base_exceptions__are_data(faults: Any) -> None:
    import sys

    failure = _fails(faults, sys.exit, 3)
    assert (failure.cause, failure.kind) == ("raised", "SystemExit")


POISON = """
import os, time, ctypes
if fast == 7:
    os._exit(0)
if fast == 9:
    kept = bytearray(1 << 36)
if fast == 11:
    ctypes.string_at(0)
return 1.0 if close > mean else 0.0
"""


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Any]:
    with dask_executor(2, isolation=Isolation(seconds=20, memory_bytes=10**9)) as executor:
        yield executor


def _spec(small: Any, reference: str) -> dict[str, Any]:
    return {
        **small.spec,
        "strategy": {"name": reference, "plain_python": True},
        "parameters": {"fast": {"start": 2, "stop": 12, "step": 1}},
        "search": {},
        "folds": {"method": "none"},
        "execution": {},
    }


def test_poison__is_quarantined_and_the_others_finish_on_the_same_workers(
    small: Any, root: Store, strategy_file: Callable[[str], str], two_workers: Any
) -> None:
    identity = small.submit(root, _spec(small, strategy_file(POISON)), points=1)
    run = RunStore(root, identity)
    two_workers.prepare(os.getpid)
    workers = set(two_workers._info())
    with pytest.raises(QuarantineError) as raised:
        drive(root, identity, two_workers)
    plan = run.plan()
    poisoned = {
        index
        for index in range(plan.n_blocks)
        if plan.points.point(plan.block(index).point_start)["fast"] in (7, 9, 11)
    }
    assert set(raised.value.blocks) == poisoned
    assert len(run.finished()) == plan.n_blocks - len(poisoned)
    assert set(two_workers._info()) == workers
    found = quarantined(run)
    for index in poisoned:
        block = found[index]
        assert (block.cause, block.ended) in (
            ("crashed", "exit code 0"),
            ("crashed", "signal 11 (SIGSEGV)"),
            ("oom", "limit of 1,000 MB"),
        )
        assert len(set(block.workers)) == 2
        assert f"quantbot sweep replay {identity[:12]} {index}" == block.replay
        assert block.replay in str(raised.value) or f"block {index}" in str(raised.value)
    again = replay(root, identity, min(poisoned))
    assert again.failure is not None
    assert again.failure.ended == found[min(poisoned)].ended
    whole = replay(root, identity, run.finished()[0])
    assert (whole.same, whole.failure) == (True, None)
    with pytest.raises(QuarantineError):  # it does not run again by itself
        drive(root, identity, two_workers, resume=False)
    assert quarantined(run) == found
    assert lift(run) == sorted(found)
    assert quarantined(run) == {}


@pytest.mark.slow
def test_isolation__changes_no_bit(
    small: Any, root: Store, strategy_file: Callable[[str], str], two_workers: Any, tmp_path: Path
) -> None:
    spec = _spec(small, strategy_file("return 1.0 if close > mean else 0.0"))
    other = small.root(tmp_path / "other")
    with serial() as executor:
        expected = drive(other, small.submit(other, spec, points=4), executor).result_digest
    assert drive(root, small.submit(root, spec, points=4), two_workers).result_digest == expected


PLAGUE = """
import ctypes, os, sys, time
if fast % 80 == 3:
    print("about to jump", file=sys.stderr, flush=True)
    ctypes.string_at(0)
if fast % 80 == 23:
    time.sleep(60)
if fast % 80 == 43:
    kept = bytearray(3 << 30)
if fast % 80 == 63:
    os._exit(0)
open(os.environ["EXECUTIONS"], "a").write(f"{fast}\\n") if close == {first} else None
return 1.0 if close > mean else 0.0
"""


@pytest.mark.slow
def test_plague__of_a_twentieth_of_the_blocks_costs_the_others_nothing(
    small: Any, tmp_path: Path, strategy_file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = tmp_path / "executions"
    monkeypatch.setenv("EXECUTIONS", str(executions))
    root = small.root(tmp_path / "store")
    first = float(open_feed("test/small", root).data("AAA").close[-2])
    spec = _spec(small, strategy_file(PLAGUE.replace("{first}", repr(first))))
    spec |= {
        "parameters": {"fast": {"start": 2, "stop": 401, "step": 1}},
        "data": {"dataset": "test/small", "assets": ["AAA"]},
    }
    identity = small.submit(root, spec, points=1)
    run = RunStore(root, identity)
    plan = run.plan()
    points = [plan.points.point(plan.block(index).point_start)["fast"] for index in range(plan.n_blocks)]
    poisoned = {index for index, fast in enumerate(points) if fast % 80 in (3, 23, 43, 63)}
    with dask_executor(2, 2, isolation=Isolation(seconds=10, memory_bytes=10**9)) as executor:
        executor.prepare(os.getpid)
        workers = set(executor._info())
        with pytest.raises(QuarantineError) as raised:
            drive(root, identity, executor)
        assert set(executor._info()) == workers
    assert set(raised.value.blocks) == poisoned
    assert set(run.finished()) == set(range(plan.n_blocks)) - poisoned
    causes = {points[index] % 80: block.cause for index, block in raised.value.blocks.items()}
    assert causes == {3: "crashed", 23: "deadline", 43: "oom", 63: "crashed"}
    assert all("about to jump" in block.stderr for index, block in quarantined(run).items() if points[index] % 80 == 3)
    ran = executions.read_text().split()
    assert len(ran) == len(set(ran)) == plan.n_blocks - len(poisoned)  # no innocent twice
