from __future__ import annotations

import math

import pytest

from app import format as fmt
from quantbot.measures import Measure


def spaced(text: str) -> str:
    return text.replace(fmt.SPACE, " ").replace(fmt.MINUS, "-")


def declared(unit: str, *, signed: bool = False) -> Measure:
    return Measure("m", "M", "core", unit, 1, signed, "A measure.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "signed", "text"),
    [
        (1.239, "ratio", True, "+1.24"),
        (-0.004, "ratio", True, "0.00"),
        (-1.5, "ratio", False, "-1.50"),
        (0.1234, "fraction", True, "+12.3 %"),
        (0.25, "fraction", False, "25.0 %"),
        (0.081, "fraction per year", True, "+8.1 %/year"),
        (12.0, "bars", False, "12 bars"),
        (12.34, "bars", False, "12.3 bars"),
        (1234567.0, "count", False, "1 234 567"),
        (12.5, "count", False, "12.5"),
        (1234.5, "money", False, "1 234.50 USD"),
        (123456.7, "money", False, "123 457 USD"),
        (3.14159, "per year", False, "3.1 /year"),
        (math.inf, "ratio", False, "no limit"),
    ],
)
def test_measure__is_written_by_its_declaration(value: float, unit: str, signed: bool, text: str) -> None:
    assert spaced(fmt.measure(value, declared(unit, signed=signed), currency="USD")) == text


@pytest.mark.parametrize("unit", ["ratio", "fraction", "fraction per year", "bars", "count", "money", "per year"])
def test_measure__never_prints_nan(unit: str) -> None:
    assert fmt.measure(math.nan, declared(unit), reason="no trades") == "no trades"


@pytest.mark.parametrize("write", [fmt.count, fmt.percent, fmt.money, fmt.price])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers__that_are_none_are_called_undefined(write, value: float) -> None:
    assert write(value) == "undefined"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (9_999_999, "9 999 999"), (12_400_000, "12.4 M"), (3e9, "3.0 G"), (-5, "-5")]
)
def test_count__is_full_up_to_seven_digits(value: float, text: str) -> None:
    assert spaced(fmt.count(value)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (4.26, "4.3 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (11520, "3 h 12 min"),
     (90000, "1 d 1 h"), (math.nan, "unknown")],
)  # fmt: skip
def test_duration__has_its_two_largest_units(seconds: float, text: str) -> None:
    assert spaced(fmt.duration(seconds)) == text


def test_instant__is_utc_with_the_exchange_beside_it() -> None:
    assert fmt.instant(1_577_998_800 * 10**9, "America/New_York") == "2020-01-02 21:00 UTC (16:00 EST)"


@pytest.mark.parametrize(("value", "text"), [(20, "20"), (20.0, "20"), (0.5, "0.5"), ("next_open", "next_open")])
def test_value__has_no_tail_of_zeros(value: object, text: str) -> None:
    assert fmt.value(value) == text


def test_point__reads_like_the_commands_option() -> None:
    assert fmt.point({"fast": 20, "slow": 100.5}) == "fast=20, slow=100.5"


@pytest.mark.parametrize("name", ["**bold**", "[x](http://y)", ":red[z]", "$x$", "a\n# b", "<b>", "`c`", "![i](u)"])
def test_plain__leaves_nothing_for_markdown_to_act_on(name: str) -> None:
    escaped = fmt.plain(name)
    assert "\n" not in escaped
    assert escaped.replace("\\", "") == " ".join(name.split())
    assert all(escaped[at - 1] == "\\" for at, letter in enumerate(escaped) if letter in "*[]()$#<>`!:_")


def test_size__is_binary() -> None:
    assert spaced(fmt.size(1536)) == "1.5 KiB"
