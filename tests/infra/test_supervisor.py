"""The supervisor of `make stack`: what ends is started again, and nothing outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

LOCAL = Path(__file__).parents[2] / "infra" / "local"
sys.path.insert(0, str(LOCAL))

import supervisor as module  # noqa: E402
from supervisor import AlreadyRunningError, Program, Supervisor, end_leftovers, holder  # noqa: E402

ENVIRONMENT = {"PATH": os.environ["PATH"]}
FOREVER = ["sleep", "1000"]
PARENT = ["sh", "-c", "sleep 1000 & echo $!; wait"]  # prints its child's process id


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, lambda _: None) as made:
        yield made


def until(supervisor: Supervisor | None, holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        if supervisor is not None:
            supervisor.look()
        time.sleep(0.02)


def program(folder: Path, name: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "processes.json").read_text())["programs"][name]
    return found


def gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize("how", ["exit 0", "exit 7", "kill -9 $$", "kill -TERM $$"])
def test_program__that_ends_is_started_again_however_it_ended(kept: Supervisor, tmp_path: Path, how: str) -> None:
    kept.add(Program("brief", ["sh", "-c", f"echo born; {how}"], ENVIRONMENT))
    until(kept, lambda: program(tmp_path, "brief")["starts"] >= 2)
    assert (tmp_path / "logs" / "brief.log").read_text().count("born") >= 1


def test_pauses__grow_to_a_limit_and_begin_anew_after_a_good_while(
    kept: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(kept, "_say", said.append)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.02)
    kept._kept.clear()
    kept.add(Program("brief", ["true"], ENVIRONMENT))
    kept._kept["brief"].pause = 0.02
    until(kept, lambda: len(said) >= 4)
    assert [line.rpartition("in ")[2] for line in said[:4]] == ["0.04 s", "0.08 s", "0.1 s", "0.1 s"]
    monkeypatch.setattr(module, "WELL_SECONDS", 0.0)
    until(kept, lambda: said[-1].endswith("in 0.02 s"))


def test_program__that_can_not_be_started_is_tried_again(kept: Supervisor, tmp_path: Path) -> None:
    kept.add(Program("absent", [str(tmp_path / "later")], ENVIRONMENT))
    assert program(tmp_path, "absent")["pid"] is None
    (tmp_path / "later").symlink_to("/bin/true")
    until(kept, lambda: program(tmp_path, "absent")["pid"] is not None)


def test_what_a_program_started__ends_with_it(kept: Supervisor, tmp_path: Path) -> None:
    kept.add(Program("parent", PARENT, ENVIRONMENT))
    log = tmp_path / "logs" / "parent.log"
    until(kept, lambda: log.read_text().endswith("\n"))
    child = int(log.read_text())
    os.kill(int(program(tmp_path, "parent")["pid"]), signal.SIGKILL)
    until(kept, lambda: gone(child))
    until(kept, lambda: program(tmp_path, "parent")["starts"] == 2)


def test_close__ends_all_groups_also_who_will_not_hear(tmp_path: Path) -> None:
    with Supervisor(tmp_path, lambda _: None) as made:
        made.add(
            Program("deaf", ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 1; done"], ENVIRONMENT, 0.2)
        )
        made.add(Program("parent", PARENT, ENVIRONMENT))
        logs = [tmp_path / "logs" / f"{name}.log" for name in ("deaf", "parent")]
        until(made, lambda: all(log.read_text().endswith("\n") for log in logs))
        pids = [int(program(tmp_path, name)["pid"]) for name in ("deaf", "parent")] + [int(logs[1].read_text())]
        assert holder(tmp_path) == os.getpid()
    assert all(gone(pid) for pid in pids)
    assert holder(tmp_path) is None
    assert not (tmp_path / "processes.json").exists()


def test_folder__has_one_supervisor(kept: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        Supervisor(tmp_path)


def test_supervisor__that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(LOCAL)!r})\n"
        "from pathlib import Path\nfrom supervisor import Program, Supervisor\n"
        f"with Supervisor(Path({str(tmp_path)!r})) as kept:\n"
        f"    kept.add(Program('polite', {FOREVER!r}, {ENVIRONMENT!r}))\n"
        f"    kept.add(Program('deaf', ['sh', '-c', 'trap \"\" TERM; sleep 1000'], {ENVIRONMENT!r}))\n"
        "    kept.run()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    until(None, lambda: (tmp_path / "processes.json").exists() and "deaf" in (tmp_path / "processes.json").read_text())
    polite, deaf = (int(program(tmp_path, name)["pid"]) for name in ("polite", "deaf"))
    process.kill()
    process.wait()
    until(None, lambda: gone(polite))
    assert not gone(deaf)
    said: list[str] = []
    with Supervisor(tmp_path, said.append):
        until(None, lambda: gone(deaf))
    assert any("deaf" in line for line in said)


def test_leftovers__are_known_by_when_they_were_born(tmp_path: Path) -> None:
    """A process id is given again: who has it now may be anybody."""
    stranger = subprocess.Popen(FOREVER, start_new_session=True)
    try:
        table = {"programs": {"old": {"pid": stranger.pid, "born": 12345.0, "starts": 1}}}
        (tmp_path / "processes.json").write_text(json.dumps(table))
        end_leftovers(tmp_path / "processes.json")
        time.sleep(0.05)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_log__is_cut_before_it_fills_the_disk(
    kept: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_BYTES", 1000)
    monkeypatch.setattr(module, "_TRIM_SECONDS", 0.0)
    kept.add(Program("chatty", ["sh", "-c", "while true; do echo 0123456789; sleep 0.001; done"], ENVIRONMENT))
    log = tmp_path / "logs" / "chatty.log"
    until(kept, lambda: log.with_suffix(".log.1").exists())
    until(kept, lambda: 0 < log.stat().st_size < 1000)
