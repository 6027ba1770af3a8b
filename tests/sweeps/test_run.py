"""A run gives the same rows however it is driven, and loses nothing when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datasets.store import Store, open_store
from quantbot.errors import CorruptError, DivergenceError, NotFoundError, RunError
from sweeps.executors import Executor, dask_executor, serial
from sweeps.lease import acquire, lease_state
from sweeps.progress import Progress
from sweeps.results import open_run, run_status
from sweeps.run import Outcome, drive
from sweeps.runstore import RunStore
from sweeps.submission import cancel

ROOT = Path(__file__).parents[2]


class NoWork:
    """An executor for runs that need none."""

    n_slots = 1

    def check_root(self, url: str) -> None:
        pass

    def prepare(self, run: object, limits: object = None) -> None:
        raise AssertionError("a complete run needs no cluster")

    map = prepare


@pytest.fixture(scope="module")
def reference(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The small run, driven by the reference in blocks of 16 points."""
    root = small.root(tmp_path_factory.mktemp("reference"))
    with serial() as executor:
        return drive(root, small.submit(root), executor)


@pytest.fixture(scope="module")
def slow_reference(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    root = small.root(tmp_path_factory.mktemp("slow"), 300)
    with serial() as executor:
        return drive(root, small.submit(root, small.slow, points=8), executor)


def wait_for(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def start_process(root: Store, identity: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sweeps.run", root.url, identity, *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True
    )


# -- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 7, 1000])
def test_result__does_not_depend_on_the_partition(root: Store, small: Any, points: int, reference: Outcome) -> None:
    with serial() as executor:
        found = drive(root, small.submit(root, points=points), executor)
    assert found.n_blocks != reference.n_blocks
    assert (found.identity, found.result_digest) == (reference.identity, reference.result_digest)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dask_executor(1, 2, processes=False),
        pytest.param(lambda: dask_executor(1), marks=pytest.mark.slow),
        pytest.param(lambda: dask_executor(2), marks=pytest.mark.slow),  # killed_worker has two as well
    ],
    ids=["threads", "one process", "two processes"],
)
def test_result__does_not_depend_on_the_executor(
    root: Store, small: Any, make: Callable[[], Executor], reference: Outcome
) -> None:
    with make() as executor:  # type: ignore[attr-defined]
        found = drive(root, small.submit(root), executor)
    assert found.result_digest == reference.result_digest
    assert (found.n_computed, found.n_reused, found.n_failed) == (found.n_blocks, 0, 0)


def test_result__is_the_same_on_s3_from_a_fresh_process(s3_url: str, small: Any, reference: Outcome) -> None:
    root = small.root(s3_url)
    identity = small.submit(root, points=24)
    with start_process(root, identity, "--workers", "1", "--threads", "2") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    manifest = RunStore(root, identity).manifest()
    assert manifest is not None
    assert (identity, manifest.result_digest) == (reference.identity, reference.result_digest)


def test_same_run_again__computes_nothing_and_starts_nothing(root: Store, small: Any) -> None:
    identity = small.submit(root)
    with serial() as executor:
        first = drive(root, identity, executor)
    again = drive(root, small.submit(root, points=5), NoWork())  # type: ignore[arg-type]
    assert (again.n_computed, again.n_reused) == (0, first.n_blocks)
    assert again.result_digest == first.result_digest


def test_drive__wants_a_submitted_run(root: Store) -> None:
    with serial() as executor, pytest.raises(NotFoundError, match="submit it first"):
        drive(root, "ab" * 32, executor)


# -- interruptions ----------------------------------------------------------------------------------------------------


def test_killed_worker__changes_no_bit(tmp_path: Path, small: Any, slow_reference: Outcome) -> None:
    root = small.root(tmp_path, 300)
    identity = small.submit(root, small.slow, points=8)
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.n_blocks_done >= 2 and not killed:
            victim = next(
                child
                for child in psutil.Process().children(recursive=True)
                if "spawn_main" in " ".join(child.cmdline())
            )
            killed.append(victim.pid)
            victim.send_signal(signal.SIGKILL)

    with dask_executor(2) as executor:
        found = drive(root, identity, executor, on_progress=kill)
    assert killed
    assert found.result_digest == slow_reference.result_digest


