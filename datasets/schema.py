"""The vocabulary of datasets, as code: what each stored variable is, and what a bars dataset says of itself."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError, InputError
from quantbot.market import Instrument

# Raised when stored bytes would be read differently; part of every version.
SCHEMA = 1


@dataclass(frozen=True)
class Variable:
    """One stored variable.

    Attributes
    ----------
    dims
        Names of its dimensions, time first, assets last.
    unit
        For people and for the array's attributes.
    doc
        One sentence: what a value means.
    optional
        Whether a dataset may lack it.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    unit: str
    doc: str
    optional: bool = False

    def differences(self, values: NDArray[Any], sizes: Mapping[str, int]) -> list[str]:
        """Say how `values` differ from this declaration, where dimension d has `sizes[d]` elements."""
        found = []
        if values.dtype != np.dtype(self.dtype):
            found.append(f"{self.name} must be {self.dtype}, was {values.dtype}")
        shape = tuple(sizes[dim] for dim in self.dims)
        if values.shape != shape:
            found.append(f"{self.name} must have shape {shape} ({', '.join(self.dims)}), was {values.shape}")
        return found


TIME = Variable("time", ("time",), "int64", "ns since 1970-01-01 UTC", "Moment at which a bar is complete.")
OPEN = Variable("open", ("time", "asset"), "float64", "currency per unit", "First price of the bar, unadjusted.")
HIGH = Variable("high", ("time", "asset"), "float64", "currency per unit", "Highest price of the bar, unadjusted.")
LOW = Variable("low", ("time", "asset"), "float64", "currency per unit", "Lowest price of the bar, unadjusted.")
CLOSE = Variable(
    "close", ("time", "asset"), "float64", "currency per unit", "Last price, unadjusted; NaN says that there is no bar."
)
VOLUME = Variable("volume", ("time", "asset"), "float64", "units", "Units traded in the bar.")
ADJUSTMENT = Variable(
    "adjustment",
    ("time", "asset"),
    "float64",
    "1",
    "Factor of the adjusted view: prices are multiplied by it, volume is divided by it.",
    optional=True,
)
SPLIT = Variable(
    "split", ("time", "asset"), "float64", "1", "New units for one old one, before the bar's open.", optional=True
)
DIVIDEND = Variable(
    "dividend",
    ("time", "asset"),
    "float64",
    "currency per unit",
    "Cash for a unit held before the bar, after its split; the bar is the first ex dividend.",
    optional=True,
)
FUNDING = Variable(
    "funding",
    ("time", "asset"),
    "float64",
    "1",
    "What longs pay shorts for the bar, of the notional at its close; 0 is nothing due, NaN is not known.",
    optional=True,
)

# By dataset kind, every variable; a kind for events joins here.
VOCABULARY: Mapping[str, tuple[Variable, ...]] = MappingProxyType(
    {"bars": (TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, ADJUSTMENT, SPLIT, DIVIDEND, FUNDING)}
)
# What stands for an optional variable where another asset of the dataset has it and this one has not.
NEUTRAL: Mapping[str, float] = MappingProxyType({"adjustment": 1.0, "split": 1.0, "dividend": 0.0, "funding": 0.0})


