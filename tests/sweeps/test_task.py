"""What a worker looks at before it computes a block."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import pytest

import sweeps.task
from datasets.store import Store
from sweeps.executors.tasks import Done, execute
from sweeps.task import run_block


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return where each block is noted that is computed."""
    noted = list[int]()
    compute = sweeps.task.compute

    def noting(root_url: str, identity: str, block: Any) -> Any:
        noted.append(block.index)
        time.sleep(0.05)
        return compute(root_url, identity, block)

    monkeypatch.setattr(sweeps.task, "compute", noting)
    return noted


def test_block__that_two_schedulers_sent_to_one_worker_is_begun_once(
    root: Store, small: Any, computed: list[int]
) -> None:
    identity = small.submit(root)
    found = list[Any]()

    def slot() -> None:
        done = execute(partial(run_block, root.url, identity), [0, 1])
        assert isinstance(done, Done)
        found.extend(answer.value for answer in done.answers)

    slots = [threading.Thread(target=slot) for _ in range(3)]
    for thread in slots:
        thread.start()
    for thread in slots:
        thread.join()
    assert sorted(computed) == [0, 1]
    assert sorted((receipt.block, receipt.computed) for receipt in found) == sorted(
        [(0, True), (1, True), *[(0, False), (1, False)] * 2]
    )


def test_block__that_another_worker_put_there_while_the_data_were_read_is_not_begun(
    root: Store, small: Any, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = small.submit(root)
    data = sweeps.task._data
    monkeypatch.setattr(sweeps.task, "_LOCK", threading.RLock())

    def reading(*arguments: Any) -> Any:
        monkeypatch.setattr(sweeps.task, "_data", data)
        assert run_block(root.url, identity, 0).computed  # the other worker
        time.sleep(0.06)
        return data(*arguments)

    monkeypatch.setattr(sweeps.task, "_data", reading)
    assert not run_block(root.url, identity, 0).computed
    assert computed == [0]
