"""Measures: what a trial's row can carry, each declared once with unit, sign, formula and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["ratio", "fraction", "fraction per year", "bars", "count", "money", "per year"]


@dataclass(frozen=True)
class Measure:
    """One column of a row.

    Attributes
    ----------
    group
        The group that a spec asks for: "core", "path", "trades", "tail", "hold", ...
    unit
        How a page writes it: "ratio" with two decimals, "fraction" as a percentage, "money" with a currency, ...
    better
        +1 when more is better, -1 when less is better, 0 when it is neither.
    signed
        Whether 0 divides good from bad: a page then draws it on a diverging scale centred on 0.
    doc
        One sentence with formula, sign and source.
    """

    name: str
    label: str
    group: str
    unit: Unit
    better: Literal[-1, 0, 1]
    signed: bool
    doc: str
