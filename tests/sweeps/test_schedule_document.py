"""A schedule's file is refused at the boundary, with everything that is wrong at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from schedules import write_schedule

from quantbot.errors import NotFoundError, SpecError
from sweeps.schedule.document import load_schedule, load_schedules, parse_schedule

WHEN = 'after_close = "XNYS"\ndelay = "2h"'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_schedule(tmp_path, "ny", calendar="XNYS", zone="America/New_York", when=WHEN)


def problems(file: Path, old: str, new: str) -> list[str]:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(SpecError) as caught:
        load_schedule(file)
    return caught.value.problems


def test_load__gives_rule_specs_and_defaults(file: Path) -> None:
    schedule = load_schedule(file)
    assert (schedule.name, str(schedule.rule)) == ("ny", "2 h after each close of XNYS")
    assert [each.spec.name for each in schedule.runs] == ["ny"]
    assert (schedule.catch_up.policy, schedule.catch_up.limit) == ("all", 10)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (WHEN, 'cron = "61 * * * *"\nzone = "UTC"', "when: must be a cron expression of five fields"),
        (WHEN, 'cron = "0 1 * * *"\nzone = "Europe/Pariss"', "did you mean 'Europe/Paris'?"),
        (WHEN, 'cron = "0 1 * * *"', "when: cron needs a zone"),
        (WHEN, 'cron = "0 1 * * *"\nzone = "UTC"\nafter_open = "XNYS"', "found cron and after_open"),
        (WHEN, 'after_close = "XNYSE"', "calendar 'XNYSE' is unknown"),
        (WHEN, 'after_close = "XNYS"\ndelay = "9d"', "delay must be at most 7d"),
        (WHEN, 'after_closing = "XNYS"', "when.after_closing: no such field"),
        ("[when]", "[wen]", "when: is required"),
        ("[when]", "[wen]\n[when]", "did you mean 'when'?"),
        ("version = 1", "version = 2", "version: must be 1, found 2"),
        ('"ny overnight"', '"\\u202eup"', "title: must be a text of 1 to 200 printable characters"),
        ('name = "the one we trade"', 'name = "\\u202eup"', "pin[0].name: must be printable, was '\\u202eup'"),
        ('format = "csv"', 'format = "cvs"', "refresh[0].format: must be one of"),
        ('format = "csv"', 'format = "cvs"', "did you mean 'csv'?"),
        ("zone = \"America/New_York\", calendar", "zoen = \"America/New_York\", calendar", "did you mean 'zone'?"),
        ('retry_after = "30min"', 'retry_after = "soon"', "refresh[0].retry_after: must be a length of time"),
        ("retries = 1", "retries = -1", "refresh[0].retries"),
        ("sim/ny\"\nformat", "Sim/NY\"\nformat", "refresh[0].dataset: a dataset's name is"),
        ('[[run]]\nspec = "specs/ny.toml"', '[[run]]\nspec = "specs/nu.toml"', "run[0].spec specs/nu.toml: a TOML"),
        ("fast = 3, slow = 8", "fast = 3, slwo = 8", "pin[0].point.slwo: the spec has no such setting"),
        ("fast = 3, slow = 8", "fast = 3", "pin[0].point: the spec varies slow too"),
        ("fast = 3, slow = 8", "fast = 0, slow = 8", "pin[0].point.fast"),
        ("total_return >", "total_retrun >", "did you mean 'total_return'?"),
        ("[[pin]]", '[webhook]\nurl = "http://example.com/x"\n[[pin]]', "webhook: a webhook's URL begins with https"),
        ("[[pin]]", "[catch_up]\nlimit = 0\n[[pin]]", "catch_up.limit"),
    ],
)  # fmt: skip
def test_load__names_place_value_and_nearest(file: Path, old: str, new: str, said: str) -> None:
    assert any(said in problem for problem in problems(file, old, new))


def test_load__says_all_problems_of_all_files_at_once(tmp_path: Path, file: Path) -> None:
    write_schedule(tmp_path, "ldn", calendar="XLON", zone="Europe/London", when='after_close = "XLON"\nwhy = 1')
    text = file.read_text().replace('format = "csv"', 'format = "cvs"').replace("slow = 8", "slow = 1")
    file.write_text(text)
    (tmp_path / "specs" / "ny.toml").write_text("version = 1\n[data]\ndataset = 3\n")
    with pytest.raises(SpecError) as caught:
        load_schedules(tmp_path)
    said = "\n".join(caught.value.problems)
    for part in (
        "ldn.toml: when.why",
        "ny.toml: refresh[0].format",
        "ny.toml: run[0].spec specs/ny.toml: data.dataset",
    ):
        assert part in said


def test_load__repeats_no_secret(file: Path) -> None:
    hook = '[webhook]\nurl = "https://user:hunter2@example.com/x"\n[[pin]]'
    assert "hunter2" not in "\n".join(problems(file, "[[pin]]", hook))


def test_load__of_nothing_says_where_it_looked(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFoundError, match=str(place)):
            load_schedules(place)


def test_parse__takes_the_specs_that_a_job_has_kept(file: Path) -> None:
    schedule = load_schedule(file)
    (file.parent / "specs" / "ny.toml").unlink()
    again = parse_schedule(schedule.text, "ny", file.parent, schedule.specs())
    assert again.runs[0].spec == schedule.runs[0].spec
    assert again.pins[0].entry == schedule.pins[0].entry


def test_load__refuses_a_name_that_no_store_should_have(file: Path) -> None:
    bad = file.rename(file.with_name("..ny nights.toml"))
    with pytest.raises(SpecError, match="the file's name is the schedule's"):
        load_schedule(bad)


def test_examples__are_schedules() -> None:
    folder = Path(__file__).parents[2] / "sweeps" / "examples" / "schedules"
    assert [schedule.name for schedule in load_schedules(folder)] == ["sp500"]
