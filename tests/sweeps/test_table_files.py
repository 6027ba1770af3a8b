"""Tables that stand in a file beside the spec."""

from __future__ import annotations

from pathlib import Path

import pytest

import sweeps
from quantbot.errors import SpecError

SPEC = """
version = 1
[run]
engine = "book"
[data]
dataset = "x"
[strategy]
name = "market_maker"
[execution]
latency = "recorded"
delays = "measured.csv"
[objective]
metric = "total_return"
"""


def written(folder: Path, text: str) -> Path:
    (folder / "measured.csv").write_text(text)
    (folder / "spec.toml").write_text(SPEC)
    return folder / "spec.toml"


def test_file__is_part_of_the_spec_and_of_what_identifies_it(tmp_path: Path) -> None:
    spec = sweeps.load_spec(written(tmp_path, "time,entry_us,answer_us\n14:30:00,500,400\n14:30:01.5,700,300\n"))
    assert spec.tables["execution.delays"]["14:30:01.5"] == {"entry_us": 700.0, "answer_us": 300.0}
    assert sweeps.parse_spec(spec.to_toml()).canonical() == spec.canonical()  # no file is needed any more
    other = sweeps.load_spec(written(tmp_path, "time,entry_us,answer_us\n14:30:00,500,400\n14:30:01.5,700,301\n"))
    assert other.canonical() != spec.canonical()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 of measured.csv must name"),
        ("time,entry_us\n14:30,1\n", "then entry_us, answer_us"),
        ("time,entry_us,answer_us\n14:30,1\n", "line 2 of measured.csv has 2 fields, 3 are needed"),
        ("time,entry_us,answer_us\n14:30,1,x\n", "line 2 of measured.csv: answer_us must be a number, found 'x'"),
        ("time,entry_us,answer_us\n14:30,1,nan\n", "entry_us must be|answer_us must be"),
        ("time,entry_us,answer_us\n14:30,1,2\n14:30,1,2\n", "line 3 of measured.csv: '14:30' came before"),
    ],
)
def test_file__is_refused_by_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        sweeps.load_spec(written(tmp_path, text))


def test_file__needs_a_spec_that_is_a_file_itself() -> None:
    with pytest.raises(SpecError, match="write the rows out here"):
        sweeps.parse_spec(SPEC)
