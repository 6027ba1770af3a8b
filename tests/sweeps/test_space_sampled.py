"""Points that are drawn: distinct, within their axes, the same for the same space and seed."""

import math
import time

import numpy as np
import pytest

from quantbot.errors import SpecError
from quantbot.parameters import choice, integer, number
from sweeps.sampling import sample_points
from sweeps.sections import Interval, Range, Search, Values

DECLARED = {
    "fast": integer("fast", 5, 1, 1000, "A whole number."),
    "band": number("band", 1, 0.001, 1000, "A number."),
    "fill": choice("fill", "a", ("a", "b", "c"), "A word."),
}
FORMS = {
    "fast": Interval(low=2, high=400, scale="log"),
    "band": Interval(low=0.5, high=2.0),
    "fill": Values(values=["b", "a"]),
}


def sample(forms=FORMS, **search):
    return sample_points(forms, DECLARED, Search(**{"method": "random", "n": 200, **search}), {"limit": 100})


@pytest.mark.parametrize("method", ["random", "sobol", "lhs"])
def test_sampling__is_distinct_typed_and_within_its_axes(method):
    axes, points = sample(method=method)
    assert points.n_points == 200
    assert [(axis.name, axis.kind, axis.sampled) for axis in axes] == [
        ("fast", "integer", True),
        ("band", "number", True),
        ("fill", "choice", True),
    ]
    assert len({tuple(points.point(row).items()) for row in range(200)}) == 200
    fast, band, fill = (points.columns[name] for name in ("fast", "band", "fill"))
    assert fast.dtype == np.int64
    assert 2 <= fast.min() < 6 and 200 < fast.max() <= 400  # noqa: PT018 - both ends of one claim
    assert band.dtype == np.float64
    assert 0.5 <= band.min() < 0.55 and 1.95 < band.max() <= 2.0  # noqa: PT018
    assert set(fill.tolist()) == {"a", "b"}
    for axis in axes:
        assert axis.values.tolist() == sorted(set(points.columns[axis.name].tolist()))


@pytest.mark.parametrize("method", ["random", "sobol", "lhs"])
def test_sampling__repeats_for_the_same_space_and_seed_alone(method):
    def columns(forms=FORMS, **search):
        return {name: column.tolist() for name, column in sample(forms, method=method, **search)[1].columns.items()}

    assert columns() == columns() == columns(seed=0)
    assert columns(seed=1) != columns()
    assert columns({**FORMS, "band": Interval(low=0.5, high=2.1)})["fast"] != columns()["fast"]


def test_sampling__is_the_same_on_every_machine_and_day():
    _, points = sample({"fast": FORMS["fast"], "band": FORMS["band"]}, n=3)
    assert points.columns["fast"].tolist() == [139, 3, 120]
    assert points.columns["band"].tolist() == [0.896422, 1.058534, 1.490302]


def test_sampling__a_shorter_search_is_the_beginning_of_a_longer_one():
    short, long = sample(n=64)[1], sample(n=200)[1]
    assert short.columns["band"].tolist() == long.columns["band"][:64].tolist()


def test_sampling__obeys_where():
    _, points = sample(where="fast < 50 and band > 1 and fast < limit")
    assert points.n_points == 200
    assert points.columns["fast"].max() < 50
    assert points.columns["band"].min() > 1


def test_sampling__of_a_finite_space_can_take_all_of_it():
    forms = {"fast": Range(start=1, stop=6), "fill": Values(values=["a", "b"])}
    _, points = sample(forms, n=12)
    assert len({tuple(points.point(row).items()) for row in range(12)}) == 12
    with pytest.raises(SpecError, match="13 points, but the space has 12 distinct ones"):
        sample(forms, n=13)


def test_sampling__gives_up_on_a_condition_that_leaves_too_little():
    with pytest.raises(SpecError, match=r"200 distinct points, but [\d,]+ draws gave 0"):
        sample(where="fast > 400")


def test_sampling__of_nothing_is_refused():
    with pytest.raises(SpecError, match="nothing varies"):
        sample({}, n=1)


def test_sobol__spreads_more_evenly_than_random():
    forms = {"band": Interval(low=0.5, high=2.0), "fast": Interval(low=1, high=1000)}

    def emptiness(method):
        _, points = sample(forms, method=method, n=256)
        cells = np.histogram2d(points.columns["band"], points.columns["fast"], bins=(16, 16))[0]
        return int((cells == 0).sum())

    assert emptiness("sobol") < emptiness("random") / 3


def test_latin_hypercube__has_one_point_in_each_layer_of_every_axis():
    forms = {"band": Interval(low=0.5, high=2.0), "fast": Interval(low=1, high=50)}
    _, points = sample(forms, method="lhs", n=50)
    assert np.floor((points.columns["band"] - 0.5) / 1.5 * 50).astype(int).tolist() != list(range(50))
    assert sorted(np.floor((points.columns["band"] - 0.5) / 1.5 * 50).astype(int).tolist()) == list(range(50))
    assert sorted(points.columns["fast"].tolist()) == list(range(1, 51))


@pytest.mark.parametrize("n", [1, 20, 63, 200])
def test_latin_hypercube__fills_up_what_a_condition_leaves_out(n):
    _, points = sample(method="lhs", n=n, where="fast < 50")
    assert (points.n_points, points.columns["fast"].max() < 50) == (n, True)
    assert len({tuple(points.point(row).items()) for row in range(n)}) == n


def test_log_scale__draws_each_decade_alike():
    _, points = sample({"band": Interval(low=0.001, high=1000, scale="log")}, n=6000)
    counts = np.histogram(np.log10(points.columns["band"]), bins=6, range=(-3, 3))[0]
    assert abs(counts - 1000).max() < 5 * math.sqrt(1000)


def test_sampling__writes_numbers_that_a_person_can_type_again():
    _, points = sample({"band": Interval(low=0.001, high=1000, scale="log")}, n=500)
    assert max(len(f"{value:.17g}".replace(".", "").lstrip("0")) for value in points.columns["band"].tolist()) >= 6
    assert all(value == float(f"{value:.6g}") for value in points.columns["band"].tolist())


def test_sampling__of_half_a_million_points_is_quick():
    began = time.process_time()
    _, points = sample(n=500_000, where="fast < 300")
    assert time.process_time() - began < 5
    assert points.n_points == 500_000
