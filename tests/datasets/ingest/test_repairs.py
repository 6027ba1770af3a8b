from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.ingest import POLICIES, BarOptions, IngestResult, ingest_csv
from datasets.store import Store
from quantbot.errors import DataError, InputError

Write = Callable[..., Path]
HEADER = "time,open,high,low,close,volume"


def ingest(root: Store, path: Path, *repair: str, **options: Any) -> IngestResult:
    return ingest_csv(root, "test/bars", path, BarOptions(**{"zone": "UTC", "repair": repair, **options}))


def days(result: IngestResult) -> list[int]:
    """The days of March 2024 that have bars, by their volume (which the rows below give the day's number)."""
    return [int(volume) for volume in result.dataset.bars("bars").volume]


def row(day: int, close: float = 10.0, *, open_: float = 10.0, high: float = 11.0, low: float = 9.0) -> str:
    return f"2024-03-{day:02d},{open_!r},{high!r},{low!r},{close!r},{day}"


def test_sort__puts_rows_in_order_and_counts_them(root: Store, write: Write) -> None:
    path = write([HEADER, row(5), row(4), row(6)])
    with pytest.raises(DataError, match=r"repair=\('sort',\)"):
        ingest(root, path)
    result = ingest(root, path, "sort")
    assert days(result) == [4, 5, 6]
    assert result.report.repairs("bars") == {"sort": 1}


def test_sort__is_advised_to_files_that_run_newest_first(root: Store, write: Write) -> None:
    with pytest.raises(DataError, match="run newest first"):
        ingest(root, write([HEADER, row(6), row(5), row(4)]))


def test_drop_duplicates__keeps_the_named_one(root: Store, write: Write) -> None:
    path = write([HEADER, row(4, 10.0), row(4, 10.5), row(5)])
    assert ingest(root, path, "drop_duplicates").dataset.bars("bars").close.tolist() == [10.0, 10.0]
    last = ingest(root, path, "drop_duplicates_last")
    assert last.dataset.bars("bars").close.tolist() == [10.5, 10.0]
    assert last.report.repairs("bars") == {"drop_duplicates_last": 1}


def test_sort__does_not_permit_duplicates(root: Store, write: Write) -> None:
    with pytest.raises(DataError, match="occurs twice"):
        ingest(root, write([HEADER, row(5), row(4), row(5)]), "sort")


def test_drop_invalid__leaves_out_unreadable_and_impossible_rows(root: Store, write: Write) -> None:
    path = write(
        [HEADER, row(4), "2024-03-05,x,11,9,10,5", row(6, high=8.0), row(7, 12.0), "yesterday,10,11,9,10,8", row(9)]
    )
    result = ingest(root, path, "drop_invalid")
    assert days(result) == [4, 9]
    assert result.report.repairs("bars") == {"drop_invalid": 4}
    finding = next(each for each in result.report.findings if each.rule == "repaired:drop_invalid")
    assert {str(place) for place in finding.places} == {f"bars.csv, line {line}" for line in (3, 4, 5, 6)}


def test_drop_invalid__does_not_excuse_lines_of_another_width(root: Store, write: Write) -> None:
    with pytest.raises(DataError, match="line 3: 2 fields, 6 expected"):
        ingest(root, write([HEADER, row(4), "a,b", row(5)]), "drop_invalid")


def test_drop_invalid__does_not_make_an_empty_dataset(root: Store, write: Write) -> None:
    with pytest.raises(DataError, match="no row left after the repairs"):
        ingest(root, write([HEADER, row(4, 12.0)]), "drop_invalid")
    with pytest.raises(DataError, match="no row left after the repairs"):
        ingest(root, write([HEADER, "2024-03-04,x,x,x,x,x"]), "drop_invalid")


def test_clip_rounding__moves_only_what_rounding_explains(root: Store, write: Write) -> None:
    rounded = 11.0 * (1 + 1e-12)
    path = write([HEADER, row(4, rounded), row(5)])
    with pytest.raises(DataError, match=r"by rounding alone: repair=\('clip_rounding',\)"):
        ingest(root, path)
    result = ingest(root, path, "clip_rounding")
    assert result.dataset.bars("bars").close[0] == 11.0
    assert result.report.repairs("bars") == {"clip_rounding": 1}
    with pytest.raises(DataError, match=r"line 3: close 11\.1 .* is outside"):
        ingest(root, write([HEADER, row(4, rounded), row(5, 11.1)]), "clip_rounding")


