from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from datasets.ingest import BarOptions, ingest_csv
from datasets.store import Store
from quantbot.errors import DataError, InputError

Write = Callable[..., Path]
NEW_YORK = "America/New_York"


def ends(root: Store, path: Path, **options: Any) -> list[str]:
    """Ingest, and give the ends of the bars in UTC."""
    bars = ingest_csv(root, "test/bars", path, BarOptions(**options)).dataset.bars("bars")
    return [str(each).removesuffix(".000000000") for each in bars.ts_end_ns.astype("datetime64[ns]")]


def rows(*times: str) -> list[str]:
    return ["time,open,high,low,close,volume", *(f"{time},10,11,9,10,1" for time in times)]


FORMS = [
    (["2024-03-08 14:30", "2024-03-08 14:31"], {"zone": "UTC"}),
    (["2024-03-08T14:30:00", "2024-03-08T14:31:00.000"], {"zone": "UTC"}),
    (["2024-03-08T14:30:00Z", "2024-03-08T14:31:00Z"], {}),
    (["2024-03-08T15:30+01:00", "2024-03-08 09:31:00-0500"], {}),
    (["2024-03-08 09:30", "2024-03-08 09:31"], {"zone": NEW_YORK}),
    (["1709908200", "1709908260"], {}),
    (["1709908200000", "1709908260000"], {}),
    (["1709908200000000", "1709908260000000"], {}),
    (["1709908200000000000", "1709908260000000000"], {}),
    (["1709908200.0", "1709908260.000"], {}),
    (["08/03/2024 14:30", "08/03/2024 14:31"], {"zone": "UTC", "time_format": "%d/%m/%Y %H:%M"}),
    (["20240308 093000 -0500", "20240308 093100 -0500"], {"time_format": "%Y%m%d %H%M%S %z"}),
]


@pytest.mark.parametrize(("times", "options"), FORMS, ids=[times[0] for times, _ in FORMS])
def test_times__say_the_same_moments_in_any_form(
    root: Store, write: Write, times: list[str], options: dict[str, Any]
) -> None:
    assert ends(root, write(rows(*times)), stamp="end", **options) == ["2024-03-08T14:30:00", "2024-03-08T14:31:00"]


def test_times__keep_nanoseconds(root: Store, write: Write) -> None:
    path = write(rows("1709908200.123456789", "1709908201.123456789"))
    found = ends(root, path, stamp="end", time_format="s")
    assert found[0] == "2024-03-08T14:30:00.123456789"


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        (["20240308", "20240311"], {}, "is a count that fits no unit for certain"),
        (["50000000000", "50000000060"], {"stamp": "end"}, "is a count that fits no unit for certain"),
        (["1709908200", "1709908260000"], {"stamp": "end"}, "line 3: time '1709908260000' is not a time between 1700"),
        (["2024-03-08 14:30", "2024-03-08T14:31Z"], {"stamp": "end", "zone": "UTC"}, "line 3: time '2024-03-08T14:31Z"),
        (["08/03/2024", "11/03/2024"], {"zone": "UTC"}, "is no ISO 8601 date or time; pass time_format"),
        (["2024-03-08 14:30"] * 2, {"stamp": "end"}, "the times have no offset from UTC: name their zone"),
        (["2024-03-08 14:30"] * 2, {"zone": "UTC"}, "say whether they mark a bar's start or its end"),
        (["2024-03-08"] * 2, {}, "the times are dates: name the zone"),
        (["2024-03-08T14:30Z"], {"stamp": "end"}, "the interval between bars can't be told from 1 rows"),
        (["2024-03-08", "2024-03-11"], {"zone": "UTC", "interval": "1h"}, "are dates, but interval is 1h"),
        (["2024-01-31", "2024-02-29", "2024-03-31"], {"zone": "UTC"}, "the dates are 1mo apart: say whether"),
        (["31/02/2024"], {"zone": "UTC", "time_format": "%d/%m/%Y"}, "line 2: time '31/02/2024' is not a time"),
        (["x"], {"zone": "UTC", "time_format": "%Q"}, "time_format '%Q' can't be used"),
        (["99999999999999999999"], {"time_format": "ns", "stamp": "end"}, "is not a time between 1700 and 2199"),
    ],
)  # fmt: skip
def test_times__are_refused_rather_than_guessed(
    root: Store, write: Write, times: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, InputError)) as caught:
        ends(root, write(rows(*times)), **options)
    assert message in str(caught.value)


