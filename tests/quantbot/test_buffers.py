"""Long arrays whose memory is used again, but never while somebody looks at it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quantbot import buffers
from quantbot.market import Floats

N = 123_457  # a size that nothing else uses


def place(array: Floats) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory__is_handed_out_again_when_nothing_refers_to_it() -> None:
    first = buffers.empty(N)
    where = place(first)
    del first
    assert place(buffers.empty(N)) == where


def test_memory__stays_while_a_view_lives() -> None:
    first = buffers.empty(N)
    first[:] = 1.0
    view = first[10:20]
    where = place(first)
    del first
    other = buffers.empty(N)
    other[:] = 2.0
    assert place(other) != where
    assert (view == 1.0).all()


def test_stock__is_bounded() -> None:
    many = [buffers.empty(N + i) for i in range(2 * buffers.KEPT_BYTES // (8 * N))]
    del many
    assert buffers._kept_bytes <= buffers.KEPT_BYTES
    assert buffers._kept_bytes == sum(raw.nbytes for free in buffers._FREE.values() for raw in free)


def test_threads__never_share_memory() -> None:
    def fill(value: int) -> bool:
        for _ in range(50):
            array = buffers.empty(N)
            array[:] = value
            if not (array == value).all():
                return False
            del array
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fill, range(8)))


def test_short_arrays__are_numpys_own() -> None:
    assert buffers.empty(10).base is None
    assert buffers.empty(N).dtype == np.float64