def test_killed_driver__leaves_what_it_had_and_resume_computes_the_rest(
    tmp_path: Path, small: Any, slow_reference: Outcome
) -> None:
    root = small.root(tmp_path, 300)
    identity = small.submit(root, small.slow, points=8)
    run = RunStore(root, identity)
    with start_process(root, identity, "--workers", "1") as process:
        wait_for(lambda: len(run.finished()) >= 3)
        process.kill()
        process.communicate(timeout=20)
    time.sleep(0.5)  # a worker notices within moments that its driver is gone
    there = len(run.finished())
    assert there < slow_reference.n_blocks
    assert run_status(root, identity).state in ("running", "stalled")  # the lease has not run out yet
    run.store.put(  # ...and now it has
        "lease/00000001.json", b'{"holder":"the dead","note":"","released":false,"token":"x","ttl_seconds":0.001}'
    )
    time.sleep(0.01)
    assert run_status(root, identity).state == "stalled"
    assert len(run.finished()) == there, "a worker outlived its driver"
    with serial() as executor:
        found = drive(root, identity, executor)
    assert (found.n_reused, found.n_computed) == (there, slow_reference.n_blocks - there)
    assert found.result_digest == slow_reference.result_digest


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupt__gives_the_lease_back_at_once_and_says_little(
    tmp_path: Path, small: Any, number: signal.Signals
) -> None:
    root = small.root(tmp_path, 300)
    identity = small.submit(root, small.slow, points=8)
    run = RunStore(root, identity)
    with start_process(root, identity, "--workers", "2") as process:
        wait_for(lambda: len(run.finished()) >= 1)
        children = psutil.Process(process.pid).children(recursive=True)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal sends Ctrl-C to the whole group
        else:
            process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143), output
    assert "Traceback" not in output
    state = lease_state(run.store)
    assert (state.released, state.note) == (True, "interrupted")
    assert run_status(root, identity).state == "waiting"
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, [child.cmdline() for child in alive]


def test_cancel__stops_between_blocks_and_resume_computes_the_rest(root: Store, small: Any, reference: Outcome) -> None:
    identity = small.submit(root)

    def stop(progress: Progress) -> None:
        if progress.n_blocks_done == 5:
            cancel(root, identity)
            time.sleep(1.1)  # the driver looks once a second

    with serial() as executor:
        stopped = drive(root, identity, executor, on_progress=stop)
        assert stopped.state == "cancelled"
        assert 5 <= stopped.n_computed < reference.n_blocks
        assert run_status(root, identity).state == "cancelled"
        resumed = drive(root, identity, executor)
    assert (resumed.n_reused, resumed.n_computed) == (stopped.n_computed, reference.n_blocks - stopped.n_computed)
    assert resumed.result_digest == reference.result_digest


def test_two_drivers__give_one_result_and_one_follows(root: Store, small: Any, reference: Outcome) -> None:
    identity = small.submit(root, points=2)
    outcomes: list[Outcome] = []
    seen: list[Progress] = []

    def start() -> None:
        with serial() as executor:
            outcomes.append(drive(root, identity, executor, on_progress=seen.append, ttl_seconds=3.0))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found.result_digest for found in outcomes] == [reference.result_digest] * 3
    assert sum(found.n_computed for found in outcomes) == outcomes[0].n_blocks
    assert sum(not found.followed for found in outcomes) == 1


def test_follower__takes_over_when_the_lease_ends(root: Store, small: Any, reference: Outcome) -> None:
    identity = small.submit(root)
    assert acquire(RunStore(root, identity).store, 1.0) is not None  # and its holder dies
    seen: list[Progress] = []
    with serial() as executor:
        found = drive(root, identity, executor, on_progress=seen.append)
    assert seen[0].followed
    assert "process" in seen[0].note
    assert (found.followed, found.result_digest) == (True, reference.result_digest)


def test_drive_without_waiting__says_who_drives(root: Store, small: Any) -> None:
    identity = small.submit(root)
    with serial() as executor, _held(root, identity), pytest.raises(RunError, match=r"driven by process \d+ on"):
        drive(root, identity, executor, wait=False)


# -- damage -----------------------------------------------------------------------------------------------------------