def check(kind: str, arrays: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
    """Raise `DataError` listing everything in which `arrays` differ from the vocabulary of `kind`.

    Examples
    --------
    >>> check("bars", {"time": np.arange(3), "close": np.ones((3, 1))}, {"time": 3, "asset": 1})
    Traceback (most recent call last):
        ...
    quantbot.errors.DataError: not a bars dataset: open is missing; high is missing; low is missing; volume is missing
    """
    vocabulary = {variable.name: variable for variable in VOCABULARY[kind]}
    found = [
        f"{name} is missing" for name, variable in vocabulary.items() if name not in arrays and not variable.optional
    ]
    for name, values in arrays.items():
        if name in vocabulary:
            found += vocabulary[name].differences(values, sizes)
        else:
            found.append(f"{name} is no variable of {kind}{_nearest(name, vocabulary)}")
    if found:
        raise DataError(f"not a {kind} dataset: {'; '.join(found)}")


_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{1,9}")
_INTERVAL = re.compile(r"[1-9][0-9]{0,5}(ms|s|min|h|d|w|mo)")
_MAX_TEXT = 2000


@dataclass(frozen=True)
class BarsMeta:
    """What a bars dataset says of itself; part of its version.

    Attributes
    ----------
    title
        One line for people.
    source
        Where the raw bars come from: a vendor, a package, a file name without its folder.
    interval
        The time that one bar covers: "1min", "4h", "1d", "1w", "1mo".
    periods_per_year
        Bars per year by the dataset's own calendar; annualised measures are scaled with it.
    synthetic
        Whether the bars were drawn and not observed; shown wherever the dataset is.
    currency, multiplier
        One for all assets, or one by asset. The multiplier is account currency per price point and unit.
    zone
        The IANA time zone of its sessions. Times are stored in UTC whatever it is.
    calendar
        A code of `exchange_calendars` ("XNYS"), or None.
    stamp
        How the raw bars were stamped; the stored ones are always stamped at their end.
    license
        What the raw data's licence is, as far as known.
    """

    title: str
    source: str
    interval: str
    periods_per_year: float
    synthetic: bool = False
    currency: str | Mapping[str, str] = "USD"
    multiplier: float | Mapping[str, float] = 1.0
    zone: str = "UTC"
    calendar: str | None = None
    stamp: Literal["start", "end"] = "end"
    license: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = [problem for problem in self._problems() if problem]
        if found:
            raise InputError(f"a dataset's description is wrong: {'; '.join(found)}")

    def instrument(self, asset: str) -> Instrument:
        """Return `asset` as an instrument, with its own currency and multiplier."""
        currency = self.currency if isinstance(self.currency, str) else self.currency.get(asset, "USD")
        multiplier = self.multiplier if not isinstance(self.multiplier, Mapping) else self.multiplier.get(asset, 1.0)
        return Instrument(asset, currency, float(multiplier))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; equal descriptions give equal dictionaries."""
        as_dict: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            as_dict[each.name] = dict(sorted(value.items())) if isinstance(value, Mapping) else value
        as_dict["periods_per_year"] = float(self.periods_per_year)
        if not isinstance(self.multiplier, Mapping):
            as_dict["multiplier"] = float(self.multiplier)
        return as_dict

    @classmethod
    def from_dict(cls, as_dict: Mapping[str, Any]) -> BarsMeta:
        """Return what `to_dict` gave, or raise `InputError` for unknown and missing fields."""
        names = {each.name for each in fields(cls)}
        required = {"title", "source", "interval", "periods_per_year"}
        found = [f"unknown field {name!r}{_nearest(name, names)}" for name in sorted(set(as_dict) - names)]
        found += [f"{name} is missing" for name in sorted(required - set(as_dict))]
        if found:
            raise InputError(f"a dataset's description is wrong: {'; '.join(found)}")
        return cls(**as_dict)

    def _problems(self) -> list[str]:
        return [
            text_problem("title", self.title, required=True),
            text_problem("source", self.source),
            text_problem("license", self.license),
            *(text_problem("notes", text) for pair in self.notes.items() for text in pair),
            ""
            if isinstance(self.interval, str) and _INTERVAL.fullmatch(self.interval)
            else f"interval must look like 1min, 4h, 1d, 1w or 1mo, was {self.interval!r}",
            _positive_problem("periods_per_year", self.periods_per_year),
            "" if isinstance(self.synthetic, bool) else f"synthetic must be true or false, was {self.synthetic!r}",
            *(
                f"currency must be 2 to 10 capital letters or digits, was {value!r}"
                for value in _each(self.currency)
                if not isinstance(value, str) or not _CURRENCY.fullmatch(value)
            ),
            *(_positive_problem("multiplier", value) for value in _each(self.multiplier)),
            zone_problem(self.zone),
            text_problem("calendar", self.calendar) if self.calendar is not None else "",
            "" if self.stamp in ("start", "end") else f"stamp must be start or end, was {self.stamp!r}",
        ]


def _each(value: object) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else [value]


def text_problem(name: str, value: object, *, required: bool = False) -> str:
    """Say what is wrong with a text of a description, or nothing."""
    if not isinstance(value, str):
        return f"{name} must be text, was {value!r:.100}"
    if required and not value.strip():
        return f"{name} is empty"
    if len(value) > _MAX_TEXT:
        return f"{name} has {len(value)} characters, at most {_MAX_TEXT} are kept"
    if any(ord(character) < 32 and character not in "\n\t" for character in value):
        return f"{name} has control characters"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{name} is no valid Unicode"
    return ""


def _positive_problem(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
        return f"{name} must be a positive number, was {value!r:.100}"
    return ""


def zone_problem(zone: object) -> str:
    """Say what is wrong with a time zone, or nothing."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)  # type: ignore[arg-type]
    except Exception:  # ZoneInfo raises half a dozen kinds for odd names: folders, NUL, absolute paths
        return f"zone must be an IANA time zone such as America/New_York, was {zone!r:.100}"
    return ""


def _nearest(name: str, names: Any) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
