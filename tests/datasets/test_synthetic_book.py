import importlib.util
from pathlib import Path

import numpy as np
import pytest

from datasets import open_store
from datasets.synthetic_book import SyntheticBook, by_price, synthetic_book
from quantbot.book import Action, Book, Events, Flag
from quantbot.errors import InputError

_SPEC = importlib.util.spec_from_file_location("oracles_rebuild", Path(__file__).parents[1] / "oracles_rebuild.py")
oracles = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(oracles)


def drawn(n=30_000, **more):
    return Events.joined(list(SyntheticBook(n, **more).blocks()))


def test_a_drawn_market__keeps_the_rules_of_a_book_and_every_execution_is_first_in_its_queue():
    events = drawn()
    events.check(times_back="refuse")
    counts = Book(events.instrument).apply(events)
    assert (counts.unknown_ids, counts.crossed, counts.locked, counts.duplicates, counts.oversized) == (0, 0, 0, 0, 0)
    plain = oracles.PlainBook()
    for i in range(4000):
        if events.action[i] == Action.EXECUTE:
            side, price = int(events.side[i]), int(events.price_ticks[i])
            assert plain.side(side)[0][0] == price
            assert plain.queues[side][price][0][0] == events.order_id[i]
        plain.apply(events[i : i + 1])
    shares = np.bincount(events.action, minlength=6) / len(events)
    assert (shares[[Action.ADD, Action.CANCEL, Action.DELETE, Action.MODIFY, Action.EXECUTE]] > 0.01).all()


def test_the_seed__decides_and_the_blocks_do_not(monkeypatch):
    events = drawn(seed=5)
    monkeypatch.setattr("datasets.synthetic_book._ROWS", 3000)
    again, other = drawn(seed=5), drawn(seed=6)
    for name, values in events.columns().items():
        assert np.array_equal(values, getattr(again, name))
    assert not np.array_equal(events.price_ticks, other.price_ticks)


def halted(events):
    """The stretches of events between a halt and its end."""
    stops, starts = (np.flatnonzero(events.action == act) for act in (Action.HALT, Action.RESUME))
    return list(zip(stops.tolist(), starts.tolist(), strict=True))


def test_halts__stop_trading_until_an_auction_and_leave_the_book_whole(monkeypatch):
    events = drawn(seed=2, halts=4)
    stretches = halted(events)
    assert len(stretches) == 4
    assert [start // 6_000 for start, _ in stretches] == [1, 2, 3, 4]
    for start, stop in stretches:
        within = events.action[start:stop]
        assert stop - start >= 250
        assert not (within == Action.EXECUTE).any()
        assert np.flatnonzero(within == Action.TRADE).tolist() == [stop - start - 1]
        assert events.flags[stop - 1] & Flag.CROSS
        assert (within == Action.ADD).any()
    counts = Book(events.instrument).apply(events)
    assert (counts.unknown_ids, counts.crossed, counts.halts) == (0, 0, 4)
    monkeypatch.setattr("datasets.synthetic_book._ROWS", 3000)
    again = drawn(seed=2, halts=4)
    assert all(np.array_equal(values, getattr(again, name)) for name, values in events.columns().items())
    with pytest.raises(InputError, match="200 events lie between two"):
        SyntheticBook(1_000, halts=9)


@pytest.mark.parametrize("kind", ["by_order", "by_price"])
@pytest.mark.parametrize("on_gap", ["cancel", "keep"])
def test_halts__fill_nobody(kind, on_gap):
    from quantbot.book import BookSession
    from quantbot.engine import Job, get_engine
    from quantbot.strategies.loader import load_strategy

    events = drawn(12_000, seed=3, halts=6)
    events = events if kind == "by_order" else Events.joined(list(by_price(iter([events]))))
    data = BookSession.of(events)
    settings = {"execution.on_gap": on_gap, "execution.period_ms": 500.0, "execution.entry_us": 1_000.0}
    for name, own in (("market_maker", {"half_spread": 0.5}), ("imbalance_taker", {"threshold": 0.05})):
        job = Job(load_strategy(name), settings | own, ("core", "fills", "anomalies"))
        replay = get_engine("book").replay(job, data, (0, len(data)), {})
        assert replay.row["n_halts"] == 6
        assert replay.row["n_rejected"] > 0 or name != "market_maker"  # it tried
        fills = replay.orders["ts_ns"]
        assert len(fills) > 20
        for start, stop in halted(events):
            begins, ends = events.ts_exchange_ns[start], events.ts_exchange_ns[stop]
            assert not ((fills > begins) & (fills < ends)).any()
            if on_gap == "cancel":
                rested = replay.orders["maker"] & (fills >= ends)
                assert (replay.orders["placed_ns"][rested] > ends)[(replay.orders["placed_ns"][rested] > begins)].all()


def test_by_price__is_the_same_market_with_the_orders_forgotten():
    events = drawn()
    levels = Events.joined(list(by_price(iter([events[:10_001], events[10_001:]]))))
    levels.check()
    looks = [np.flatnonzero((each.flags & Flag.LAST) != 0) for each in (events, levels)]
    assert len(looks[0]) == len(looks[1])
    tables = [Book(each.instrument).tables(each, at, 5) for each, at in zip((events, levels), looks, strict=True)]
    assert np.array_equal(tables[0][0], tables[1][0])
    assert np.array_equal(tables[0][1], tables[1][1])
    executed, traded = events.action == Action.EXECUTE, levels.action == Action.TRADE
    assert np.array_equal(events.size_lots[executed], levels.size_lots[traded])
    assert np.array_equal(-events.side[executed], levels.side[traded])


@pytest.mark.parametrize("kind", ["by_order", "by_price"])
def test_a_synthetic_dataset__has_sessions_and_says_that_it_is_drawn(tmp_path, kind):
    root = open_store(tmp_path)
    written = synthetic_book(root, "synthetic/x", 5000, 3, kind=kind, n_sessions=2, start="2024-01-05")
    assert written.dataset.meta.synthetic
    assert written.dataset.sessions("SYN") == ("2024-01-05", "2024-01-08")
    assert written.dataset.instrument("SYN").kind == kind
    assert not synthetic_book(root, "synthetic/x", 5000, 3, kind=kind, n_sessions=2, start="2024-01-05").created


@pytest.mark.parametrize("wrong", [{"n_events": 0}, {"seed": -1}, {"start_ticks": 1}, {"volatility": 10**6}])
def test_a_market_that_cannot_be_drawn__is_refused(wrong):
    with pytest.raises(InputError):
        SyntheticBook(**{"n_events": 5, **wrong})
