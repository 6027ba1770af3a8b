from __future__ import annotations

import pytest

from datasets.ingest import BarOptions, ingest_csv
from datasets.store import open_store
from quantbot.errors import DataError, InputError

OPTIONS = BarOptions(wide=True, zone="UTC")


@pytest.fixture
def ingest(tmp_path):
    def run(text, options=OPTIONS):
        file = tmp_path / "closes.csv"
        file.write_text(text)
        return ingest_csv(open_store(str(tmp_path / "store")), "wide", file, options)

    return run


def test_wide__gives_each_symbol_bars_of_its_closes_alone(ingest):
    result = ingest("Date,AAA,BBB\n2024-01-02,10,20\n2024-01-03,11,\n2024-01-04,12,22\n")
    assert result.dataset.assets == ("AAA", "BBB")
    bars = result.dataset.bars("BBB")
    assert bars.close.tolist() == bars.open.tolist() == bars.high.tolist() == bars.low.tolist() == [20.0, 22.0]
    assert bars.volume.tolist() == [0.0, 0.0]
    assert result.dataset.n_bars("AAA") == 3
    assert "close_only" in [finding.rule for finding in result.report.findings]


def test_wide__names_line_and_symbol_of_what_is_no_number(ingest):
    with pytest.raises(DataError, match=r"(?s)line 3.*AAA.*'x11'"):
        ingest("Date,AAA,BBB\n2024-01-02,10,20\n2024-01-03,x11,21\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Date\n2024-01-02\n", "no column beside the time"),
        ("Day,AAA\n2024-01-02,1\n", "no column for time"),
        ("Date,AAA,AAA\n2024-01-02,1,2\n", "twice"),
        ("Date,AAA,,\n2024-01-02,1,2,3\n", "more than one column that may be time"),
    ],
)
def test_wide__refuses_what_is_no_table_of_symbols(ingest, text, said):
    with pytest.raises(DataError, match=said):
        ingest(text)


def test_wide__takes_no_option_that_contradicts_it():
    with pytest.raises(InputError, match="wide"):
        BarOptions(wide=True, symbol="SPX")
