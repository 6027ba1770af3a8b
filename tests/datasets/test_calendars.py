from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from datasets.calendars import DAY_NS, load_sessions, periods_per_year
from quantbot.errors import InputError

MINUTE_NS = 60_000_000_000


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def utc(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_sessions__hold_bars_that_end_after_the_open_and_by_the_close() -> None:
    sessions = load_sessions("XNYS", day("2024-07-03"), day("2024-07-05"))
    times = ["2024-07-03T13:30", "2024-07-03T13:31", "2024-07-03T17:00", "2024-07-03T17:01", "2024-07-04T15:00"]
    inside = sessions.contain(np.array([utc(each) for each in times]))
    assert inside.tolist() == [False, True, True, False, False]


def test_sessions__end_bars_at_a_lunch_break() -> None:
    sessions = load_sessions("XTKS", day("2024-06-03"), day("2024-06-03"))
    (one,) = sessions.find(np.array([day("2024-06-03")]))[0]
    close = int(sessions.close_ns[one])
    of_day = sessions.between(close - 1, close)
    ends = of_day.ends(60 * MINUTE_NS)
    assert len(of_day) == 1
    # 09:00 to 11:30 and 12:30 to 15:00 in Tokyo: two whole hours and a half one, twice.
    assert [str(each)[11:16] for each in ends.astype("datetime64[ns]")] == [
        "01:00",
        "02:00",
        "02:30",
        "04:30",
        "05:30",
        "06:00",
    ]
    assert sessions.contain(ends).all()
    assert not sessions.contain(np.array([utc("2024-06-03T03:00")])).any()


def test_sessions__of_a_continuous_market_meet_without_a_gap() -> None:
    sessions = load_sessions("24/7", day("2024-02-28"), day("2024-03-01"))
    ends = sessions.ends(60 * MINUTE_NS)
    assert (np.diff(ends) == 60 * MINUTE_NS).all()


def test_periods_per_year__of_a_calendar_are_sessions_times_bars() -> None:
    sessions = load_sessions("XNYS", day("2010-01-01"), day("2020-12-31"))
    ends = sessions.close_ns
    daily = periods_per_year(ends, DAY_NS, sessions)
    assert 251 < daily < 252.5
    hourly = periods_per_year(ends, 60 * MINUTE_NS, sessions)
    assert 6.9 * daily < hourly < 7 * daily  # six and a half hours are seven bars, short sessions fewer


@pytest.mark.parametrize(
    ("days", "bars_per_day", "expected"),
    [
        (np.arange(1000), 1, 365.2425),
        (np.array([each for each in range(2000) if (each + 3) % 7 < 5]), 1, 260.9),
        (np.array([each for each in range(60) if (each + 3) % 7 < 5]), 1, 252),
        (np.arange(60), 24, 365.2425 * 24),
        (np.array([each for each in range(60) if (each + 3) % 7 < 5]), 390, 252 * 390),
    ],
    ids=["every day", "weekdays", "weeks", "hours", "minutes"],
)
def test_periods_per_year__are_counted_in_the_data(days: np.ndarray, bars_per_day: int, expected: float) -> None:
    step = DAY_NS // bars_per_day if bars_per_day < 100 else MINUTE_NS
    ts = (days[:, None] * DAY_NS + np.arange(1, bars_per_day + 1) * step).ravel()
    assert periods_per_year(ts, step) == pytest.approx(expected, rel=2e-3)


def test_periods_per_year__of_weeks_and_months_are_theirs() -> None:
    ts = np.arange(1, 10) * DAY_NS
    assert periods_per_year(ts, 7 * DAY_NS) == pytest.approx(52.18, abs=0.01)
    assert periods_per_year(ts, 2_629_746_000_000_000) == pytest.approx(12)


def test_load_sessions__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "exchange_calendars":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"install quantbot\[calendars\]"):
        load_sessions("XNYS", day("2024-01-01"), day("2024-01-05"))


def test_load_sessions__says_how_far_a_calendar_does_not_reach() -> None:
    with pytest.raises(InputError, match="calendar XKRX has no sessions from 1850-01-01"):
        load_sessions("XKRX", day("1850-01-01"), day("1850-02-01"))