def test_missing_block__is_noticed_and_computed_again(root: Store, small: Any, reference: Outcome) -> None:
    identity = small.submit(root)
    with serial() as executor:
        drive(root, identity, executor)
        RunStore(root, identity).store.delete("blocks/00000003.rows")
        with pytest.raises(CorruptError, match=r"00000003.rows: block 3 was there and is gone"):
            open_run(root, identity).values()
        again = drive(root, identity, executor)
    assert (again.n_computed, again.result_digest) == (1, reference.result_digest)


def test_damaged_block__never_becomes_a_number(root: Store, small: Any) -> None:
    identity = small.submit(root)
    with serial() as executor:
        drive(root, identity, executor)
    store = RunStore(root, identity).store
    data = bytearray(store.get("blocks/00000002.rows"))
    data[-200] ^= 1
    store.put("blocks/00000002.rows", bytes(data))
    run = open_run(root, identity)
    with pytest.raises(CorruptError, match=r"00000002.rows: SHA-256 of its hold_sharpe must be"):
        run.values("hold_sharpe")
    with pytest.raises(CorruptError, match=r"00000002.rows: SHA-256 of its hold_sharpe must be"):
        run.row(run.plan.block(2).trial_start)
    assert np.isfinite(run.values("hold_total_return")).all()  # what is whole is shown


def test_damaged_block__of_an_unfinished_run_is_computed_again(root: Store, small: Any, reference: Outcome) -> None:
    identity = small.submit(root)
    with serial() as executor:
        drive(root, identity, executor)
        store = RunStore(root, identity).store
        store.delete("manifest.json")
        store.put("blocks/00000004.rows", store.get("blocks/00000004.rows")[:-1])
        store.put("blocks/00000005.rows", store.get("blocks/00000006.rows"))
        store.put("blocks/00000007.rows", b"")
        again = drive(root, identity, executor)
    assert (again.n_computed, again.result_digest) == (3, reference.result_digest)


def test_swapped_blocks__are_noticed(root: Store, small: Any) -> None:
    identity = small.submit(root)
    with serial() as executor:
        drive(root, identity, executor)
    store = RunStore(root, identity).store
    store.put("blocks/00000000.rows", store.get("blocks/00000001.rows"))
    with pytest.raises(CorruptError, match=r"must be block 0 .* found block 1"):
        open_run(root, identity).row(0)
    with pytest.raises(CorruptError, match=r"00000000.rows: SHA-256 of its sharpe must be"):
        open_run(root, identity).values()  # this process knows the header that the block had


def test_block_with_other_bytes__is_an_alarm(root: Store, small: Any) -> None:
    run = RunStore(root, small.submit(root))
    assert run.put_once("blocks/00000000.rows", b"one")
    assert not run.put_once("blocks/00000000.rows", b"one")
    with pytest.raises(DivergenceError, match="not deterministic"):
        run.put_once("blocks/00000000.rows", b"two")


# -- failures ---------------------------------------------------------------------------------------------------------


def mine(reference: str, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "data": {"dataset": "test/small", "assets": ["AAA"]},
        "strategy": {"name": reference, **more},
        "parameters": {"fast": {"start": 3, "stop": 18, "step": 1}},
    }


@pytest.mark.parametrize("points", [1, 5, 16])
def test_trial_that_raises__is_a_row_with_its_reason(
    root: Store, small: Any, strategy_file: Callable[[str], str], points: int
) -> None:
    reference = strategy_file("if fast == 7:\n    raise ValueError('seven is no window')\nreturn 1.0 * (close > mean)")
    identity = small.submit(root, mine(reference, plain_python=True), points)
    with serial() as executor:
        found = drive(root, identity, executor)
    run = open_run(root, identity)
    assert found.n_failed == 1
    assert [row["state"] for row in map(run.row, range(16))].count("ok") == 15
    row = run.row(run.trial_index({"fast": 7}))
    assert row["state"] == "failed"
    assert "seven is no window" in row["reason"]
    assert run.failures()["first_point"][0] == {"fast": 7}
    digests = {RunStore(root, identity).manifest().result_digest}  # type: ignore[union-attr]
    assert digests == {found.result_digest}


