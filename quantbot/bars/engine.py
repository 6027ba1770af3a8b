"""The bar engine: trials on one instrument's bars, reduced to rows as they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from numpy.typing import NDArray

from quantbot.bars import rows as row_measures
from quantbot.bars.alike import alike
from quantbot.bars.columns import BUDGET_BYTES, Series, Wanted, batches, wanted
from quantbot.bars.execution import EXECUTION, SECTION, Prices, Route, routes, setting
from quantbot.bars.generate import LANES, TILE, Layout, Signature
from quantbot.bars.lanes import Trials, UserCodeError, Window, step_alone, step_together
from quantbot.bars.template import STATE
from quantbot.engine import Job, Points, Replay, Rows, TrialStatus
from quantbot.errors import DataError, InputError, ParameterError
from quantbot.market import BAR_FIELDS, Bars, Floats
from quantbot.measures import Measure
from quantbot.parameters import Parameter, Table, Value, nearest
from quantbot.strategies.contract import POSITION, Strategy

RETURNS_BYTES = 32 * 2**20  # of per-bar returns that lie in memory at once, when a tail is asked for
FEW = 8  # so many trials are faster one by one than as a batch of lanes
NOMINAL_NS = 1.0  # a bar-step that nobody measured
NOMINAL_PLAIN_NS = 5_000.0  # the same in plain Python
PROBE_BARS, PROBE_POINTS = 20_000, 256

Indices = NDArray[np.intp]
Words = tuple[tuple[str, Value], ...]


class BarEngine:
    """Long, short and fractional exposure on one instrument a trial; see `quantbot.bars.execution` for how it fills."""

    name = "bars"
    dataset_kind = "bars"
    joint = ""
    takes_strategy = True
    sections: Mapping[str, tuple[Parameter, ...]] = {SECTION: EXECUTION}
    tables: Mapping[str, Table] = {}
    measures: tuple[Measure, ...] = row_measures.MEASURES
    default_groups: tuple[str, ...] = ("core", "path", "trades")

    def check(self, job: Job) -> None:
        """Compile what `job` needs for the job's own settings (warming the kernel cache), by running it on few bars.

        Raises
        ------
        StrategyError
            If numba can't compile the strategy; the message says where and why.
        """
        _checked_groups(job)
        n = 2 * TILE
        walk = (100.0 + np.arange(n) % 7).astype(np.float64)
        from quantbot.market import Instrument

        bars = Bars(Instrument("CHECK"), np.arange(n), walk, walk + 1.0, walk - 1.0, walk, walk, 252.0)
        for n_points in (1, FEW + 1):
            self.run(job, bars, (0, n), Points(n_points))

    def run(self, job: Job, data: Bars, window: tuple[int, int], points: Points) -> Rows:
        """Run every point over bars `window[0] <= t < window[1]` of `data`, flat at its start.

        What comes before the window is history: indicators see it, no trade happens in it, and a decision taken on
        its last bar does not count. A trial's result depends on nothing but its own point and the bars.
        """
        return Run(job, prepared(data), window, points).rows()

    def replay(self, job: Job, data: Bars, window: tuple[int, int], point: Mapping[str, Value]) -> Replay:
        """Run one point and keep everything; its row equals `run`'s bit for bit."""
        from quantbot.bars.replay import replay

        return replay(job, prepared(data), window, point)

    def returns(self, job: Job, data: Bars, window: tuple[int, int], points: Points) -> Floats:
        """Return the simple returns per bar on equity of every point, shape (n_points, n_bars); NaN where it failed.

        They are the very numbers that `run` reduces to a row, and take 8 bytes a point and bar beside what `run` needs.
        """
        run = Run(replace(job, groups=("tail",)), prepared(data), window, points)
        run.returns = np.full((len(points), run.n_bars), np.nan)
        failed = run.rows().status != TrialStatus.OK
        run.returns[failed] = np.nan
        return run.returns

    def memory_bytes(self, job: Job, n_steps: int, n_points: int) -> int:
        """Return an upper bound of what `run` allocates for so many points over so many steps."""
        n_series = max(len(job.strategy.indicators), 1) + 1
        # In memory: the series of a batch twice (as computed, and side by side for the kernel), and one in the making.
        series = min(n_points * n_series * 8 * n_steps, BUDGET_BYTES)
        lanes = (n_points + LANES) * 8 * (len(STATE) + 3 * len(EXECUTION) + len(job.settings) + len(self.measures))
        returns = 2 * min((n_points + LANES) * 8 * n_steps, RETURNS_BYTES + LANES * 8 * n_steps)
        total = 2 * series + 4 * n_series * 8 * n_steps + lanes + 8 * TILE * LANES * (n_series + 1)
        return total + (returns if "tail" in job.groups else 0)

    def family(self, settings: Mapping[str, Value], points: Points) -> str:
        """Every trial has a strategy: this is never asked."""
        raise NotImplementedError("trials of the bar engine are counted under their strategy")

    def sources(self) -> Mapping[str, str]:
        """Return nothing: the engine's own source and the numeric profile say it all."""
        return {}

    def problems(
        self, job: Job, load: Callable[[], Any], windows: Sequence[tuple[int, int]], points: Points
    ) -> tuple[list[str], list[str]]:
        """Return nothing: what data can show of windows, `sweeps.settings` says from the number of bars."""
        return [], []

    def seams(self, job: Job, points: Points) -> None:
        """Blocks may begin anywhere."""

    def probe(self, job: Job, data: Bars, points: Points) -> tuple[Bars, tuple[int, int], Points]:
        """Return the last bars and the first points: a bar of a trial takes about the same everywhere."""
        n_bars, n_points = (200, 2) if job.plain_python else (PROBE_BARS, PROBE_POINTS)
        start = max(0, len(data) - n_bars)
        part = replace(data, **{name: getattr(data, name)[start:] for name in ("ts_end_ns", *BAR_FIELDS)})
        return part, (0, len(part)), points[:n_points]

    def nominal_ns(self, job: Job, points: Points) -> float:
        """Return nanoseconds between the kernels' best and what rich measure groups take."""
        return NOMINAL_PLAIN_NS if job.plain_python else NOMINAL_NS