def test_times__of_starts_are_moved_by_the_interval(root: Store, write: Write) -> None:
    path = write(rows("2024-03-08 14:30", "2024-03-08 14:35", "2024-03-08 14:40"))
    assert ends(root, path, stamp="start", zone="UTC")[0] == "2024-03-08T14:35:00"
    assert ends(root, path, stamp="start", zone="UTC", interval="1min")[0] == "2024-03-08T14:31:00"


def test_times__of_dates_end_with_their_day_in_the_zone(root: Store, write: Write) -> None:
    path = write(rows("2024-03-08", "2024-03-09", "2024-03-10"))
    # The 10th had 23 hours in New York.
    assert ends(root, path, zone=NEW_YORK) == ["2024-03-09T05:00:00", "2024-03-10T05:00:00", "2024-03-11T04:00:00"]


def test_times__of_dates_end_at_the_close_of_their_session(root: Store, write: Write) -> None:
    path = write(rows("2024-07-02", "2024-07-03", "2024-07-05"))
    assert ends(root, path, calendar="XNYS") == ["2024-07-02T20:00:00", "2024-07-03T17:00:00", "2024-07-05T20:00:00"]
    # The same as midnights, which some vendors write.
    path = write(rows("2024-07-02T00:00:00+00:00", "2024-07-03T00:00:00+00:00", "2024-07-05T00:00:00+00:00"))
    assert ends(root, path, calendar="XNYS", stamp="start", interval="1d")[1] == "2024-07-03T17:00:00"


def test_times__refuse_a_date_without_session(root: Store, write: Write) -> None:
    path = write(rows("2024-07-03", "2024-07-04", "2024-07-05"))
    with pytest.raises(DataError, match=r"line 3: time 2024-07-04T00:00Z is in no session of XNYS"):
        ends(root, path, calendar="XNYS")
    assert len(ends(root, path, calendar="XNYS", repair="drop_outside_sessions")) == 2


def test_times__of_a_last_bar_end_at_the_close(root: Store, write: Write) -> None:
    path = write(rows("2024-07-03 09:30", "2024-07-03 10:30", "2024-07-03 11:30", "2024-07-03 12:30"))
    found = ends(root, path, calendar="XNYS", zone=NEW_YORK, stamp="start")
    assert found == ["2024-07-03T14:30:00", "2024-07-03T15:30:00", "2024-07-03T16:30:00", "2024-07-03T17:00:00"]


def test_times__outside_sessions_are_reported_refused_or_dropped(root: Store, write: Write) -> None:
    path = write(rows(*(f"2024-07-03 12:{minute}" for minute in range(50, 60)), "2024-07-03 13:00", "2024-07-03 13:01"))
    common: dict[str, Any] = {"calendar": "XNYS", "zone": NEW_YORK, "stamp": "end"}
    result = ingest_csv(root, "test/bars", path, BarOptions(**common))
    assert result.report.assets["bars"]["outside_sessions"] == 1
    with pytest.raises(DataError, match=r"line 13: time 2024-07-03T17:01Z is in no session of XNYS"):
        ends(root, path, strict_sessions=True, **common)
    assert len(ends(root, path, repair="drop_outside_sessions", **common)) == 11


def test_times__of_weeks_and_months_end_on_the_calendar(root: Store, write: Write) -> None:
    path = write(rows("2024-01-01", "2024-02-01", "2024-03-01"))
    assert ends(root, path, zone="UTC", stamp="start") == [
        "2024-02-01T00:00:00",
        "2024-03-01T00:00:00",
        "2024-04-01T00:00:00",
    ]
    path = write(rows("2024-01-31", "2024-02-29", "2024-03-31"))
    assert ends(root, path, zone="UTC", stamp="end") == [
        "2024-02-01T00:00:00",
        "2024-03-01T00:00:00",
        "2024-04-01T00:00:00",
    ]
    path = write(rows("2024-01-01", "2024-01-08", "2024-01-15"))
    assert ends(root, path, zone="UTC", stamp="start")[0] == "2024-01-08T00:00:00"


