"""The sentinel: change the bars after `t`; nothing that a strategy did up to `t` may move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quantbot.engine import Job, get_engine
from quantbot.errors import StrategyError
from quantbot.market import BAR_FIELDS, Bars, Floats, Instrument
from quantbot.parameters import Value
from quantbot.strategies.contract import PERIODS_PER_YEAR, POSITION, Indicator, Strategy

MOST_BARS = 65_536  # of synthetic ones; an indicator that is not warm by then will not be
POSITIONS = (0.0, 1.0, -1.0, 0.37)  # in force when asked: on the path and off it


@dataclass(frozen=True)
class SentinelReport:
    """What the sentinel saw.

    Attributes
    ----------
    ok
        Whether nothing moved and compiled and plain Python decided alike.
    problems
        One sentence each.
    leak_bar
        The first bar at which something moved although only later bars had changed; None without a leak.
    leaks
        What moved there: names of indicators, "decisions", "orders" or "targets".
    n_checks
        How many changed futures were tried.
    """

    strategy: str
    ok: bool
    problems: tuple[str, ...]
    leak_bar: int | None
    leaks: tuple[str, ...]
    n_bars: int
    n_checks: int

    def __str__(self) -> str:
        if self.ok:
            return (
                f"no look-ahead found in {self.n_checks} changed futures of {self.n_bars} bars;"
                " compiled and plain Python decide alike"
            )
        return "; ".join(self.problems)


@dataclass(frozen=True)
class _Leak:
    bar: int
    what: str
    sentence: str


def check_lookahead(
    strategy: Strategy,
    settings: Mapping[str, Value] | None = None,
    bars: Bars | None = None,
    *,
    n_cuts: int = 6,
    seed: int = 0,
) -> SentinelReport:
    """Try to catch a strategy looking ahead.

    At several bars `t` the future is replaced (redrawn, scaled up and down, frozen, cut off). Indicators and
    decisions up to `t`, compiled and in plain Python, and the bar engine's targets and orders up to `t` must stay as
    they were, bit for bit. Then compiled and plain Python are asked the same questions, also with positions that the
    path did not visit, and must give the same answers.

    Parameters
    ----------
    settings
        Values of the strategy's parameters and dotted ones of the engine ("execution.stop_loss"); default the
        declared defaults.
    bars
        History to use; seeded synthetic bars, long enough for every indicator, by default.
    n_cuts
        How many moments `t`; the first is the last bar of the warm-up.

    Raises
    ------
    StrategyError
        If an indicator returns something else than one float64 for each bar, changes its inputs, or never warms up.

    Examples
    --------
    >>> from quantbot.strategies.registry import shipped
    >>> check_lookahead(shipped()["sma_cross"], {"fast": 3, "slow": 9}).ok
    True
    """
    from quantbot.strategies.kernels import compilable

    values = _settings(strategy, settings or {})
    bars = bars if bars is not None else _long_enough(strategy, values, seed)
    series = _series(strategy, values, bars)
    first = _warm_up(series)
    if first >= len(bars) - 2:
        raise StrategyError(f"{strategy.name} is not warm before bar {first} of {len(bars)}; check it on more bars")
    compiled = _compiled(strategy, compilable, _question(strategy, values, series, bars, first, 0.0))
    moves = np.linspace(first, len(bars) - 2, n_cuts).astype(np.int64)
    leaks: list[_Leak] = []
    n_checks = 0
    problems = list(_disagreements(strategy, compiled, values, bars))
    past = _Run(strategy, compiled, values, bars)
    for cut in dict.fromkeys(int(move) for move in moves):
        for change, future in _futures(bars, cut, seed):
            n_checks += 1
            leaks.extend(past.moved(_Run(strategy, compiled, values, future), cut, change))
    leaks.sort(key=lambda leak: leak.bar)
    by_name = {leak.what: leak.sentence for leak in reversed(leaks)}
    problems = [*dict.fromkeys(by_name[leak.what] for leak in leaks), *problems]
    leak_bar = leaks[0].bar if leaks else None
    names = tuple(dict.fromkeys(leak.what for leak in leaks if leak.bar == leak_bar))
    return SentinelReport(strategy.name, not problems, tuple(problems), leak_bar, names, len(bars), n_checks)


class _Run:
    """All that a strategy makes of some bars: indicators, decisions, targets and orders."""

    def __init__(
        self, strategy: Strategy, compiled: Callable[..., float], values: Mapping[str, Value], bars: Bars
    ) -> None:
        self.strategy = strategy
        self.series = _series(strategy, values, bars)
        own = {name: value for name, value in values.items() if "." not in name}
        self.curves = dict(self.series)
        for words, decide in (("decisions", compiled), ("plain Python decisions", strategy.decide)):
            self.curves[words] = _decisions(strategy, decide, own, self.series, bars)
        engine = get_engine("bars")
        job = Job(strategy, values)
        replay = engine.replay(job, bars, (0, len(bars)), {})
        self.curves["targets"] = np.asarray(replay.curves["target"])
        self.orders = replay.orders

    def moved(self, future: _Run, cut: int, change: str) -> Iterator[_Leak]:
        """Yield what differs up to bar `cut` although only later bars changed."""
        for name, before in self.curves.items():
            after = future.curves[name][: cut + 1]
            same = (before[: cut + 1] == after) | (np.isnan(before[: cut + 1]) & np.isnan(after))
            if not same.all():
                bar = int(np.argmin(same))
                noun = f"indicator {name}" if name in self.series else name
                yield _Leak(bar, name, self._sentence(noun, bar, cut, change))
        here, there = (_up_to(orders, cut) for orders in (self.orders, future.orders))
        if any(not np.array_equal(here[name], there[name]) for name in here):
            bars = [int(orders["bar"][0]) for orders in (here, there) if orders["bar"].shape[0]]
            yield _Leak(min(bars), "orders", self._sentence("orders", min(bars), cut, change))

    def _sentence(self, noun: str, bar: int, cut: int, change: str) -> str:
        return f"{self.strategy.name} looks ahead: {noun} moved at bar {bar} when only bars after {cut} were {change}"


def _up_to(orders: Mapping[str, Any], cut: int) -> dict[str, Any]:
    rows = np.asarray(orders["bar"]) <= cut
    return {name: np.asarray(column)[rows] for name, column in orders.items()}


def _settings(strategy: Strategy, settings: Mapping[str, Value]) -> dict[str, Value]:
    """Return every setting of strategy and engine, checked."""
    values: dict[str, Value] = {}
    for section, parameters in get_engine("bars").sections.items():
        values |= {f"{section}.{parameter.name}": parameter.default for parameter in parameters}
    known = set(values)
    values |= strategy.defaults()
    for name, value in settings.items():
        values[name] = value if name in known else strategy.parameter(name).check(value)
    return values


def _series(strategy: Strategy, values: Mapping[str, Value], bars: Bars) -> dict[str, Floats]:
    return {
        name: _one_series(strategy, name, indicator, values, bars) for name, indicator in strategy.indicators.items()
    }


def _one_series(strategy: Strategy, name: str, indicator: Indicator, values: Mapping[str, Value], bars: Bars) -> Floats:
    inputs = [getattr(bars, field).copy() for field in indicator.inputs]
    scope = {PERIODS_PER_YEAR: bars.periods_per_year, **values}
    arguments = [scope[a] if isinstance(a, str) else a for a in indicator.arguments]
    series = indicator.function(*inputs, *arguments)
    if not isinstance(series, np.ndarray) or series.dtype != np.float64 or series.shape != (len(bars),):
        found = f"{getattr(series, 'dtype', type(series).__name__)} of shape {getattr(series, 'shape', '?')}"
        raise StrategyError(
            f"indicator {name} of {strategy.name} must return float64 of shape ({len(bars)},), one value for each bar;"
            f" it returned {found}"
        )
    for field, given in zip(indicator.inputs, inputs, strict=True):
        if not np.array_equal(given, getattr(bars, field)):
            raise StrategyError(f"indicator {name} of {strategy.name} changes its input {field}; work on a copy")
    return series


def _warm_up(series: Mapping[str, Floats]) -> int:
    """Return the first bar at which every series is finite; the number of bars when there is none."""
    first = 0
    for values in series.values():
        finite = np.isfinite(values)
        first = max(first, int(np.argmax(finite)) if finite.any() else values.shape[0])
    return first


def _compiled(strategy: Strategy, compilable: Callable[..., Any], question: list[Value]) -> Callable[..., float]:
    """Return the compiled decision, or raise with what numba says in few lines."""
    from quantbot.bars.kernels import cannot_compile
    from quantbot.kernels import compiling

    decide: Callable[..., float] = compilable(strategy.decide)
    with compiling(decide):
        try:
            decide(*question)
        except Exception as error:
            raise StrategyError(cannot_compile(strategy, error)) from error
    return decide


def _decisions(
    strategy: Strategy,
    decide: Callable[..., float],
    values: Mapping[str, Value],
    series: Mapping[str, Floats],
    bars: Bars,
) -> Floats:
    """Return the target after each bar, each decision seeing the one before."""
    out = np.zeros(len(bars))
    position = 0.0
    for row in range(_warm_up(series), len(bars)):
        try:
            position = float(decide(*_question(strategy, values, series, bars, row, position)))
        except ZeroDivisionError:  # compiled code goes on with inf or NaN: `_disagreements` reports it
            position = float("nan")
        out[row] = position
    return out


def _question(
    strategy: Strategy,
    values: Mapping[str, Value],
    series: Mapping[str, Floats],
    bars: Bars,
    row: int,
    position: float,
) -> list[Value]:
    def known(name: str) -> Value:
        if name in series:
            return float(series[name][row])
        if name == POSITION:
            return position
        return float(getattr(bars, name)[row]) if name in BAR_FIELDS else values[name]

    return [known(name) for name in strategy.arguments]


def _disagreements(
    strategy: Strategy, compiled: Callable[..., float], values: Mapping[str, Value], bars: Bars
) -> Iterator[str]:
    """Yield the first question to which compiled and plain Python answer differently, or with no number."""
    series = _series(strategy, values, bars)
    for row in range(_warm_up(series), len(bars)):
        for position in POSITIONS:
            question = _question(strategy, values, series, bars, row, position)
            asked = ", ".join(f"{name}={value!r}" for name, value in zip(strategy.arguments, question, strict=True))
            try:
                plain = float(strategy.decide(*question))
            except ArithmeticError as error:
                yield f"{strategy.name} raises {type(error).__name__} in plain Python at bar {row}, asked with {asked}"
                return
            quick = float(compiled(*question))
            if not np.isfinite(quick):
                yield f"{strategy.name} decides {quick} at bar {row}, asked with {asked}; a target must be finite"
                return
            if plain != quick:
                yield f"{strategy.name} decides {quick} compiled, {plain} in plain Python at bar {row}, with {asked}"
                return


def _futures(bars: Bars, cut: int, seed: int) -> Iterator[tuple[str, Bars]]:
    """Yield the bars with everything after `cut` changed, and a word for how."""
    for draw in range(2):
        fresh = synthetic_bars(len(bars), seed=1_000_003 * (seed + 1) + 97 * cut + draw, price=float(bars.close[cut]))
        yield "redrawn", _joined(bars, fresh, cut)
    for factor in (1000.0, 0.001):
        scaled = {field: getattr(bars, field) * factor for field in BAR_FIELDS}
        yield f"multiplied by {factor:g}", _joined(bars, replace(bars, **scaled), cut)
    still = np.full(len(bars), bars.close[cut])
    frozen = replace(bars, open=still, high=still, low=still, close=still, volume=np.zeros(len(bars)))
    yield "frozen at the last close", _joined(bars, frozen, cut)
    kept = {field: getattr(bars, field)[: cut + 1].copy() for field in ("ts_end_ns", *BAR_FIELDS)}
    yield "cut off", replace(bars, **kept)


def _joined(past: Bars, future: Bars, cut: int) -> Bars:
    fields = {field: getattr(past, field).copy() for field in BAR_FIELDS}
    for field, values in fields.items():
        values[cut + 1 :] = getattr(future, field)[cut + 1 :]
    return replace(past, **fields)


def _long_enough(strategy: Strategy, values: Mapping[str, Value], seed: int) -> Bars:
    """Return synthetic bars of which the indicators' warm-up is at most half."""
    n_bars = 256
    while True:
        bars = synthetic_bars(n_bars, seed=seed)
        if _warm_up(_series(strategy, values, bars)) <= n_bars // 2 or n_bars >= MOST_BARS:
            return bars
        n_bars *= 2


