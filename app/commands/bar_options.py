"""The options that say what raw bars look like, shared by every format of ``quantbot ingest``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from datasets.ingest import BarOptions

_COLUMNS = {
    "time": "Column of the time, or of the date. Columns with usual names are found.",
    "clock": "Column of the time of day, where --time holds only the date.",
    "open": "Column of the open.",
    "high": "Column of the high.",
    "low": "Column of the low.",
    "close": "Column of the close.",
    "volume": "Column of the volume; 'none' where there is none.",
    "adjusted_close": "Column of the adjusted close; 'none' leaves it out.",
    "symbol_column": "Column of the symbol, for many symbols in one file; 'none' leaves it out.",
}
_Text = str | None


def _option(type_: Any, flag: str, metavar: str | None, help_: str, default: Any = None) -> tuple[Any, Any]:
    return Annotated[type_, typer.Option(flag, metavar=metavar, help=help_)], default


# By argument: its annotation and its default.
_ALL: Mapping[str, tuple[Any, Any]] = {
    **{
        role: _option(_Text, f"--{role.replace('_', '-')}", "COLUMN", sentence) for role, sentence in _COLUMNS.items()
    },
    "symbol": _option(_Text, "--symbol", "SYMBOL", "The one symbol; default: each file's name."),
    "zone": _option(_Text, "--zone", "ZONE", "Zone of times without an offset: America/New_York, UTC."),
    "stamp": _option(_Text, "--stamp", "start|end", "Whether a time is its bar's start or its end."),
    "interval": _option(_Text, "--interval", "LENGTH", "Length of a bar: 1min, 1h, 1d; default: as found."),
    "calendar": _option(_Text, "--calendar", "NAME", "Exchange calendar (XNYS, CMES, 24/7): closes, gaps, year."),
    "time_format": _option(_Text, "--time-format", "FORMAT", "iso, s, ms, us, ns or a strptime format."),
    "repair": _option(
        list[str] | None, "--repair", "POLICY,…",
        "Repairs that you allow, by name: sort, drop_duplicates, drop_invalid, …; all else is refused.",
    ),
    "currency": _option(str, "--currency", "CODE", "Currency of the prices.", "USD"),
    "multiplier": _option(float, "--multiplier", "NUMBER", "Currency per price point and unit: 50 for ES.", 1.0),
    "negative_prices": _option(bool, "--negative-prices", None, "Prices may be zero or negative.", False),
    "periods_per_year": _option(
        float | None, "--periods-per-year", "NUMBER", "Bars per year for annualising; default: the calendar's."
    ),
    "dividends": _option(
        Path | None, "--dividends", "CSV", "Cash dividends: time (ex-date), symbol, amount; or a column a symbol."
    ),
    "splits": _option(Path | None, "--splits", "CSV", "Splits: time, symbol, ratio (2 is two new units for one)."),
    "funding": _option(Path | None, "--funding", "CSV", "Rates of perpetual futures: time, symbol, rate (0.0001)."),
    "funding_every": _option(_Text, "--funding-every", "LENGTH", "Between two funding rates; default: as found."),
    "title": _option(str, "--title", "TEXT", "A title, for people.", ""),
    "source": _option(str, "--source", "TEXT", "Where the data come from, for people.", ""),
}  # fmt: skip
_CSV: Mapping[str, tuple[Any, Any]] = {
    "decimal": _option(str, "--decimal", ".|,", "Decimal separator.", "."),
    "thousands": _option(str, "--thousands", "CHARACTER", "Separator of thousands; default: none is accepted.", ""),
    "delimiter": _option(_Text, "--delimiter", "CHARACTER", "Between fields; default: as found."),
    "encoding": _option(str, "--encoding", "NAME", "Of the text.", "utf-8"),
    "wide": _option(bool, "--wide", None, "One column of closes for each symbol, named by it, beside the time.", False),
    "header": _option(bool, "--header/--no-header", None, "Whether the first line names the columns.", True),
}


def takes_bar_options(*, text: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options above; it gets them as one argument, `options`.

    Parameters
    ----------
    text
        Whether the format is text, with separators and an encoding.
    """
    table = {**_ALL, **(_CSV if text else {})}

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True, localns={"BarOptions": object})
        own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "options"]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [parameter.replace(annotation=hints[parameter.name], kind=keyword) for parameter in own]
        first = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
        last = [parameter for parameter in parameters if parameter.default is not inspect.Parameter.empty]
        shared = [
            inspect.Parameter(name, keyword, default=default, annotation=annotation)
            for name, (annotation, default) in table.items()
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            said = {name: given.pop(name) for name in table}
            command(**given, options=_bar_options(said))

        del run.__wrapped__  # typer would read the signature behind it
        run.__signature__ = inspect.Signature([*first, *shared, *last])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*first, *shared, *last]}
        return run

    return wrap


def _bar_options(said: dict[str, Any]) -> BarOptions:
    from datasets.ingest import BarOptions

    columns = {}
    for argument in _COLUMNS:
        column = said.pop(argument)
        if column is not None:
            role = argument.removesuffix("_column")
            columns[role] = None if column.lower() == "none" else int(column) if column.isdigit() else column
    repair = [word.strip() for words in said.pop("repair") or () for word in words.split(",")]
    return BarOptions(columns=columns, repair=tuple(word for word in repair if word), **said)
