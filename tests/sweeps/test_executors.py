"""One contract for every executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quantbot.errors import InputError, RunError, StoreError
from sweeps.executors import Executor, dask_executor, serial
from sweeps.executors.base import Answer, Failure, error_of
from sweeps.executors.cluster import Stall
from sweeps.executors.tasks import _TURNS, execute

# Workers import what they run, and a test file is no module for them: the contract uses functions of the library.
from sweeps.rows import decode

KINDS = {
    "serial": serial,
    "threads": partial(dask_executor, 1, 2, processes=False),
    "one process": partial(dask_executor, 1),
    "two processes": partial(dask_executor, 2),
}


@pytest.fixture(scope="module", params=list(KINDS))
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with KINDS[request.param]() as made:
        yield made


def test_map__answers_each_item_once(executor: Executor) -> None:
    answers = list(executor.map(abs, range(-20, 0)))
    assert sorted((found.item, found.value) for found in answers) == [(n, -n) for n in range(-20, 0)]


def test_map__takes_no_items(executor: Executor) -> None:
    assert list(executor.map(abs, [])) == []


def test_map__may_be_used_again_with_the_same_items(executor: Executor) -> None:
    for _ in range(2):
        assert [found.value for found in executor.map(abs, [-3], label="same")] == [3]


@pytest.mark.parametrize(
    ("item", "cause", "kind"),
    [
        (b"no block", "raised", "CorruptError"),
        (7, "raised", "TypeError"),
    ],
)
def test_map__turns_an_error_into_an_answer_and_goes_on(executor: Executor, item: Any, cause: str, kind: str) -> None:
    answers = {repr(found.item): found for found in executor.map(decode, [item, b"", item])}
    failure = answers[repr(item)].failure
    assert failure is not None
    assert (failure.cause, failure.kind) == (cause, kind)
    assert "decode" in failure.trace
    assert len(answers) == 2


def test_map__calls_an_outage_what_the_system_did(executor: Executor) -> None:
    found = next(iter(executor.map(os.listdir, ["/no/such/folder"])))
    assert found.failure is not None
    assert (found.failure.cause, found.failure.kind) == ("outage", "FileNotFoundError")


def test_map__pulls_few_items_ahead(executor: Executor) -> None:
    pulled = []

    def items() -> Iterator[int]:
        for n in range(1000):
            pulled.append(n)
            yield n

    answers = executor.map(abs, items())
    next(iter(answers))
    assert len(pulled) <= 4 * executor.n_slots + 1
    answers.close()  # type: ignore[attr-defined]


def test_map__ends_with_what_poll_raises(executor: Executor) -> None:
    calls = []

    def poll() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise StoreError("the driver lost its lease")

    with pytest.raises(StoreError, match="lost its lease"):
        list(executor.map(abs, range(100), poll=poll))


def test_prepare__runs_before_anything_else_and_raises_what_it_raises(executor: Executor) -> None:
    executor.prepare(os.getpid)
    with pytest.raises(FileNotFoundError):
        executor.prepare(partial(os.listdir, "/no/such/folder"))


def test_poll__is_called_while_a_block_takes_long() -> None:
    called = []
    with dask_executor(1, processes=False) as executor:
        list(executor.map(time.sleep, [1.6], poll=lambda: called.append(1)))
    assert len(called) >= 3


@pytest.mark.parametrize("gone", ["driver", "worker"])
def test_task__that_nobody_waits_for_ends_after_the_item_in_hand(gone: str, tmp_path: Path) -> None:
    with dask_executor(1, processes=False) as executor:
        executor.prepare(os.getpid)
        future = executor._client.submit(execute, partial(_slowly, str(tmp_path)), range(100), pure=False)
        while len(list(tmp_path.iterdir())) < 3:
            time.sleep(0.01)
        if gone == "driver":
            future.cancel()
        else:  # as it does when its scheduler is gone
            for worker in executor._client.cluster.workers.values():
                executor._client.cluster.sync(worker.close, executor_wait=False)
        time.sleep(0.1)
        begun = len(list(tmp_path.iterdir()))
        assert begun < 50
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) == begun


def test_items__that_a_task_gave_up_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True] * 6 + [False] + [True] * 1000)
    monkeypatch.setattr("sweeps.executors.tasks._wanted", lambda: next(answers))
    with dask_executor(1, processes=False) as executor:
        assert sorted(found.value for found in executor.map(abs, range(-30, 0)) if found.value) == list(range(1, 31))


def test_item__that_two_slots_of_a_process_are_sent_runs_in_one_after_the_other(tmp_path: Path) -> None:
    threads = [threading.Thread(target=execute, args=(partial(_alone, str(tmp_path)), [item])) for item in (1, 2) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{item}-{n}" for item in (1, 2) for n in range(4)
    )
    assert not _TURNS


def test_system_exit__in_a_task_is_data_and_keeps_the_worker() -> None:
    with dask_executor(1) as executor:
        pids = {found.value for found in executor.map(_pid, range(2))}
        found = next(iter(executor.map(_exit, [5])))
        assert found.failure is not None
        assert found.failure.kind == "SystemExit"
        assert {found.value for found in executor.map(_pid, range(2))} == pids


def test_killed_worker__is_replaced_and_every_item_answered() -> None:
    with dask_executor(2) as executor:
        victim = next(found.value for found in executor.map(_pid, [0]))
        assert victim is not None
        threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
        answers = list(executor.map(time.sleep, [0.1 + n / 1000 for n in range(16)]))
        assert len(answers) == 16
        assert not [found for found in answers if found.failure]


def test_item_that_kills_its_process__is_named_and_the_others_are_answered() -> None:
    with dask_executor(2) as executor:
        answers = {found.item: found for found in executor.map(_die_at_three, range(8))}
    failure = answers[3].failure
    assert failure is not None
    assert failure.cause == "killed"
    assert sorted(n for n, found in answers.items() if found.value is not None) == [0, 1, 2, 4, 5, 6, 7]


def test_cluster__leaves_no_process_and_no_listener_beyond_loopback(capfd: pytest.CaptureFixture[str]) -> None:
    import psutil

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with dask_executor(2) as executor:
        list(executor.map(abs, [1]))
        children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        assert len(children) >= 2
        for process in [psutil.Process(), *children]:
            listening = [at for at in process.net_connections("tcp") if at.status == psutil.CONN_LISTEN]
            assert {at.laddr.ip for at in listening} <= {"127.0.0.1", "::1"}
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    # The interpreter's own resource tracker stays; workers and nannies may not.
    assert all("resource_tracker" in " ".join(psutil.Process(pid).cmdline()) for pid in left)
    assert capfd.readouterr().err == ""


def test_executor__starts_no_cluster_before_it_has_work() -> None:
    started = time.monotonic()
    with dask_executor(2) as executor:
        assert executor.n_slots == 2
    assert time.monotonic() - started < 0.2


@pytest.mark.slow
def test_script__needs_no_main_guard_and_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('started')\n"
        "from sweeps.executors import dask_executor\n"
        "with dask_executor(1) as executor:\n"
        "    print([found.value for found in executor.map(abs, [-3])])\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert (done.stdout, done.stderr) == ("started\n[3]\n", "")


def test_scheduler__is_an_address_and_reaches_no_folder_of_ours() -> None:
    for wrong in ("localhost:8786", "http://h:1", "tcp://", "tcp://user@host:1"):
        with pytest.raises(InputError, match="tcp://host:port"):
            dask_executor(scheduler=wrong)
    with pytest.raises(InputError, match="use an s3:// store"):
        dask_executor(scheduler="tcp://cluster.example:8786").check_root("file:///data/store")
    dask_executor(scheduler="tcp://127.0.0.1:8786").check_root("file:///data/store")
    dask_executor(scheduler="tls://cluster.example:8786").check_root("s3://bucket/prefix")


def test_scheduler__that_does_not_answer_is_named() -> None:
    with (
        dask_executor(scheduler="tcp://127.0.0.1:9") as executor,
        pytest.raises(RunError, match=r"no scheduler answers at tcp://127.0.0.1:9"),
    ):
        list(executor.map(abs, [1]))


def test_error_of__restores_our_errors_and_wraps_others() -> None:
    assert isinstance(error_of(Failure("outage", "StoreError", "disk full")), StoreError)
    assert isinstance(error_of(Failure("raised", "KeyError", "'x'")), RunError)
    assert Answer(1, 2).failure is None


# Dask pickles these by value, since no worker can import a test file; real blocks never are.


def _pid(_: int) -> int:
    return os.getpid()


def _exit(code: int) -> None:
    raise SystemExit(code)


def _die_at_three(n: int) -> int:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return n


def _slowly(folder: str, n: int) -> None:
    (Path(folder) / f"{n}").touch()
    time.sleep(0.03)


def _alone(folder: str, item: int) -> None:
    n = len(list(Path(folder).glob(f"{item}-*")))  # those that are through with it
    time.sleep(0.02)
    (Path(folder) / f"{item}-{n}").touch()


@pytest.fixture(autouse=True)
def _pickled_by_value() -> Iterator[None]:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_this_file__lies_where_no_worker_imports_it() -> None:
    assert not (Path(__file__).parent / "__init__.py").exists()


def test_stall__is_workers_that_stay_away_not_one_look_without_them() -> None:
    stall = Stall()
    for second in range(0, 600, 5):
        stall.look([] if second % 100 < 55 else ["running", "paused"], float(second))
    for status, cause in (([], "no workers"), (["paused"], "all 1 workers are paused")):
        stall.look(["running"], 600.0)
        restarts = [stall.look(status, 605.0 + second) for second in (0, 20, 35, 55)]
        assert restarts == [False, False, status == ["paused"], False]  # once, where it may help
        with pytest.raises(RunError, match=f"STALLED: for 65 s .*{cause}"):
            stall.look(status, 670.0)
