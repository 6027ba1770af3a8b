"""A process that may be ended at any moment: runs one item after the other and is watched from outside.

    worker ──control──> template ──fork──> child       one template a worker, one child a slot, both live long
       └──────────── items and answers ──────┘

``python -m sweeps.executors.child FD`` is the template. It imports what blocks need, starts no thread, and forks a
child for each request, so that a replacement costs milliseconds and never copies a lock that a thread held. It tells
how each child ended. When the worker dies, its end of the control socket closes and all of this ends. It contains
faults, not malice: a child has the worker's rights.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1


def main(control_fd: int) -> None:
    """Fork a child for each request that comes over the control socket, until it closes.

    A request is a byte with three descriptors: the child's connection, where its output goes, and where to say how it
    ended, a line of JSON each: ``{"pid": …}`` at once, ``{"status": …, "peak_bytes": …}`` at its end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the driver, which ends us in order
    from sweeps.task import preload

    preload()  # it may start no thread
    control = socket.socket(fileno=control_fd)
    awake, wake = os.pipe()
    for end in (awake, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ends = dict[int, int]()
    while True:
        ready, _, _ = select.select([control.fileno(), awake], [], [])
        if awake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(awake, 4096)
            _reap(ends)
        if control.fileno() in ready:
            try:
                word, descriptors, _, _ = socket.recv_fds(control, 1, 3)
            except ConnectionError:
                word = b""
            if not word:
                break
            _fork(control, (awake, wake), descriptors, ends)
    for pid in ends:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def _fork(control: socket.socket, pipe: tuple[int, int], descriptors: list[int], ends: dict[int, int]) -> None:
    connection, output, end = descriptors
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            os.setpgid(0, 0)  # what it starts itself dies with it
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for other in (*pipe, end, *ends.values()):
                os.close(other)
            _die_with(parent)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            _serve(Connection(connection))
        os._exit(1)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    os.close(connection)
    os.close(output)
    ends[pid] = end
    _tell(end, {"pid": pid})


def _reap(ends: dict[int, int]) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)  # what it left behind
        end = ends.pop(pid, None)
        if end is not None:
            _tell(end, {"status": os.waitstatus_to_exitcode(status), "peak_bytes": usage.ru_maxrss * 1024})
            os.close(end)


def _tell(end: int, document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody waits any more
        os.write(end, json.dumps(document).encode() + b"\n")


def _die_with(parent: int) -> None:
    """Have the kernel end this process when the template ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _serve(connection: Connection) -> NoReturn:
    """Answer one item after the other until the worker hangs up."""
    from sweeps.executors.base import Answer, answer, failure_of

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file has everything in it that the process knew
    space = address_space(os.getpid())
    while True:
        try:
            run, item, memory_bytes = connection.recv()
        except EOFError:
            os._exit(0)
        # So that one large allocation fails here, before the watcher could see it and the machine suffers.
        resource.setrlimit(resource.RLIMIT_AS, (space + memory_bytes, resource.RLIM_INFINITY))
        found: Answer[Any, Any] = answer(run, item)
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        try:
            connection.send((found.value, found.failure))
        except (OSError, ValueError):
            os._exit(1)
        except BaseException as error:  # a value that can't be sent is a failure, too
            connection.send((None, failure_of(error)))


def address_space(pid: int) -> int:
    """Return the bytes of address space of a process, 0 where it is gone."""
    return _pages(pid, 0)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds, 0 where it is gone."""
    return _pages(pid, 1)


def _pages(pid: int, field: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[field]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]))
