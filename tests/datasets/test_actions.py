"""Splits, dividends and funding rates: on the right bar, never twice, never silently nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.bars import BarColumns
from datasets.ingest import BarOptions, IngestResult, ingest_csv
from datasets.ingest.actions import funding_column
from datasets.panels import put_together
from datasets.store import open_store
from quantbot.errors import DataError, InputError
from quantbot.market import Instrument

HOUR = 3_600_000_000_000
CLOSES = "Date,AAA,BBB\n2024-01-02,100,10\n2024-01-03,50,10\n2024-01-04,49,11\n2024-01-05,49,12\n"


class Folder:
    """Ingests closes with files beside them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ingest(self, closes: str = CLOSES, files: dict[str, str] | None = None, **options: Any) -> IngestResult:
        said = {"wide": True, "zone": "America/New_York", **options}
        for name, text in (files or {}).items():
            file = self.path / f"{name}.csv"
            file.write_text(text)
            said[name] = file
        (self.path / "closes.csv").write_text(closes)
        return ingest_csv(open_store(str(self.path / "store")), "mine", self.path / "closes.csv", BarOptions(**said))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_split_and_dividend__lie_on_the_bar_of_their_day_and_make_the_adjusted_view(folder: Folder) -> None:
    files = {
        "splits": "date,symbol,ratio\n2024-01-03,AAA,2\n",
        "dividends": "ex_date,symbol,amount\n2024-01-04,AAA,1\n2023-06-01,AAA,9\n2024-01-05,BBB,0.5\n",
    }
    result = folder.ingest(files=files)
    raw = result.dataset.columns("AAA")
    assert raw.split is not None
    assert raw.dividend is not None
    assert raw.split.tolist() == [1, 2, 1, 1]
    assert raw.dividend.tolist() == [0, 0, 1, 0]
    panel = result.dataset.panel()
    assert panel.close[:, 0].tolist() == [100, 50, 49, 49]  # fills are raw
    assert panel.dividend is not None
    assert panel.dividend.tolist() == [[0, 0], [0, 0], [1, 0], [0, 0.5]]
    np.testing.assert_allclose(panel.returns()[1:], [[0, 0], [0, 0.1], [0, 0.5 / 11 + 1 / 11]], atol=1e-15)
    bars = result.dataset.bars("AAA")
    np.testing.assert_allclose(bars.close, 49.0)  # nothing was earned
    assert result.dataset.to_xarray()["dividend"].sel(asset="BBB").values.tolist() == [0, 0, 0, 0.5]
    assert result.dataset.bars("BBB").close[-1] == 12
    assert not result.dataset.damage()


def test_actions__change_the_version_and_their_absence_does_not(folder: Folder) -> None:
    plain = folder.ingest().dataset
    assert set(plain.variables) == {"open", "high", "low", "close", "volume"}
    early = folder.ingest(files={"dividends": "date,symbol,amount\n2020-01-03,BBB,2\n"}).dataset
    assert early.version == plain.version  # before all bars: nobody was paid
    paid = folder.ingest(files={"dividends": "date,symbol,amount\n2024-01-03,BBB,2\n"}).dataset
    assert paid.version != plain.version


def test_wide_file__has_a_column_a_symbol_and_empty_fields(folder: Folder) -> None:
    result = folder.ingest(files={"dividends": "date,AAA,BBB,ZZZ\n2024-01-03,,0.25,1\n2024-01-04,0.5,,\n"})
    panel = result.dataset.panel()
    assert panel.dividend is not None
    assert panel.dividend.tolist() == [[0, 0], [0, 0.25], [0.5, 0], [0, 0]]
    assert "unknown_dividends" in [finding.rule for finding in result.report.findings]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("dividends", "date,symbol,amount\n2024-01-03,AAA,-1\n", r"dividends\.csv, line 2: AAA -1 is below 0"),
        ("dividends", "date,symbol,amount\n2024-01-03,AAA,x\n", "line 2: AAA 'x' is not a number"),
        ("dividends", "date,symbol,amount\n2024-13-03,AAA,1\n", "line 2: date '2024-13-03'"),
        ("dividends", "date,symbol,amount\n2024-01-03,AAB,1\n", r"none of its symbols \(AAB\).*did you mean 'AAA'"),
        ("dividends", "date,symbol,amount\n2024-01-03,AAA,1\n2024-01-03,AAA,1\n", "AAA at 2024-01-03.* twice"),
        ("dividends", "date,symbol,what\n2024-01-03,AAA,1\n", "symbol"),
        ("splits", "date,symbol,ratio\n2024-01-03,AAA,0\n", "AAA 0 is not above 0"),
        ("funding", "time,symbol,rate\n2024-01-03T08:00:00Z,AAA,1.5\n", "0.0001 is a basis point"),
        ("funding", "date,symbol,rate\n2024-01-03,AAA,0.1\n", "a funding rate has a time of day"),
    ],
)
def test_files__are_refused_by_line_and_value(folder: Folder, name: str, text: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"(?s){said}"):
        folder.ingest(files={name: text})


