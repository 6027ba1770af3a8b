"""Numbers, times and names as people read them; one place for every page, report and table.

Unit and sign come from a measure's declaration, never from the page. What isn't a number is written as its reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from quantbot.measures import Measure

SPACE = "\u00a0"  # no-break space: groups digits and keeps a number with its unit; a narrow one is lost in tables
MINUS = "\u2212"
UNDEFINED = "undefined"
_FULL_DIGITS = 7
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def count(value: float) -> str:
    """Write a count in full up to seven digits, then with a prefix.

    Examples
    --------
    >>> count(1_000_000).replace(SPACE, " "), count(12_400_000).replace(SPACE, " ")
    ('1 000 000', '12.4 M')
    """
    if not math.isfinite(value):
        return UNDEFINED
    if abs(value) < 10**_FULL_DIGITS:
        return _grouped(value, 0)
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.1f}{SPACE}{prefix}"
    raise AssertionError("unreachable")


def plural(value: int, noun: str, nouns: str | None = None) -> str:
    """Write ``1 trial`` or ``2 trials``."""
    return f"{count(value)} {noun if value == 1 else nouns or noun + 's'}"


def signed(value: float, decimals: int = 2) -> str:
    """Write a ratio with its sign: ``+1.92``."""
    return _grouped(value, decimals, sign=True) if math.isfinite(value) else UNDEFINED


def percent(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """Write a fraction as a percentage: ``-12.3 %``."""
    if not math.isfinite(value):
        return UNDEFINED
    return f"{_grouped(100 * value, decimals, sign=sign)}{SPACE}%"


def risk(value: float, *, sign: bool = False) -> str:
    r"""Write a loss or a part of one: two decimals of a percentage, more where it is small.

    Examples
    --------
    >>> risk(0.0161), risk(0.000408)
    ('1.61\xa0%', '0.041\xa0%')
    """
    return percent(value, max(_percent_decimals(value), 2) if math.isfinite(value) else 2, sign=sign)


def money(value: float, currency: str = "") -> str:
    """Write an amount with its currency code, without cents from 10 000 on."""
    if not math.isfinite(value):
        return UNDEFINED
    text = _grouped(value, 0 if abs(value) >= 10_000 else 2)
    return f"{text}{SPACE}{currency}" if currency else text


def price(value: float) -> str:
    """Write a price with as many decimals as its size needs (two from 1 on, else four significant digits)."""
    if not math.isfinite(value):
        return UNDEFINED
    if value == 0 or abs(value) >= 1:
        return _grouped(value, 2)
    return f"{value:.4g}".replace("-", MINUS)


def measure(value: float, declared: Measure, *, currency: str = "", reason: str = UNDEFINED) -> str:
    """Write a measure's value by its declaration; NaN is written as `reason`.

    Parameters
    ----------
    reason
        Why there is no value: "no trades", "failed: ...".

    Examples
    --------
    >>> sharpe = Measure("sharpe", "Sharpe", "core", "ratio", 1, True, "Mean over deviation.")
    >>> measure(1.239, sharpe), measure(math.nan, sharpe, reason="no trades")
    ('+1.24', 'no trades')
    """
    if math.isnan(value):
        return reason
    if math.isinf(value):
        return "no limit" if value > 0 else f"{MINUS}no limit"
    match declared.unit:
        case "ratio":
            return _grouped(value, 2, sign=declared.signed)
        case "fraction" | "fraction per year":
            text = percent(value, _percent_decimals(value), sign=declared.signed)
            return text + ("/year" if declared.unit == "fraction per year" else "")
        case "bars":
            return f"{_grouped(value, 0 if value == int(value) else 1)}{SPACE}bars"
        case "count":
            return count(value) if value == int(value) else _grouped(value, 1)
        case "money":
            return money(value, currency)
        case "per year":
            return f"{_grouped(value, 1)}{SPACE}/year"


def _percent_decimals(fraction: float) -> int:
    """Return one decimal of a percentage, more where it would leave fewer than two digits: a minute's CVaR is small."""
    size = abs(100 * fraction)
    return min(1 - math.floor(math.log10(size)), 3) if 1e-9 < size < 0.995 else 1


