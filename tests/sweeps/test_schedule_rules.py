"""When schedules fall due: clock changes, holidays, early closes."""

from __future__ import annotations

from itertools import islice

import pytest

from quantbot.errors import InputError
from sweeps.schedule.rules import NS, Cron, Rule, Session, between, iso, ns_of, parse_duration


def due(rule: Rule, start: str, end: str) -> list[str]:
    return [iso(ns) for ns in between(rule, ns_of(start), ns_of(end))]


def test_cron__keeps_the_time_of_day_over_a_change_of_the_clocks() -> None:
    rule = Cron("0 18 * * *", "Europe/Berlin")
    assert due(rule, "2026-03-27T20:00Z", "2026-03-30T20:00Z") == [
        "2026-03-28T17:00:00Z",
        "2026-03-29T16:00:00Z",
        "2026-03-30T16:00:00Z",
    ]


def test_cron__of_an_hour_that_is_skipped_falls_due_once_that_day() -> None:
    rule = Cron("30 2 * * *", "America/New_York")
    assert due(rule, "2026-03-07T12:00Z", "2026-03-09T12:00Z") == ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]


def test_cron__of_an_hour_that_occurs_twice_falls_due_once_that_day() -> None:
    rule = Cron("30 1 * * *", "America/New_York")
    assert due(rule, "2026-10-31T12:00Z", "2026-11-02T12:00Z") == ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]


def test_cron__of_every_hour_has_25_on_the_long_day_each_once() -> None:
    found = due(Cron("0 * * * *", "America/New_York"), "2026-11-01T03:59Z", "2026-11-02T04:59Z")
    assert len(found) == len(set(found)) == 25
    assert found == sorted(found)


def test_cron__with_sessions_leaves_holidays_out() -> None:
    rule = Cron("0 18 * * *", "America/New_York", "XNYS")
    assert [moment[:10] for moment in due(rule, "2026-04-01T00:00Z", "2026-04-07T00:00Z")] == [
        "2026-04-01",
        "2026-04-02",
        "2026-04-06",  # Good Friday and a weekend
    ]


def test_session__follows_daylight_saving_and_early_closes() -> None:
    rule = Session("XNYS", "close", 2 * 3600 * NS)
    assert due(rule, "2026-03-06T00:00Z", "2026-03-10T00:00Z") == ["2026-03-06T23:00:00Z", "2026-03-09T22:00:00Z"]
    assert due(rule, "2026-11-27T00:00Z", "2026-11-28T00:00Z") == ["2026-11-27T20:00:00Z"]  # the day after Thanksgiving


def test_session__of_the_last_day_of_a_year_may_fall_due_in_the_next() -> None:
    rule = Session("XNYS", "close", 24 * 3600 * NS)
    assert due(rule, "2026-12-31T22:00Z", "2027-01-02T00:00Z") == ["2027-01-01T21:00:00Z"]


def test_session__of_two_exchanges_differ_while_their_clocks_do() -> None:
    """Between 8 and 29 March 2026 New York is an hour closer to London."""
    ny, london = Session("XNYS", "open"), Session("XLON", "open")
    hours = [
        (next(ny.after(ns_of(day))) - next(london.after(ns_of(day)))) / 3.6e12
        for day in ("2026-03-06T00:00Z", "2026-03-20T00:00Z", "2026-03-30T00:00Z")
    ]
    assert hours == [6.5, 5.5, 6.5]


def test_rules__are_strict_about_the_moment_they_start_after() -> None:
    for rule in (Cron("0 18 * * *", "UTC"), Session("XLON", "close")):
        first = next(rule.after(ns_of("2026-03-02T00:00Z")))
        assert next(rule.after(first)) > first
        assert next(rule.after(first - NS)) == first


def test_cron__that_never_meets_a_session_ends() -> None:
    rule = Cron("0 12 25 12 *", "America/New_York", "XNYS")
    assert list(islice(rule.after(ns_of("2026-01-01T00:00Z")), 1)) == []


@pytest.mark.parametrize("expression", ["61 * * * *", "* * * *", "@daily", "0 0 30 2 *", ""])
def test_cron__refuses_what_is_no_expression(expression: str) -> None:
    with pytest.raises(InputError, match="five fields"):
        Cron(expression, "UTC")


def test_rules__name_the_nearest_zone_and_calendar() -> None:
    with pytest.raises(InputError, match="did you mean 'Europe/Berlin'"):
        Cron("0 0 * * *", "Europe/Berln")
    with pytest.raises(InputError, match="XNYS"):
        Session("XNYSE", "close")


def test_durations__are_lengths_of_time() -> None:
    assert parse_duration("90min") == 5400 * NS
    for text in ("2", "2 hours", "1mo", "-1h"):
        with pytest.raises(InputError, match="length of time"):
            parse_duration(text)
