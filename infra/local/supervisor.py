"""A supervisor of one machine: it starts what has ended, always, and leaves nothing behind when it ends.

Always, not on failure alone: a Dask worker whose scheduler is gone ends with exit code 0 and never comes back by
itself. Each program is a process group of its own, so that what it started ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
WELL_SECONDS = 10.0  # who ran so long is well: the next pause is the first again
GRACE_SECONDS = 10.0
LOG_BYTES = 16 * 2**20
_LOOK_SECONDS = 0.1
_TRIM_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """What is to run always.

    Attributes
    ----------
    environment
        All of it: nothing is inherited, so that no program sees another's credentials.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    grace_seconds: float = GRACE_SECONDS


@dataclass
class _Kept:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    pause: float = FIRST_PAUSE_SECONDS
    due: float = field(default_factory=time.monotonic)


class Supervisor:
    """Keeps programs running until `stop`.

    Parameters
    ----------
    folder
        Holds ``supervisor.lock`` (whose lock says that one lives), ``processes.json`` and ``logs/``.
    say
        Takes a line for people.

    Raises
    ------
    AlreadyRunningError
        If another supervisor has the folder.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = print) -> None:
        self._folder, self._say = folder, say
        self._logs = folder / "logs"
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take(folder / "supervisor.lock")
        self._kept: dict[str, _Kept] = {}
        self._stopping = threading.Event()
        self._trimmed = 0.0
        end_leftovers(folder / "processes.json", say)

    def add(self, program: Program) -> None:
        """Start a program now."""
        self._kept[program.name] = kept = _Kept(program)
        self._start(kept)
        self._note()

    @property
    def stopping(self) -> bool:
        """Whether somebody wants it to end."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Have `run` end all programs and return; may be called by a signal's handler."""
        self._stopping.set()

    def run(self) -> None:
        """Start again whatever ends, until `stop`."""
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(_LOOK_SECONDS)

    def look(self) -> None:
        """Look once."""
        now = time.monotonic()
        changed = [self._look(kept, now) for kept in self._kept.values()]
        if any(changed):
            self._note()
        if now - self._trimmed > _TRIM_SECONDS:
            self._trimmed = now
            for kept in self._kept.values():
                _trim(self._log(kept.program.name))

    def close(self) -> None:
        """End every program, the last one first, and give the folder back."""
        living = [kept for kept in reversed(self._kept.values()) if kept.process is not None]
        # Who takes work ends before what it works with: one after the other, each with its whole group.
        for kept in living:
            assert kept.process is not None
            _end(kept.process, kept.program.grace_seconds)
        (self._folder / "processes.json").unlink(missing_ok=True)
        os.close(self._lock)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self, kept: _Kept, now: float) -> bool:
        if kept.process is not None and (code := kept.process.poll()) is not None:
            lived = now - kept.started
            _kill_group(kept.process.pid)  # what it started has nobody any more
            kept.process = None
            kept.pause = FIRST_PAUSE_SECONDS if lived > WELL_SECONDS else min(2 * kept.pause, LONGEST_PAUSE_SECONDS)
            kept.due = now + kept.pause
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._say(f"{kept.program.name} ended with {how} after {lived:.1f} s; again in {kept.pause:.2g} s")
            return True
        if kept.process is None and now >= kept.due:
            self._start(kept)
            return True
        return False

    def _start(self, kept: _Kept) -> None:
        kept.started = time.monotonic()
        kept.starts += 1
        try:
            with self._log(kept.program.name).open("ab") as log:
                kept.process = subprocess.Popen(
                    list(kept.program.command), env=dict(kept.program.environment), stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True, preexec_fn=partial(_die_with, os.getpid()),
                )  # fmt: skip
        except OSError as error:  # no memory, no file: tried again, like anything else
            kept.pause = min(2 * kept.pause, LONGEST_PAUSE_SECONDS)
            kept.due = kept.started + kept.pause
            self._say(f"{kept.program.name} can't be started ({error}); again in {kept.pause:.2g} s")

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _note(self) -> None:
        """Write down what runs, for people, and for a successor that finds us killed."""
        table = {
            name: {"pid": kept.process.pid if kept.process else None, "starts": kept.starts,
                   "born": _born(kept.process.pid) if kept.process else None}
            for name, kept in self._kept.items()
        }  # fmt: skip
        part = self._folder / "processes.json.part"
        part.write_text(json.dumps({"supervisor": os.getpid(), "programs": table}, indent=1))
        part.rename(self._folder / "processes.json")


class AlreadyRunningError(RuntimeError):
    """Another supervisor has the folder."""


def holder(folder: Path) -> int | None:
    """Return the process id of the supervisor that has the folder, None where there is none."""
    path = folder / "supervisor.lock"
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(path.read_text() or 0) or None
    except FileNotFoundError:
        pass
    return None


def end_leftovers(table: Path, say: Callable[[str], None] = print) -> None:
    """End what a killed supervisor left: those processes alone that were born when it says."""
    try:
        found = json.loads(table.read_text())["programs"]
    except (FileNotFoundError, ValueError, KeyError):
        return
    for name, program in found.items():
        pid, born = program["pid"], program["born"]
        if pid is not None and born is not None and _born(pid) == born:
            say(f"ending {name} (process {pid}), left by a supervisor that was killed")
            _kill_group(pid)


def _take(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise AlreadyRunningError(f"process {path.read_text().strip()} has {path.parent}") from None
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    return file


def _born(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    # The leader alone is asked: a nanny whose worker is asked at the same time would start a new one.
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_seconds)
    _kill_group(process.pid)
    process.wait()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _trim(log: Path) -> None:
    """Keep a log and the one before it; whoever writes goes on, since it only ever adds at the end."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def _die_with(parent: int) -> None:
    """Ask Linux to end us when the supervisor is killed: then nobody would."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
