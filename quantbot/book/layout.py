"""The records that a replay keeps: agents, orders, cohorts, levels; and the words for their states."""

from __future__ import annotations

import hashlib
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_BID, NO_ASK = -(2**62), 2**62  # ticks of a side without a level
NEVER = 2**63 - 1  # a time that does not come
LINE = 64  # bytes of a line of memory
ANSWERS_PER_ORDER = 8
ANSWERED = 8  # what an answer's kind is shifted by where messages are kept
NOTES = 16  # levels that an agent's taking is remembered at


class Status(IntEnum):
    """How a call of the kernel ended."""

    OK = 0
    GROW = 1  # the log of fills is full: enlarge it and call again
    OUT_OF_WINDOW = 2  # the touch left the ticks that the replay has room for: widen it and start again
    BAD_DECISION = 3  # a strategy asked for more than it declared


class Local(IntEnum):
    """What an agent knows of one of its orders."""

    FREE = 0
    SENT = 1  # on its way, not acknowledged
    LIVE = 2
    ASKED = 3  # live, with a cancel or modify on its way


class Resting(IntEnum):
    """What the exchange knows of an order."""

    NONE = 0
    BOOK = 1


class OrderKind(IntEnum):
    """How long an order lives, and what it may do on arrival."""

    LIMIT = 0
    POST_ONLY = 1
    IOC = 2
    FOK = 3
    MARKET = 4


class Message(IntEnum):
    """What is on its way to the exchange."""

    NEW = 0
    CANCEL = 1
    MODIFY = 2
    WAKE = 3  # not to the exchange: an answer is due at an agent that wakes on answers


class Answer(IntEnum):
    """What is on its way from the exchange."""

    ACCEPTED = 0
    FILLED = 1  # wholly
    PART = 2
    CANCELLED = 3
    EXPIRED = 4  # refused, or what an IOC left
    MODIFIED = 5


class Reason(IntEnum):
    """Why a fill happened."""

    TRADE_THROUGH = 1  # the market traded at a worse price than ours
    QUEUE_PASSED = 2  # a trade at our price reached our place
    DEPTH_CROSSED = 3  # the other side's best came to our price
    TAKEN = 4  # ours took liquidity


class Queue(IntEnum):
    """Models of the place in the queue."""

    RISK_AVERSE = 0
    POWER = 1
    POWER2 = 2
    POWER3 = 3
    LOG = 4
    LOG2 = 5
    FIFO = 6
    PRO_RATA = 7
    OPTIMISTIC = 8


class Wake(IntFlag):
    """When a strategy is asked."""

    TIMER = 1
    BOOK = 2  # the best price or size, as received, changed
    TRADE = 4  # a trade was received
    ANSWER = 8  # a fill, an acknowledgement or a cancel of its own was received


class Latency(IntEnum):
    """Where a delay comes from."""

    CONSTANT = 0
    RECORDED = 1
    DRAWN = 2


I8, I32, I64, U64, F64 = "i1", "i4", "i8", "u8", "f8"

SIZES = np.dtype([("bid", I64), ("ask", I64)], align=True)
OURS = np.dtype(
    [("buys", I32), ("sells", I32), ("bid_add", I64), ("ask_add", I64), ("bid_epoch", I64), ("ask_epoch", I64)],
    align=True,
)


def _whole_lines(fields: list[tuple[str, str]]) -> np.dtype[np.void]:
    """Return a record of these fields that fills an odd number of lines: so that many don't share a cache's sets."""
    room = (LINE - np.dtype(fields, align=True).itemsize) % (2 * LINE) // 8
    return np.dtype([*fields, *((f"room_{i}", I64) for i in range(room))], align=True)


