"""Signals while a cluster starts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from sweeps.executors.interrupts import deferred
from sweeps.executors.spawning import without_main


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_deferred__acts_at_the_end_even_when_what_was_inside_failed(name: signal.Signals) -> None:
    seen: list[str] = []
    before = signal.signal(name, lambda *_: seen.append("heard"))

    def work() -> None:
        with deferred():
            signal.raise_signal(name)
            seen.append("inside")
            raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            work()
        assert seen == ["inside", "heard"]
        assert signal.getsignal(name) is not before
    finally:
        signal.signal(name, before)


@pytest.mark.parametrize(("name", "code"), [("Dask Worker process (from Nanny)", 0), ("another", 1)])
def test_workers__do_not_hear_ctrl_c_and_others_do(name: str, code: int) -> None:
    with without_main():
        process = multiprocessing.get_context("spawn").Process(name=name, target=time.sleep, args=(1.5,))
        process.start()
        time.sleep(0.75)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(10)
    assert process.exitcode in ((0,) if code == 0 else (1, -signal.SIGINT))
    process.close()
