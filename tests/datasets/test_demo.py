from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets import demo
from datasets.catalog import Catalog
from datasets.demo import ingest_demo
from datasets.store import open_store
from quantbot.errors import InputError


def test_ingest_demo__gives_real_indices_and_a_named_synthetic_market(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SYNTHETIC_DAYS", 5)
    root = open_store(tmp_path)
    told: list[float] = []
    made = ingest_demo(root, progress=lambda done, text: told.append(done))
    assert Catalog(root).names() == ["demo/indices", "demo/nasdaq", "demo/sp500", "demo/synthetic-minute"]
    assert told == sorted(told)
    spx = made["demo/sp500"].dataset.bars("SPX")
    assert len(spx) == 5031
    assert (spx.close[0], spx.close[-1]) == (1228.099976, 2506.850098)
    assert str(spx.ts_end_ns[:1].astype("datetime64[ns]")[0]) == "1999-01-04T21:00:00.000000000"
    assert spx.periods_per_year == pytest.approx(251.57, abs=0.01)
    assert made["demo/indices"].dataset.assets == ("IXIC", "SPX")
    assert np.array_equal(made["demo/indices"].dataset.bars("SPX").close, spx.close)
    assert not made["demo/sp500"].dataset.meta.synthetic
    assert made["demo/synthetic-minute"].dataset.meta.synthetic
    # The real files keep every rule: nothing was repaired, no session is missing; two bars have no volume.
    assert made["demo/sp500"].report.findings == ()
    assert made["demo/nasdaq"].report.assets["IXIC"]["zero_volume"] == 2
    again = ingest_demo(root)
    assert not any(result.created for result in again.values())


def test_ingest_demo__says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"install quantbot\[demo\]"):
        ingest_demo(open_store(tmp_path))
