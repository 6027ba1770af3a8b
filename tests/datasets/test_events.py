import numpy as np
import pytest

from datasets import Catalog, open_store
from datasets.catalog import open_dataset, open_events
from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.recheck import recheck
from quantbot.book import Action, Book, BookInstrument, Events, Flag
from quantbot.errors import CorruptError, DataError, InputError, NotFoundError

META = EventsMeta("drawn", "test", synthetic=True)


def drawn(kind="by_order", n=5000, seed=1, symbol="X", session="2024-01-02"):
    """Seeded events that any book takes, with times that go back and receipts that don't."""
    rng = np.random.default_rng(seed)
    received = np.cumsum(rng.integers(0, 1000, n))
    action = rng.choice(
        [Action.ADD, Action.DELETE, Action.CANCEL, Action.EXECUTE] if kind == "by_order" else [Action.SET], n
    )
    side = rng.choice(np.array([1, -1], np.int8), n)
    price = 1000 - side * rng.integers(1, 40, n)
    by_order = kind == "by_order"
    ids = np.where(action == Action.ADD, np.arange(1, n + 1), rng.integers(1, n, n)) if by_order else np.zeros(n)
    return Events(
        BookInstrument(symbol, 0.01, 1.0, kind),
        session,
        received - rng.integers(0, 3000, n),
        received,
        action.astype(np.uint8),
        side,
        price.astype(np.int64),
        rng.integers(1, 9, n),
        ids.astype(np.uint64),
        np.full(n, Flag.LAST, np.uint8),
    )


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.columns().values(), other.columns().values(), strict=True))


def write(root, events, name="mine/x", **sizes):
    with EventsWriter(root, name, META, **{"chunk_events": 1024, "snapshot_every": 256, **sizes}) as writer:
        for each in events:
            writer.add(each)
        return writer.finish()


@pytest.fixture
def root(tmp_path):
    return open_store(tmp_path)


@pytest.mark.parametrize("kind", ["by_order", "by_price"])
def test_events__come_back_as_they_were_written_from_any_place(root, kind):
    events = drawn(kind)
    dataset = write(root, [events[:700], events[700:3000], events[3000:]]).dataset
    assert same(dataset.events("X", "2024-01-02"), events)
    assert same(dataset.events("X", "2024-01-02", 1000, 1100), events[1000:1100])
    assert len(dataset.events("X", "2024-01-02", 5000)) == 0
    assert [len(block) for block in dataset.blocks("X", "2024-01-02", 10)] == [1014, 1024, 1024, 1024, 904]
    assert dataset.instrument("X") == events.instrument
    assert dataset.span("X") == (events.ts_received_ns[0], events.ts_received_ns[-1])


@pytest.mark.parametrize("kind", ["by_order", "by_price"])
def test_the_book__is_the_same_from_a_stored_one_as_from_the_start(root, kind):
    events = drawn(kind)
    dataset = write(root, [events]).dataset
    for at in (0, 1, 255, 256, 257, 2048, 4999, 5000):
        whole = Book(events.instrument)
        whole.apply(events[:at])
        found, expected = dataset.book_at("X", "2024-01-02", at).snapshot(), whole.snapshot()
        assert np.array_equal(found.price_ticks, expected.price_ticks)
        assert np.array_equal(found.size_lots, expected.size_lots)
        assert np.array_equal(found.order_id, expected.order_id)


def test_the_version__is_of_the_content_and_not_of_how_it_came(root):
    events = drawn()
    first = write(root, [events])
    again = write(root, [events[:1], events[1:]], chunk_events=512)
    assert first.created
    assert not again.created
    assert first.dataset.version == again.dataset.version
    assert write(root, [drawn(seed=2)]).dataset.version != first.dataset.version
    assert len({key.split("/")[3] for key in root.list("datasets/mine/x/w=")}) == 2
    entry = Catalog(root).entries()[0]
    assert (entry.kind, entry.n_times, entry.assets, entry.n_versions, entry.problem) == ("events", 5000, ("X",), 2, "")


