"""A synthetic market of minute bars, for scale: seeded, the same bits everywhere, and with nothing in it to find.

Every asset follows a common factor and its own noise, with days that are calmer or wilder in clusters, busy opens and
closes, and gaps over night. Expected returns are zero: whatever a strategy earns here before costs is luck.

Random bits come from the counter-based Philox4x64 keyed by (seed, asset); numbers are made of them by integer sums and
by + - x / and square roots alone, which IEEE 754 rounds alike on every machine, never by `exp`, `log` or `pow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.columns import BarColumns
from datasets.schema import BarsMeta
from quantbot.errors import InputError

if TYPE_CHECKING:
    from datasets.ingest.bars import IngestResult
    from datasets.store import Store

Floats = NDArray[np.float64]
Progress = Callable[[float, str], None]

BARS_PER_DAY = 390  # a session of New York: 09:30 to 16:00
TRADING_DAYS_PER_YEAR = 365.2425 * 5 / 7  # every weekday is one; there are no holidays
MINUTE_NS = 60_000_000_000
TICKS_PER_UNIT = 100.0  # prices in cents
MAX_ASSETS, MAX_DAYS = 100_000, 25_000

_DAILY_VOLATILITY = 0.013  # of an ordinary stock's session
_OVERNIGHT = 0.5  # volatility of the gap at the open, in daily ones
_SHARE_OF_FACTOR = 0.55  # of an asset's volatility; pairs correlate by its square
_MEMORY, _SHOCK = 0.90, 0.08  # how a day's variance follows from the day before's, as GARCH(1,1) on daily returns
_FACTOR_KEY = (1 << 64) - 1  # no asset has this number


def synthetic_minute(
    root: Store,
    name: str,
    n_assets: int = 5,
    n_days: int = 250,
    seed: int = 0,
    start: str = "2020-01-02",
    progress: Progress | None = None,
) -> IngestResult:
    """Write a synthetic minute market as the dataset `name`, one asset after the other.

    Parameters
    ----------
    n_assets
        Called ``SYN000``, ``SYN001``, ...; an asset's bars don't depend on how many others there are.
    n_days
        Weekdays from `start`, of 390 bars each, 09:30 to 16:00 in New York.
    seed
        0 to 2**64 - 1.

    Returns
    -------
    As an ingest: the dataset, its quality report, and whether it was not there before.
    """
    from datasets.bars import write_bars
    from datasets.ingest.bars import IngestResult
    from datasets.quality import Finding, QualityReport, check_bars
    from datasets.references import check_name, references

    check_name(name)
    tell = progress or _silent
    market = Market(n_assets, n_days, seed, start)
    market.told = lambda done: tell(done / (3 * n_assets), f"drawing {name} (synthetic)")
    assets: dict[str, Mapping[str, int]] = {}
    findings: list[Finding] = []
    for symbol, bars in market.items():
        report = check_bars({symbol: bars}, interval_ns=MINUTE_NS, zone="America/New_York")
        assets.update(report.assets)
        findings += report.findings
    report = QualityReport(assets, tuple(findings))
    before = {pointer.version for pointer in references(root, name)}
    dataset = write_bars(root, name, market, market.meta, report.to_dict())
    return IngestResult(dataset, report, dataset.version not in before)


class Market(Mapping[str, BarColumns]):
    """The assets of a synthetic market, each drawn when it is asked for and not kept.

    Examples
    --------
    >>> market = Market(n_assets=2, n_days=3, seed=7)
    >>> bars = market["SYN001"]
    >>> len(bars), bool((bars.high >= bars.close).all())
    (1170, True)
    >>> market["SYN001"].digest() == bars.digest()
    True
    """

    def __init__(self, n_assets: int, n_days: int, seed: int = 0, start: str = "2020-01-02") -> None:
        for what, value, limit in (("n_assets", n_assets, MAX_ASSETS), ("n_days", n_days, MAX_DAYS)):
            if not 1 <= value <= limit:
                raise InputError(f"{what} must be 1 to {limit:,}, was {value!r}")
        if not 0 <= seed < 1 << 64:
            raise InputError(f"seed must be 0 to 2**64 - 1, was {seed!r}")
        self.n_days, self.seed = n_days, seed
        try:
            self._start = np.datetime64(start, "D")
        except ValueError as error:
            raise InputError(f"start must be a date such as 2020-01-02, was {start!r}") from error
        if not np.datetime64("1980-01-01") <= self._start <= np.datetime64("2100-01-01"):  # NaT fails too
            raise InputError(f"start must lie between 1980 and 2100, was {start!r}")
        width = max(3, len(str(n_assets - 1)))
        self._numbers = {f"SYN{number:0{width}d}": number for number in range(n_assets)}
        self.told: Callable[[int], None] | None = None
        self._n_drawn = 0

    def __getitem__(self, symbol: str) -> BarColumns:
        number = self._numbers[symbol]
        if self.told is not None:
            self.told(self._n_drawn)
        self._n_drawn += 1
        return self._draw(number)

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def meta(self) -> BarsMeta:
        """Say what this is, first of all that it is synthetic."""
        assets = f"{len(self)} asset{'s' if len(self) != 1 else ''}"
        return BarsMeta(
            title=f"Synthetic minute market: {assets}, {self.n_days} days (random, seed {self.seed})",
            source="datasets.synthetic",
            interval="1min",
            periods_per_year=BARS_PER_DAY * TRADING_DAYS_PER_YEAR,
            synthetic=True,
            zone="America/New_York",
        )

    @cached_property
    def ts_end_ns(self) -> NDArray[np.int64]:
        """Ends of all bars, shape (n_days * 390,), int64 ns UTC."""
        from datasets.ingest.times import add_to_wall

        weekdays = np.arange(self._start, self._start + 7 * (self.n_days // 5 + 2), dtype="datetime64[D]")
        weekdays = weekdays[np.is_busday(weekdays)][: self.n_days]
        opens = weekdays.astype("datetime64[ns]").astype(np.int64) + (9 * 60 + 30) * MINUTE_NS
        opens_utc = add_to_wall(opens, "America/New_York", n=0, unit="d")
        return np.add.outer(opens_utc, np.arange(1, BARS_PER_DAY + 1) * MINUTE_NS).ravel()

    @cached_property
    def _factor(self) -> tuple[Floats, Floats]:
        """Draw the common factor once: its noise by minute, shape (n_days, 390), and by night, (n_days,)."""
        stream = _stream(self.seed, _FACTOR_KEY)
        return _normal(stream, (self.n_days, BARS_PER_DAY)), _normal(stream, (self.n_days,))

    def _draw(self, number: int) -> BarColumns:
        stream = _stream(self.seed, number)
        shape = (self.n_days, BARS_PER_DAY)
        own = np.sqrt(1.0 - _SHARE_OF_FACTOR * _SHARE_OF_FACTOR)
        noise = _SHARE_OF_FACTOR * self._factor[0] + own * _normal(stream, shape)
        night = _SHARE_OF_FACTOR * self._factor[1] + own * _normal(stream, (self.n_days,))
        character = _uniform(stream, (3,))  # this asset's price level, volatility and volume
        daily = _DAILY_VOLATILITY * (0.6 + 0.8 * character[1]) * _day_volatility(noise, night)
        sigma = daily[:, np.newaxis] * _minute_shape()
        growth = np.empty(
            (self.n_days, BARS_PER_DAY, 2)
        )  # of the open over the close before, of the close over the open
        growth[:, :, 0] = 1.0 + 0.2 * sigma * _normal(stream, shape)
        growth[:, 0, 0] = 1.0 + _OVERNIGHT * daily * night
        growth[:, :, 1] = 1.0 + sigma * noise
        first = 20.0 + 180.0 * character[0]
        path = first * np.multiply.accumulate(growth.ravel())  # in order, so no partial products to differ
        open_, close = path[0::2], path[1::2]
        reach = sigma.ravel()
        high = np.maximum(open_, close) * (1.0 + 0.6 * reach * _uniform(stream, shape).ravel())
        low = np.minimum(open_, close) * (1.0 - 0.6 * reach * _uniform(stream, shape).ravel())
        busy = (_minute_shape() * (0.5 + _uniform(stream, shape)) * (0.4 + np.abs(noise))).ravel()
        volume = 100.0 * np.rint(1.0 + (200.0 + 1800.0 * character[2]) * busy * np.sqrt(BARS_PER_DAY))
        # Rounding to ticks is monotonic, so high and low still hold open and close.
        ticks = (
            np.maximum(np.rint(price * TICKS_PER_UNIT), 1.0) / TICKS_PER_UNIT for price in (open_, high, low, close)
        )
        open_, high, low, close = ticks
        return BarColumns(self.ts_end_ns, open_, high, low, close, volume)


def _day_volatility(noise: Floats, night: Floats) -> Floats:
    """Give each day's volatility relative to the asset's own: the variance remembers the day before and its shock."""
    minute_by_minute = np.add.reduce(np.ascontiguousarray(noise.T), axis=0)  # minute after minute, on every machine
    shocks = (minute_by_minute / np.sqrt(BARS_PER_DAY) + _OVERNIGHT * night).tolist()
    variance, found = 1.0, []
    for shock in shocks:
        found.append(variance)
        surprise = variance * shock * shock / (1.0 + _OVERNIGHT * _OVERNIGHT)
        variance = (1.0 - _MEMORY - _SHOCK) + _MEMORY * variance + _SHOCK * surprise
    relative: Floats = np.sqrt(np.array(found))
    return relative


def _minute_shape() -> Floats:
    """Give each minute's share of the session's volatility, shape (390,): a U, whose squares sum to 1."""
    from_noon = (np.arange(BARS_PER_DAY) - (BARS_PER_DAY - 1) / 2) / (BARS_PER_DAY / 2)
    shape = 1.0 + 1.5 * from_noon * from_noon
    total = float(sum((shape * shape).tolist()))  # in order: numpy's own sum may split differently by machine
    scaled: Floats = shape / np.sqrt(total)
    return scaled


def _stream(seed: int, number: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed, number], dtype=np.uint64))


def _normal(stream: np.random.Philox, shape: tuple[int, ...]) -> Floats:
    """Draw nearly normal numbers, mean 0, variance 1: the sum of the four 16-bit parts of a draw, within ±3.46."""
    bits = stream.random_raw(int(np.prod(shape)))
    total = np.zeros(bits.shape, dtype=np.int64)
    for part in range(4):
        total += ((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.int64)
    sigma = np.sqrt(4 * (65536.0 * 65536.0 - 1.0) / 12.0)
    numbers: Floats = (total - 2 * 65535) / sigma
    return numbers.reshape(shape)


def _uniform(stream: np.random.Philox, shape: tuple[int, ...]) -> Floats:
    """Draw from [0, 1) in steps of 2**-53."""
    bits = stream.random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def _silent(done: float, text: str) -> None:
    del done, text
