"""The options that files of order-book events have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from datasets.ingest.events import EventOptions


def _option(type_: Any, flag: str, metavar: str | None, help_: str, default: Any = None) -> tuple[Any, Any]:
    return Annotated[type_, typer.Option(flag, metavar=metavar, help=help_)], default


_TABLE: dict[str, tuple[Any, Any]] = {
    "symbol": _option(str | None, "--symbol", "SYMBOL", "The instrument; default: the file's own."),
    "session": _option(str | None, "--session", "DATE", "The trading day; default: the file's own."),
    "tick_size": _option(
        float | None, "--tick", "NUMBER", "Smallest step of the price; default: found in a first pass."
    ),
    "lot_size": _option(float | None, "--lot", "NUMBER", "Smallest step of the size; default: found in a first pass."),
    "currency": _option(
        str | None, "--currency", "CODE", "Currency of the prices; default: what the file tells, else USD."
    ),
    "multiplier": _option(
        float | None,
        "--multiplier",
        "NUMBER",
        "Currency per price point and unit: 50 for ES; default: what the file tells, else 1.",
    ),
    "received_shift_ms": _option(
        float, "--shift", "MS", "Added to every receipt: for a recording machine whose clock ran behind.", 0.0
    ),
    "title": _option(str, "--title", "TEXT", "A title, for people.", ""),
    "source": _option(str, "--source", "TEXT", "Where the data come from, for people.", ""),
}


def takes_event_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above; it gets them as one argument, `options`."""
    hints = get_type_hints(command, include_extras=True, localns={"EventOptions": object})
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=keyword)
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name != "options"
    ]
    shared = [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (annotation, default) in _TABLE.items()
    ]
    first = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
    parameters = [*first, *shared, *(parameter for parameter in own if parameter not in first)]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        said = {name: given.pop(name) for name in _TABLE}
        command(**given, options=_event_options(said))

    del run.__wrapped__  # typer would read the signature behind it
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _event_options(said: dict[str, Any]) -> EventOptions:
    from datasets.ingest.events import EventOptions

    shift = said.pop("received_shift_ms")
    return EventOptions(received_shift_ns=round(shift * 1e6), **said)