@dataclass(frozen=True)
class Outcome:
    """What a batch of trials left: states by name, and per trial VaR and CVaR, or every return, where asked for."""

    sums: dict[str, Floats]
    tails: Floats | None
    reasons: dict[int, str]
    returns: Floats | None = None


class Run:
    """Some points over one window of bars."""

    def __init__(self, job: Job, data: Bars, window: tuple[int, int], points: Points) -> None:
        self.job, self.data, self.points = job, data, points
        self.groups = _checked_groups(job)
        self.start, self.stop = window
        self.n_bars = self.stop - self.start
        if not 0 <= self.start < self.stop <= len(data):
            raise InputError(f"a window must lie within the {len(data)} bars and not be empty; was {window}")
        self.strategy = job.strategy
        self.signature = signature(job.strategy)
        self.settings = {f"{SECTION}.{p.name}": p.default for p in EXECUTION}
        self.settings |= {**job.strategy.defaults(), **job.settings}
        if unknown := [name for name in points.columns if name not in self.settings]:
            raise ParameterError(
                f"points vary {unknown[0]!r}, which {self.strategy.name} on bars has not"
                f"{nearest(unknown[0], self.settings)}"
            )
        self.prices = Prices(self.settings, points)
        self.series = Series(data, window)
        self.status = np.zeros(len(points), dtype=np.uint8)
        self.reasons: dict[int, str] = {}
        names = row_measures.names(self.groups)
        self.columns = dict(zip(names, np.full((len(names), len(points)), np.nan), strict=True))
        self.returns: Floats | None = None  # shape (n_points, n_bars), filled where somebody puts it here

    def rows(self) -> Rows:
        """Return a row for each point."""
        for route, chosen in routes(self.settings, self.points).items():
            for words, part in self._by_words(chosen):
                self._route(route, words, part)
        if len(self.points):
            self._hold()
        failed = self.status != TrialStatus.OK
        for column in self.columns.values():
            column[failed] = np.nan
        return Rows(self.columns, self.status, dict(sorted(self.reasons.items())))

    def value(self, name: str) -> NDArray[Any] | Value:
        """Return a setting as the points' column, or as the value of all."""
        column = self.points.columns.get(name)
        return self.settings[name] if column is None else column

    def _by_words(self, chosen: Indices) -> list[tuple[Words, Indices]]:
        """Group points by the values of parameters that are choices: they are written into the kernel."""
        names = self.signature.names("word")
        if not names:
            return [(self._switched_off(), chosen)]
        columns = [self._words(name)[chosen] for name in names]
        found = []
        for group in alike(columns):
            words = tuple(column[group[0]].item() for column in columns)
            found.append(((*zip(names, words, strict=True), *self._switched_off()), chosen[group]))
        return found

    def _route(self, route: Route, words: Words, chosen: Indices) -> None:
        _, layout = self._kernel(route, words, "single")
        n_points = len(self.points)
        wants = wanted(layout.columns, self.strategy.indicators, self.value, n_points, self.data.periods_per_year)
        wants_here = tuple(replace(want, rows=want.rows[chosen]) for want in wants)
        most = max(RETURNS_BYTES // (8 * self.n_bars), 1) if "tail" in self.groups else len(chosen)
        for batch in batches(wants_here, len(chosen), self.n_bars, BUDGET_BYTES):
            for first in range(0, batch.shape[0], most):
                part = chosen[batch[first : first + most]]
                if route.shared:
                    self._shared_or_not(route, words, part, wants)
                else:
                    self._keep(route, self._step(route, words, part, wants), part)
            self.series.close()

    def _shared_or_not(self, route: Route, words: Words, part: Indices, wants: tuple[Wanted, ...]) -> None:
        """Keep the shared route's result of each trial whose targets are all 0 or 1, the general one's of the others.

        Which of the two is tried first follows what the strategy did before, and changes no result.
        """
        general = Route(route.fill, route.size)
        fractional = _FRACTIONAL.setdefault(self.strategy.decide, set())
        first, second = (general, route) if words in fractional else (route, general)
        outcome = self._step(first, words, part, wants)
        fits = outcome.sums["unfit"] <= 0.5 if first.shared else outcome.sums["fits"] > 0.5
        fits |= np.isnan(outcome.sums["equity"])  # it raised: it would again
        rest = ~fits if first.shared else fits & ~np.isnan(outcome.sums["equity"])
        self._keep(first, outcome, part, ~rest)
        if rest.any():
            self._keep(second, self._step(second, words, part[rest], wants), part[rest])
        if fits.mean() < 0.5:
            fractional.add(words)
        else:
            fractional.discard(words)

    def record(self, route: Route, kept: tuple[NDArray[Any], ...]) -> tuple[int, bool]:
        """Step the first point and write every step into `kept`; return (number of orders, whether unfit)."""
        ((words, _),) = self._by_words(np.zeros(1, dtype=np.intp))
        function, layout = self._kernel(route, words, "record")
        wants = wanted(layout.columns, self.strategy.indicators, self.value, 1, self.data.periods_per_year)
        count = [0]

        def keeping(*arguments: Any) -> None:
            count[0] = function(*arguments, *kept)

        part = np.zeros(1, dtype=np.intp)
        outcome = self._stepped(route, part, wants, keeping, layout, alone=True)
        return count[0], bool(route.shared and outcome.sums["unfit"][0] > 0.5)

    def _kernel(self, route: Route, words: Words, form: str) -> tuple[Any, Layout]:
        from quantbot.bars import kernels

        return kernels.kernel(
            self.strategy, self.signature, route, self.groups, words, form, plain_python=self.job.plain_python
        )

    def _step(self, route: Route, words: Words, part: Indices, wants: tuple[Wanted, ...]) -> Outcome:
        """Step the trials `part` through the window."""
        alone = self.job.plain_python or part.shape[0] <= FEW
        try:
            function, layout = self._kernel(route, words, "single" if alone else "lanes")
            return self._stepped(route, part, wants, function, layout, alone=alone)
        except UserCodeError as error:
            if part.shape[0] == 1:
                return self._failed(route, words, error.__cause__ or error)
        # The user's function raised for one of them: find out for which.
        outcomes = [self._step(route, words, part[i : i + 1], wants) for i in range(part.shape[0])]
        return Outcome(
            {name: np.concatenate([o.sums[name] for o in outcomes]) for name in outcomes[0].sums},
            None if outcomes[0].tails is None else np.concatenate([o.tails for o in outcomes if o.tails is not None]),
            {i: o.reasons[0] for i, o in enumerate(outcomes) if o.reasons},
            None if self.returns is None else np.concatenate([o.returns for o in outcomes if o.returns is not None]),
        )

    def _failed(self, route: Route, words: Words, error: BaseException) -> Outcome:
        _, layout = self._kernel(route, words, "single")
        sums = {name: np.full(1, np.nan) for name in layout.states}
        sums["holding"] = np.zeros(1)
        tails = np.full((1, 2), np.nan) if "tail" in self.groups else None
        returns = None if self.returns is None else np.full((1, self.n_bars), np.nan)
        return Outcome(sums, tails, {0: reason(error)}, returns)

    def _stepped(
        self, route: Route, part: Indices, wants: tuple[Wanted, ...], function: Any, layout: Layout, *, alone: bool
    ) -> Outcome:
        numbers = [self.prices[name][part] for name in layout.numbers]
        numbers += [self._own(name, part, np.float64) for name in layout.own_numbers]
        wholes = [self._own(name, part, np.int64) for name in layout.wholes]
        matrices = [self.series.matrix(want, part) for want in wants]
        trials = Trials(part.shape[0], matrices, numbers, wholes, self.prices["initial_cash"][part])
        window = Window(self.data, self.start, self.stop)
        tail = "tail" in self.groups
        if alone:
            plain = self.job.plain_python
            sums, returns = step_alone(function, layout, window, trials, returns=tail, plain_python=plain)
        else:
            sums, returns = step_together(function, layout, window, trials, returns=tail)
        if route.shared:
            sums["holding"] = sums["held" if route.fill == "same_close" else "was_held"]
        if self.returns is not None:
            return Outcome(sums, None, {}, returns)
        tails = None if returns is None else np.array([row_measures.tail(own) for own in returns])
        return Outcome(sums, tails, {})

    def _switched_off(self) -> Words:
        """Return the numbers that are 0 or 1 for every point: written into a kernel, they simplify it, bit for bit."""
        found: list[tuple[str, Value]] = []
        for kind, make in (("number", float), ("whole", int)):
            for name in self.signature.names(kind):
                if name not in self.points.columns and self.settings[name] in (0, 1):
                    found.append((name, make(self.settings[name])))
        return tuple(found)

    def _words(self, name: str) -> NDArray[Any]:
        values = setting(self.settings, self.points, name)
        return values if values.dtype.kind == "U" else values.astype(np.int64)

    def _own(self, name: str, part: Indices, dtype: Any) -> NDArray[Any]:
        return setting(self.settings, self.points, name)[part].astype(dtype)

    def _keep(self, route: Route, outcome: Outcome, part: Indices, chosen: NDArray[np.bool_] | None = None) -> None:
        """Turn the states of the `chosen` trials (by default all) into measures."""
        chosen = np.ones(part.shape[0], dtype=bool) if chosen is None else chosen
        rows = part[chosen]
        if not rows.shape[0]:
            return
        sums = {name: values[chosen] for name, values in outcome.sums.items()}
        made = row_measures.measures(
            sums,
            self.prices["initial_cash"][rows],
            self.prices["fee_rate"][rows],
            self.n_bars,
            self.data.periods_per_year,
            self.groups,
        )
        if self.returns is not None and outcome.returns is not None:
            self.returns[rows] = outcome.returns[chosen]
        if outcome.tails is not None:
            made["var_95"], made["cvar_95"] = outcome.tails[chosen].T
        for name, values in made.items():
            self.columns[name][rows] = values
        for i, why in outcome.reasons.items():
            self._fail(int(part[i]), why)
        if not route.shared:
            for i in np.flatnonzero((sums["ruined"] >= 0.0) | (sums["undefined"] >= 0.0)).tolist():
                self._fail(int(rows[i]), self._why(sums["ruined"][i], sums["undefined"][i]))

    def _why(self, ruined: float, undefined: float) -> str:
        if undefined >= 0.0 and not 0.0 <= ruined < undefined:
            return f"{self.strategy.name} returned NaN at {self._when(undefined)}; a target exposure must be a number"
        return f"ruined: equity was zero or less at {self._when(ruined)}"

    def _when(self, bar: float) -> str:
        t = self.start + int(bar)
        return f"bar {t} ({np.datetime64(int(self.data.ts_end_ns[t]), 'ns').astype('datetime64[s]')}Z)"

    def _fail(self, row: int, why: str) -> None:
        self.status[row] = TrialStatus.FAILED
        self.reasons[row] = why

    def _hold(self) -> None:
        values = holding(self.data, self.start, self.stop)
        for name, value in zip(("hold_total_return", "hold_sharpe", "hold_max_drawdown"), values, strict=True):
            self.columns[name][:] = value


@lru_cache(maxsize=256)
def _signature(
    arguments: tuple[str, ...], indicators: tuple[str, ...], kinds: tuple[tuple[str, str], ...]
) -> Signature:
    kind_of = dict(kinds) | dict.fromkeys(indicators, "column") | {POSITION: "position"}
    return Signature(tuple((name, kind_of.get(name, "bar")) for name in arguments))


def signature(strategy: Strategy) -> Signature:
    """Return what the strategy's function is called with."""
    kinds = tuple((parameter.name, _kind(parameter)) for parameter in strategy.parameters)
    return _signature(strategy.arguments, tuple(strategy.indicators), kinds)


def _kind(parameter: Parameter) -> str:
    """Return how a kernel takes a parameter: a switch, like a choice, is written into it."""
    if parameter.kind == "integer" and parameter.high - parameter.low <= 1:
        return "word"
    return {"integer": "whole", "number": "number", "choice": "word"}[parameter.kind]


def reason(error: BaseException) -> str:
    """Return why the user's function failed: type, message and the line of theirs that raised."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        ours = file.startswith(("<quantbot", str(Path(__file__).parent)))
        if not ours:
            place = f" ({trace.tb_frame.f_code.co_name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


def _checked_groups(job: Job) -> frozenset[str]:
    known = row_measures.GROUPS
    for group in job.groups:
        if group not in (*known, "hold"):
            raise ParameterError(f"no measure group {group!r}; there are {', '.join(known)}{nearest(group, known)}")
    return frozenset(job.groups) - {"hold"}


# Strategies, and values of their choices, whose targets were mostly neither 0 nor 1: the general route goes first.
_FRACTIONAL: WeakKeyDictionary[Callable[..., float], set[Words]] = WeakKeyDictionary()
_PREPARED: WeakKeyDictionary[Bars, Bars] = WeakKeyDictionary()
_CHECKED: WeakSet[Bars] = WeakSet()
_HOLDING: WeakKeyDictionary[Bars, dict[tuple[int, int], tuple[float, float, float]]] = WeakKeyDictionary()


def prepared(data: Bars) -> Bars:
    """Return `data` as kernels want it, checked once: contiguous, writeable float64, prices above zero."""
    if data in _CHECKED:
        return data
    if data not in _PREPARED:
        arrays = {field: _writeable(getattr(data, field)) for field in BAR_FIELDS}
        for field in BAR_FIELDS[:4]:
            values = arrays[field]
            if values.shape[0] and not (values.min() > 0.0 and values.max() < np.inf):
                t = int(np.argmax(~((values > 0.0) & (values < np.inf))))
                raise DataError(
                    f"{field} of {data.instrument.symbol} must be above zero and finite at every bar;"
                    f" was {values[t]} at bar {t}"
                )
        if not (data.periods_per_year > 0.0 and np.isfinite(data.periods_per_year)):
            raise DataError(
                f"periods_per_year of {data.instrument.symbol} must be above 0; was {data.periods_per_year}"
            )
        if all(arrays[field] is getattr(data, field) for field in BAR_FIELDS):
            _CHECKED.add(data)
            return data
        made = Bars(data.instrument, data.ts_end_ns, **arrays, periods_per_year=data.periods_per_year)
        _PREPARED[data] = made
    return _PREPARED[data]


def _writeable(values: Floats) -> Floats:
    """Return `values` itself if a kernel can take it: read-only arrays would be compiled for a second time."""
    return np.require(values, dtype=np.float64, requirements=["C", "W"])


def holding(data: Bars, start: int, stop: int) -> tuple[float, float, float]:
    """Return (total return, Sharpe ratio, maximum drawdown) of buying at the window's first close and holding."""
    known = _HOLDING.setdefault(data, {})
    if (start, stop) not in known:
        from quantbot.bars.kernels import hold

        close = data.close[start:stop]
        total, squares, worst = hold(close)
        sharpe, _ = row_measures.sharpe_ratio(
            np.array([total]), np.array([squares]), stop - start, data.periods_per_year
        )
        known[start, stop] = float(close[-1] / close[0]) - 1.0, float(sharpe[0]), 1.0 - worst
    return known[start, stop]
