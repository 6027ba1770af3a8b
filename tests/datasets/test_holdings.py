"""Returns and holdings from CSV: what is read, and how what can't be is refused."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.holdings import read_holdings, read_returns
from quantbot.errors import DataError


def test_returns__are_read_as_they_stand_or_made_of_closes() -> None:
    table = read_returns(b"\xef\xbb\xbfdate;A;B\r\n2024-01-02;0.01;-2e-2\r\n2024-01-03;0;0.005\r\n\r\n")
    assert table.assets == ("A", "B")
    assert table.returns.tolist() == [[0.01, -0.02], [0.0, 0.005]]
    assert table.ts_end_ns.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist() == [
        "2024-01-02",
        "2024-01-03",
    ]
    closes = read_returns(b"A,timestamp\n100,2024-01-02\n110,2024-01-03\n99,2024-01-04\n", kind="closes")
    np.testing.assert_allclose(closes.returns, [[0.1], [-0.1]], rtol=1e-15)
    assert len(closes.ts_end_ns) == 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("date,A\n2024-01-02,0.1\n2024-01-03,x\n", "r.csv, line 3: A 'x' is not a number"),
        ("date,A\n2024-01-02,nan\n2024-01-03,0\n", "line 2: A 'nan' is not a finite number"),
        ("date,A\n2024-01-02,inf\n2024-01-03,0\n", "is not a finite number"),
        ("date,A\n2024-01-02,\n2024-01-03,0\n", "is empty"),
        ("date,A\n2024-01-02,0,1\n", "line 2: has 3 fields, its header has 2"),
        ("date,A\n2024-01-02,-2\n2024-01-03,0\n", "divide them by 100"),
        ("date,A\n2024-01-03,0\n2024-01-02,0\n", "line 3: date '2024-01-02' does not come after"),
        ("date,A\n03/01/2024,0\n04/01/2024,0\n", "is no ISO 8601 date"),
        ("date,A,A\n2024-01-03,0,0\n", "names the column 'A' twice"),
        ("date\n2024-01-03\n", "no column beside the time"),
        ("A,B\n1,2\n", "no column for time"),
        ("date,A\n2024-01-03,0\n", "at least 2 are needed"),
        ("date,A\n", "no row below its header"),
        ("", "no row"),
    ],
)
def test_returns__that_cannot_be_are_refused_with_their_place(text: str, wanted: str) -> None:
    with pytest.raises(DataError) as refused:
        read_returns(text.encode(), source="r.csv")
    assert wanted in str(refused.value)


def test_closes__are_refused_at_or_below_zero() -> None:
    with pytest.raises(DataError, match="line 3: A 0 is not above 0"):
        read_returns(b"date,A\n2024-01-02,1\n2024-01-03,0\n2024-01-04,1\n", kind="closes")


def test_files__that_are_no_text_are_refused() -> None:
    for data in (b"\xff\xfe\x00", b"date,A\n2024-01-02,\x00\n"):
        with pytest.raises(DataError, match=r"r\.csv"):
            read_returns(data, source="r.csv")


def test_holdings__come_as_weights_values_or_quantities() -> None:
    assert read_holdings(b"asset,weight\nA,0.6\nB,-0.1\n") == {"A": 0.6, "B": -0.1}
    assert read_holdings(b"Ticker,Value\nA,300\nB,100\nCash,100\n") == {"A": 0.6, "B": 0.2}
    assert read_holdings(b"symbol,name,quantity,price\nA,x,3,100\nB,y,-1,100\nCASH,,200,1\n") == {"A": 0.75, "B": -0.25}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("asset,weight\nA,0.5\nA,0.5\n", "line 3: asset 'A' comes twice"),
        ("asset,weight\n,0.5\n", "is empty"),
        ("asset,weight\nA,lots\n", "p.csv, line 2: weight 'lots' is not a number"),
        ("asset,amount\nA,1\n", "needs one of weight, value, or quantity with price"),
        ("asset,weight,value\nA,1,1\n", "needs one of weight"),
        ("name,weight\nA,1\n", "needs one column called asset, symbol or ticker"),
        ("asset,value\nA,1\nB,-1\n", "a sum above 0"),
    ],
)
def test_holdings__that_cannot_be_are_refused_with_their_place(text: str, wanted: str) -> None:
    with pytest.raises(DataError) as refused:
        read_holdings(text.encode(), source="p.csv")
    assert wanted in str(refused.value)