@pytest.mark.slow
def test_block_that_kills_its_process__is_named_and_the_others_finish(
    root: Store, small: Any, strategy_file: Callable[..., str]
) -> None:
    body = "if fast == 7:\n    os.kill(os.getpid(), 9)\nreturn 1.0 * (close > mean)"
    identity = small.submit(root, mine(strategy_file(body, "import os"), plain_python=True), 2)
    with dask_executor(2) as executor, pytest.raises(RunError, match=r"block 2: .*died.*\n.*sweep resume"):
        drive(root, identity, executor)
    assert RunStore(root, identity).finished() == [0, 1, 3, 4, 5, 6, 7]
    status = run_status(root, identity)
    assert (status.state, status.n_done) == ("failed", 14)
    assert "block 2" in status.note


def test_other_profile__is_refused_with_both(root: Store, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sweeps.identity
    import sweeps.task

    identity = small.submit(root)
    other = {**sweeps.identity.numeric_profile(), "numba": "0.0.1"}
    monkeypatch.setattr(sweeps.identity, "numeric_profile", lambda: other)
    sweeps.task._prepare.cache_clear()
    with serial() as executor, pytest.raises(RunError, match=r"numba: planned .*, here 0\.0\.1"):
        drive(root, identity, executor)


def test_engine_of_another_version__is_refused(root: Store, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sweeps.identity
    import sweeps.task

    identity = small.submit(root)
    monkeypatch.setattr(sweeps.identity, "engine_source_digest", lambda: "0" * 64)
    sweeps.task._prepare.cache_clear()
    with serial() as executor, pytest.raises(RunError, match="another version of QuantBot's engine"):
        drive(root, identity, executor)


def test_worker_of_another_version__is_refused_before_the_first_task(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sweeps.identity

    identity = small.submit(root)
    monkeypatch.setattr(sweeps.identity, "numeric_profile", lambda: {"numba": "0.0.1"})
    with dask_executor(1) as executor, pytest.raises(RunError, match=r"numba: \d.*, here 0\.0\.1"):
        list(executor.map(abs, [1]))
    assert RunStore(root, identity).finished() == []


@pytest.mark.slow
def test_remote_scheduler__gives_the_same_result_from_s3(s3_url: str, small: Any, reference: Outcome) -> None:
    root = small.root(s3_url)
    identity = small.submit(root)
    scheduler = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert scheduler.stderr is not None
    address = next(word for line in scheduler.stderr for word in line.split() if word.startswith("tcp://"))
    drain = threading.Thread(target=scheduler.stderr.read, daemon=True)
    drain.start()
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-dashboard"],
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        with dask_executor(scheduler=address) as executor:
            found = drive(root, identity, executor)
        assert found.result_digest == reference.result_digest
    finally:
        worker.terminate()
        scheduler.terminate()
        worker.wait(20)
        scheduler.wait(20)
        drain.join(5)
        scheduler.stderr.close()


def test_store_that_fails_for_a_moment__is_tried_again(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch, reference: Outcome
) -> None:
    from quantbot.errors import StoreError

    identity = small.submit(root)
    put_once, failed = RunStore.put_once, []

    def flaky(self: RunStore, key: str, data: bytes) -> bool:
        if key.endswith("3.rows") and len(failed) < 2:
            failed.append(key)
            raise StoreError("503 from the store")
        return put_once(self, key, data)

    monkeypatch.setattr(RunStore, "put_once", flaky)
    notes: list[str] = []
    with serial() as executor:
        found = drive(root, identity, executor, on_progress=lambda progress: notes.append(progress.note))
    assert failed
    assert any("503 from the store" in note for note in notes)
    assert found.result_digest == reference.result_digest


# -- progress ---------------------------------------------------------------------------------------------------------


def test_progress__counts_up_to_the_end(root: Store, small: Any) -> None:
    seen: list[Progress] = []
    identity = small.submit(root)
    with serial() as executor:
        found = drive(root, identity, executor, on_progress=seen.append)
    done = [progress.n_done for progress in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, found.n_trials)
    assert seen[-1].eta_seconds == (0.0, 0.0)
    run = open_run(root, identity)
    best = run.best(1)[0]
    assert (seen[-1].best_trial, seen[-1].best_value) == (best["trial"], best["value"])


@pytest.fixture(autouse=True)
def _fresh_worker_memory() -> Iterator[None]:
    yield
    import sweeps.task

    sweeps.task._prepare.cache_clear()


def _held(root: Store, identity: str) -> Any:
    lease = acquire(RunStore(open_store(root.url), identity).store)
    assert lease is not None
    return lease