def local_quarters(first: str, n: int) -> list[str]:
    """Quarter hours in New York from a UTC moment on, as the clock on the wall shows them."""
    start = datetime.fromisoformat(first)
    return [
        (start + timedelta(minutes=15 * step)).astimezone(ZoneInfo(NEW_YORK)).strftime("%Y-%m-%d %H:%M")
        for step in range(n)
    ]


def test_times__that_were_twice_need_a_policy(root: Store, write: Write) -> None:
    path = write(rows(*local_quarters("2024-11-03T05:00+00:00", 12)))  # 01:00 to 01:45 twice, then 02:00
    common: dict[str, Any] = {"stamp": "end", "zone": NEW_YORK}
    with pytest.raises(DataError, match=r"line 2: time 2024-11-03T01:00 in America/New_York was twice") as caught:
        ends(root, path, **common)
    assert "and 7 more of this kind" in str(caught.value)
    expected = [str(np.datetime64("2024-11-03T05:00:00") + np.timedelta64(15 * step, "m")) for step in range(12)]
    with pytest.raises(DataError, match=r"occurs twice|is earlier"):  # one answer for all makes duplicates
        ends(root, path, repair="dst_first", **common)
    assert ends(root, path, repair="dst_infer", **common) == expected
    newest_first = write(rows(*reversed(local_quarters("2024-11-03T05:00+00:00", 12))))
    with pytest.raises(DataError, match="was twice"):  # its neighbours show that time does not run forward
        ends(root, newest_first, repair=("dst_infer", "sort"), **common)


def test_times__that_were_twice_follow_the_named_side(root: Store, write: Write) -> None:
    path = write(rows("2024-11-03 00:30", "2024-11-03 01:30", "2024-11-03 02:30"))
    common: dict[str, Any] = {"stamp": "end", "zone": NEW_YORK, "interval": "1h"}
    assert ends(root, path, repair="dst_first", **common)[1] == "2024-11-03T05:30:00"
    assert ends(root, path, repair="dst_second", **common)[1] == "2024-11-03T06:30:00"
    with pytest.raises(DataError, match="was twice"):  # one pass only: its order says nothing
        ends(root, path, repair="dst_infer", **common)


def test_times__of_hourly_bars_are_told_apart_by_order(root: Store, write: Write) -> None:
    path = write(rows("2024-11-03 00:00", "2024-11-03 01:00", "2024-11-03 01:00", "2024-11-03 02:00"))
    found = ends(root, path, stamp="end", zone=NEW_YORK, repair="dst_infer")
    assert found == ["2024-11-03T04:00:00", "2024-11-03T05:00:00", "2024-11-03T06:00:00", "2024-11-03T07:00:00"]


def test_times__that_never_were_need_a_policy(root: Store, write: Write) -> None:
    path = write(rows("2024-03-10 01:30", "2024-03-10 02:30", "2024-03-10 03:30"))
    common: dict[str, Any] = {"stamp": "end", "zone": NEW_YORK, "interval": "1h"}
    with pytest.raises(DataError, match=r"line 3: time 2024-03-10T02:30 in America/New_York never was"):
        ends(root, path, **common)
    assert ends(root, path, repair="dst_shift", **common)[1] == "2024-03-10T07:00:00"


def test_times__may_have_their_clock_in_a_column_of_its_own(root: Store, write: Write) -> None:
    lines = ["Date,Clock,open,high,low,close,volume", "2024-03-08,14:30,10,11,9,10,1", "2024-03-08,14:31,10,11,9,10,1"]
    found = ends(root, write(lines), stamp="end", zone="UTC", columns={"time": "Date", "clock": "Clock"})
    assert found == ["2024-03-08T14:30:00", "2024-03-08T14:31:00"]


def test_times__of_two_files_must_be_of_one_kind(root: Store, write: Write) -> None:
    paths = [write(rows("2024-03-08"), "a.csv"), write(rows("2024-03-11 14:30"), "b.csv")]
    with pytest.raises(DataError, match=r"the sources have dates \(.*a\.csv\) and times without offset \(.*b\.csv\)"):
        ingest_csv(root, "test/bars", paths, BarOptions(zone="UTC", stamp="end"))
