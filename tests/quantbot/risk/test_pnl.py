"""Profit and loss, drawdowns and differences by source: they sum, and say where they would not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.risk import (
    EFFECTS,
    TrialPath,
    attribute_drawdowns,
    attribute_pnl,
    explain_difference,
    rolling_contributions,
    split_by_factor,
)


@dataclass
class Account:
    """A slow account: weights at the start of each bar, costs on what is traded, interest on cash."""

    market: np.ndarray
    weights: np.ndarray
    start: float = 1000.0

    def run(self) -> dict[str, np.ndarray]:
        equity, level, held = [], self.start, np.zeros(self.weights.shape[1])
        pnl, fees, interest, values = [], [], [], []
        for weight, move in zip(self.weights, self.market, strict=True):
            value = weight * level
            fee = 0.002 * np.abs(value - held).sum()
            earned = 0.0001 * (level - value.sum())
            pnl.append(value * move)
            level_next = level + pnl[-1].sum() - fee + earned
            equity.append(level_next)
            fees.append(fee)
            interest.append(earned)
            values.append(value)
            held, level = value * (1 + move), level_next
        return {"equity": np.array(equity), "pnl": np.array(pnl), "fees": np.array(fees),
                "cash": np.array(interest), "values": np.array(values)}  # fmt: skip

    def path(self) -> TrialPath:
        found = self.run()
        before = np.concatenate([[self.start], found["equity"][:-1]])
        return TrialPath(found["equity"] / before - 1, self.weights, found["fees"] / before)


def account(seed: int, n_bars: int = 60, n_assets: int = 3) -> Account:
    rng = np.random.default_rng(seed)
    return Account(rng.normal(0, 0.02, (n_bars, n_assets)), rng.normal(0.3, 0.4, (n_bars, n_assets)))


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_profit__is_the_sum_of_its_sources(seed: int) -> None:
    guarded = account(seed)
    found = guarded.run()
    free = found["pnl"] * np.random.default_rng(seed).uniform(0.5, 2, (60, 1))
    whole = attribute_pnl(found["pnl"], "abc", costs={"fees": found["fees"]}, cash=found["cash"], unguarded_pnl=free,
                          equity=found["equity"], start=1000.0)  # fmt: skip
    assert whole.names == ("a", "b", "c", "guards", "fees", "cash")
    assert whole.total == pytest.approx(found["equity"][-1] - 1000, abs=1e-9)
    assert whole.of_kind("asset") == pytest.approx(free.sum(), abs=1e-9)
    assert whole.of_kind("guard") == pytest.approx((found["pnl"] - free).sum(), abs=1e-9)
    assert whole.of_kind("cost") == pytest.approx(-found["fees"].sum(), abs=1e-9)
    rng = np.random.default_rng(seed)
    factors, exposures = rng.normal(0, 0.01, (60, 2)), rng.normal(1, 0.5, (3, 2))
    split = split_by_factor(whole, found["values"], exposures, factors, ("market", "size"))
    assert split.amounts.sum(axis=1) == pytest.approx(whole.amounts.sum(axis=1), abs=1e-9)
    slow = sum(found["values"][t, i] * exposures[i, 1] * factors[t, 1] for t in range(60) for i in range(3))
    assert split.sums[split.names.index("size")] == pytest.approx(slow, abs=1e-9)


def test_profit_without_a_source__is_refused_with_its_bar() -> None:
    found = account(1).run()
    equity = found["equity"].copy()
    equity[17:] += 5.0
    with pytest.raises(InputError, match=r"in bar 17 .* 5 of it has no source"):
        attribute_pnl(found["pnl"], "abc", costs={"fees": found["fees"]}, cash=found["cash"], equity=equity,
                      start=1000.0)  # fmt: skip
    with pytest.raises(InputError, match=r"fees must be of shape \(60\), was of shape \(59,\)"):
        attribute_pnl(found["pnl"], "abc", costs={"fees": found["fees"][1:]})
    with pytest.raises(InputError, match=r"cash must be finite, found nan at \(0,\)"):
        attribute_pnl(found["pnl"], "abc", cash=np.full(60, np.nan))


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_drawdowns__are_the_sum_of_what_each_source_lost(seed: int) -> None:
    found = account(seed).run()
    whole = attribute_pnl(found["pnl"], "abc", costs={"fees": found["fees"]}, cash=found["cash"])
    worst = attribute_drawdowns(whole.amounts, found["equity"], 1000.0, whole.names, 3)
    assert worst
    for one in worst:
        assert one.component.sum() == pytest.approx(-one.drawdown.depth, abs=1e-12)
    peak = np.maximum.accumulate(np.append(1000.0, found["equity"]))[1:]
    assert worst[0].drawdown.depth == pytest.approx((1 - found["equity"] / peak).max(), abs=1e-12)
    with pytest.raises(InputError, match="has no source"):
        attribute_drawdowns(whole.amounts[:, :3], found["equity"], 1000.0, whole.names[:3])


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40)
def test_a_difference__is_the_sum_of_its_effects(seed: int, guarded: bool) -> None:
    one = account(seed)
    other = replace(one, weights=account(seed + 1).weights)
    paths = [one.path(), other.path()]
    if guarded:
        paths[0] = replace(paths[0], unguarded=1.3 * one.weights)
    found = explain_difference(paths[0], paths[1], one.market)
    ends = [account.run()["equity"][-1] / 1000 - 1 for account in (one, other)]
    assert found.total == pytest.approx(ends[0] - ends[1], abs=1e-12)
    assert found.effects.sum() == pytest.approx(found.total, abs=1e-12)
    assert found.path.sum(axis=0) == pytest.approx(found.effects, abs=1e-12)
    assert found.by_asset.sum(axis=0) == pytest.approx(found.effects[:2], abs=1e-12)
    back = explain_difference(paths[1], paths[0], one.market)
    assert back.effects == pytest.approx(-found.effects, abs=1e-12)


def test_effects__are_told_apart() -> None:
    one = account(5)
    assert np.array_equal(explain_difference(one.path(), one.path(), one.market).effects, np.zeros(5))
    path = one.path()
    half = replace(
        path, weights=0.5 * one.weights, returns=np.asarray(path.returns) - (0.5 * one.weights * one.market).sum(1)
    )
    assert effects(path, half, one) == {"sizing"}
    cheap = replace(path, costs=np.zeros(60), returns=np.asarray(path.returns) + np.asarray(path.costs))
    assert effects(path, cheap, one) == {"costs"}
    paid = replace(path, returns=np.asarray(path.returns) + 0.001)
    assert effects(path, paid, one) == {"other"}
    turned = one.weights[:, ::-1].copy()
    other = replace(
        path, weights=turned, returns=np.asarray(path.returns) + ((turned - one.weights) * one.market).sum(1)
    )
    assert effects(path, other, one) == {"signal"}
    guarded = replace(path, unguarded=one.weights, weights=0 * one.weights,
                      returns=np.asarray(path.returns) - (one.weights * one.market).sum(1))  # fmt: skip
    assert effects(path, guarded, one) == {"guards"}


def effects(one: TrialPath, other: TrialPath, where: Account) -> set[str]:
    found = explain_difference(one, other, where.market)
    return {name for name, effect in zip(EFFECTS, found.effects, strict=True) if abs(effect) > 1e-12}


def test_what_cannot_be_compared__is_refused_by_name() -> None:
    one = account(1)
    path = one.path()
    ruined = replace(path, returns=np.where(np.arange(60) == 7, -1.0, 0.0))
    with pytest.raises(InputError, match="the second trial lost all it had in bar 7"):
        explain_difference(path, ruined, one.market)
    with pytest.raises(InputError, match=r"weights of the first trial must be of shape \(60, 3\)"):
        explain_difference(replace(path, weights=np.zeros((60, 2))), path, one.market)
    unknown = one.market.copy()
    unknown[4, 2] = np.nan
    with pytest.raises(InputError, match="the first trial holds asset 2 in bar 4, whose return is nan"):
        explain_difference(path, path, unknown)


def test_rolling_contributions__are_those_of_each_window() -> None:
    from quantbot.portfolio import Scenarios
    from quantbot.risk import risk_contributions

    one = account(3)
    found = rolling_contributions(one.weights, one.market, window=20, step=7, beta=0.8, groups=["x", "y", "x"])
    assert found.ends.tolist() == [20, 27, 34, 41, 48, 55]
    assert found.names == ("x", "y")
    for end, total, component in zip(found.ends, found.total, found.component, strict=True):
        window = Scenarios.of(one.market[end - 20 : end])
        single = risk_contributions(one.weights[end - 1], window, beta=0.8, groups=["x", "y", "x"])
        assert total == single.total
        assert np.array_equal(component, single.component)
    with pytest.raises(InputError, match="window must be from 1 to 60"):
        rolling_contributions(one.weights, one.market, window=61)