def test_an_ingest_that_fails__leaves_nothing(root):
    def torn():
        yield drawn()
        assert root.list("datasets/") != []
        raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        write(root, torn())
    assert root.list("datasets/") == []


def test_sessions__may_come_in_turns(root):
    days = [drawn(session=f"2024-01-0{day}", symbol=symbol, seed=day) for day in (2, 3) for symbol in "AB"]
    parts = [day[at : at + 900] for at in range(0, 5000, 900) for day in days]
    dataset = write(root, parts).dataset
    assert dataset.assets == ("A", "B")
    assert dataset.sessions("B") == ("2024-01-02", "2024-01-03")
    assert all(same(dataset.events(day.instrument.symbol, day.session), day) for day in days)
    with pytest.raises(NotFoundError, match="no session '2024-01-04'"):
        dataset.n_events("A", "2024-01-04")


def test_the_report__counts_what_does_not_fit(root):
    events = drawn()
    book = Book(events.instrument)
    counts = book.apply(events)
    found = write(root, [events]).report.assets["X"]
    assert found["unknown_ids"] == counts.unknown_ids > 0
    assert found["times_back"] == int((np.diff(events.ts_exchange_ns) < 0).sum()) > 0
    assert found["n_events"] == len(events)


def test_what_cannot_be__is_refused_with_its_place_in_the_session(root, monkeypatch):
    events = drawn()
    columns = events.columns() | {"action": np.where(np.arange(5000) == 4321, 77, events.action).astype(np.uint8)}
    with pytest.raises(DataError, match="event 4321 of X/2024-01-02: action"):
        write(root, [Events(events.instrument, events.session, **columns)])
    with pytest.raises(DataError, match="goes back at event 5000"):
        write(root, [events, events])
    with pytest.raises(DataError, match="there is no event"):
        write(root, [])
    monkeypatch.setattr("datasets.events_writer.MAX_OPEN", 2)
    with pytest.raises(InputError, match="more than 2 sessions"):
        write(root, [drawn(n=3, session=str(day)) for day in range(3)])
    assert root.list("datasets/") == []


def test_damage__is_found_before_anything_is_decoded(root):
    write(root, [drawn()])
    keys = [key for key in root.list("datasets/mine/x/w=") if "/c/" in key]
    for key in keys[:: len(keys) // 6]:
        data = root.get(key)
        root.put(key, data[:-1] + bytes([data[-1] ^ 1]))
        fresh = open_events("mine/x", root)
        assert len(fresh.damage()) == 1
        if "snapshot" not in key:
            with pytest.raises(CorruptError, match="is not what was written"):
                fresh.events("X", "2024-01-02")
        root.put(key, data)


def test_bars__are_asked_for_as_bars(root):
    write(root, [drawn()])
    with pytest.raises(DataError, match="is 'events'; 'bars' of schema 1 is needed here"):
        open_dataset("mine/x", root)


def test_the_columns__are_zarr_for_anybody(root):
    import zarr

    events = drawn()
    dataset = write(root, [events]).dataset
    group = zarr.open_group(dataset.zarr_url.removeprefix("file://"), mode="r", zarr_format=3)["0000"]
    assert group.attrs["symbol"] == "X"
    assert np.array_equal(group["price_ticks"][:], events.price_ticks)
    exchange = np.concatenate([np.cumsum(group["ts_exchange_delta_ns"][at : at + 1024]) for at in range(0, 5000, 1024)])
    assert np.array_equal(exchange, events.ts_exchange_ns)
    assert np.array_equal(exchange + group["latency_ns"][:], events.ts_received_ns)


def test_recheck__finds_what_the_ingest_found(root):
    written = write(root, [drawn()])
    assert recheck(written.dataset).assets == written.report.assets
