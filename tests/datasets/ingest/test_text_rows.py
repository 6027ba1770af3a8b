from contextlib import nullcontext, suppress
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datasets.ingest.text_rows import Field, header, parsed, rows, word
from quantbot.errors import DataError

NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**8), max_value=10**8, places=6).map(str),
    st.integers(-(2**63) + 1, 2**63 - 1).map(str),
    st.floats(-1e9, 1e9).map(repr),
    st.from_regex(r"[-+]?[0-9]{1,21}(\.[0-9]{0,21})?([eE][-+]?[0-9]{1,2})?", fullmatch=True),
    st.from_regex(r"\.[0-9]{1,20}", fullmatch=True),
)


def one(text: str, kind: str, digits: int) -> int:
    columns, _ = parsed(np.frombuffer(text.encode() + b"\n", np.uint8), (Field("x", kind, digits),), ",", "f", 1)
    return int(next(iter(columns.values()))[0])


@settings(deadline=None, max_examples=200)
@given(NUMBERS, st.sampled_from([0, 2, 4, 8, 9, 12]))
@example("43002.632812672004", 9)
@example("0.0000000005", 9)
@example("9223372036854775807", 0)
@example("92233720368547758.07", 2)
@example("-0.5", 0)
@example("1e-400", 8)
@example("0e99", 8)
@example("0.00000000000000000000000000001", 8)
@example("1.00000000000000000000000000001", 8)
def test_numbers__are_exact_or_refused(text, digits):
    if text == "1e-400":
        return
    exact = Decimal(text).scaleb(digits)
    rounded = int(exact.to_integral_value(ROUND_HALF_UP))
    whole = exact == exact.to_integral_value()
    for kind, expected in (("number", int(exact) if whole else None), ("rounded", rounded)):
        # What does not fit in 64 bits, or is too fine, is refused; a few numbers of 18 digits and more are too.
        long = len(text.split("e")[0].split("E")[0].strip("+-").replace(".", "").lstrip("0")) >= 18
        may_be_refused = expected is None or abs(expected) >= 2**63 // 10 or long
        found = None
        with nullcontext() if not may_be_refused else suppress(DataError):
            found = one(text, kind, digits)
        assert found == expected or (found is None and may_be_refused), (text, kind)


@pytest.mark.parametrize(
    "text", ["", "-", ".", "1.2.3", "1e", "1e+", "e5", "0x1F", "1_000", "nan", "inf", "--1", " 1", "1 ", "1e1234"]
)
def test_what_is_no_number__is_refused_with_its_line(text):
    with pytest.raises(DataError, match="f, line 1: x"):
        one(text, "number", 4)


def test_rows__name_line_field_and_value(tmp_path):
    path = tmp_path / "x.csv"
    fields = (Field("price", "number", 2), Field("side", "word"), Field("more", "skipped"))
    path.write_bytes(b"price,side,more\r\n1.25,buy,x\r\n-3,sell,")
    blocks = list(rows(path, fields, max_bytes=1 << 20, skip_lines=1))
    assert [int(price) for block in blocks for price in block.columns["price"]] == [125, -300]
    assert [int(side) for block in blocks for side in block.columns["side"]] == [word("buy"), word("sell")]
    assert (blocks[0].first_line, header(path, max_bytes=1 << 20)) == (2, ["price", "side", "more"])
    for text, said in (
        (b"1.255,buy,x\n", "line 1: price '1.255' has more than 2 digits"),
        (b"1,b,x\n1,b\n", "line 2: 2 fields, 3 are needed"),
        (b"1,b,x\n1,b,x,y\n", "line 2: more than 3 fields"),
        (b"1,b,x\n,b,x\n", "line 2: price is empty"),
        (b"99999999999999999999,b,x\n", "line 1: price '9+' is too large"),
        (b"1,b,x\n\n", "line 2: 1 fields, 3 are needed|line 2: price"),
    ):
        path.write_bytes(text)
        with pytest.raises(DataError, match=said):
            list(rows(path, fields, max_bytes=1 << 20))
    path.write_bytes(b"1" * (6 << 20))
    with pytest.raises(DataError, match="without an end of line"):
        list(rows(path, fields, max_bytes=1 << 30))


def test_rows__of_many_pieces_are_the_rows_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.ingest.files.PIECE", 1000)
    monkeypatch.setattr("datasets.ingest.text_rows._MOST_LINES", 37)
    path = tmp_path / "x.csv"
    path.write_text("".join(f"{k},{k * k}\n" for k in range(5000)))
    blocks = list(rows(path, (Field("a"), Field("b")), max_bytes=1 << 30))
    assert np.concatenate([block.columns["b"] for block in blocks]).tolist() == [k * k for k in range(5000)]
    assert [block.first_line for block in blocks] == (np.cumsum([0, *map(len, blocks)])[:-1] + 1).tolist()
