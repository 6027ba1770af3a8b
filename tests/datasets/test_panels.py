from __future__ import annotations

import numpy as np
import pytest

from datasets.bars import write_bars
from datasets.columns import BarColumns
from datasets.schema import BarsMeta
from datasets.store import open_store
from quantbot.errors import NotFoundError


def _bars(times, close, adjustment=None):
    close = np.asarray(close, dtype=float)
    return BarColumns(np.asarray(times, np.int64), close, close + 1, close - 1, close, close * 0, adjustment)


@pytest.fixture
def dataset(tmp_path):
    columns = {
        "AAA": _bars([10, 20, 30, 40], [100.0, 102.0, 51.0, 52.0], np.array([0.5, 0.5, 1.0, 1.0])),
        "BBB": _bars([20, 40, 50], [10.0, 11.0, 12.0]),
    }
    meta = BarsMeta(title="two", source="made up", interval="1d", periods_per_year=252.0)
    return write_bars(open_store(str(tmp_path)), "two", columns, meta, {})


def test_panel__stands_on_the_union_of_times_with_raw_prices(dataset):
    panel = dataset.panel()
    assert panel.ts_end_ns.tolist() == [10, 20, 30, 40, 50]
    assert panel.close[:, 0].tolist()[:4] == [100.0, 102.0, 51.0, 52.0]
    assert np.isnan(panel.close[4, 0])
    assert np.isnan(panel.close[[0, 2], 1]).all()


def test_panel__earns_the_adjusted_return_of_each_asset_by_splits_alone(dataset):
    panel = dataset.panel()
    adjusted = dataset.bars("AAA").close
    assert panel.adjusted_close[:4, 0].tolist() == adjusted.tolist()
    assert panel.split[:, 0].tolist() == [1.0, 1.0, 2.0, 1.0, 1.0]
    by_units = panel.split[1:4, 0] * panel.close[1:4, 0] / panel.close[:3, 0]
    assert by_units == pytest.approx(adjusted[1:] / adjusted[:-1])
    assert panel.returns()[1:4, 0] == pytest.approx(adjusted[1:] / adjusted[:-1] - 1)


def test_panel__keeps_the_order_that_is_asked_for(dataset):
    assert dataset.panel(["BBB", "AAA"]).assets == ("BBB", "AAA")
    assert dataset.panel(["BBB"]).adjusted_close is None


def test_panel__names_the_nearest_asset(dataset):
    with pytest.raises(NotFoundError, match="AAA"):
        dataset.panel(["AAB"])
