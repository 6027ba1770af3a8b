"""The common path of every format of order-book events: blocks in, one checked dataset out, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantbot.book import BookInstrument, Events
from quantbot.book.events import COLUMNS, Kind
from quantbot.errors import DataError, InputError, QuantBotError

if TYPE_CHECKING:
    from datasets.events_writer import Written
    from datasets.quality import Finding
    from datasets.store import Store

__all__ = ["EventOptions", "RawEvents", "Reader", "Told", "ingest_events", "scaled_events"]

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class EventOptions:
    """What a file of events does not say itself.

    Attributes
    ----------
    symbol
        The instrument; None takes the file's.
    session
        The trading day; None takes the file's, or the day of the first event in `zone`.
    tick_size, lot_size
        Smallest steps of price and size; None reads the file twice and takes the largest that all prices (sizes) are
        multiples of: a tick of at most a hundredth of the price, a lot of at most one unit.
    currency, multiplier
        Currency of the prices, and its amount per price point and unit; None takes what the file tells, else USD and 1.
    zone
        IANA zone of the session's date; None takes the exchange's.
    received_shift_ns
        Added to every receipt: for a machine whose clock ran behind.
    snapshot_every
        Events from one stored book to the next.
    max_bytes
        Refused beyond: unpacked size of one file.
    """

    symbol: str | None = None
    session: str | None = None
    tick_size: float | None = None
    lot_size: float | None = None
    currency: str | None = None
    multiplier: float | None = None
    zone: str | None = None
    title: str = ""
    source: str = ""
    received_shift_ns: int = 0
    snapshot_every: int = 2**18
    max_bytes: int = 1 << 40

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "multiplier"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise InputError(f"{name} must be a positive number, was {value!r}")
        if self.currency is not None and not re.fullmatch(r"[A-Z][A-Z0-9]{1,9}", self.currency):
            raise InputError(f"currency must be a code such as USD or USDT, was {self.currency!r}")


@dataclass(frozen=True, eq=False)
class RawEvents:
    """Events as a file has them: prices and sizes as whole numbers of its own smallest units.

    Attributes
    ----------
    columns
        Those of `Events`, with `price_ticks` in ``10 ** -price_digits`` and `size_lots` in ``10 ** -size_digits``.
    places
        Line, or byte, of each event; for errors.
    price_digits
        Where it is not the reader's: of this symbol.
    """

    symbol: str
    session: str
    columns: Mapping[str, NDArray[Any]]
    places: NDArray[np.int64]
    price_digits: int | None = None


@dataclass(frozen=True)
class Told:
    """What a source says of an instrument beside its events; None where it does not."""

    symbol: str
    tick_size: float | None = None
    multiplier: float | None = None
    currency: str | None = None


class Reader(Protocol):
    """One format's file, or files.

    Attributes
    ----------
    name
        The file, for people.
    place
        What `RawEvents.places` counts: "line" or "byte".

    A reader that knows more of its instruments has `told`: by symbol, `Told`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def kind(self) -> Kind: ...  # noqa: D102

    @property
    def zone(self) -> str: ...  # noqa: D102

    @property
    def place(self) -> str: ...  # noqa: D102

    @property
    def price_digits(self) -> int: ...  # noqa: D102

    @property
    def size_digits(self) -> int: ...  # noqa: D102

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in order, and the share of the file that has been read; may be asked again."""
        ...

    def remarks(self) -> tuple[Finding, ...]:
        """Return what the last reading found that no event says."""
        ...


@dataclass
class _Steps:
    """Greatest common divisors of the prices and sizes of one symbol, and its highest price."""

    price: int = 0
    size: int = 0
    most: int = 0

    def add(self, price: NDArray[np.int64], size: NDArray[np.int64]) -> None:
        priced = np.abs(price[price != 0])
        self.price = math.gcd(self.price, int(np.gcd.reduce(price, initial=0)))
        self.size = math.gcd(self.size, int(np.gcd.reduce(size, initial=0)))
        if priced.size:
            self.most = max(self.most, int(priced.max()))

    def tick(self) -> int:
        """Return a tick of at most a hundredth of the price: a few equal prices are no tick."""
        return math.gcd(self.price, 10 ** max(len(str(self.most)) - 3, 0)) or 1

    def lot(self, unit: int) -> int:
        """Return a lot of at most one unit."""
        return math.gcd(self.size, unit) or 1


def ingest_events(
    root: Store,
    name: str,
    readers: Reader | Sequence[Reader],
    options: EventOptions,
    *,
    progress: Progress | None = None,
    writer_options: Mapping[str, Any] | None = None,
) -> Written:
    """Read, check and write the events of files, one after the other, as a version of the dataset `name`.

    Raises
    ------
    DataError
        If a file is damaged or its events can't be, with the line or byte; then nothing is written.
    """
    from datasets.events import EventsMeta
    from datasets.events_writer import EventsWriter
    from datasets.references import check_name

    check_name(name)
    tell = progress or _silent
    files = list(readers) if isinstance(readers, Sequence) else [readers]
    twice = options.tick_size is None or options.lot_size is None
    at = files[0]

    def share(number: int, done: float) -> float:
        return (number + done) / len(files)

    try:
        steps: dict[str, _Steps] = {}
        for number, at in enumerate(files if twice else ()):
            for done in _find_steps(at, steps):
                tell(share(number, done) / 2, f"{at.name}: finding ticks and lots")
        title = options.title or f"{_names(files)}, order-book events"
        meta = EventsMeta(title, options.source or _names(files), zone=options.zone or at.zone)
        sizes = {"snapshot_every": options.snapshot_every, **(writer_options or {})}
        remarks: list[Finding] = []
        with EventsWriter(root, name, meta, **sizes) as writer:
            for number, at in enumerate(files):
                for events, done in scaled_events(at, options, steps):
                    writer.add(events)
                    shown = share(number, done)
                    tell(0.5 + shown / 2 if twice else shown, f"{at.name}: {events.session}")
                remarks += at.remarks()
                writer.close_sessions()
            written = writer.finish(tuple(remarks))
    except QuantBotError:
        raise
    except MemoryError as error:
        raise DataError(f"{at.name} needs more memory than there is") from error
    except Exception as error:  # decoders raise kinds of their own for damage that nobody foresaw
        raise DataError(f"{at.name} can't be read: {type(error).__name__}: {str(error)[:300]}") from error
    tell(1.0, f"{name} is there")
    return written


def _names(files: Sequence[Reader]) -> str:
    names = [each.name for each in files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def scaled_events(
    reader: Reader, options: EventOptions, steps: dict[str, _Steps] | None = None
) -> Iterator[tuple[Events, float]]:
    """Yield the reader's events in ticks and lots, and the share that has been read."""
    if steps is None:
        steps = {}
        for _ in _find_steps(reader, steps) if options.tick_size is None or options.lot_size is None else ():
            pass
    instruments: dict[str, tuple[BookInstrument, int, int]] = {}
    last: dict[str, int] = {}
    for raw, done in reader.blocks():
        symbol = options.symbol or raw.symbol
        if symbol not in instruments:
            digits = reader.price_digits if raw.price_digits is None else raw.price_digits
            own = steps.get(raw.symbol, _Steps())
            instruments[symbol] = _instrument(symbol, raw.symbol, reader, digits, options, own)
        instrument, tick, lot = instruments[symbol]
        columns = dict(raw.columns)
        columns["price_ticks"] = _in_steps(raw, "price_ticks", tick, reader, f"tick {instrument.tick_size!r}")
        columns["size_lots"] = _in_steps(raw, "size_lots", lot, reader, f"lot {instrument.lot_size!r}")
        received = columns["ts_received_ns"] = columns["ts_received_ns"] + options.received_shift_ns
        _check_receipts(raw, received, last.get(symbol, 0), reader)
        last[symbol] = int(received[-1]) if len(received) else last.get(symbol, 0)
        yield Events(instrument, options.session or raw.session, **{name: columns[name] for name in COLUMNS}), done


