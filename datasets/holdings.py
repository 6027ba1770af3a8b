"""Returns and holdings that somebody brings along as CSV, checked like everything that comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.ingest.options import BarOptions
from datasets.ingest.small import MOST_TOLD, column_of, read_numbers, read_times, split_rows
from datasets.ingest.table import Problems, place, shown
from datasets.ingest.wide import wide_columns
from quantbot.errors import DataError
from quantbot.market import Floats, Nanoseconds

Kind = Literal["returns", "closes"]

_ASSET = ("asset", "symbol", "ticker")
_AMOUNT = ("weight", "value")


@dataclass(frozen=True, eq=False)
class ReturnsTable:
    """Joint returns of some assets.

    Attributes
    ----------
    ts_end_ns
        Shape (n_periods,), int64 UTC, strictly rising; a date is its midnight.
    assets
        In the order of the file's columns.
    returns
        Shape (n_periods, n_assets), simple returns per period, finite, -1 or more.
    """

    ts_end_ns: Nanoseconds
    assets: tuple[str, ...]
    returns: Floats


def read_returns(data: bytes, *, kind: Kind = "returns", source: str = "returns.csv") -> ReturnsTable:
    r"""Read a wide CSV: a time and one column an asset, a header above them.

    Parameters
    ----------
    kind
        "returns": simple returns per period, 0.01 for one percent. "closes": prices above 0, from which they are made.
    source
        What messages call the file.

    Raises
    ------
    DataError
        Naming file, line, column and value of the first places that break a rule, and the rule.

    Examples
    --------
    >>> table = read_returns(b"date,A,B\n2024-01-02,0.01,-0.02\n2024-01-03,0,0.005\n")
    >>> table.assets, table.returns.tolist()
    (('A', 'B'), [[0.01, -0.02], [0.0, 0.005]])
    """
    header, lines, rows = split_rows(data, source)
    positions = wide_columns(source, header, _OPTIONS)
    problems = Problems()
    texts = [[row[at] for row in rows] for at in positions.values()]
    times = _times(texts[0], header[positions["time"]], source, lines, problems)
    assets = tuple(name for name in positions if name != "time")
    values = np.empty((len(rows), len(assets)))
    for number, (asset, column) in enumerate(zip(assets, texts[1:], strict=True)):
        values[:, number] = read_numbers(column, asset, source, lines, problems)
        _refuse_impossible(values[:, number], kind, asset, source, lines, problems)
    problems.raise_if_any()
    if kind == "closes":
        times, values = times[1:], values[1:] / values[:-1] - 1.0
    if len(values) < 2:
        raise DataError(f"{source} has {len(rows)} rows; at least {3 if kind == 'closes' else 2} are needed")
    return ReturnsTable(times, assets, np.ascontiguousarray(values))


def read_holdings(data: bytes, *, source: str = "positions.csv") -> dict[str, float]:
    r"""Read the weights of a portfolio: a row an asset, with `weight`, or `value`, or `quantity` and `price`.

    Returns
    -------
    By asset, its weight: as it stands, or its value over the sum of all values. Negative is short. What is called CASH
    counts in that sum and is left out: it has no risk.

    Raises
    ------
    DataError
        As `read_returns`; also for an asset that comes twice, and values whose sum is not above 0.

    Examples
    --------
    >>> read_holdings(b"symbol,quantity,price\nA,10,30\nB,5,20\nCASH,100,1\n")
    {'A': 0.6, 'B': 0.2}
    """
    header, lines, rows = split_rows(data, source)
    names = [name.lower() for name in header]
    asset = column_of(names, _ASSET, source, header)
    columns = [[name] for name in _AMOUNT if name in names]
    columns += [["quantity", "price"]] if {"quantity", "price"} <= set(names) else []
    if len(columns) != 1:
        raise DataError(
            f"{source} needs one of weight, value, or quantity with price, to say how much is held; found the columns "
            f"{', '.join(header)}"
        )
    problems = Problems()
    amounts = np.ones(len(rows))
    for name in columns[0]:
        at = names.index(name)
        amounts = amounts * read_numbers([row[at] for row in rows], header[at], source, lines, problems)
    held: dict[str, float] = {}
    for line, row, amount in zip(lines, rows, amounts.tolist(), strict=True):
        symbol = row[asset].strip()
        if not symbol or symbol in held:
            rule = "comes twice; add its rows up" if symbol else "is empty"
            problems.add(rule, place(source, "line", line), f"{header[asset]} {shown(symbol)}")
        held[symbol] = amount
    problems.raise_if_any()
    if columns[0] != ["weight"]:
        total = sum(held.values())
        if not total > 0:
            raise DataError(f"{source}: the values of all rows come to {total:g}; weights need a sum above 0")
        held = {symbol: amount / total for symbol, amount in held.items()}
    return {symbol: amount for symbol, amount in held.items() if symbol.upper() != "CASH"}


_OPTIONS = BarOptions(wide=True, zone="UTC")


def _times(texts: list[str], name: str, source: str, lines: list[int], problems: Problems) -> Nanoseconds:
    stamps, _ = read_times(texts, name, source, lines, problems, _OPTIONS)
    if not problems:
        for row in (np.flatnonzero(np.diff(stamps) <= 0) + 1)[:MOST_TOLD].tolist():
            where = place(source, "line", lines[row])
            problems.add("does not come after the line before", where, f"{name} {shown(texts[row])}")
    return stamps


def _refuse_impossible(
    values: Floats, kind: Kind, asset: str, source: str, lines: list[int], problems: Problems
) -> None:
    rule, hint, bad = "is below -1: nobody loses more than all", "returns in percent? divide them by 100", values < -1
    if kind == "closes":
        rule, hint, bad = "is not above 0", "these are returns? say so", values <= 0
    for row in np.flatnonzero(bad)[:MOST_TOLD].tolist():
        problems.add(rule, place(source, "line", lines[row]), f"{asset} {values[row]:g}", hint=hint)