def synthetic_bars(n_bars: int, *, seed: int = 0, price: float = 100.0) -> Bars:
    """Return a seeded random walk of daily bars: valid ones, with gaps at the open, and quiet and wild stretches.

    Drawn from numpy's Philox, a counter-based generator: the same bars everywhere.
    """
    draw = np.random.Generator(np.random.Philox(seed))
    wildness = 0.005 + 0.02 * (np.arange(n_bars) // 64 % 2)
    moves = 1.0 + np.clip(draw.standard_normal(n_bars) * wildness, -0.3, 0.3)
    close: Floats = np.multiply(price, np.cumprod(moves), dtype=np.float64)
    before = np.concatenate([[price], close[:-1]])
    opening: Floats = before * draw.uniform(0.998, 1.002, n_bars)
    high: Floats = np.maximum(opening, close) * draw.uniform(1.0, 1.004, n_bars)
    low: Floats = np.minimum(opening, close) * draw.uniform(0.996, 1.0, n_bars)
    volume = np.floor(draw.uniform(1_000, 100_000, n_bars))
    day_ns = 86_400_000_000_000
    ts_end_ns = np.arange(1, n_bars + 1, dtype=np.int64) * day_ns
    return Bars(Instrument("SYNTHETIC"), ts_end_ns, opening, high, low, close, volume, 252.0)
