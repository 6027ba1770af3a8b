"""The book engine: trials that trade on one instrument's order book, session by session, reduced to rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.alike import alike
from quantbot.book import rows as row_measures
from quantbot.book.delays import DELAYS, samples_of
from quantbot.book.events import Action, BookInstrument, Events, Flag
from quantbot.book.execution import EXECUTION, SECTION, SHARED, Settings, agents_of, defaults, exchange_of
from quantbot.book.replay import Agents, BookReplay
from quantbot.book.session import BookSession
from quantbot.book.strategy import BookStrategy
from quantbot.book.watch import Watch
from quantbot.book.window import MARGIN_TICKS, MOST_TICKS, window_of
from quantbot.engine import Job, Points, Replay, Rows, TrialStatus
from quantbot.errors import DataError, InputError, ParameterError, StrategyError
from quantbot.measures import Measure
from quantbot.parameters import Parameter, Table, Value, nearest

ENVELOPE, BOUNDS = "envelope", ("pessimistic", "optimistic")
NOMINAL_NS, NOMINAL_PLAIN_NS = 2_000.0, 200_000.0  # of a trial and step of 10 s
PROBE_STEPS, PROBE_POINTS = 30, 64
LAST_RESORT_TICKS = 2**25  # memory is taken for the pages that are touched alone
PART_BYTES = 200 * 2**20  # a part of the events, and what it is turned into


class _Keep(NamedTuple):
    """What a replay keeps or shows, beside its sums."""

    curves: bool
    record: bool
    n_said: int
    watch: Watch | None


class BookEngine:
    """Orders in a limit-order book, replayed once for many trials; see `quantbot.book.execution` for how they fill."""

    name = "book"
    dataset_kind = "events"
    joint = ""
    takes_strategy = True
    sections: Mapping[str, tuple[Parameter, ...]] = {SECTION: EXECUTION}
    tables: Mapping[str, Table] = {f"{SECTION}.{DELAYS.name}": DELAYS}
    measures: tuple[Measure, ...] = row_measures.MEASURES
    default_groups: tuple[str, ...] = ("core", "path", "fills", "quality", "inventory", "split", "anomalies")

    def check(self, job: Job) -> None:
        """Compile what `job` needs (warming the kernel cache), by running it on a book of a few events."""
        session = BookSession.of(_small_book(), step_ns=10**8)
        plain = {f"{SECTION}.queue": "auto", f"{SECTION}.latency": "constant"}
        self.run(replace(job, settings={**job.settings, **plain}), session, (0, len(session)), Points(1))

    def run(self, job: Job, data: BookSession, window: tuple[int, int], points: Points) -> Rows:
        """Run every point over the steps `window[0] <= step < window[1]` of a session, flat at their start.

        What comes before the window builds the book; nobody trades in it. A trial's result depends on nothing but its
        own point and the data.
        """
        self._check(job, points)
        names = tuple(measure.name for measure in self.measures if measure.group in job.groups)
        rows = Rows({name: np.full(len(points), math.nan) for name in names}, np.zeros(len(points), np.uint8), {})
        reasons: dict[int, str] = {}
        for own, book in self._replays(job, data, window, points):
            self._fill_rows(rows, reasons, own, book, job, data, window)
        for column in rows.measures.values():
            column[rows.status != TrialStatus.OK] = math.nan
        return Rows(rows.measures, rows.status, dict(sorted(reasons.items())))

    def replay(self, job: Job, data: BookSession, window: tuple[int, int], point: Mapping[str, Value]) -> Replay:
        """Run one point and keep everything; its row equals `run`'s bit for bit."""
        from quantbot.book.recording import replay

        return replay(self, job, data, window, point)

    def returns(self, job: Job, data: BookSession, window: tuple[int, int], points: Points) -> NDArray[np.float64]:
        """Return the simple returns per step of every point, shape (n_points, n_steps); NaN where it failed."""
        found = np.full((len(points), window[1] - window[0]), math.nan)
        for own, book in self._replays(replace(job, groups=("core",)), data, window, points, curves=True):
            found[own] = row_measures.returns(book)
            found[own[[bool(_why(book, i)) for i in range(len(own))]]] = math.nan
        return found

    def memory_bytes(self, job: Job, n_steps: int, n_points: int) -> int:
        """Return an upper bound of what `run` allocates for so many points over so many steps."""
        strategy = _book_strategy(job)
        agents = n_points * (3 if ENVELOPE in job.groups else 1)
        orders = (2 * strategy.levels + 1) * 8
        curves = 16 * n_steps if "tail" in job.groups else 0
        return agents * (orders * 1_200 + 2_000 + curves) + 80 * MOST_TICKS + PART_BYTES

    def family(self, settings: Mapping[str, Value], points: Points) -> str:
        """Every trial has a strategy: this is never asked."""
        raise NotImplementedError("trials of the book engine are counted under their strategy")

    def sources(self) -> Mapping[str, str]:
        """Return nothing: the engine's own source and the numeric profile say it all."""
        return {}

    def problems(
        self, job: Job, load: Callable[[], Any], windows: Sequence[tuple[int, int]], points: Points
    ) -> tuple[list[str], list[str]]:
        """Return a refusal where the queue model asks for what the events don't show, or delays are not there."""
        found = []
        if "fifo" in _asked(job, points, "queue") and load().instrument.kind == "by_price":
            found.append(f"{SECTION}.queue: fifo needs events by order, these are by price; use risk_averse or power3")
        if "recorded" in _asked(job, points, "latency"):
            try:
                samples_of(job.tables.get(f"{SECTION}.{DELAYS.name}", {}))
            except ParameterError as error:
                found.append(f"{SECTION}.{DELAYS.name}: {error}")
        return found, []

    def seams(self, job: Job, points: Points) -> None:
        """Blocks may begin anywhere."""

    def probe(self, job: Job, data: BookSession, points: Points) -> tuple[BookSession, tuple[int, int], Points]:
        """Return the first steps and a few points."""
        few = points.take(np.unique(np.linspace(0, max(len(points) - 1, 0), PROBE_POINTS).astype(np.int64)))
        return data, (0, min(PROBE_STEPS, len(data))), few if len(points) else points

    def nominal_ns(self, job: Job, points: Points) -> float:
        """Return nanoseconds of a trial and step."""
        return NOMINAL_PLAIN_NS if job.plain_python else NOMINAL_NS

    # -- replays ------------------------------------------------------------------------------------------------

    def book_replay(
        self,
        job: Job,
        data: BookSession,
        window: tuple[int, int],
        points: Points,
        *,
        curves: bool,
        record: bool = False,
        n_said: int = 0,
        watch: Watch | None = None,
    ) -> BookReplay:
        """Return the replay of points that share the settings of `SHARED`, done; `watch` sees it on the way."""
        strategy = _book_strategy(job)
        settings = Settings(job.settings, points, strategy)
        agents = agents_of(
            settings, strategy, data.instrument, envelope=ENVELOPE in job.groups,
            delays=job.tables.get(f"{SECTION}.{DELAYS.name}"), span_ns=data.bounds_ns(window),
        )  # fmt: skip
        keep = _Keep(curves, record, n_said, watch)
        low, high = data.low_ticks - MARGIN_TICKS, data.high_ticks + MARGIN_TICKS
        whole = (low, high - low + 1)
        if whole[1] <= MOST_TICKS:
            return self._replayed(job, data, window, settings, agents, whole, keep)
        try:
            return self._replayed(job, data, window, settings, agents, _traded_window(data), keep)
        except DataError:  # the touch left the prices that are usual
            if whole[1] > LAST_RESORT_TICKS:
                raise
            return self._replayed(job, data, window, settings, agents, whole, keep)

    def _replayed(
        self, job: Job, data: BookSession, window: tuple[int, int], settings: Settings, agents: Agents,
        ticks: tuple[int, int], keep: _Keep,
    ) -> BookReplay:  # fmt: skip
        start_ns, stop_ns = data.bounds_ns(window)
        book = BookReplay(
            data.instrument,
            _book_strategy(job),
            agents,
            exchange_of(settings),
            start_ns=start_ns,
            stop_ns=stop_ns,
            ticks=ticks,
            sample_ns=data.step_ns,
            horizons_ns=tuple(row_measures.HORIZONS_NS.values()) if "quality" in job.groups else (),
            curves=keep.curves,
            record=keep.record,
            n_said=keep.n_said,
            plain_python=job.plain_python,
        )
        traded = np.zeros(2)
        if keep.watch is not None:
            keep.watch.begin()
        for part in _until(data.read(), stop_ns):
            for piece in (part,) if keep.watch is None else keep.watch.pieces(part):
                book.feed(piece)
                if keep.watch is not None:
                    keep.watch.look(book)
            if "benchmark" in job.groups:
                traded += _traded(part, start_ns)
        book.feed(_nothing(data), final=True)
        book.market_vwap = traded[0] / traded[1] if traded[1] else math.nan
        return book

    def _replays(
        self, job: Job, data: BookSession, window: tuple[int, int], points: Points, *, curves: bool = False
    ) -> Iterator[tuple[NDArray[np.intp], BookReplay]]:
        if not len(points):
            return
        columns = [points.columns[name] for name in SHARED if name in points.columns]
        for own in alike(columns) if columns else [np.arange(len(points), dtype=np.intp)]:
            yield own, self.book_replay(job, data, window, points.take(own), curves=curves or "tail" in job.groups)

    def _fill_rows(
        self, rows: Rows, reasons: dict[int, str], own: NDArray[np.intp], book: BookReplay, job: Job, data: BookSession,
        window: tuple[int, int],
    ) -> None:  # fmt: skip
        n = len(own)
        groups = [group for group in job.groups if group != ENVELOPE]
        made = row_measures.measures(book, window[1] - window[0], data.periods_per_year, [*groups, "core", "fills"])
        for name, column in made.items():
            if name in rows.measures:
                rows.measures[name][own] = column[:n]
            for i, bound in enumerate(BOUNDS if ENVELOPE in job.groups else ()):
                if f"{name}_{bound}" in rows.measures:
                    rows.measures[f"{name}_{bound}"][own] = column[(i + 1) * n : (i + 2) * n]
        for i in range(n):
            if why := _why(book, i):
                rows.status[own[i]] = TrialStatus.FAILED
                reasons[int(own[i])] = why

    def _check(self, job: Job, points: Points) -> None:
        strategy = _book_strategy(job)
        known = [*defaults(), *(parameter.name for parameter in strategy.parameters)]
        for name in points.columns:
            if name not in known:
                raise ParameterError(f"points vary {name!r}, which a book trial has not{nearest(name, known)}")
        for group in job.groups:
            if group not in row_measures.GROUPS:
                raise ParameterError(
                    f"no measure group {group!r}; there are {', '.join(row_measures.GROUPS)}"
                    f"{nearest(group, row_measures.GROUPS)}"
                )


