import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import feather

from datasets import open_store
from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.ingest.databento import DbnReader
from datasets.ingest.events import EventOptions, scaled_events
from datasets.resample import bars_of_trades, ingest_bars_of_trades
from quantbot.book import Action, BookInstrument, Events, Flag
from quantbot.errors import DataError, InputError

DATA = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the project")
L2 = BookInstrument("X", 0.5, 0.1, "by_price")


def test_bars__hold_their_trades_whatever_the_blocks(tmp_path):
    rows = [(5, 6, 1, 20, 3), (6, Action.SET, 1, 99, 3), (9, 6, -1, 24, 1), (11, 6, 1, 19, 2), (31, 6, 0, 21, 1)]
    events = Events.of(L2, "s", [(row[0] * 10**8, *row[1:]) for row in rows])
    for cut in range(6):
        bars = bars_of_trades([events[:cut], events[cut:]], "1s")
        assert bars.ts_end_ns.tolist() == [10**9, 2 * 10**9, 4 * 10**9]
        assert (bars.open.tolist(), bars.high.tolist()) == ([10.0, 9.5, 10.5], [12.0, 9.5, 10.5])
        assert (bars.close.tolist(), bars.volume.tolist()) == ([12.0, 9.5, 10.5], [0.4, 0.2, 0.1])
    root = open_store(tmp_path)
    with EventsWriter(root, "mine/x", EventsMeta("x", "x")) as writer:
        writer.add(events)
        dataset = writer.finish().dataset
    result = ingest_bars_of_trades(root, "mine/bars", dataset, "1s")
    assert result.dataset.bars("X").close.tolist() == [12.0, 9.5, 10.5]


def test_bars__need_trades_and_an_interval_of_time():
    with pytest.raises(DataError, match="no trade"):
        bars_of_trades([Events.of(L2, "s", [(1, Action.SET, 1, 99, 3), (2, 6, 1, 9, 9, 0, Flag.SNAPSHOT)])])
    with pytest.raises(InputError, match="seconds to days"):
        bars_of_trades([], "1mo")


@real
@pytest.mark.parametrize(("interval", "n_bars"), [("1min", 2469), ("5min", 706)])
def test_bars__of_real_trades_are_the_exchanges_own(interval, n_bars):
    with gzip.open(DATA / "freqtrade" / "XRP_ETH-trades.json.gz") as file:
        trades = json.load(file)
    book = BookInstrument("XRP/ETH", 1e-8, 1.0, "by_price")
    rows = [
        (ms * 10**6, 6, 1 if side == "buy" else -1, round(price * 1e8), round(amount))
        for ms, _, _, side, price, amount, _ in trades
    ]
    bars = bars_of_trades([Events.of(book, "s", rows)], interval)
    table = feather.read_table(DATA / "freqtrade" / f"XRP_ETH-{interval.removesuffix('in')}.feather").to_pydict()
    assert len(bars) == n_bars == len(table["date"])
    step = 60 if interval == "1min" else 300
    assert bars.ts_end_ns.tolist() == [round(date.timestamp() + step) * 10**9 for date in table["date"]]
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(bars, name), np.array(table[name]))


@real
def test_bars__of_databento_trades_are_its_own_bars():
    folder = DATA / "databento" / "glbx_real" / "historical_bars_catalog"
    trades = [
        events for events, _ in scaled_events(DbnReader(next(folder.glob("*trades*"))), EventOptions(tick_size=0.25))
    ]
    bars = bars_of_trades(trades, "1min")
    import struct

    import pyarrow as pa

    with pa.input_stream(str(next(folder.glob("*ohlcv-1m*"))), compression="zstd") as stream:
        data = stream.read()
    start = 8 + struct.unpack_from("<I", data, 4)[0]
    layout = np.dtype(
        [
            ("kind", "<u4"),
            ("instrument", "<u4"),
            ("ts", "<u8"),
            *((name, "<i8") for name in ("open", "high", "low", "close")),
            ("volume", "<u8"),
        ]
    )
    own = np.frombuffer(data, layout, offset=start)
    own = own[own["instrument"] == 118]
    at = np.searchsorted(own["ts"].astype(np.int64) + 60 * 10**9, bars.ts_end_ns)
    assert len(bars) == 4
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(bars, name), own[name][at] / 1e9)
    assert np.array_equal(bars.volume, own["volume"][at])
