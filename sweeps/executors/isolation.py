"""Running an item where it can be ended: the worker's side of `sweeps.executors.child`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pipe
from typing import Any, TypeVar

from sweeps.executors.base import Answer, Cause, Failure, Limits
from sweeps.executors.child import resident

T = TypeVar("T")
R = TypeVar("R")

_LOOK_SECONDS = 0.1  # between two looks at a child's memory
_TAIL_BYTES = 4096  # of what it printed that are kept for whoever asks why it ended
_END_SECONDS = 10.0  # for the kernel to end a process
_START_SECONDS = 60.0
_WORN = 0.75  # of its memory that a child may hold between two items: it leaks, and the next item would be blamed
_ANSWER_BYTES = 64 * 2**20


class Children:
    """The children of this process: as many as threads want one at a time, each kept for the next item."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._control: socket.socket | None = None
        self._template: subprocess.Popen[bytes] | None = None

    def run(self, run: Callable[[T], R], item: T, limits: Limits) -> Answer[T, R]:
        """Run one item in a child and return what became of it, at most moments after `limits.seconds`.

        Examples
        --------
        >>> children = Children()
        >>> children.run(abs, -3, Limits(60, 2**30)).value
        3
        >>> print(children.run(os._exit, 0, Limits(60, 2**30)).failure)
        Crashed: its process ended without an answer: exit code 0
        >>> children.close()
        """
        for attempt in range(2):
            child = self._take()
            try:
                found = child.run(run, item, limits)
            except BaseException:  # not the item's fault, or the worker's thread is asked to leave
                child.end()
                raise
            if found is None:  # it had died before it was given the item
                child.end()
                if attempt:
                    break
                continue
            failure = found.failure
            if child.alive and (failure is None or failure.cause in ("raised", "outage")) and not child.worn(limits):
                with self._lock:
                    self._idle.append(child)
            else:
                child.end()
            return found
        return Answer(item, failure=Failure("lost", "NoChild", "no process could be started for it"))

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            idle, self._idle = self._idle, []
            control, self._control = self._control, None
            template, self._template = self._template, None
        for child in idle:
            child.end()
        if control is not None:
            control.close()
        if template is not None:
            template.wait(_END_SECONDS)

    def _take(self) -> _Child:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            for last in (False, True):
                if self._template is None or self._template.poll() is not None:
                    self._start()
                try:
                    return _Child(self._control)
                except OSError:
                    if last:
                        raise
                    self._template = None
        raise AssertionError

    def _start(self) -> None:
        """Start the template; what it will run lies in packages, so it gets our path and nothing else of ours."""
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair()
        with theirs:
            program = f"import sys; sys.path[:] = {sys.path!r}; from sweeps.executors.child import main; main({{}})"
            self._template = subprocess.Popen(
                [sys.executable, "-c", program.format(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = ours


CHILDREN = Children()


class _Child:
    """One child: its connection, its output, and how it ended."""

    def __init__(self, control: socket.socket | None) -> None:
        assert control is not None
        self._connection, theirs = Pipe()
        self._output, output = os.pipe()
        self._end, end = os.pipe()
        try:
            socket.send_fds(control, [b"f"], [theirs.fileno(), output, end])
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(output)
            os.close(end)
        os.set_blocking(self._output, False)
        self._told = b""
        self._status: dict[str, Any] | None = None
        self.pid = 0
        self._poll = select.poll()
        for descriptor in (self._connection.fileno(), self._output, self._end):
            self._poll.register(descriptor, select.POLLIN)
        born = time.monotonic() + _START_SECONDS
        while not self.pid:
            if not select.select([self._end], [], [], max(born - time.monotonic(), 0))[0] or not self._listen():
                self._close()
                raise OSError(f"a process for a block did not start within {_START_SECONDS:g} s")

    @property
    def alive(self) -> bool:
        """Whether nobody said yet that it ended."""
        return self._status is None

    def worn(self, limits: Limits) -> bool:
        """Return whether it holds so much memory between two items that the next would be blamed for it."""
        return resident(self.pid) > _WORN * limits.memory_bytes

    def run(self, run: Callable[[T], R], item: T, limits: Limits) -> Answer[T, R] | None:
        """Return what became of an item; None when this child had ended before."""
        said = _Output(limits.output_bytes)
        self._drain(said)
        try:
            self._connection.send((run, item, limits.memory_bytes))
        except OSError:
            return None
        began = time.monotonic()
        answered = self._connection.fileno()
        while True:
            left = began + limits.seconds - time.monotonic()
            ready = {descriptor for descriptor, _ in self._poll.poll(1000 * max(min(left, _LOOK_SECONDS), 0))}
            if self._output in ready:
                self._drain(said)
            if answered in ready:
                found = self._receive()
                if found is not None:
                    self._drain(said)
                    return self._judged(item, *found, limits, said)
                return self._ended(item, "crashed", self._wait(), said)
            if self._end in ready and not self._listen():
                return self._ended(item, "crashed", self._wait(), said)
            if left <= 0:
                return self._ended(item, "deadline", f"limit of {limits.seconds:g} s", said)
            if resident(self.pid) > limits.memory_bytes:
                return self._ended(item, "oom", f"limit of {_megabytes(limits.memory_bytes)}", said)

    def _receive(self) -> tuple[Any, Failure | None] | None:
        try:
            if not self._connection.poll(0):
                return None
            found = self._connection.recv()
        except Exception:  # half an answer, or none: it died while it wrote, or its memory is damaged
            return None
        return found if isinstance(found, tuple) and len(found) == 2 else None

    def _judged(self, item: T, value: Any, failure: Failure | None, limits: Limits, said: _Output) -> Answer[T, Any]:
        if failure is None:
            return Answer(item, value)
        if failure.kind != "MemoryError":
            return Answer(item, failure=replace(failure, stderr=said.tail()))
        ended = f"limit of {_megabytes(limits.memory_bytes)}"
        return self._ended(item, "oom", ended, said)

    def _ended(self, item: T, cause: Cause, ended: str, said: _Output) -> Answer[T, Any]:
        """End it, and return why as an answer."""
        peak = resident(self.pid)
        self._kill()
        self._wait()
        self._drain(said)
        peak = max(peak, int((self._status or {}).get("peak_bytes", 0)))
        kind, did = {
            "crashed": ("Crashed", "its process ended without an answer"),
            "deadline": ("Deadline", "it was ended for the time it took"),
            "oom": ("OutOfMemory", "it was ended for the memory it took"),
        }[cause]
        message = f"{did}: {ended}" + (f", {_megabytes(peak)} at most" if cause == "oom" else "")
        failure = Failure(cause, kind, message, ended=ended, peak_bytes=peak, stderr=said.tail())
        return Answer(item, failure=failure)

    def _kill(self) -> None:
        if self.alive:
            for kill in (os.killpg, os.kill):
                try:
                    kill(self.pid, signal.SIGKILL)
                except OSError:
                    continue

    def _wait(self) -> str:
        """Return how it ended, in words; asks for its end where it goes on, having closed its connection."""
        until = time.monotonic() + 0.5
        killed = False
        while self.alive:
            left = until - time.monotonic()
            if left <= 0:
                if killed:
                    return "it did not end within 10 s of SIGKILL"
                self._kill()
                killed, until = True, time.monotonic() + _END_SECONDS
                continue
            if select.select([self._end], [], [], left)[0] and not self._listen():
                break
        code = int((self._status or {}).get("status", -signal.SIGKILL))
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"

    def _listen(self) -> bool:
        """Take in what the template says; return False when that was the last."""
        data = os.read(self._end, 4096)
        self._told += data
        *lines, self._told = self._told.split(b"\n")
        for line in lines:
            document = json.loads(line)
            self.pid = int(document.get("pid", self.pid))
            if "status" in document:
                self._status = document
        if not data and self._status is None:  # the template is gone, and so is the child
            self._status = {}
        return self._status is None

    def _drain(self, said: _Output) -> None:
        try:
            while data := os.read(self._output, 1 << 16):
                said.add(data)
                if len(data) < 1 << 12:
                    return
        except BlockingIOError:
            pass

    def end(self) -> None:
        """End it and close what leads to it."""
        self._kill()
        self._close()

    def _close(self) -> None:
        self._connection.close()
        for descriptor in (self._output, self._end):
            if descriptor >= 0:
                os.close(descriptor)
        self._output = self._end = -1


class _Output:
    """What one item printed: passed on until it is too much, and its last bytes kept."""

    def __init__(self, limit: int) -> None:
        self._limit, self._passed, self._tail = limit, 0, b""

    def add(self, data: bytes) -> None:
        """Take note of more."""
        room = self._limit - self._passed
        if room > 0:
            _say(data[:room])
            if len(data) >= room:
                _say(f"\n[output cut: a block may print {self._limit:,} bytes]\n".encode())
        self._passed += len(data)
        self._tail = (self._tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]

    def tail(self) -> str:
        """Return the last of it, as text."""
        cut = f"[cut: it printed {self._passed:,} bytes, {self._limit:,} were passed on]\n"
        return (cut if self._passed > self._limit else "") + self._tail.decode(errors="replace")


def _say(data: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody listens to this worker any more
        os.write(2, data)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.0f} MB"