def _book_strategy(job: Job) -> BookStrategy:
    if not isinstance(job.strategy, BookStrategy):
        raise StrategyError(
            f"{job.strategy.name} decides on bars; the book engine needs one declared with @book_strategy:"
            " market_maker, grid_maker, avellaneda_stoikov, imbalance_taker, execution_schedule, or your own"
        )
    return job.strategy


def _asked(job: Job, points: Points, name: str) -> set[str]:
    """Return the values of a choice over all points."""
    column = points.columns.get(f"{SECTION}.{name}")
    if column is not None:
        return set(column.tolist())
    return {str({**defaults(), **job.settings}[f"{SECTION}.{name}"])}


def _why(book: BookReplay, i: int) -> str:
    """Return why agent `i` failed, or nothing."""
    agent = book.agents[i]
    if agent["dead"]:
        return "more answers were under way to it than there is room for: lower the delays or raise period_ms"
    if not agent["equity"] > 0.0:
        return f"ruined: equity was {agent['equity']:g} at the end of a step; raise {SECTION}.initial_cash"
    return ""


def _until(parts: Any, stop_ns: int) -> Iterator[Events]:
    """Yield the events until the window ends."""
    for part in parts:
        late = np.flatnonzero(part.ts_exchange_ns > stop_ns)
        if late.shape[0]:
            yield part[: int(late[0])]
            return
        yield part


