"""The encoding of a block: what goes in comes out, and any other byte is noticed."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.engine import Rows
from quantbot.errors import CorruptError, FormatError, InputError
from sweeps.rows import HEADER_BYTES, VERSION, ResultDigest, decode, decode_header, describe, encode, is_misread

IDENTITY = "ab" * 32


def make_rows(values: list[float], failed: dict[int, str] | None = None) -> Rows:
    column = np.array(values, dtype=np.float64)
    status = np.zeros(len(values), np.uint8)
    status[list(failed or {})] = 1
    return Rows({"sharpe": column, "max_drawdown": np.abs(column)}, status, failed or {})


def encoded(rows: Rows, start: int = 7) -> bytes:
    return encode(describe(IDENTITY, 3, start, rows, "sharpe"), rows)


def test_encode__gives_back_header_values_status_and_reasons() -> None:
    rows = make_rows([1.5, -0.0, np.nan, np.inf, 2.0], {4: "no bars in fold"})
    header, found = decode(encoded(rows))
    assert (header.identity, header.block, header.trial_start, header.trial_stop) == (IDENTITY, 3, 7, 12)
    assert (header.n_failed, header.best_trial, header.best_value) == (1, 7, 1.5)
    np.testing.assert_array_equal(found.measures["sharpe"], [1.5, -0.0, np.nan, np.inf, np.nan])
    assert np.signbit(found.measures["sharpe"][1])
    assert found.status.tolist() == [0, 0, 0, 0, 1]
    assert found.reasons == {4: "no bars in fold"}


def test_encode__writes_one_bit_pattern_for_every_nan() -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
    assert encoded(make_rows([1.0, odd])) == encoded(make_rows([1.0, np.nan]))


def test_encode__refuses_a_header_of_other_rows() -> None:
    header = describe(IDENTITY, 0, 0, make_rows([1.0, 2.0]), "sharpe")
    with pytest.raises(InputError, match="announces 2 rows"):
        encode(header, make_rows([1.0]))


def test_best__is_the_first_of_equals_and_follows_the_direction() -> None:
    rows = make_rows([2.0, 5.0, 5.0, np.nan, -1.0])
    assert describe(IDENTITY, 0, 100, rows, "sharpe").best_trial == 101
    assert describe(IDENTITY, 0, 100, rows, "sharpe", better=-1).best_trial == 104
    assert describe(IDENTITY, 0, 100, make_rows([np.nan]), "sharpe").best_trial is None


def test_decode__notices_every_flipped_byte() -> None:
    data = encoded(make_rows([1.5, 2.5, 3.5], {1: "broke"}))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        with pytest.raises(FormatError if 8 <= place < 12 else CorruptError):
            decode(bytes(damaged))


def test_decode__notices_every_truncation_and_extension() -> None:
    data = encoded(make_rows([1.5, 2.5], {0: "broke"}))
    for length in range(len(data)):
        with pytest.raises(CorruptError):
            decode(data[:length])
    with pytest.raises(CorruptError, match="bytes by its header"):
        decode(data + b"\0")


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_decode__refuses_any_bytes_with_a_typed_error(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decode(data)
    with pytest.raises((CorruptError, FormatError)):
        decode(struct.pack("<8sII", b"QBROWS\r\n", 1, 16) + data)


def test_decode__of_another_format_names_both_and_tells_a_changed_number_from_a_newer_block() -> None:
    data = encoded(make_rows([1.5, 2.5]))
    newer = data[:8] + struct.pack("<I", VERSION + 1) + data[12:]
    with pytest.raises(FormatError, match=rf"format {VERSION + 1}; this version of QuantBot reads format {VERSION}"):
        decode(newer)
    assert is_misread(newer)
    assert not is_misread(newer[:48] + b"{another header}" + newer[64:])


def test_header__is_read_from_the_first_bytes_alone() -> None:
    data = encoded(make_rows(list(range(5000)), {3: "broke"}))
    header = decode_header(data[:HEADER_BYTES])
    assert not isinstance(header, int)
    assert (header.n_failed, header.best_trial) == (1, 7 + 4999)
    needed = decode_header(data[:60])
    assert isinstance(needed, int)
    assert decode_header(data[:needed]) == header


@given(
    values=st.lists(st.floats(), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29)),
    failed=st.sets(st.integers(0, 29)),
)
@settings(deadline=None)
def test_result_digest__does_not_depend_on_the_partition(values: list[float], cuts: set[int], failed: set[int]) -> None:
    n = len(values)
    reasons = {row: f"reason {row % 2}" for row in failed if row < n}
    whole = ResultDigest(("sharpe", "max_drawdown"))
    whole.update(0, make_rows(values, reasons))
    pieces = ResultDigest(("sharpe", "max_drawdown"))
    bounds = [0, *sorted(cut for cut in cuts if cut < n), n]
    for start, stop in pairwise(bounds):
        part = {row - start: text for row, text in reasons.items() if start <= row < stop}
        pieces.update(start, decode(encoded(make_rows(values[start:stop], part), start))[1])
    assert whole.hexdigest() == pieces.hexdigest()


def test_result_digest__moves_with_a_bit_a_status_and_a_reason() -> None:
    def of(rows: Rows) -> str:
        digest = ResultDigest(("sharpe", "max_drawdown"))
        digest.update(0, rows)
        return digest.hexdigest()

    base = [1.0, 2.0, 3.0]
    variants = [
        make_rows(base),
        make_rows([1.0, np.nextafter(2.0, 3.0), 3.0]),
        make_rows([2.0, 1.0, 3.0]),
        make_rows(base, {1: "a"}),
        make_rows(base, {1: "b"}),
        make_rows(base, {2: "a"}),
    ]
    assert len({of(rows) for rows in variants}) == len(variants)


def test_result_digest__refuses_a_gap() -> None:
    digest = ResultDigest(("sharpe", "max_drawdown"))
    digest.update(0, make_rows([1.0]))
    with pytest.raises(CorruptError, match="from trial 1"):
        digest.update(2, make_rows([1.0]))