def _check_receipts(raw: RawEvents, received: NDArray[np.int64], last: int, reader: Reader) -> None:
    back = np.diff(received, prepend=last) < 0
    if back.any():
        at = int(np.argmax(back))
        before = int(received[at - 1]) if at else last
        raise DataError(
            f"{reader.name}, {reader.place} {int(raw.places[at])}: receipt {int(received[at])} is before {before}, "
            f"that of the event before; events must be in the order of their receipt"
        )


def _find_steps(reader: Reader, found: dict[str, _Steps]) -> Iterator[float]:
    """Read a file for the steps of its prices and sizes; yield the share that has been read."""
    for raw, done in reader.blocks():
        found.setdefault(raw.symbol, _Steps()).add(raw.columns["price_ticks"], raw.columns["size_lots"])
        yield done


def _instrument(
    symbol: str, file_symbol: str, reader: Reader, digits: int, options: EventOptions, steps: _Steps
) -> tuple[BookInstrument, int, int]:
    told = getattr(reader, "told", {}).get(file_symbol, Told(file_symbol))
    tick_size = told.tick_size if options.tick_size is None else options.tick_size
    tick = steps.tick() if tick_size is None else _whole(tick_size, digits, "tick_size")
    lot = (
        steps.lot(10**reader.size_digits)
        if options.lot_size is None
        else _whole(options.lot_size, reader.size_digits, "lot_size")
    )
    return (
        BookInstrument(
            symbol,
            _decimal(tick, digits),
            _decimal(lot, reader.size_digits),
            reader.kind,
            options.currency or told.currency or "USD",
            float(options.multiplier or told.multiplier or 1.0),
        ),
        tick,
        lot,
    )