def axis_format(declared: Measure) -> str:
    """Return the d3 format of a measure's tick labels."""
    match declared.unit:
        case "ratio":
            return "+.2f" if declared.signed else ".2f"
        case "fraction" | "fraction per year":
            return "+.3~p" if declared.signed else ".3~p"
    return ",.4~g"


def value(parameter: Any) -> str:
    """Write a parameter's value without a tail of zeros: ``20``, ``0.5``, ``next_open``."""
    if isinstance(parameter, str):
        return parameter
    number = float(parameter)
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.6g}"


def point(values: Mapping[str, Any]) -> str:
    """Write a parameter point: ``fast=20, slow=100``."""
    return ", ".join(f"{name}={value(setting)}" for name, setting in values.items())


def duration(seconds: float) -> str:
    """Write a time span in its two largest units: ``3 h 12 min``."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 1:
        return f"{max(round(1000 * seconds), 1)}{SPACE}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(index for index, (amount, _) in enumerate(parts) if amount)
    return " ".join(f"{amount}{SPACE}{unit}" for amount, unit in parts[first : first + 2] if amount)


def size(n_bytes: float) -> str:
    """Write a number of bytes in binary units: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n_bytes) < 1024:
            return f"{n_bytes:.0f}{SPACE}{unit}" if unit == "B" else f"{n_bytes:.1f}{SPACE}{unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f}{SPACE}TiB"


def instant(ts_ns: int, zone: str | None = None) -> str:
    """Write a moment in UTC, and in `zone` too where one is given."""
    moment = datetime.fromtimestamp(ts_ns // 10**9, UTC)
    text = f"{moment:%Y-%m-%d %H:%M} UTC"
    if zone and zone != "UTC":
        text += f" ({moment.astimezone(ZoneInfo(zone)):%H:%M %Z})"
    return text


def moment(ts_ns: int, *, date: bool = True) -> str:
    """Write a moment in UTC to the nanosecond, digits in threes.

    Examples
    --------
    >>> moment(1_340_285_400_004_241_176)
    '2012-06-21 13:30:00.004 241 176'
    """
    whole = datetime.fromtimestamp(ts_ns // 10**9, UTC)
    part = f"{ts_ns % 10**9:09d}"
    text = f"{whole:%H:%M:%S}.{part[:3]} {part[3:6]} {part[6:]}"
    return f"{whole:%Y-%m-%d} {text}" if date else text


def day(ts_ns: int) -> str:
    """Write the UTC day of a moment: ``2001-01-02``."""
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%d}"


def short(identity: str) -> str:
    """Return the short form of an identity or version: its first 12 digits."""
    return identity[:12]


def plain(text: object) -> str:
    r"""Escape what Streamlit's markdown would act on, so that a user's own words are shown as they are.

    Examples
    --------
    >>> plain("a*b_[c](d)")
    'a\\*b\\_\\[c\\]\\(d\\)'
    """
    return _MARKDOWN.sub(r"\\\1", visible(" ".join(str(text).split())))


def visible(text: str) -> str:
    r"""Write marks that turn the direction of what follows, and other control characters, as their codes.

    With such a mark somebody's name could show a number beside it backwards, or another name.

    Examples
    --------
    >>> visible("up \u202e%01+\n")
    'up <U+202E>%01+\n'
    """
    return _UNSEEN.sub(lambda mark: f"<U+{ord(mark[0]):04X}>", text)


def _grouped(value: float, decimals: int, *, sign: bool = False) -> str:
    rounded = round(value, decimals) + 0.0  # + 0.0: no "-0.00"
    text = f"{abs(rounded):,.{decimals}f}".replace(",", SPACE)
    if rounded < 0:
        return MINUS + text
    return f"+{text}" if sign and rounded > 0 else text