def test_clip_range__and_widen_range_settle_either_side(root: Store, write: Write) -> None:
    path = write([HEADER, row(4, 12.0), row(5, open_=8.0)])
    clipped = ingest(root, path, "clip_range").dataset.bars("bars")
    assert (clipped.close[0], clipped.high[0], clipped.open[1], clipped.low[1]) == (11.0, 11.0, 9.0, 9.0)
    widened = ingest(root, path, "widen_range").dataset.bars("bars")
    assert (widened.close[0], widened.high[0], widened.open[1], widened.low[1]) == (12.0, 12.0, 8.0, 8.0)


def test_fill_volume__fills_empty_ones_only(root: Store, write: Write) -> None:
    path = write([HEADER, "2024-03-04,10,11,9,10,", row(5)])
    result = ingest(root, path, "fill_volume")
    assert days(result) == [0, 5]
    assert result.report.repairs("bars") == {"fill_volume": 1}
    with pytest.raises(DataError, match="volume 'x' is not a number"):
        ingest(root, write([HEADER, "2024-03-04,10,11,9,10,x", row(5)]), "fill_volume")


def test_fill_gaps__puts_flat_bars_into_the_calendar(root: Store, write: Write) -> None:
    path = write([HEADER, row(4, 10.5), row(7)])  # Monday and Thursday
    result = ingest(root, path, "fill_gaps", calendar="XNYS", zone=None, interval="1d")
    bars = result.dataset.bars("bars")
    assert days(result) == [4, 0, 0, 7]
    assert bars.open[1] == bars.high[2] == bars.low[1] == bars.close[2] == 10.5
    assert result.report.repairs("bars") == {"fill_gaps": 2}
    with pytest.raises(InputError, match="fill_gaps needs a calendar"):
        ingest(root, path, "fill_gaps")


def test_negative_prices__are_accepted_where_they_are_named(root: Store, write: Write) -> None:
    path = write([HEADER, row(4), row(5, -37.63, low=-40.32), row(6)])
    with pytest.raises(DataError, match="negative_prices=True accepts"):
        ingest(root, path)
    result = ingest(root, path, negative_prices=True)
    assert result.dataset.bars("bars").close[1] == -37.63
    assert result.report.assets["bars"]["non_positive_prices"] == 1


def test_adjusted_close__must_give_a_positive_factor(root: Store, write: Write) -> None:
    path = write([f"{HEADER},adj_close", f"{row(4)},0", f"{row(5)},10"])
    with pytest.raises(DataError, match=r"adjusted_close 0\.0 is not positive"):
        ingest(root, path)
    assert days(ingest(root, path, columns={"adjusted_close": None})) == [4, 5]


def test_no_volume__must_be_said(root: Store, write: Write) -> None:
    path = write(["time,open,high,low,close", "2024-03-04,10,11,9,10"])
    with pytest.raises(DataError, match=r"columns=\{'volume': None\} says that there is none"):
        ingest(root, path)
    result = ingest(root, path, columns={"volume": None})
    assert [finding.rule for finding in result.report.findings if finding.asset == "bars"] == ["no_volume"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repair": ("srot",)}, r"repair: 'srot' is unknown \(did you mean 'sort'\?\)"),
        ({"columns": {"opne": "x"}}, r"columns: 'opne' is unknown \(did you mean 'open'\?\)"),
        ({"repair": ("dst_first", "dst_second")}, "exclude each other"),
        ({"repair": ("drop_duplicates", "drop_duplicates_last")}, "exclude each other"),
        ({"stamp": "close"}, "stamp must be 'start' or 'end', was 'close'"),
        ({"interval": "1 minute"}, "interval must look like 1min"),
        ({"zone": "Mars/Olympus"}, "zone must be an IANA name"),
        ({"zone": "../../etc/passwd"}, "zone must be an IANA name"),
        ({"decimal": ";"}, "decimal must be"),
        ({"thousands": "."}, "thousands must be"),
        ({"delimiter": "ab"}, "delimiter must be one ASCII character"),
        ({"multiplier": float("nan")}, "multiplier must be positive"),
        ({"periods_per_year": 0.0}, "periods_per_year must be positive"),
        ({"currency": "usd"}, "currency must be a code"),
    ],
)
def test_options__are_refused_where_they_are_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BarOptions(**options)


def test_options__survive_pickling() -> None:
    options = BarOptions(columns={"time": "t"}, repair="sort", zone="UTC")
    assert pickle.loads(pickle.dumps(options)) == options
    assert options.repair == ("sort",)


def test_unknown_calendar__names_the_nearest(root: Store, write: Write) -> None:
    with pytest.raises(InputError, match=r"calendar 'XNYSE' is unknown .*did you mean 'XNYS'"):
        ingest(root, write([HEADER, row(4)]), calendar="XNYSE", zone=None)


def test_policies__each_say_in_a_sentence_what_they_do() -> None:
    assert all(len(sentence.split()) > 4 for sentence in POLICIES.values())
