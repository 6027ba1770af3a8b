"""hftbacktest's side of `bench/book_parity.py` and `bench/book.py`, run in its own environment.

Arguments: a folder with `events.npz` (our columns, integer ticks and lots). Requests come on stdin, one JSON a line:
which queue model, latencies, strategy and points; the answer carries the CPU seconds of each replay, data in memory
and code compiled, and for parity each fill and the final state.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from hftbacktest import ALL_ASSETS, BUY, FILLED, GTX, LIMIT, BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data import correct_event_order
from hftbacktest.types import (
    ADD_ORDER_EVENT,
    BUY_EVENT,
    CANCEL_ORDER_EVENT,
    DEPTH_CLEAR_EVENT,
    DEPTH_EVENT,
    FILL_EVENT,
    MODIFY_ORDER_EVENT,
    SELL_EVENT,
    TRADE_EVENT,
    event_dtype,
)
from numba import njit

ADD, CANCEL, DELETE, MODIFY, EXECUTE, TRADE, SET, CLEAR = range(1, 9)
ORDER_LATENCY = np.dtype([("req_ts", "i8"), ("exch_ts", "i8"), ("resp_ts", "i8"), ("_padding", "i8")], align=True)


@njit
def by_order(action, side, price, size, identity, rows):
    """Write hftbacktest's rows for events that name orders: it has no partial cancel and no fill that removes."""
    left = {}
    n = 0
    for i in range(action.shape[0]):
        act = action[i]
        ids = identity[i]
        if act == ADD:
            left[ids] = size[i]
            rows[n] = (i, ADD_ORDER_EVENT, size[i])
            n += 1
        elif act == MODIFY:
            left[ids] = size[i]
            rows[n] = (i, MODIFY_ORDER_EVENT, size[i])
            n += 1
        elif act in (CANCEL, DELETE, EXECUTE):
            if act == EXECUTE:
                rows[n] = (i, FILL_EVENT, size[i])
                n += 1
            left[ids] -= left[ids] if act == DELETE else size[i]
            if left[ids] <= 0:
                del left[ids]
                rows[n] = (i, CANCEL_ORDER_EVENT, 0)
            else:
                rows[n] = (i, MODIFY_ORDER_EVENT, left[ids])
            n += 1
        elif act == TRADE:
            rows[n] = (i, TRADE_EVENT, size[i])
            n += 1
        elif act == CLEAR:
            rows[n] = (i, DEPTH_CLEAR_EVENT, 0)
            n += 1
    return n


def converted(columns: dict[str, np.ndarray], tick: float, lot: float) -> np.ndarray:
    """Return hftbacktest's event array."""
    action = columns["action"]
    if np.isin(action, (ADD, CANCEL, DELETE, MODIFY, EXECUTE)).any():
        rows = np.zeros((2 * action.shape[0], 3), np.int64)
        price, size = columns["price_ticks"], columns["size_lots"]
        n = by_order(action, columns["side"], price, size, columns["order_id"].astype(np.int64), rows)
        at, kind, lots = rows[:n].T
    else:
        known = np.isin(action, (TRADE, SET, CLEAR))
        at = np.flatnonzero(known)
        kind = np.select(
            [action[at] == TRADE, action[at] == SET, action[at] == CLEAR], [TRADE_EVENT, DEPTH_EVENT, DEPTH_CLEAR_EVENT]
        )
        lots = columns["size_lots"][at]
    data = np.zeros(at.shape[0], event_dtype)
    side = columns["side"][at]
    data["ev"] = kind | np.where(side > 0, BUY_EVENT, np.where(side < 0, SELL_EVENT, 0))
    data["exch_ts"], data["local_ts"] = columns["ts_exchange_ns"][at], columns["ts_received_ns"][at]
    data["px"] = np.where(kind == DEPTH_CLEAR_EVENT, np.inf, columns["price_ticks"][at] * tick)
    data["qty"] = lots * lot
    data["order_id"] = columns["order_id"][at]
    by_exchange = np.argsort(data["exch_ts"], kind="stable")
    by_local = np.argsort(data["local_ts"], kind="stable")
    return correct_event_order(data, by_exchange, by_local)


