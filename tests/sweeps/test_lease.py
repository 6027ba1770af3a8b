"""The lease: one holder at a time, replaced when it dies, harmless when it comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from datasets.store import Store, open_store
from quantbot.errors import CorruptError, InputError
from sweeps.lease import Lease, acquire, lease_state


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url).child("run")


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def abandoned(store: Store, ttl_seconds: float) -> Lease:
    """Take a lease and never renew it: its holder was killed."""
    lease = acquire(store, ttl_seconds)
    assert lease is not None
    return lease


def test_lease__has_one_holder_until_it_is_given_back(store: Store) -> None:
    first = acquire(store)
    assert first is not None
    with first:
        assert acquire(store) is None
        state = lease_state(store)
        assert (state.number, state.alive, state.released) == (1, True, False)
        assert "process" in state.holder
        first.note = "done"
    state = lease_state(store)
    assert (state.alive, state.released, state.note) == (False, True, "done")
    second = acquire(store)
    assert second is not None
    assert second.number == 2


def test_lease__of_a_dead_holder_is_taken_over_after_its_end(store: Store) -> None:
    abandoned(store, 2.0)
    assert acquire(store) is None
    wait_for(lambda: not lease_state(store).alive)
    state = lease_state(store)
    assert not state.released
    assert state.age_seconds >= 2.0
    taken = acquire(store)
    assert taken is not None
    assert taken.number == 2


def test_lease__outlives_its_length_while_it_is_renewed(store: Store) -> None:
    lease = abandoned(store, 2.0)
    with lease:
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            assert lease_state(store).alive
            assert acquire(store) is None
            time.sleep(0.3)
        assert not lease.lost.is_set()


def test_late_holder__notices_and_does_not_touch_the_new_one(tmp_path_store: Store) -> None:
    store = tmp_path_store
    late = abandoned(store, 0.3)
    wait_for(lambda: not lease_state(store).alive)
    new = acquire(store)
    assert new is not None
    before = store.get("lease/00000002.json")
    with late:  # wakes up and goes on as if nothing had happened
        wait_for(late.lost.is_set)
    assert store.get("lease/00000002.json") == before
    assert lease_state(store).number == 2


def test_lease__goes_to_exactly_one_of_many(store: Store) -> None:
    for number in range(1, 4):
        barrier = threading.Barrier(6)
        won: list[Lease] = []

        def race(barrier: threading.Barrier = barrier, won: list[Lease] = won) -> None:
            barrier.wait()
            if lease := acquire(store):
                won.append(lease)

        threads = [threading.Thread(target=race) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [lease.number for lease in won] == [number]
        with won[0]:
            pass


def test_lease__is_lost_when_the_store_is_down_for_its_length(tmp_path_store: Store) -> None:
    from quantbot.errors import StoreError

    class Down:
        def __getattr__(self, name: str) -> object:
            raise StoreError("unreachable")

    lease = abandoned(tmp_path_store, 0.4)
    lease._store = Down()  # type: ignore[assignment]
    with lease:
        assert lease.lost.wait(5)


def test_state__of_a_run_nobody_ever_drove(tmp_path_store: Store) -> None:
    state = lease_state(tmp_path_store)
    assert (state.number, state.alive, state.released) == (0, False, False)


def test_state__refuses_bytes_that_are_no_lease(tmp_path_store: Store) -> None:
    tmp_path_store.put_new("lease/00000001.json", json.dumps({"holder": "me"}).encode())
    with pytest.raises(CorruptError, match="is no lease"):
        lease_state(tmp_path_store)


def test_length__is_bounded(tmp_path_store: Store) -> None:
    for wrong in (0.0, -1.0, 7200.0):
        with pytest.raises(InputError, match="a moment to an hour"):
            acquire(tmp_path_store, wrong)


@pytest.fixture
def tmp_path_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("lease"))
