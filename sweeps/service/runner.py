"""The runner: takes runs from the queue, one after the other or some at a time, and drives each to its end.

It holds nothing that matters. Killed at any moment, another (or itself, started again) finds in the store what is
missing, once the lease has ended. A store or a cluster that is away is waited for, under its name.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from quantbot.errors import InputError, QuantBotError, RunError, StoreError
from sweeps.executors.base import Executor, nothing
from sweeps.lease import TTL_SECONDS
from sweeps.run import NOT_THE_RUNS_FAULT, DrivenError, Outcome, drive, trouble_of
from sweeps.runstore import SHORT, RunStore
from sweeps.service import heartbeat
from sweeps.service.metering import Account, usage_of_users
from sweeps.service.queue import Ticket, remove, tickets
from sweeps.service.shares import deserves_more, in_order
from sweeps.task import check_bits
from sweeps.watch import CANCEL, PAUSE, Ending

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan
    from sweeps.progress import Progress

State = Literal["idle", "driving", "waiting", "draining"]
_LONGEST_WAIT = 5.0  # seconds between two tries of a store or a cluster that is away; it is back within half a minute
_WEIGH_SECONDS = 5.0  # between two looks at whether somebody else should have the place
_HUNG_SECONDS = 900.0  # without a sign of life from a drive, compiling included: the process ends, to be started again


@dataclass
class Counters:
    """What a runner counted since it started; plain numbers, for whoever shows them.

    Attributes
    ----------
    n_blocks, n_failed_trials
        Blocks that it had computed, and trials that failed in runs that it brought to their end.
    n_done, n_failed
        Runs that it brought to their end, and runs that can't be computed.
    n_waits
        Times that the store or the cluster went away.
    core_seconds
        Seconds that workers were busy for it.
    queue_length
        Runs in the queue when it last looked, driven ones included.
    """

    n_blocks: int = 0
    n_failed_trials: int = 0
    n_done: int = 0
    n_failed: int = 0
    n_waits: int = 0
    core_seconds: float = 0.0
    bytes_read: int = 0
    queue_length: int = 0


@dataclass
class _Drive:
    """One run that this runner drives."""

    ticket: Ticket
    began: float
    seen: float
    weighed: float
    rival: str = ""
    n_blocks: int = 0


class Runner:
    """Drives what waits in the queue of `root`.

    Parameters
    ----------
    executor
        Makes an executor; each run that is driven at the same time has one of its own.
    name
        Under which people see it; no two at a time. By default this machine's name and the process.
    at_once
        Runs that it drives at a time.
    ttl_seconds
        Length of a run's lease: how long a run of a killed runner waits.
    poll_seconds
        Between two looks at an empty queue.
    slice_seconds
        How long a run keeps its place when a user waits who took less.
    grace_seconds
        How long blocks in flight may take when the runner drains.
    say
        Takes a line for people.
    admit
        Raises `QuantBotError` for a run that this runner may not drive, such as one whose sources nobody registered;
        its ticket is removed then.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> from sweeps.executors import serial
    >>> runner = Runner(open_store(tempfile.mkdtemp()), serial, name="example")
    >>> runner.run(once=True)  # nothing waits, so it ends
    >>> runner.counters.n_done
    0
    """

    def __init__(
        self,
        root: Store,
        executor: Callable[[], AbstractContextManager[Executor]],
        *,
        name: str = "",
        at_once: int = 1,
        ttl_seconds: float = TTL_SECONDS,
        poll_seconds: float = 2.0,
        slice_seconds: float = 600.0,
        grace_seconds: float = 30.0,
        say: Callable[[str], None] | None = None,
        admit: Callable[[Ticket, Plan], None] | None = None,
    ) -> None:
        if at_once < 1:
            raise InputError(f"a runner drives at least 1 run at a time, was {at_once}")
        self.root, self.name = root, heartbeat.check_name(name or _default_name())
        self.counters = Counters()
        self._executor, self._at_once = executor, at_once
        self._ttl, self._poll = ttl_seconds, poll_seconds
        self._slice, self._grace = slice_seconds, grace_seconds
        self._say = say or (lambda _: None)
        self._admit = admit or (lambda ticket, plan: None)
        self._started_ns = 0
        self._account = Account(root)
        self._draining = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._driven: dict[str, _Drive] = {}
        self._not_before: dict[str, float] = {}
        self._troubles: dict[int, tuple[str, str]] = {}
        self._refused: dict[str, str] = {}

    @property
    def state(self) -> State:
        """What it is at."""
        if self._draining.is_set():
            return "draining"
        if self._driven:
            return "driving"
        return "waiting" if self._troubles else "idle"

    @property
    def n_driven(self) -> int:
        """How many runs it drives now, each under a lease."""
        return len(self._driven)

    @property
    def trouble(self) -> tuple[str, str]:
        """What it waits for, by name and in words; empty while it can go on."""
        refused = next(iter(self._refused.values()), "")
        return next(iter(self._troubles.values()), ("version refused", refused) if refused else ("", ""))

    def drain(self) -> None:
        """Begin no block any more, let those in flight end, give the leases back, and have `run` return."""
        self._draining.set()
        self._wake.set()

    def run(self, *, once: bool = False) -> None:
        """Drive what waits until it is drained, or until nothing can be driven any more (`once`)."""
        slots = [
            threading.Thread(target=self._slot, args=(index, once), name=f"slot-{index}", daemon=True)
            for index in range(self._at_once)
        ]
        for slot in slots:
            slot.start()
        beat_at, ends_at = 0.0, float("inf")
        try:
            while any(slot.is_alive() for slot in slots) and time.monotonic() < ends_at:
                now = time.monotonic()
                if now >= beat_at:
                    beat_at = now + min(self._ttl / 3, 5.0)
                    self._beat()
                self._check_life(now)
                if self._draining.is_set() and ends_at == float("inf"):
                    ends_at, beat_at = now + self._grace + 10.0, 0.0
                self._wake.wait(0.2)
                if not self._draining.is_set():
                    self._wake.clear()
                else:
                    time.sleep(0.05)
        finally:
            self._draining.set()
            with contextlib.suppress(StoreError):
                self._account.write()
                heartbeat.leave(self.root, self.name)

    # -- one slot: an executor, and run after run -----------------------------------------------------------------

    def _slot(self, index: int, once: bool) -> None:
        attempt = 0
        with contextlib.ExitStack() as stack:
            executor: Executor | None = None
            while not self._draining.is_set():
                try:
                    if executor is None:
                        executor = stack.enter_context(self._executor())
                        if attempt:
                            executor.prepare(nothing)  # is it back?
                    self._troubles.pop(index, None)
                    ticket = self._take()
                    if ticket is None:
                        if once and not self._driven:
                            return
                        self._draining.wait(self._poll * random.uniform(0.8, 1.2))
                    else:
                        self._drive(ticket, executor)
                    attempt = 0
                except NOT_THE_RUNS_FAULT as error:
                    # Also a cluster that is well is made anew: what its workers had in hand is nobody's any more.
                    executor = None
                    with contextlib.suppress(Exception):
                        stack.close()
                    self._wait(index, attempt, trouble_of(error), str(error))
                    attempt += 1

    def _wait(self, index: int, attempt: int, trouble: str, words: str) -> None:
        if not attempt:
            self.counters.n_waits += 1
            self._say(f"waiting: {trouble}: {words}")
        self._troubles[index] = trouble, words[:2000]
        self._wake.set()
        self._draining.wait(min(0.5 * 2.0**attempt, _LONGEST_WAIT) * random.uniform(0.7, 1.3))

    def _take(self) -> Ticket | None:
        """Return the run that this slot should try next, None where there is none."""
        waiting = tickets(self.root)
        self.counters.queue_length = len(waiting)
        if not waiting:
            self._refused.clear()
            return None
        others = Counter[str]()
        elsewhere = set[str]()
        for other in heartbeat.runners(self.root):
            if other.alive and other.name != self.name:
                others.update(other.runs.values())
                elsewhere.update(other.runs)
        with self._lock:
            others.update(drive.ticket.user for drive in self._driven.values())
        usage = usage_of_users(self.root) if len({ticket.user for ticket in waiting}) > 1 else {}
        now = time.monotonic()
        for ticket in in_order(waiting, usage, others):
            if ticket.identity in elsewhere or self._not_before.get(ticket.identity, 0.0) > now:
                continue
            with self._lock:
                if ticket.identity in self._driven:
                    continue
                self._driven[ticket.identity] = _Drive(ticket, now, now, now)
            try:
                if self._may_drive(ticket):
                    return ticket
            except BaseException:
                self._let_go(ticket)
                raise
            self._let_go(ticket)
        return None

    def _may_drive(self, ticket: Ticket) -> bool:
        run = RunStore(self.root, ticket.identity)
        if run.store.exists(CANCEL):
            remove(self.root, ticket.keys)
            return False
        if run.store.exists(PAUSE):
            return False
        try:
            plan = run.plan()
            self._admit(ticket, plan)
            check_bits(plan)
        except StoreError:  # that it is away says nothing about the run
            raise
        except RunError as error:
            # Another runner may be of its version; until one comes, it waits, and says for what.
            self._refused[ticket.identity] = str(error)
            self._later(ticket, 60.0)
            return False
        except QuantBotError as error:
            self._failed(ticket, error)
            remove(self.root, ticket.keys)
            return False
        self._refused.pop(ticket.identity, None)
        return True

    def _drive(self, ticket: Ticket, executor: Executor) -> None:
        self._say(f"run {ticket.short}: taken for {ticket.user or 'nobody'}, priority {ticket.priority}")
        self._wake.set()
        try:
            outcome = drive(
                self.root,
                ticket.identity,
                executor,
                on_progress=partial(self._see, ticket),
                wait=False,
                ttl_seconds=self._ttl,
                resume=False,
                stop=partial(self._stop, ticket),
                grace_seconds=self._grace,
                account=self._account,
            )
            self._ended(ticket, outcome)
        except DrivenError:
            self._later(ticket, max(self._ttl / 6, 0.2))
        except NOT_THE_RUNS_FAULT:
            raise
        except QuantBotError as error:
            self._failed(ticket, error)
        except Exception as error:  # a fault of ours or of a library's is one run's end, not the service's
            self._failed(ticket, error)
            self._later(ticket, 60.0)
        finally:
            self._let_go(ticket)

    def _ended(self, ticket: Ticket, outcome: Outcome) -> None:
        self.counters.core_seconds, self.counters.bytes_read = self._account.taken()
        if outcome.state == "done":
            self.counters.n_done += 1
            self.counters.n_failed_trials += outcome.n_failed
        elif outcome.state == "budget spent":
            # It stops to wait: with more of it, somebody asks again.
            remove(self.root, ticket.keys)
        words = f"{outcome.n_computed} blocks computed, {outcome.n_reused} were there"
        self._say(f"run {ticket.short}: {outcome.state}, {words} {outcome.result_digest[:SHORT]}".rstrip())

    def _failed(self, ticket: Ticket, error: Exception) -> None:
        self.counters.n_failed += 1
        self._say(f"run {ticket.short}: {type(error).__name__}: {error}")

    def _later(self, ticket: Ticket, seconds: float) -> None:
        self._not_before[ticket.identity] = time.monotonic() + seconds

    def _let_go(self, ticket: Ticket) -> None:
        with self._lock:
            self._driven.pop(ticket.identity, None)

    # -- while a run is driven ------------------------------------------------------------------------------------

    def _see(self, ticket: Ticket, progress: Progress) -> None:
        if (found := self._driven.get(ticket.identity)) is not None:
            found.seen = time.monotonic()
            n_blocks = progress.n_blocks_done - progress.n_reused
            self.counters.n_blocks += max(n_blocks - found.n_blocks, 0)
            found.n_blocks = n_blocks

    def _stop(self, ticket: Ticket) -> Ending | None:
        if self._draining.is_set():
            return "drained"
        found, now = self._driven.get(ticket.identity), time.monotonic()
        if found is None or now - found.weighed < _WEIGH_SECONDS:
            return None
        found.weighed = now
        try:
            rival = self._rival(found, now)
        except QuantBotError:  # whoever can't look at the queue goes on with what it has
            return None
        # Seen waiting twice: a runner that has nothing else to do would have taken it in between.
        again, found.rival = bool(rival) and rival == found.rival, rival
        return "yielded" if again else None

    def _rival(self, found: _Drive, now: float) -> str:
        """Return the run that should have the place of one that is driven, empty where none should."""
        waiting = tickets(self.root)
        self.counters.queue_length = len(waiting)
        taken = {run for other in heartbeat.runners(self.root) if other.alive for run in other.runs}
        free = [
            ticket for ticket in waiting if ticket.identity not in taken | self._driven.keys() | self._refused.keys()
        ]
        if not free:
            return ""
        usage = usage_of_users(self.root)
        slice_over = now - found.began > self._slice
        for other in in_order(free, usage):
            if not deserves_more(other, found.ticket, usage, slice_over=slice_over):
                return ""
            if not RunStore(self.root, other.identity).store.exists(PAUSE):
                return other.identity
        return ""

    # -- signs of life --------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        with self._lock:
            runs = {identity: found.ticket.user for identity, found in self._driven.items()}
        trouble, note = self.trouble
        self.counters.core_seconds, self.counters.bytes_read = self._account.taken()
        document = {
            "holder": f"process {os.getpid()} on {socket.gethostname()}",
            "state": self.state,
            "trouble": trouble,
            "note": note,
            "runs": runs,
            "counters": asdict(self.counters),
            "ttl_seconds": max(self._ttl, 3.0),
        }
        with contextlib.suppress(StoreError):  # it is waited for where it is needed
            if not self._started_ns:
                heartbeat.forget_dead(self.root)
                self._started_ns = self.root.now_ns()
            heartbeat.beat(self.root, self.name, document | {"started_ns": self._started_ns})

    def _check_life(self, now: float) -> None:
        """End a process whose drive hangs: its leases end with it, and whoever supervises it starts it again."""
        with self._lock:
            hung = [found.ticket.short for found in self._driven.values() if now - found.seen > _HUNG_SECONDS]
        if hung:
            self._say(f"no sign of life from run {hung[0]} for {_HUNG_SECONDS:.0f} s; ending, to be started again")
            os._exit(70)


def _default_name() -> str:
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname()).strip("-")[:60] or "runner"
    return f"{host}-{os.getpid()}"
