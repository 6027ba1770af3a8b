"""Declared parameters: the one source of a value's type, bounds, unit and meaning.

Strategies declare theirs, engines declare theirs; the spec's validation, the command's help, the app's form and the
docs are all derived from these declarations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from quantbot.errors import ParameterError

Value = int | float | str
RowValue = int | float | str | tuple[str, ...]
Kind = Literal["integer", "number", "choice"]


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; build it with `integer`, `number` or `choice`.

    Attributes
    ----------
    low, high
        Inclusive bounds of an integer or a number.
    choices
        The valid words of a choice.
    unit
        For people: "bars", "bps", "fraction of equity"; empty when there is none.
    doc
        One sentence: what it means, and what happens when it grows.
    """

    name: str
    kind: Kind
    default: Value
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    unit: str = ""
    doc: str = ""

    def check(self, value: object) -> Value:
        """Return `value` as this parameter's type, or raise `ParameterError` naming what is wrong.

        Examples
        --------
        >>> integer("fast", 20, 2, 500, "Bars in the fast mean.").check(20.0)
        20
        """
        if self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
            raise ParameterError(
                f"{self.name} must be one of {', '.join(self.choices)}; found {value!r}{self._hint(value)}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ParameterError(f"{self.name} must be {self.wanted}; found {value!r}")
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise ParameterError(f"{self.name} must be {self.wanted}; found {value!r}")
        if self.kind == "integer":
            if value != int(value):
                raise ParameterError(f"{self.name} must be {self.wanted}; found {value!r}")
            return int(value)
        return float(value)

    @property
    def wanted(self) -> str:
        """What is accepted, in words: ``a whole number from 2 to 500``."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        noun = "a whole number" if self.kind == "integer" else "a number"
        match math.isfinite(self.low), math.isfinite(self.high):
            case True, True:
                return f"{noun} from {self.low:g} to {self.high:g}"
            case True, False:
                return f"{noun} of at least {self.low:g}"
            case False, True:
                return f"{noun} of at most {self.high:g}"
        return f"{noun}, finite"

    def _hint(self, value: object) -> str:
        near = get_close_matches(str(value), self.choices, 1)
        return f"; did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True)
class Table:
    """A declared table of a section: rows of the same fields, by asset or by a name of the user's.

    Attributes
    ----------
    by
        Whether a row is called after an asset, or as its author likes ("name").
    fields
        What a row may say; a row says at least one.
    lists_assets
        Whether each row also names the assets that it is about, in a field `assets`.
    required
        Fields that a row must say.
    varies
        Whether points may vary the fields of rows, as settings called "table.row.field".
    doc
        One sentence.
    """

    name: str
    by: Literal["asset", "name"]
    fields: tuple[Parameter, ...]
    lists_assets: bool = False
    doc: str = ""
    required: tuple[str, ...] = ()
    varies: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """The fields' names."""
        return (*(("assets",) if self.lists_assets else ()), *(field.name for field in self.fields))

    def check(self, row: Mapping[str, object]) -> dict[str, RowValue]:
        """Return a row's values with their types, or raise `ParameterError` naming the field that is wrong.

        Examples
        --------
        >>> Table("groups", "name", (number("high", 1.0, -10, 10, "Most."),), lists_assets=True).check(
        ...     {"assets": ["KO", "PEP"], "high": 1})
        {'assets': ('KO', 'PEP'), 'high': 1.0}
        """
        made: dict[str, RowValue] = {}
        for name, value in row.items():
            if name not in self.known:
                raise ParameterError(
                    f"{name} is no field; there are {', '.join(self.known)}{nearest(name, self.known)}"
                )
            if name == "assets":
                if not isinstance(value, (list, tuple)) or not value or not all(isinstance(one, str) for one in value):
                    raise ParameterError(f"assets must be a list of symbols, at least one; found {value!r}")
                if twice := [one for one in value if value.count(one) > 1]:
                    raise ParameterError(f"assets must name each asset once; found {twice[0]!r} twice")
                made[name] = tuple(sorted(value))
            else:
                made[name] = next(field for field in self.fields if field.name == name).check(value)
        if self.lists_assets and "assets" not in made:
            raise ParameterError("assets is required: the symbols that this is about")
        if lacking := [name for name in self.required if name not in made]:
            raise ParameterError(f"{lacking[0]} is required")
        if not made.keys() - {"assets"}:
            raise ParameterError(f"at least one of {', '.join(field.name for field in self.fields)} is needed")
        return made


def integer(name: str, default: int, low: float, high: float, doc: str, *, unit: str = "") -> Parameter:
    """Declare a whole-number parameter with inclusive bounds."""
    return _valid(Parameter(name, "integer", default, low, high, unit=unit, doc=doc))


def number(name: str, default: float, low: float, high: float, doc: str, *, unit: str = "") -> Parameter:
    """Declare a real-number parameter with inclusive bounds."""
    return _valid(Parameter(name, "number", float(default), low, high, unit=unit, doc=doc))


def choice(name: str, default: str, choices: Iterable[str], doc: str) -> Parameter:
    """Declare a parameter that takes one of several words."""
    return _valid(Parameter(name, "choice", default, choices=tuple(choices), doc=doc))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'fast'?`` for an error message, or an empty text when nothing is near."""
    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _valid(parameter: Parameter) -> Parameter:
    parameter.check(parameter.default)
    return parameter
