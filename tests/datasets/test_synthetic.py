from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.store import open_store
from datasets.synthetic import BARS_PER_DAY, Market, synthetic_minute
from quantbot.errors import InputError


def test_market__draws_the_same_bits_for_ever() -> None:
    """A digest written down: another one means that every run on such data has another identity."""
    assert Market(2, 5, seed=7)["SYN001"].digest() == "7daf118149a04bffa6ca9c25025e1c9c1ee5448096223620ba32824ab03dc731"


def test_market__of_one_asset_does_not_depend_on_the_others() -> None:
    assert Market(3, 5, seed=1)["SYN002"].digest() == Market(300, 5, seed=1)["SYN002"].digest()
    assert Market(3, 5, seed=1)["SYN002"].digest() != Market(3, 5, seed=2)["SYN002"].digest()
    assert Market(3, 5, seed=1)["SYN002"].digest() != Market(3, 5, seed=1)["SYN001"].digest()


def test_market__trades_the_sessions_of_new_york() -> None:
    ts = Market(1, 100, start="2024-01-02").ts_end_ns.reshape(100, BARS_PER_DAY)
    first, last = (str(each)[:16] for each in ts[0, [0, -1]].astype("datetime64[ns]"))
    assert (first, last) == ("2024-01-02T14:31", "2024-01-02T21:00")
    assert str(ts[60, 0].astype("datetime64[ns]"))[:16] == "2024-03-26T13:31"  # summer time
    weekday = (ts[:, 0] // 86_400_000_000_000 + 3) % 7
    assert weekday.max() < 5


def test_market__looks_like_one() -> None:
    market = Market(4, 250, seed=3)
    closes = np.array([market[symbol].close for symbol in market])
    minutes = closes[:, 1:] / closes[:, :-1] - 1
    daily = closes[:, BARS_PER_DAY - 1 :: BARS_PER_DAY]
    returns = daily[:, 1:] / daily[:, :-1] - 1
    yearly = returns.std(axis=1) * np.sqrt(252)
    assert ((yearly > 0.1) & (yearly < 0.6)).all()
    correlation = np.corrcoef(returns)[np.triu_indices(4, 1)]
    assert ((correlation > 0.1) & (correlation < 0.6)).all()
    kurtosis = (minutes**4).mean(axis=1) / (minutes**2).mean(axis=1) ** 2
    assert (kurtosis > 4).all()
    drift = returns.mean(axis=1) / (returns.std(axis=1) / np.sqrt(returns.shape[1]))
    assert (np.abs(drift) < 4).all()  # in standard errors: there is no trend to find
    close = market["SYN000"].close
    assert np.array_equal(close, np.rint(close * 100) / 100)  # whole cents


def test_synthetic_minute__says_that_it_is_synthetic(tmp_path: Path) -> None:
    root = open_store(tmp_path)
    told: list[float] = []
    result = synthetic_minute(root, "syn/small", 2, 10, seed=5, progress=lambda done, text: told.append(done))
    assert result.created
    assert result.dataset.meta.synthetic
    assert "ynthetic" in result.dataset.meta.title
    assert result.dataset.assets == ("SYN000", "SYN001")
    assert len(result.dataset.bars("SYN001")) == 10 * BARS_PER_DAY
    assert result.report.count("warning") == 0
    assert told == sorted(told)
    assert max(told) <= 1
    assert not synthetic_minute(root, "syn/small", 2, 10, seed=5).created


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_assets": 0}, "n_assets must be 1 to"),
        ({"n_days": 10**9}, "n_days must be 1 to"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"start": "soon"}, "start must be a date"),
        ({"start": "NaT"}, "start must lie between"),
    ],
)
def test_synthetic_minute__refuses_what_it_can_not_draw(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        synthetic_minute(open_store(tmp_path), "syn/small", **arguments)  # type: ignore[arg-type]
