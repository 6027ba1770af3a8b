"""The paired bootstrap finds a planted difference, and none where there is none."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.selection.paired import paired_difference

pytest.importorskip("arch", reason="pip install 'quantbot[stats]'")


def pair(edge: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0002, 0.01, 1_500)
    return market + rng.normal(0, 0.002, 1_500), market + rng.normal(0, 0.002, 1_500) + edge


def test_paired__finds_an_edge_that_is_small_beside_the_market() -> None:
    first, second = pair(0.0005)
    found = paired_difference(first, second, 252.0, n_draws=200)
    assert found.sharpe_low > 0
    assert found.mean_low > 0
    assert found.sharpe_below < 0.02
    ratio = [part.mean() / part.std(ddof=1) * math.sqrt(252) for part in (first, second)]
    assert found.sharpe == pytest.approx(ratio[1] - ratio[0])
    assert found.mean == pytest.approx((second.mean() - first.mean()) * 252)


def test_paired__covers_zero_where_nothing_differs() -> None:
    covered = [
        found.sharpe_low <= 0 <= found.sharpe_high
        for seed in range(20)
        for found in [paired_difference(*pair(0.0, seed), 252.0, n_draws=100)]
    ]
    assert sum(covered) >= 15


def test_paired__of_a_path_with_itself_is_nothing() -> None:
    first, _ = pair(0.0)
    found = paired_difference(first, first, 252.0, n_draws=50)
    assert (found.sharpe, found.sharpe_low, found.sharpe_high, found.sharpe_below) == (0.0, 0.0, 0.0, 0.5)


def test_paired__with_a_flat_path_has_no_sharpe_but_a_mean() -> None:
    first, _ = pair(0.0)
    found = paired_difference(first, np.zeros(first.size), 252.0, n_draws=50)
    assert math.isnan(found.sharpe)
    assert found.mean_low < found.mean < found.mean_high


def test_paired__is_the_same_for_the_same_seed() -> None:
    assert paired_difference(*pair(0.0), 252.0, n_draws=50) == paired_difference(*pair(0.0), 252.0, n_draws=50)


def test_paired__refuses_other_shapes_and_says_how_to_get_arch(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="same 20 or more"):
        paired_difference(np.zeros(30), np.zeros(31), 252.0)
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("arch"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"quantbot\[stats\]"):
        paired_difference(*pair(0.0), 252.0)