# What a wake-up, an arrival and an answer touch stands in the first two lines of memory, what a fill does in the next.
AGENT = _whole_lines(
    [(name, I32) for name in ("head", "tail", "n_used", "quiet", "latency", "queue", "killed", "n_resting")]
    + [(name, I64) for name in (
        "known_position", "entry_ns", "answer_ns", "entry_last", "answer_last", "n_wakes", "n_orders", "n_cancels",
        "trace", "limit_lots",
    )]
    + [("arrival2", F64), ("kill_at", F64)]
    + [(name, I64) for name in (
        "resting_orders", "open_orders_ns", "known_cash", "position", "cash", "maker_value", "maker_lots", "n_maker",
        "spread_sum2", "queue_ns", "abs_position_max", "n_through", "n_queue", "n_cross", "filled_orders", "stamp",
        "taken", "taker_value", "taker_lots", "n_taker", "n_modifies", "n_rejected", "n_full", "n_clipped", "merged",
        "draws",
    )]
    + [("table", I32), ("entry_hint", I32), ("answer_hint", I32), ("dead", I32), ("key", U64)]
    + [(name, F64) for name in (
        "maker_bps", "taker_bps", "maker_lot_fee", "taker_lot_fee", "trade_fee", "capital", "equity", "peak",
        "drawdown", "sum_r", "sum_r2", "sum_down2", "sum_abs_position", "sum_position", "sum_pos2",
        "tiers", "tier_at", "tier_maker_bps", "tier_taker_bps", "tier2_at", "tier2_maker_bps", "tier2_taker_bps",
        "tier_saved", "impact", "impact_cost",
    )]
)  # fmt: skip

# One line of memory: what a modify asks for stands elsewhere. From `heard_ns` on its agent takes it to be `then`.
ORDER = np.dtype(
    [("tick", I64), ("leaves", I64), ("known", I64), ("placed_ns", I64), ("heard_ns", I64),
     ("cohort", I32), ("next", I32), ("prev", I32), ("agent", I32),
     ("side", I8), ("kind", I8), ("local", I8), ("then", I8), ("resting", I8),
      ("touched", I8)],
    align=True,
)  # fmt: skip

COHORT = np.dtype(
    [("front", F64), ("traded", F64), ("sequence", I64), ("tick", I64), ("lots", I64),
     ("model", I32), ("first", I32), ("n", I32), ("next", I32), ("prev", I32), ("side", I8)],
    align=True,
)  # fmt: skip

MESSAGE = np.dtype([("due", I64), ("sequence", I64), ("order", I32), ("kind", I32)], align=True)
ANSWER = np.dtype([("due", I64), ("lots", I64), ("value", I64), ("order", I32), ("kind", I32)], align=True)
TIMER = np.dtype([("due", I64), ("group", I64)], align=True)
GROUP = np.dtype([(name, I64) for name in ("period", "first", "n", "feed", "look", "last_look")], align=True)
MARKET_ORDER = np.dtype([("id", U64), ("tick", I64), ("lots", I64), ("sequence", I64), ("side", I64)], align=True)
RESOLVED = np.dtype([("tick", I64), ("lots", I64), ("tick2", I64), ("lots2", I64), ("side", I64)], align=True)
FEED = np.dtype(
    [(name, I64) for name in (
        "at_sizes", "extra", "at", "best_bid", "best_ask", "low_bid", "high_ask", "trade_tick", "trade_side", "volume",
        "buy_volume", "sell_volume", "trade_ns", "changed", "traded",
    )],
    align=True,
)  # fmt: skip
# What a timer's wake-up will see: the part of a view that the book gives, in its order; for `n` wake-ups from it on.
LOOK = np.dtype(
    [(name, I64) for name in (
        "bid", "ask", "bid_lots", "ask_lots", "trade_tick", "trade_side", "volume", "buy_volume", "sell_volume",
        "bid_depth", "ask_depth", "event", "n", "next",
    )],
    align=True,
)  # fmt: skip
MODEL = np.dtype([("kind", I64), ("n", F64), ("scale", F64)], align=True)
FILL = np.dtype(
    [("ts_ns", I64), ("tick", I64), ("lots", I64), ("mid2", I64), ("event", I64), ("front", F64), ("placed_ns", I64),
     ("agent", I32), ("side", I8), ("maker", I8), ("reason", I8), ("kind", I8)],
    align=True,
)  # fmt: skip
SAID = np.dtype(  # a message between an agent and the exchange; `what`: of `Message`, or ANSWERED + of `Answer`
    [("ts", I64), ("due", I64), ("tick", I64), ("lots", I64), ("front", F64), ("order", I32), ("what", I8),
     ("side", I8)],
    align=True,
)  # fmt: skip
TAKEN = np.dtype([("tick", I64), ("lots", I64), ("stamp", I64), ("ts_ns", I64), ("side", I64)], align=True)
LATENCY_ROW = np.dtype([("request_ns", I64), ("exchange_ns", I64), ("answer_ns", I64)], align=True)

