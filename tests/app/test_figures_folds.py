from __future__ import annotations

import pytest

from app.figures.folds import MOST, folds_alt, folds_strip
from sweeps.trial import Fold

DAY = 86_400 * 10**9


def fold(name: str, role: str, start: int, stop: int) -> Fold:
    return Fold(name, role, start * DAY, stop * DAY)  # type: ignore[arg-type]


HOLDOUT = [fold("all", "all", 0, 100), fold("train", "train", 0, 70), fold("test", "test", 80, 100)]


def test_strip__draws_each_fold_where_and_as_long_as_it_is() -> None:
    bars = {bar.name: bar for bar in folds_strip(HOLDOUT).data}
    assert set(bars) == {"all", "train", "test"}
    assert bars["test"].base == ("1970-03-22",)
    assert bars["test"].x == (20 * 86_400_000,)


def test_strip__leaves_the_gap_of_purge_and_embargo_empty() -> None:
    bars = {bar.name: bar for bar in folds_strip(HOLDOUT).data}
    end_of_train = bars["train"].x[0]  # it starts at the epoch, so its length is its end
    assert end_of_train == 70 * 86_400_000 < 80 * 86_400_000


def test_strip__tells_roles_apart_without_colour() -> None:
    patterns = [bar.marker.pattern.shape for bar in folds_strip(HOLDOUT).data if bar.name in ("train", "test")]
    assert len(set(patterns)) == 2


def test_strip__of_many_folds_draws_the_first_ones() -> None:
    many = [fold(f"test {number}", "test", number, number + 1) for number in range(3 * MOST)]
    assert len(folds_strip(many).data[0].y) == MOST


@pytest.mark.parametrize(
    ("folds", "told"), [(HOLDOUT, "3 folds: 1 all, 1 train, 1 test"), (HOLDOUT[:1], "1 fold: 1 all")]
)
def test_alt__counts_folds_by_role(folds: list[Fold], told: str) -> None:
    assert folds_alt(folds) == told
