"""A day replayed once, with many agents on it: the arrays behind the kernel, and what comes out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.book import layout
from quantbot.book.events import BookInstrument, Events
from quantbot.book.layout import NEVER, NO_ASK, NO_BID, OrderKind, Status
from quantbot.book.strategy import PRICES, BookStrategy
from quantbot.errors import DataError, InputError

CHUNK = 1 << 13  # events between two looks at the table of the market's orders: it should fit a core's cache

KINDS = {"limit": OrderKind.LIMIT, "post_only": OrderKind.POST_ONLY, "ioc": OrderKind.IOC}
KINDS |= {"fok": OrderKind.FOK, "market": OrderKind.MARKET}
AGENT_COLUMNS = (
    "entry_ns", "answer_ns", "latency", "table", "queue", "limit_lots", "key", "kill_at", "maker_bps", "taker_bps",
    "maker_lot_fee", "taker_lot_fee", "trade_fee", "capital", "tiers", "tier_at", "tier_maker_bps", "tier_taker_bps",
    "tier2_at", "tier2_maker_bps", "tier2_taker_bps", "impact",
)  # fmt: skip

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Exchange:
    """How the exchange treats orders of ours.

    Attributes
    ----------
    partial
        Orders fill in parts, by what is there; else wholly or not at all, as in hftbacktest's
        `NoPartialFillExchange`.
    cancel_on_gap
        Orders are cancelled where events were lost, a book was cleared or trading halted; else they stay.
    recover_ns
        Lots that an agent took come back for it after so long; 0: with the level's next life.
    hftbacktest_fifo
        Pass over orders inside the spread as hftbacktest's L3 exchange does; for comparison only.
    drain
        What is on its way to the exchange at the end still arrives, as in hftbacktest; else it never does.
    """

    partial: bool = True
    cancel_on_gap: bool = True
    recover_ns: int = 0
    hftbacktest_fifo: bool = False
    drain: bool = False


@dataclass(frozen=True, eq=False)
class Agents:
    """Many agents as columns.

    Attributes
    ----------
    columns
        For each of `AGENT_COLUMNS` that is not 0, shape (n_agents,): `entry_ns` and `answer_ns` of constant delays,
        `latency` (`layout.Latency`), `table` (index into `latencies`), `queue` (index into `models`), `limit_lots`
        (0: no limit), `key` (uint64, of its random draws), `kill_at` (in ticks x lots, 0: never), fees (`maker_bps`
        of value, `maker_lot_fee` per lot, `trade_fee` per fill), `capital`; `tiers` (0 to 2: how many fee tiers count),
        `tier_at` (in ticks x lots traded) from which `tier_maker_bps` and `tier_taker_bps` hold instead, `tier2_...`
        likewise; `impact` (x value x square root of its lots: what an order that takes costs beyond its prices).
    parameters
        Shape (n_agents, n_parameters), float64, in the strategy's order.
    period_ns, phase_ns, feed_ns
        Shape (n_agents,): timer period (0: none), its offset, and delay added to the received times.
    models
        (kind, n) of each queue model.
    latencies
        Tables of recorded samples (request, exchange, answer times) or of quantiles (entry, 0, answer delays).
    """

    columns: Columns
    parameters: NDArray[np.float64]
    period_ns: NDArray[np.int64]
    phase_ns: NDArray[np.int64]
    feed_ns: NDArray[np.int64]
    models: Sequence[tuple[int, float]] = ((int(layout.Queue.RISK_AVERSE), 0.0),)
    latencies: Sequence[NDArray[Any]] = field(default_factory=tuple)

    def __len__(self) -> int:
        return int(self.parameters.shape[0])


class BookReplay:
    """The state of one replay: feed it a day in any number of parts, then read accounts, fills and sums.

    Parameters
    ----------
    start_ns, stop_ns
        Timers run from the one, decisions end before the other.
    ticks
        (first tick, number of ticks) that levels are kept for, from `tick_window` over the whole day.
    sample_ns
        Step of the grid on which equity is taken.
    horizons_ns
        Of the mark-outs.
    record
        Keep every fill; else only those whose mark-outs are still due.
    n_said
        How many messages between agents and exchange to keep; `state.n_said` counts them all.
    curves
        Keep equity and position at every step of the grid.
    """

    def __init__(
        self,
        instrument: BookInstrument,
        strategy: BookStrategy,
        agents: Agents,
        exchange: Exchange,
        *,
        start_ns: int,
        stop_ns: int,
        ticks: tuple[int, int],
        sample_ns: int = 60_000_000_000,
        horizons_ns: Sequence[int] = (),
        record: bool = False,
        curves: bool = False,
        n_said: int = 0,
        plain_python: bool = False,
    ) -> None:
        from quantbot.book.kernels_decide import decision_address

        self.market_vwap = np.nan  # in ticks; whoever feeds the events sums it where it is asked for
        self.instrument, self.strategy, self.n_agents = instrument, strategy, len(agents)
        self.record = record
        self.address, self._alive = decision_address(strategy, plain_python=plain_python)
        n, levels = len(agents), strategy.levels
        n_slots = self._slots(agents, levels)
        n_samples = max((stop_ns - start_ns) // sample_ns, 0) if curves else 0
        self.state = np.zeros(1, layout.STATE)
        self.sizes, self.ours = np.zeros(ticks[1], layout.SIZES), np.zeros(ticks[1], layout.OURS)
        feeds = np.unique(agents.feed_ns)
        self.feeds = np.zeros(feeds.shape[0], layout.FEED)
        self.feeds["extra"] = feeds
        self.feed_levels = np.zeros((feeds.shape[0], ticks[1]), layout.SIZES)
        self.agents = layout.in_lines(n, layout.AGENT)
        self.orders = layout.in_lines(n * n_slots, layout.ORDER)
        self.asked = np.zeros(n * n_slots, np.int64)
        self.cohorts = layout.in_lines(n * n_slots + 1, layout.COHORT)
        self.cohorts["next"] = np.arange(1, n * n_slots + 2)
        self.answers = layout.in_lines(n * layout.n_answers(n_slots), layout.ANSWER)
        waking = layout.ANSWERS_PER_ORDER if strategy.wake & layout.Wake.ANSWER else 0
        self.heap = np.zeros(2 << (n * n_slots * (2 + waking) + 8).bit_length(), layout.MESSAGE)
        self.taken = np.zeros(n * layout.NOTES, layout.TAKEN)
        self.models = np.zeros(len(agents.models), layout.MODEL)
        for row, (kind, power) in zip(self.models, agents.models, strict=True):
            row["kind"], row["n"], row["scale"] = kind, power, instrument.lot_size
        tables = [np.asarray(table) for table in agents.latencies]
        self.rows = np.zeros(max(sum(len(t) for t in tables), 1), layout.LATENCY_ROW)
        self.starts = np.zeros(len(tables) + 1, np.int64)
        for i, table in enumerate(tables):
            self.starts[i + 1] = self.starts[i] + len(table)
            for j, name in enumerate(("request_ns", "exchange_ns", "answer_ns")):
                self.rows[name][self.starts[i] : self.starts[i + 1]] = table[:, j]
        self.fills = np.zeros(max(1 << 14, 2 * n * n_slots + 256), layout.FILL)
        self.said = np.zeros(max(n_said, 1), layout.SAID)
        self.state["n_said_rows"] = n_said
        self.horizons = np.asarray(sorted(horizons_ns), np.int64)
        self.marked = np.zeros(self.horizons.shape[0], np.int64)
        self.marks = np.zeros((n, self.horizons.shape[0]), np.int64)
        self.curve = np.zeros((n, n_samples))
        self.positions = np.zeros((n, n_samples), np.int64)
        self.mids = np.zeros(n_samples)
        self.table = np.zeros(1 << 10 if instrument.kind == "by_order" else 1, layout.MARKET_ORDER)
        self.view = np.zeros(layout.N_VIEW, np.int64)
        self.view[1:3] = start_ns, stop_ns
        prices = np.broadcast_to([getattr(instrument, name) for name in PRICES], (n, len(PRICES)))
        self.parameters = layout.rows_in_lines(n, agents.parameters.shape[1] + len(PRICES), np.dtype(np.float64))
        self.parameters[:, : agents.parameters.shape[1] + len(PRICES)] = np.hstack([agents.parameters, prices])
        self.memory = np.zeros((n, max(strategy.n_memory, 1)))
        self.wants = layout.rows_in_lines(n, 4 * levels + 2, np.dtype(np.int64))
        self.want = np.zeros(4 * levels + 2, np.int64)
        self._set_state(agents, exchange, start_ns, stop_ns, ticks, sample_ns, n_slots)
        self._set_agents(agents, feeds, start_ns)
        self.resolved = np.zeros(1, layout.RESOLVED)
        self._carried: Events | None = None
        self._bind()

    def _bind(self) -> None:
        """Tell the state where the arrays stand."""
        st = self.state[0]
        for name in (
            "sizes", "ours", "agents", "orders", "cohorts", "answers", "heap", "timers", "look_timers", "looks",
            "groups", "feeds", "models", "fills", "said", "taken", "rows", "starts", "table", "resolved", "horizons",
            "marked", "marks", "curve", "mids", "positions", "view", "parameters", "memory", "wants", "want", "asked",
            "members",
            "feed_of",
        ):  # fmt: skip
            st[f"at_{name}"] = getattr(self, name).ctypes.data
        for c, book in enumerate(self.feeds):
            book["at_sizes"] = self.feed_levels[c].ctypes.data
        st["at_decide"] = self.address
        st["n_fill_rows"], st["n_half"] = self.fills.shape[0], self.heap.shape[0] // 2
        st["n_groups"], st["n_feeds"], st["n_table"] = len(self.groups), len(self.feeds), self.table.shape[0]
        st["n_horizons"], st["n_curve"] = self.horizons.shape[0], self.curve.shape[1]
        st["n_positions"], st["n_mids"] = self.positions.shape[1], self.mids.shape[0]

    def _slots(self, agents: Agents, levels: int) -> int:
        """Return how many orders an agent can have under way: two sets, and one more for each set still in flight."""
        period = agents.period_ns[agents.period_ns > 0]
        shortest = int(period.min()) if period.shape[0] else 1_000_000
        delays = agents.columns.get("entry_ns", np.zeros(1)) + agents.columns.get("answer_ns", np.zeros(1))
        flight = int(np.max(delays)) // max(shortest, 1) if delays.shape[0] else 0
        if len(agents.latencies):
            longest = max(int((table[:, 2] - table[:, 0]).max()) for table in agents.latencies)
            flight = max(flight, 8, longest // max(shortest, 1))
        return (2 * levels + 1) * (2 + min(flight + 1, 30))

    def _set_state(
        self, agents: Agents, exchange: Exchange, start_ns: int, stop_ns: int, ticks: tuple[int, int], sample_ns: int,
        n_slots: int,
    ) -> None:  # fmt: skip
        st = self.state[0]
        st["base"], st["n_ticks"] = ticks
        for book in (st, *self.feeds):
            book["best_bid"], book["best_ask"], book["low_bid"], book["high_ask"] = NO_BID, NO_ASK, NO_ASK, NO_BID
        st["top_buy"], st["top_sell"] = NO_BID, NO_ASK
        st["now"] = -(2**62)
        st["cohort_free"] = 1
        st["sample_every"], st["next_sample"], st["stop"] = sample_ns, start_ns + sample_ns, stop_ns
        st["by_order"] = self.instrument.kind == "by_order"
        st["partial"], st["on_gap_cancel"] = exchange.partial, exchange.cancel_on_gap
        st["drain"] = exchange.drain
        st["hft_fifo"], st["recover_ns"] = exchange.hftbacktest_fifo, exchange.recover_ns
        strategy = self.strategy
        st["wake"], st["n_levels"], st["n_slots"] = int(strategy.wake), strategy.levels, n_slots
        st["n_answers"] = layout.n_answers(n_slots)
        st["n_agents"], st["n_parameters"] = self.n_agents, self.parameters.shape[1]
        st["forgets"] = not self.record and not self.horizons.shape[0]
        st["n_wants"] = self.wants.shape[1]
        st["n_memory"], st["depth_levels"] = self.memory.shape[1], strategy.depth_levels
        st["wants_open"] = bool({"open_buy_lots", "open_sell_lots"} & set(strategy.arguments))
        trades = {"trade_ticks", "trade_side", "volume_lots", "buy_volume_lots", "sell_volume_lots"}
        st["wants_trades"] = bool(trades & set(strategy.arguments) or strategy.wake & layout.Wake.TRADE)
        st["quote_kind"], st["take_kind"] = int(KINDS[strategy.quotes]), int(KINDS[strategy.takes])
        st["eager"] = bool(strategy.wake & (layout.Wake.BOOK | layout.Wake.TRADE))
        st["unit"] = self.instrument.tick_size * self.instrument.lot_size * self.instrument.multiplier
        st["lot_size"] = self.instrument.lot_size

    def _set_agents(self, agents: Agents, feeds: NDArray[np.int64], start_ns: int) -> None:
        for name in agents.columns:
            if name not in AGENT_COLUMNS:
                raise InputError(f"agents have no column {name!r}; they have {', '.join(AGENT_COLUMNS)}")
            self.agents[name] = agents.columns[name]
        if "capital" not in agents.columns:
            self.agents["capital"] = 1.0
        self.agents["equity"] = self.agents["peak"] = self.agents["capital"]
        self.feed_of = np.searchsorted(feeds, agents.feed_ns).astype(np.int64)
        keys = np.stack([agents.period_ns, agents.phase_ns, agents.feed_ns], axis=1)
        distinct, group = np.unique(keys, axis=0, return_inverse=True)
        group = group.ravel()
        self.members = np.argsort(group, kind="stable").astype(np.int64)
        counts = np.bincount(group, minlength=distinct.shape[0])
        self.groups = np.zeros(distinct.shape[0], layout.GROUP)
        self.groups["period"], self.groups["n"] = distinct[:, 0], counts
        self.groups["first"] = np.cumsum(counts) - counts
        self.groups["feed"] = np.searchsorted(feeds, distinct[:, 2])
        timed = [g for g in range(distinct.shape[0]) if distinct[g, 0] > 0 and self.strategy.wake & layout.Wake.TIMER]
        timed.sort(key=lambda g: (distinct[g, 0] + distinct[g, 1], g))
        self.timers = np.zeros(max(len(timed), 1), layout.TIMER)
        for i, g in enumerate(timed):
            self.timers[i] = start_ns + int(distinct[g, 0] + distinct[g, 1]), g
        self.state[0]["timers_n"] = len(timed)
        self.look_timers, self.looks = self.timers[:0], np.zeros(1, layout.LOOK)
        self.state[0]["next_look"] = self.state[0]["n_looks_free"] = NEVER

    def _look_ahead(self) -> None:
        """Note what the timers will see as the exchange's book passes by, instead of a book of what was received."""
        extra = self.feeds["extra"][self.groups["feed"][self.timers["group"]]]
        due = self.timers["due"] - extra
        first = np.argsort(due, kind="stable")
        self.look_timers = self.timers[first]
        self.look_timers["due"] = due[first]
        st = self.state[0]
        st["ahead"], st["n_looks_free"], st["look_free"] = 1, 0, 0
        if st["timers_n"]:
            st["next_look"] = self.look_timers["due"][0]
        self._more_looks()

    def _more_looks(self) -> None:
        """Double the room for what timers will see."""
        st, n = self.state[0], self.looks.shape[0]
        self.looks = np.concatenate([self.looks, np.zeros(n + 4 * len(self.groups), layout.LOOK)])
        self.looks["next"][n:] = [*range(n + 1, self.looks.shape[0]), st["look_free"]]
        st["look_free"] = n
        st["n_looks_free"] += self.looks.shape[0] - n
        self._bind()

    def feed(self, events: Events, *, final: bool = False, order_of: NDArray[np.int64] | None = None) -> None:
        """Replay the next part of the day.

        Parameters
        ----------
        final
            No part follows: the accounts are closed.
        order_of
            Shape (n_events,): the exchange's order of the events, where it is not that of the file. Only for a day
            in one part.

        Raises
        ------
        InputError
            If `order_of` comes after another part.
        DataError
            If the touch leaves the ticks of the window, or a strategy's answers overflow.
        """
        from quantbot.book.kernels_orders import rehash
        from quantbot.book.kernels_replay import replay

        events = self._with_carried(self._in_order(events))
        st, n = self.state[0], len(events)
        if self._first:
            self._first = False
            if order_of is None and self.strategy.wake == layout.Wake.TIMER:
                self._look_ahead()
        elif order_of is not None:
            raise InputError("order_of is for a day in one part; this one has had a part before")
        carried = self.resolved[: self._n_carried]
        self.resolved = np.zeros(n if st["by_order"] and not st["ahead"] else 1, layout.RESOLVED)
        self.resolved[: carried.shape[0]] = carried
        order = np.empty(0, np.int64) if order_of is None else order_of
        columns = [
            np.require(getattr(events, name), requirements=["C", "W", "A"])
            for name in (
                "ts_exchange_ns", "ts_received_ns", "action", "side", "price_ticks", "size_lots", "order_id", "flags",
            )
        ]  # fmt: skip
        self._bind()
        st["next_due"] = -(2**62)  # what this part brings may be heard before all that was known to be due
        while True:
            until = n
            if st["by_order"]:
                until = min(n, (int(st["k"]) // CHUNK + 1) * CHUNK)
                need = int(1.25 * (int(st["table_n"]) + until - int(st["k"])))
                if need > self.table.shape[0]:
                    smaller, self.table = self.table, np.zeros(1 << need.bit_length(), layout.MARKET_ORDER)
                    self._bind()
                    rehash(st, smaller)
            arguments: tuple[Any, ...] = (*columns, order, until, final and until == n, self.state)
            status = replay(*arguments)
            if status == Status.GROW:
                self._make_room()
            elif status == Status.OUT_OF_WINDOW:
                row = int(order[st["k"]]) if order.shape[0] else int(st["k"])
                raise DataError(
                    f"the touch of {self.instrument.symbol} goes to tick {int(events.price_ticks[row])} at event {row},"
                    f" outside the {int(st['n_ticks'])} ticks from {int(st['base'])} that levels are kept for;"
                    " widen `ticks`"
                )
            elif until == n:
                break
        self._keep_tail(events)

    _n_carried = 0
    _first = True
    _received = -(2**62)

    def _in_order(self, events: Events) -> Events:
        """Let no event be received before the exchange's time of it or of an earlier one: the clocks differ then."""
        if not len(events):
            return events
        from quantbot.book.kernels_feed import in_order

        if not in_order(events.ts_exchange_ns, events.ts_received_ns, self._received):
            received = np.maximum(events.ts_received_ns, events.ts_exchange_ns)
            received[0] = max(int(received[0]), self._received)
            np.maximum.accumulate(received, out=received)
            events = replace(events, ts_received_ns=received)
        self._received = int(events.ts_received_ns[-1])
        return events

    def _with_carried(self, events: Events) -> Events:
        """Put what was matched, but not yet received by every feed, before the new part."""
        if self._carried is None or not len(self._carried):
            return events
        from quantbot.book.events import COLUMNS

        parts = {name: np.concatenate([getattr(self._carried, name), getattr(events, name)]) for name in COLUMNS}
        return Events(events.instrument, events.session, **parts)

    def _keep_tail(self, events: Events) -> None:
        n = len(events)
        seen = int(self.feeds["at"].min())
        self._carried = events[seen:n]
        self.looks["event"] -= seen
        if self.state[0]["by_order"] and not self.state[0]["ahead"]:
            self._n_carried, self.resolved = n - seen, self.resolved[seen:n].copy()
        self.feeds["at"] -= seen
        self.state[0]["k"] -= seen

    def _make_room(self) -> None:
        """Forget fills whose mark-outs are done, or enlarge the log."""
        st = self.state[0]
        if st["n_looks_free"] < st["n_groups"]:
            self._more_looks()
        n = int(st["n_fills"])
        done = 0 if self.record or not self.marked.shape[0] else int(self.marked.min())
        if done:
            self.fills[: n - done] = self.fills[done:n]
            self.marked -= done
            st["n_fills"] = n = n - done
        if 2 * n > self.fills.shape[0]:
            self.fills = np.concatenate([self.fills, np.zeros_like(self.fills)])
            self._bind()