def test_one_rate__needs_its_rhythm_said(folder: Folder) -> None:
    one = "time,symbol,rate\n2024-01-03T08:00:00Z,AAA,0.01\n"
    with pytest.raises(InputError, match="funding_every"):
        folder.ingest(files={"funding": one})
    with pytest.raises(InputError, match="which is not said"):
        BarOptions(funding_every="8h")


OHLCV = "time,symbol,open,high,low,close,volume,adj_close\n"


def test_adjusted_close__must_be_explained_by_splits_and_dividends(folder: Folder) -> None:
    rows = [(2, 100, 47.0), (3, 50, 47.0), (4, 49, 47.0), (5, 49, 47.0)]
    text = OHLCV + "".join(f"2024-01-0{d},AAA,{p},{p},{p},{p},1,{a}\n" for d, p, a in rows)
    dividends = "date,amount\n2024-01-04,1\n"
    with pytest.raises(DataError, match=r"AAA: at 2024-01-04T05.*the close by 2, but the files say a split"):
        folder.ingest(text, {"dividends": dividends}, wide=False)
    dataset = folder.ingest(text, {"dividends": dividends, "splits": "date,ratio\n2024-01-03,2\n"}, wide=False).dataset
    panel = dataset.panel()
    assert panel.adjusted_close is not None
    assert panel.split is not None
    np.testing.assert_allclose(panel.adjusted_close[:, 0], 47.0)
    assert panel.split[:, 0].tolist() == [1, 2, 1, 1]  # and not the factors' steps once more
    implied = folder.ingest(text, wide=False).dataset.panel()
    assert implied.dividend is None
    assert implied.split is not None
    np.testing.assert_allclose(implied.split[:, 0], [1, 2, 50 / 49, 1])


def test_funding__is_summed_into_the_bar_in_which_it_is_paid() -> None:
    ends = HOUR * np.arange(24, 24 * 5, 24)
    times = HOUR * np.arange(8, 24 * 4 + 1, 8) + 3_000_000  # stamped three milliseconds late
    rates = np.arange(len(times)) * 1e-4
    column, unknown = funding_column(ends, times, rates, 8 * HOUR)
    np.testing.assert_allclose(column, [0, rates[3:6].sum(), rates[6:9].sum(), rates[9:12].sum()])
    assert not unknown.size


def test_funding__that_is_due_and_not_there_is_unknown(folder: Folder) -> None:
    hours = [f"2024-01-02T{h:02d}:00:00Z" for h in range(1, 24)]
    closes = "Date,PERP,SPOT\n" + "".join(f"{hour},10,10\n" for hour in hours)
    rates = "funding_time,symbol,rate\n" + "".join(f"2024-01-02T{h:02d}:00:00Z,PERP,0.001\n" for h in (6, 8, 10, 16))
    result = folder.ingest(closes, {"funding": rates}, stamp="end", zone="UTC", periods_per_year=8760.0)
    panel = result.dataset.panel()
    assert panel.funding is not None
    unknown = np.flatnonzero(np.isnan(panel.funding[:, 0])) + 1
    assert unknown.tolist() == [2, 4, 12, 14, 18, 20, 22]  # before, between and after what the file has
    assert np.flatnonzero(np.nan_to_num(panel.funding[:, 0])).tolist() == [5, 7, 9, 15]
    assert not panel.funding[:, 1].any()
    rules = {finding.rule: finding for finding in result.report.findings}
    assert rules["unknown_funding_rate"].count == 7
    assert "SPOT" in rules["no_funding"].text
    assert not result.dataset.damage()


def test_columns__refuse_impossible_actions() -> None:
    one = np.ones(2)
    for name, values, said in (
        ("split", [1.0, 0.0], "a split must be positive"),
        ("dividend", [0.0, -1.0], "must not be negative"),
        ("dividend", [0.0, np.nan], "must be finite"),
        ("funding", [0.0, np.inf], "must be finite"),
    ):
        with pytest.raises(DataError, match=said):
            BarColumns(np.arange(2), one, one, one, one, one, **{name: np.array(values)})  # type: ignore[arg-type]


def test_panel__of_factors_of_one_asset_and_actions_of_another_knows_both() -> None:
    price = np.array([100.0, 50.0])
    factors = BarColumns(np.arange(2), *[price] * 5, adjustment=np.array([0.5, 1.0]))
    actions = BarColumns(np.arange(2), *[price] * 5, split=np.array([1.0, 2.0]))
    panel = put_together([Instrument("A"), Instrument("B")], [factors, actions], 252.0)
    assert panel.split is not None
    assert panel.split.tolist() == [[1, 1], [2, 2]]
    assert panel.returns()[1].tolist() == [0, 0]
