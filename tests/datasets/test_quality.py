from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from datasets.calendars import load_sessions
from datasets.columns import BarColumns
from datasets.quality import QualityReport, check_bars
from quantbot.errors import CorruptError

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000


def wander(n_bars: int, seed: int = 0) -> np.ndarray:
    """Prices with daily returns of about a percent."""
    returns = np.random.default_rng(seed).uniform(-0.02, 0.02, n_bars)
    return 100.0 * np.cumprod(1.0 + returns)


def columns(close: np.ndarray, ts_end_ns: np.ndarray | None = None, **changed: Any) -> BarColumns:
    ts_end_ns = np.arange(len(close)) * DAY_NS if ts_end_ns is None else ts_end_ns
    fields = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "volume": np.ones(len(close))}
    return BarColumns(ts_end_ns, **(fields | changed))


def rules(bars: BarColumns, **options: Any) -> dict[str, int]:
    return {finding.rule: finding.count for finding in check_bars({"X": bars}, **options).findings}


def at(day: str) -> int:
    return int(np.datetime64(day, "ns").astype(np.int64))


def test_check_bars__finds_nothing_in_ordinary_bars() -> None:
    assert rules(columns(wander(500))) == {}


def test_check_bars__names_the_outlier_and_when() -> None:
    close = wander(500)
    close[300] *= 1.9
    report = check_bars({"X": columns(close)})
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.count) == ("outliers", "warning", 2)  # up, and down again
    assert finding.places[0].ts_end_ns == 300 * DAY_NS
    assert "return +" in finding.places[0].text


def test_check_bars__suspects_a_split_unless_it_is_adjusted() -> None:
    close = wander(500)
    close[250:] /= 7.0
    assert rules(columns(close)) == {"outliers": 1, "suspected_splits": 1}
    assert rules(columns(close, adjustment=np.where(np.arange(500) < 250, 1 / 7, 1.0))) == {}


def test_check_bars__counts_stale_runs_whole() -> None:
    close = wander(100)
    close[40:46] = close[40]
    bars = columns(close, high=np.where((np.arange(100) >= 40) & (np.arange(100) < 46), close, close * 1.01))
    assert "stale" not in rules(bars)  # the low still moves
    flat = (np.arange(100) >= 40) & (np.arange(100) < 46)
    bars = columns(close, high=np.where(flat, close, close * 1.01), low=np.where(flat, close, close * 0.99))
    assert rules(bars)["stale"] == 6


def test_check_bars__tells_some_zero_volumes_from_none_at_all() -> None:
    assert rules(columns(wander(50), volume=np.arange(50) % 2.0)) == {"zero_volume": 25}
    assert rules(columns(wander(50), volume=np.zeros(50))) == {"no_volume": 50}


def test_check_bars__counts_gaps_beyond_a_long_weekend() -> None:
    weekdays = np.array([day for day in range(200) if (day + 3) % 7 < 5])  # day 0 was a Thursday
    friday_missing = weekdays[weekdays != 99]  # a Friday; its weekend is 4 days long then
    assert (99 + 3) % 7 == 4
    assert rules(columns(wander(len(friday_missing)), friday_missing * DAY_NS + DAY_NS)) == {}
    week_missing = weekdays[(weekdays < 100) | (weekdays > 107)]
    assert rules(columns(wander(len(week_missing)), week_missing * DAY_NS + DAY_NS)) == {"gaps": 1}


def test_check_bars__counts_every_hole_where_trading_never_stops() -> None:
    ts = np.delete(np.arange(20_000), [500, 10_000, 10_001]) * MINUTE_NS
    bars = columns(wander(len(ts)), ts)
    assert rules(bars, interval_ns=MINUTE_NS)["gaps"] == 2


def test_check_bars__counts_missing_bars_against_the_calendar() -> None:
    sessions = load_sessions("XNYS", np.datetime64("2024-06-03"), np.datetime64("2024-07-31"))
    part = sessions.between(at("2024-07-01"), at("2024-07-20"))
    minutes = part.ends(MINUTE_NS)
    kept = np.delete(minutes, [100, 101, 700])
    report = check_bars({"X": columns(wander(len(kept)), kept)}, interval_ns=MINUTE_NS, sessions=sessions)
    missing = next(finding for finding in report.findings if finding.rule == "missing_bars")
    assert missing.count == 3
    assert [place.ts_end_ns for place in missing.places] == minutes[[100, 101, 700]].tolist()
    daily = np.delete(part.close_ns, 3)
    assert rules(columns(wander(len(daily)), daily), sessions=sessions) == {"missing_bars": 1}


def test_check_bars__counts_bars_outside_sessions() -> None:
    sessions = load_sessions("XNYS", np.datetime64("2024-07-01"), np.datetime64("2024-07-31"))
    minutes = sessions.between(at("2024-07-02"), at("2024-07-03")).ends(MINUTE_NS)
    late = np.append(minutes, minutes[-1] + np.arange(1, 4) * MINUTE_NS)
    assert rules(columns(wander(len(late)), late), interval_ns=MINUTE_NS, sessions=sessions)["outside_sessions"] == 3


def test_check_bars__judges_nights_apart_from_minutes() -> None:
    rng = np.random.default_rng(1)
    returns = rng.uniform(-0.001, 0.001, (60, 390))
    returns[:, 0] = rng.uniform(-0.03, 0.03, 60)  # over night: usual among nights, huge for a minute
    close = 100.0 * np.cumprod(1.0 + returns.ravel())
    ts = (np.arange(60)[:, None] * DAY_NS + np.arange(1, 391) * MINUTE_NS).ravel()
    assert "outliers" not in rules(columns(close, ts), interval_ns=MINUTE_NS)


def test_report__survives_json_and_is_deterministic() -> None:
    close = wander(500)
    close[300] *= 3
    options: dict[str, Any] = {"repairs": {"X": {"sort": 3}}, "repair_places": {"X": {"sort": ["a.csv, line 2"]}}}
    report = check_bars({"X": columns(close), "A": columns(wander(10))}, **options)
    text = json.dumps(report.to_dict())
    assert QualityReport.from_dict(json.loads(text)) == report
    again = check_bars({"A": columns(wander(10)), "X": columns(close)}, **options)
    assert json.dumps(again.to_dict()) == text
    assert report.repairs("X") == {"sort": 3}


def test_report__summary_puts_the_gravest_first_and_counts_the_rest() -> None:
    close = wander(500)
    close[300] *= 3
    lines = check_bars({"X": columns(close, volume=np.zeros(500))}, repairs={"X": {"sort": 1}}).summary(n_lines=1)
    assert lines[0] == "500 bars of 1 asset: 0 errors, 1 warning, 2 remarks"
    assert lines[1].startswith("warning: X: ")
    assert lines[-1] == "and 2 more"


@pytest.mark.parametrize(
    "stored", [{}, {"format": 99, "assets": {}, "findings": []}, {"format": 1, "assets": [], "findings": [1]}]
)
def test_report__refuses_what_is_no_report(stored: dict[str, Any]) -> None:
    with pytest.raises(CorruptError):
        QualityReport.from_dict(stored)
