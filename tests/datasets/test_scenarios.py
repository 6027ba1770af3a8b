"""Scenarios that are handed in: read by line, stored once, verified, seen from when they were known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.catalog import Catalog
from datasets.scenarios import open_scenarios, read_csv, read_scenarios, scenario_names, write_scenarios
from datasets.store import open_store
from quantbot.errors import CorruptError, DataError, InputError, NotFoundError
from quantbot.portfolio.given import GivenScenarios

DAY_NS = 86_400_000_000_000
TEXT = "known,probability,A,B\n1970-01-02,0.25,0.1,-0.1\n1970-01-02,0.75,0,0\n1970-01-04,1,0.2,0\n"


def read(tmp_path: Path, text: str) -> GivenScenarios:
    (tmp_path / "views.csv").write_text(text)
    return read_csv(tmp_path / "views.csv")


def test_csv__has_sets_known_from_the_end_of_their_day(tmp_path: Path) -> None:
    given = read(tmp_path, TEXT)
    assert given.assets == ("A", "B")
    assert given.at(2 * DAY_NS - 1) is None
    for moment, wanted in ((2, [0.25, 0.75]), (3, [0.25, 0.75]), (4, [1.0]), (50, [1.0])):
        found = given.at(moment * DAY_NS)
        assert found is not None
        assert found.probabilities.tolist() == wanted
    assert given.of_assets(4 * DAY_NS, ("B", "A")).returns.tolist() == [[0.0, 0.2]]
    exact = read(tmp_path, "time,A\n1970-01-02T10:00:00Z,0.1\n1970-01-02T10:00:00Z,0.1\n")
    assert exact.sets_ns.tolist() == [DAY_NS + 10 * 3_600 * 10**9]
    assert exact.probabilities.tolist() == [0.5, 0.5]


def test_csv__without_a_time_is_one_set_that_is_always_known(tmp_path: Path) -> None:
    given = read(tmp_path, "A,B\n0.1,0.2\n-0.1,0\n")
    assert not given.dated
    found = given.at(-(2**62))
    assert found is not None
    assert found.returns.tolist() == [[0.1, 0.2], [-0.1, 0.0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A,B\n0.1,nan\n", r"views\.csv, line 2: B 'nan' is not a finite number"),
        ("A,B\n0.1,inf\n", "line 2: B 'inf'"),
        ("A,B\n0.1,\n", "line 2: B ''"),
        ("A,B\n0.1,-5\n", "line 2: B -5 is below -1.*in percent"),
        ("A,A\n0.1,0\n", "'A' twice"),
        ("known,date,A\n1970-01-02,1970-01-02,0\n", "two columns of times: known and date"),
        ("known\n1970-01-02\n", "no column of returns"),
        ("known,A\n1970-01-03,0\n1970-01-02,0\n", "line 3: known '1970-01-02' is before the line before"),
        ("probability,A\n0.5,0\n0.4,0\n", "sum 1; their least is 0.4, their sum 0.9"),
        ("probability,A\n1.5,0\n-0.5,0\n", "their least is -0.5"),
        ("known,A\nyesterday,0\n", "known 'yesterday' is no ISO 8601"),
    ],
)
def test_csv__is_refused_by_line_and_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"(?s){said}"):
        read(tmp_path, text)


def test_stored__comes_back_bit_for_bit_and_once(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "store"))
    rng = np.random.default_rng(3)
    known = np.sort(rng.integers(0, 5, 200)) * DAY_NS
    given = GivenScenarios.of(("A", "B", "C"), 0.01 * rng.standard_normal((200, 3)), known_ns=known)
    written = write_scenarios(root, "mine/draws", given)
    again = open_scenarios(f"mine/draws@{written.version[:8]}", root).given
    assert again.digest == given.digest
    for name in ("known_ns", "returns", "probabilities"):
        assert getattr(again, name).tobytes() == getattr(given, name).tobytes()
    n_objects = len(list(root.list()))
    assert write_scenarios(root, "mine/draws", given).version == written.version
    assert len(list(root.list())) == n_objects
    assert (scenario_names(root), Catalog(root).names()) == (["mine/draws"], [])  # datasets have names of their own
    other = write_scenarios(root, "mine/draws", GivenScenarios.of(("A", "B", "C"), -given.returns, known_ns=known))
    assert other.version != written.version
    assert open_scenarios("mine/draws", root).version == other.version


def test_damage__is_found_before_a_number_is_seen(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "store"))
    written = write_scenarios(root, "mine", GivenScenarios.of(("A",), [[0.1], [0.2]]))
    key = next(key for key in root.list() if "/returns/c/" in key)
    data = bytearray(root.get(key))
    data[len(data) // 2] ^= 1
    root.put(key, bytes(data))
    with pytest.raises(CorruptError, match="mine@"):
        read_scenarios(root, "mine", written.version).given  # noqa: B018


def test_open__names_what_is_there_and_what_to_do_with_a_file(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "store"))
    write_scenarios(root, "mine/views", GivenScenarios.of(("A",), [[0.1]]))
    with pytest.raises(NotFoundError, match=r"no scenarios 'mine/veiws'.*did you mean 'mine/views'"):
        open_scenarios("mine/veiws", root)
    with pytest.raises(InputError, match=r"store it first: quantbot ingest scenarios mine/views views\.csv"):
        open_scenarios("folder/views.csv", root)
