from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.bars import Dataset, write_bars
from datasets.catalog import Catalog
from datasets.changes import changes
from datasets.columns import BarColumns
from datasets.coverage import coverage
from datasets.schema import BarsMeta
from datasets.store import open_store
from quantbot.errors import InputError

DAY_NS = 86_400 * 10**9


def columns(days: list[int] | range, price: float = 10.0, **other: float) -> BarColumns:
    stamps = (20_000 + np.array(days, np.int64)) * DAY_NS
    prices = np.full(len(stamps), price)
    for day, value in other.items():
        prices[list(days).index(int(day[1:]))] = value
    return BarColumns(stamps, prices, prices, prices, prices, np.full(len(stamps), 5.0))


def write(folder: Path, assets: dict[str, BarColumns], quality: dict[str, object] | None = None) -> Dataset:
    root = open_store(str(folder))
    write_bars(root, "test/few", assets, BarsMeta("Few", "tests", "1d", 252.0, synthetic=True), quality or {})
    return Catalog(root).open("test/few")


def test_coverage__counts_every_bar_once(tmp_path: Path) -> None:
    found = coverage(write(tmp_path, {"A": columns(range(50)), "B": columns(range(10, 40))}))
    assert found.n_bars.sum(axis=1).tolist() == [50, 30]
    assert (np.diff(found.edges_ns) == DAY_NS).all()


def test_coverage__tells_a_holiday_from_a_gap(tmp_path: Path) -> None:
    full = [day for day in range(30) if day != 10]
    found = coverage(write(tmp_path, {"A": columns(full), "B": columns([day for day in full if day != 20])}))
    assert np.isnan(found.share[:, 10]).all()
    assert found.share[:, 20].tolist() == [1.0, 0.0]


def test_coverage__of_one_asset_sees_its_gaps(tmp_path: Path) -> None:
    days = [day for day in range(364) if not 100 <= day < 128]
    found = coverage(write(tmp_path, {"A": columns(days)}))
    assert (found.share[0] == 0).sum() >= 3
    assert (found.share[0] == 1).sum() > 40


def test_coverage__marks_where_the_report_found_something(tmp_path: Path) -> None:
    place = {"ts_end_ns": 20_007 * DAY_NS, "text": ""}
    findings = [
        {"asset": "A", "severity": severity, "places": [place | {"ts_end_ns": place["ts_end_ns"] + after * DAY_NS}]}  # type: ignore[operator]
        for after, severity in enumerate(("error", "warning", "info"))
    ]
    found = coverage(write(tmp_path, {"A": columns(range(20)), "B": columns(range(20))}, {"findings": findings}))
    assert np.flatnonzero(found.flagged[0]).tolist() == [7, 8]
    assert not found.flagged[1].any()


def test_coverage__refuses_more_bars_than_it_can_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.coverage.MOST_BARS", 10)
    with pytest.raises(InputError, match="take fewer"):
        coverage(write(tmp_path, {"A": columns(range(20))}))


def test_changes__say_what_each_asset_lost_gained_and_changed(tmp_path: Path) -> None:
    older = write(tmp_path, {"A": columns(range(10)), "B": columns(range(10)), "C": columns(range(5))})
    newer = write(tmp_path, {"A": columns(range(10)), "B": columns(range(2, 13), d5=11.0), "D": columns(range(4))})
    found = {change.asset: change for change in changes(older, newer)}
    assert set(found) == {"B", "C", "D"}
    assert (found["B"].n_added, found["B"].n_removed, found["B"].n_changed) == (3, 2, 1)
    assert found["B"].first_ns == 20_000 * DAY_NS
    assert (found["C"].what, found["C"].n_removed) == ("removed", 5)
    assert (found["D"].what, found["D"].n_added) == ("added", 4)