def _whole(step: float, digits: int, name: str) -> int:
    from fractions import Fraction

    units = Fraction(repr(float(step))) * 10**digits
    if units.denominator != 1:
        raise InputError(f"{name} {step!r} is no multiple of {_decimal(1, digits)!r}, the smallest step of this format")
    return int(units)


def _decimal(units: int, digits: int) -> float:
    return float(f"{units}e-{digits}")


def _in_steps(raw: RawEvents, column: str, step: int, reader: Reader, what: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = raw.columns[column]
    if step == 1:
        return values
    whole = values // step
    off = whole * step != values
    if off.any():
        at = int(np.argmax(off))
        digits = reader.size_digits
        if column == "price_ticks":
            digits = reader.price_digits if raw.price_digits is None else raw.price_digits
        raise DataError(
            f"{reader.name}, {reader.place} {int(raw.places[at])}: {_decimal(int(values[at]), digits)!r} is no "
            f"multiple of the {what}; name another, or none to have it found"
        )
    return whole


def _silent(done: float, text: str) -> None:
    del done, text


def columns_of(n: int, **given: Any) -> dict[str, NDArray[Any]]:
    """Return columns of `n` events: those given, of the right type, the rest 0."""
    return {
        name: np.array(np.broadcast_to(np.asarray(given.get(name, 0)).astype(dtype), (n,)))
        for name, dtype in COLUMNS.items()
    }


def day_start_ns(day: str, zone: str) -> int:
    """Return when a day's clock shows 0:00 by the offset that holds at noon, in ns since 1970 UTC."""
    from datetime import UTC, date, datetime
    from zoneinfo import ZoneInfo

    try:
        when = date.fromisoformat(day)
    except ValueError as error:
        raise InputError(f"session must be a date such as 2012-06-21, was {day!r}") from error
    noon = datetime(when.year, when.month, when.day, 12, tzinfo=ZoneInfo(zone))
    return (int(noon.astimezone(UTC).timestamp()) - 12 * 3600) * 10**9


def day_of(ts_ns: int, zone: str = "UTC") -> str:
    """Return the date that the clocks of `zone` show at `ts_ns`."""
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    try:
        return datetime.fromtimestamp(ts_ns // 10**9, UTC).astimezone(ZoneInfo(zone)).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"{ts_ns} is no time in nanoseconds since 1970") from error