_DTYPES = (
    SIZES, OURS, AGENT, ORDER, COHORT, MESSAGE, ANSWER, TIMER, GROUP, FEED, MODEL, FILL, TAKEN, SAID, LATENCY_ROW,
    MARKET_ORDER, RESOLVED, LOOK,
)  # fmt: skip
# Kernels reach these records by address, so their layout must be part of the type that compiled code is kept under.
_DIGEST = hashlib.sha256("".join(str(dtype) for dtype in _DTYPES).encode()).hexdigest()[:12]

STATE = np.dtype(
    [(name, I64) for name in (
        "base", "n_ticks", "best_bid", "best_ask", "low_bid", "high_ask", "mid2", "top_buy", "top_sell", "n_buys",
        "n_sells", "k", "now", "next_due", "sequence", "stamp", "heap_n", "ring_head", "ring_n", "timers_n",
        "cohort_free", "n_fills", "next_sample", "sample_every", "n_samples", "halted", "unreadable", "crossed",
        "gaps", "halts", "unknown", "table_n", "outside", "clears", "late", "stop", "by_order", "partial",
        "hft_fifo", "on_gap_cancel", "wake", "n_levels", "n_slots", "n_answers", "post_only", "n_horizons", "at",
        "fills_dropped", "volume", "trade_tick", "trade_side", "recover_ns", "drain", "n_agents", "n_parameters",
        "n_memory",
        "depth_levels", "eager", "wants_open", "wants_trades", "take_kind", "quote_kind", "at_sizes", "at_ours",
        "at_agents",
        "at_orders", "at_cohorts", "at_answers", "at_heap", "at_timers", "at_groups", "at_feeds", "at_models",
        "at_fills", "at_taken", "at_rows", "at_starts", "at_table", "at_resolved", "at_horizons", "at_marked",
        "at_marks", "at_curve", "at_mids", "n_mids", "at_positions", "at_view", "at_parameters", "at_memory",
        "at_wants", "at_want", "at_asked",
        "at_members", "at_feed_of", "at_decide", "n_fill_rows", "n_half", "n_groups", "n_feeds", "n_table",
        "n_curve", "n_positions", "n_wants", "forgets", "ahead", "next_look", "look_free", "n_looks_free",
        "at_looks", "at_look_timers",
        "at_said", "n_said", "n_said_rows",
    )] + [("unit", F64), ("lot_size", F64), (f"layout_{_DIGEST}", I64)],
    align=True,
)  # fmt: skip


def in_lines(n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `n` zeros that begin with a line of memory."""
    raw = np.zeros(n * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + n * dtype.itemsize].view(dtype)


def n_answers(n_slots: int) -> int:
    """Return how many answers an agent has room for: an odd number of lines of memory."""
    return n_slots * ANSWERS_PER_ORDER + 2 + (n_slots * ANSWERS_PER_ORDER) % 4


def rows_in_lines(n: int, n_columns: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros of at least so many columns, each row beginning with a line of memory."""
    n_columns += -n_columns % (LINE // dtype.itemsize)
    return in_lines(n * n_columns, dtype).reshape(n, n_columns)


# What a decision is given, by name, in the order in which a kernel lays it out (int64).
VIEW = (
    "now_ns", "start_ns", "end_ns", "bid_ticks", "ask_ticks", "bid_lots", "ask_lots", "trade_ticks", "trade_side",
    "volume_lots", "buy_volume_lots", "sell_volume_lots", "bid_depth_lots", "ask_depth_lots", "position_lots",
    "open_buy_lots", "open_sell_lots",
)  # fmt: skip
N_VIEW = len(VIEW)