@njit
def quotes(depth, position, half_spread, skew, spacing, n_quotes, most, buys, sells):
    """Write the wanted ticks as `market_maker` and `grid_maker` do; return how many a side."""
    bid, ask = depth.best_bid_tick, depth.best_ask_tick
    centre = 0.5 * (bid + ask) - skew * position
    if spacing == 0:
        buys[0] = min(np.int64(np.floor(centre - half_spread)), ask - 1)
        sells[0] = max(np.int64(np.ceil(centre + half_spread)), bid + 1)
    else:
        buy = min(np.int64(np.floor(centre - half_spread)), bid) // spacing * spacing
        sell = -(-max(np.int64(np.ceil(centre + half_spread)), ask) // spacing) * spacing
        for i in range(n_quotes):
            buys[i], sells[i] = buy - i * spacing, sell + i * spacing
    return (n_quotes if position < most else 0), (n_quotes if position > -most else 0)


@njit
def note(hbt, lot, fills, n):
    """Write the fills that have been told since the last look; return how many there are."""
    orders = hbt.orders(0).values()
    while orders.has_next():
        order = orders.get()
        if order.status == FILLED:
            if n < fills.shape[0]:
                fills[n, 0] = order.exch_timestamp
                fills[n, 1] = 1 if order.side == BUY else -1
                fills[n, 2] = order.exec_price_tick
                fills[n, 3] = np.int64(np.round(order.exec_qty / lot))
                fills[n, 4] = 1 if order.arr[0].maker else 0
            n += 1
    return n


@njit
def maker(hbt, period, stop, lot, half_spread, skew, spacing, n_quotes, lots, most, fills):
    """Quote until the data end; return the number of fills."""
    tick = hbt.depth(0).tick_size
    buys, sells = np.zeros(n_quotes, np.int64), np.zeros(n_quotes, np.int64)
    n = 0
    while hbt.elapse(period) == 0:
        n = note(hbt, lot, fills, n)
        hbt.clear_inactive_orders(ALL_ASSETS)
        if hbt.current_timestamp >= stop:
            continue
        depth = hbt.depth(0)
        n_buys, n_sells = 0, 0
        if depth.best_bid_qty > 0 and depth.best_ask_qty > 0:
            position = np.int64(np.round(hbt.position(0) / lot))
            n_buys, n_sells = quotes(depth, position, half_spread, skew, spacing, n_quotes, most, buys, sells)
        orders = hbt.orders(0)
        values = orders.values()
        while values.has_next():
            order = values.get()
            if order.cancellable:
                wanted = False
                if order.side == BUY:
                    for i in range(n_buys):
                        wanted |= buys[i] == order.price_tick
                else:
                    for i in range(n_sells):
                        wanted |= sells[i] == order.price_tick
                if not wanted:
                    hbt.cancel(0, order.order_id, False)
        for i in range(n_buys):
            if np.uint64(2 * buys[i]) not in orders:
                hbt.submit_buy_order(0, 2 * buys[i], buys[i] * tick, lots * lot, GTX, LIMIT, False)
        for i in range(n_sells):
            if np.uint64(2 * sells[i] + 1) not in orders:
                hbt.submit_sell_order(0, 2 * sells[i] + 1, sells[i] * tick, lots * lot, GTX, LIMIT, False)
    return note(hbt, lot, fills, n)


def latency_rows(request):
    """Return recorded latencies as hftbacktest reads them: it keeps the address alone, so keep the array alive."""
    if "latency_rows" not in request:
        return None
    rows = np.zeros(len(request["latency_rows"]), ORDER_LATENCY)
    for name, column in zip(("req_ts", "exch_ts", "resp_ts"), np.array(request["latency_rows"]).T, strict=True):
        rows[name] = column
    return rows


def asset(request, data, rows, tick, lot, i):
    """Return the market of one replay."""
    built = BacktestAsset().data(data if isinstance(data, np.ndarray) else [str(data)])
    built = built.linear_asset(1.0).tick_size(tick).lot_size(lot).last_trades_capacity(0)
    built = built.no_partial_fill_exchange().trading_value_fee_model(request["maker_fee"], request["taker_fee"])
    if rows is not None:
        built = built.intp_order_latency(rows)
    else:
        built = built.constant_order_latency(int(request["entry_ns"][i]), int(request["answer_ns"][i]))
    name = request["queue"]
    if name == "fifo":
        return built.l3_fifo_queue_model()
    if name == "risk_averse":
        return built.risk_adverse_queue_model()
    if name.startswith("log"):
        return built.log_prob_queue_model() if name == "log" else built.log_prob_queue_model2()
    return getattr(built, "power_prob_queue_model" + name.removeprefix("power"))(request["power"])


def answered(request, data, tick, lot):
    """Run every point of a request; return seconds, fills and final states."""
    out = {"seconds": [], "fills": [], "position": [], "balance": [], "fee": []}
    rows = latency_rows(request)
    for i in range(len(request["half_spread"])):
        start = time.process_time()
        hbt = HashMapMarketDepthBacktest([asset(request, data, rows, tick, lot, i)])
        if not request.get("from_file"):
            start = time.process_time()
        fills = np.zeros((request["most_fills"], 5), np.int64)
        names = ("half_spread", "skew", "spacing", "n_quotes", "lots", "most")
        point = [request[name][i] for name in names]
        point = [float(point[0]), float(point[1]), *(int(value) for value in point[2:])]
        n = maker(hbt, request["period_ns"], request["stop_ns"], lot, *point, fills)
        out["seconds"].append(time.process_time() - start)
        state = hbt.state_values(0)
        out["fills"].append(fills[: min(n, fills.shape[0])].tolist() if request["fills"] else n)
        out["position"].append(state.position)
        out["balance"].append(state.balance)
        out["fee"].append(state.fee)
        hbt.close()
    return out


def main():
    """Answer requests until stdin ends."""
    folder = Path(sys.argv[1])
    known = {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        name = request["events"]
        if name not in known:
            with np.load(folder / name) as arrays:
                columns = {key: arrays[key] for key in arrays.files}
            tick, lot = float(columns.pop("tick_size")), float(columns.pop("lot_size"))
            known = {name: (converted(columns, tick, lot), tick, lot)}
        data, tick, lot = known[name]
        if request.get("from_file"):
            own = folder / f"hftbacktest-{name}"
            if not own.exists():
                np.savez(own, data=data)
            data = own
        print(json.dumps(answered(request, data, tick, lot)), flush=True)


if __name__ == "__main__":
    main()