def _traded(events: Events, start_ns: int) -> NDArray[np.float64]:
    """Return (ticks x lots, lots) that the market traded after `start_ns`."""
    trades = events.action == Action.TRADE
    if events.instrument.kind == "by_order":  # a print that names no order counts where the book does not show it
        trades = (events.action == Action.EXECUTE) | (trades & (events.flags & Flag.HIDDEN != 0))
    trades &= (events.flags & Flag.SNAPSHOT == 0) & (events.ts_exchange_ns > start_ns)
    lots = events.size_lots[trades].astype(np.float64)
    return np.array([float(events.price_ticks[trades] @ lots), float(lots.sum())])


def _nothing(data: BookSession) -> Events:
    return Events.of(data.instrument, data.session, [])


def _traded_window(data: BookSession) -> tuple[int, int]:
    """Return (first tick, number of ticks) around the prices at which the session traded or quoted its touch."""
    parts = [part.price_ticks[part.action < Action.CLEAR][::16] for part in data.read()]
    ticks = np.sort(np.concatenate(parts))
    if not ticks.shape[0]:
        raise InputError(f"{data.instrument.symbol}/{data.session} has no prices")
    return window_of(ticks)


def _small_book() -> Events:
    """Return a book of a few events, so that every function of the kernel is compiled."""
    instrument = BookInstrument("CHECK", 0.01, 1.0, "by_price")
    last = int(Flag.LAST)
    rows = [(1, Action.SET, 1, 100 - i, 5 + i) for i in range(5)] + [(1, Action.SET, -1, 102 + i, 5) for i in range(5)]
    rows += [(10**9 // 4 * i, Action.TRADE, 1 if i % 2 else -1, 102 if i % 2 else 100, 3) for i in range(1, 9)]
    return Events.of(instrument, "check", [(*row, 0, last) for row in rows])


ENGINE = BookEngine()
