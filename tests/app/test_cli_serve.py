"""Serving, and that nothing outlives a command that was interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from app.serve import end_tree, free_port
from quantbot.errors import InputError

ROOT = Path(__file__).parents[2]


@contextmanager
def _command(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command as a terminal would: Ctrl-C is not ignored, and the group is its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        yield process
    finally:
        end_tree(process)  # type: ignore[arg-type]
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def _descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    family: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return family


def _gone(family: list[psutil.Process], seconds: float = 10.0) -> list[psutil.Process]:
    """Return which of the processes still live after at most so long."""
    _, left = psutil.wait_procs(family, timeout=seconds)
    return [member for member in left if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]


def test_free_port__takes_the_next_one_when_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port(port) <= port + 50


def test_free_port__says_when_none_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.serve.PORTS_TO_TRY", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="--port"):
        free_port(taken.getsockname()[1])


def test_end_tree__ends_grandchildren_in_sessions_of_their_own_and_the_deaf() -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    program = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True, stdout=subprocess.PIPE);"
        "child.stdout.readline(); print('up', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) == 2
    end_tree(process)
    process.stdout.close()
    assert not _gone(family, 1.0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_app__answers_on_this_machine_alone_and_ends_with_all_it_started(tmp_path: Path, ending: int) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with _command("app", "--store", str(tmp_path), "--port", str(port)) as process:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url is not None
        with urlopen(f"{url[0]}/runs", timeout=20) as page:
            assert page.status == 200
        listening = {
            c.laddr.ip for child in _descendants(process) for c in child.net_connections() if c.status == "LISTEN"
        }
        assert listening == {"127.0.0.1"}
        family = _descendants(process)
        process.send_signal(ending)
        assert process.wait(20) == 0
        assert not _gone(family)


@pytest.fixture
def slow_sweep(tmp_path: Path) -> Path:
    """A spec over small synthetic bars whose strategy takes its time, in plain Python."""
    from datasets.store import open_store
    from datasets.synthetic import synthetic_minute

    synthetic_minute(open_store(tmp_path / "store"), "synthetic/minutes", n_assets=1, n_days=2, seed=1)
    (tmp_path / "slow.py").write_text(
        textwrap.dedent("""
            from quantbot.parameters import integer
            from quantbot.strategies.contract import strategy

            @strategy(parameters=[integer("level", 1, 1, 100_000, "A number to vary.")])
            def slow(close, level, position):
                '''Buy above a level, after counting for a while.'''
                counted = 0.0
                for step in range(500):
                    counted = counted + step
                return 1.0 if close > level and counted > 0.0 else 0.0
            """)
    )
    spec = tmp_path / "slow.toml"
    spec.write_text(
        textwrap.dedent("""
            version = 1
            [run]
            name = "slow"
            [data]
            dataset = "synthetic/minutes"
            [strategy]
            name = "slow.py:slow"
            plain_python = true
            [parameters]
            level = { start = 1, stop = 150 }
            [measures]
            groups = ["core"]
            """)
    )
    return spec


def _kept(tmp_path: Path) -> int:
    return len(list((tmp_path / "store" / "runs").glob("*/blocks/*.rows")))


def _interrupt(tmp_path: Path, spec: Path, send: Callable[[subprocess.Popen[str]], None]) -> str:
    """Run the sweep until its first block is there, interrupt it, and return what it said."""
    with _command("sweep", "run", str(spec), "--store", str(tmp_path / "store"), "--workers", "2") as process:
        deadline = time.monotonic() + 90
        while not _kept(tmp_path) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
        family = _descendants(process)
        assert len(family) >= 2, "workers are processes"
        send(process)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert not _gone(family)
    return err


@pytest.mark.slow
def test_sweep__after_ctrl_c_leaves_no_process_and_resumes_what_is_missing(slow_sweep: Path, tmp_path: Path) -> None:
    # A terminal sends Ctrl-C to every process of the group.
    err = _interrupt(tmp_path, slow_sweep, lambda process: os.killpg(process.pid, signal.SIGINT))
    assert re.fullmatch(
        r"interrupted; finished blocks are kept, and `quantbot sweep resume [0-9a-f]{12}` goes on from there\n", err
    )
    n_kept = _kept(tmp_path)
    line = ["-m", "app", "sweep", "resume", "slow", "--store", str(tmp_path / "store"), "--serial", "--json"]
    done = subprocess.run([sys.executable, *line], capture_output=True, text=True, cwd=ROOT, check=True, timeout=120)
    outcome = json.loads(done.stdout)
    assert 1 <= outcome["n_reused"] == n_kept < outcome["n_blocks"]
    assert outcome["n_computed"] == outcome["n_blocks"] - n_kept


def test_sweep__after_sigterm_leaves_no_process(slow_sweep: Path, tmp_path: Path) -> None:
    err = _interrupt(tmp_path, slow_sweep, lambda process: process.send_signal(signal.SIGTERM))
    assert "Traceback" not in err
