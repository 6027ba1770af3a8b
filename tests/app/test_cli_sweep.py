"""`quantbot sweep`, from the plan to the best trials, on small runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import terminal
from app.cli import main
from app.format import MINUS, SPACE

SPEC = """
version = 1
[run]
name = "small"
[data]
dataset = "test/pair"
assets = ["AAA"]
[strategy]
name = "sma_cross"
[parameters]
fast = { start = 3, stop = 8, step = 1 }
slow = { values = [10, 20] }
"""
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Type a command; get its exit code, and what it said on stdout and stderr."""

    def run(*words: object, store: str = "") -> tuple[int, str, str]:
        if store:
            monkeypatch.setenv("QUANTBOT_STORE", store)
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out.replace(SPACE, " ").replace(MINUS, "-"), said.err

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec of 12 trials."""
    file = tmp_path / "small.toml"
    file.write_text(SPEC)
    return file


def test_plan__counts_and_writes_nothing(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    before = sorted(Path(store).rglob("*"))
    code, out, _ = say("sweep", "plan", spec, store=store)
    assert code == 0
    assert "12 of fast (6) x slow (2)" in out
    assert "12 in 1 block" in out
    assert sorted(Path(store).rglob("*")) == before
    document = json.loads(say("sweep", "plan", spec, "--json")[1])
    assert (document["n_trials"], document["n_computed"], document["name"]) == (12, 0, "small")


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ('method = "bayes"\nn = 8\nbatch = 3', "3 batches of 3, each learning from fold train"),
        ('method = "halving"\nn = 9\nrungs = 2', "at most 3 on train and all other folds"),
    ],
)
def test_search_that_learns__is_planned_run_and_shown(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str], search: str, said: str
) -> None:
    store = store_of(stored[0])
    spec.write_text(spec.read_text() + f'[search]\n{search}\n[folds]\nmethod = "holdout"\ntest = "20%"\n')
    code, out, _ = say("sweep", "plan", spec, store=store)
    assert code == 0
    assert said in " ".join(out.split())
    assert json.loads(say("sweep", "plan", spec, "--json", store=store)[1])["n_phases"] == (
        3 if "bayes" in search else 2
    )
    code, out, _ = say("sweep", "run", spec, "--serial", store=store)
    assert code == 0
    assert "best by Sharpe" in out
    assert "nothing to compute" in say("sweep", "run", spec, "--serial", store=store)[1]
    code, out, _ = say("sweep", "show", "small", store=store)
    assert code == 0
    assert said in " ".join(out.split())
    assert "failed" not in out


def test_run__computes_once_and_says_so(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    code, first, _ = say("sweep", "run", spec, "--serial", store=store)
    assert code == 0
    assert "computed 12 trials in 1 block" in first
    assert "best by Sharpe" in first
    assert "plateau: fast=" in first
    code, second, _ = say("sweep", "run", spec, "--serial")
    assert code == 0
    assert "nothing to compute: all 12 trials were there" in second
    digest = next(line for line in first.splitlines() if line.startswith("result digest"))
    assert digest in second
    assert "all: nothing to compute" in say("sweep", "plan", spec)[1]


def test_run__takes_a_name_that_is_no_part_of_the_identity(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    first = json.loads(say("sweep", "run", spec, "--serial", "--json", store=store)[1])
    named = json.loads(say("sweep", "run", spec, "--serial", "--json", "--name", "again")[1])
    assert named["identity"] == first["identity"]
    assert (first["n_trials_computed"], named["n_trials_computed"]) == (12, 0)
    assert json.loads(say("sweep", "show", "again", "--json")[1])["status"]["identity"] == first["identity"]
    code, _, err = say("sweep", "run", spec, "--serial", "--name", "no blanks")
    assert code == 2
    assert "--name" in err


def test_run__ends_with_three_when_trials_failed(
    say: Say, tmp_path: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    code, out, _ = say("sweep", "resume", "failing", "--serial", store=store)
    assert code == 3
    assert "nothing to compute" in out
    assert "failed" in out


def test_resume__computes_what_is_missing_and_counts_it(
    say: Say, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    status = json.loads(say("sweep", "show", "partial", "--json", store=store)[1])["status"]
    assert status["n_blocks_done"] == 2
    n_missing = status["n_trials"] - status["n_done"]
    code, out, _ = say("sweep", "resume", "partial", "--serial")
    assert code == 0
    assert f"computed {n_missing} trials" in out
    assert f"{status['n_done']} in 2 blocks were there" in out


def test_show__has_the_best_with_what_lies_around_them(say: Say, stored: tuple[str, dict[str, str]]) -> None:
    from sweeps.results import open_run

    url, identities = stored
    document: dict[str, Any] = json.loads(say("sweep", "show", identities["one"][:8], "--json", store=url)[1])
    run = open_run(url, "one")
    train, test = run.values().reshape(3, -1)[1:]
    best = document["best"][0]
    point = best["trial"] % run.plan.n_points
    assert best["fold"] == "train", "a test fold is not chosen on"
    assert best["value"] == max(train)
    assert best["test"] == test[point]
    around = sorted(train[max(point - 1, 0) : point + 2])
    assert best["worst_around"] == around[0]
    assert math.isclose(best["around"], (around[(len(around) - 1) // 2] + around[len(around) // 2]) / 2)
    assert document["plateau"]["fold"] == "train"


@pytest.mark.parametrize("name", ["three", "two", "one", "none", "words", "sampled", "partial", "begun", "failing"])
def test_show__reads_every_kind_of_run(say: Say, stored: tuple[str, dict[str, str]], name: str) -> None:
    code, out, err = say("sweep", "show", name, store=stored[0])
    assert code == 0, err
    assert stored[1][name][:12] in out
    document = json.loads(say("sweep", "show", name, "--json")[1])
    assert document["name"] == name


def test_show__groups_failures_by_reason(say: Say, stored: tuple[str, dict[str, str]]) -> None:
    _, out, _ = say("sweep", "show", "failing", store=stored[0])
    document = json.loads(say("sweep", "show", "failing", "--json")[1])
    assert len(document["failures"]) >= 1
    assert sum(group["n_trials"] for group in document["failures"]) == document["status"]["n_failed"] > 0
    assert document["failures"][0]["reason"][:40] in out


def test_list__has_every_run_with_its_state(say: Say, stored: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    code, out, _ = say("sweep", "list", store=stored[0])
    assert code == 0
    runs = json.loads(say("sweep", "list", "--json")[1])
    assert {run["name"]: run["identity"] for run in runs} == stored[1]
    for run in runs:
        assert run["status"]["state"] in out
    code, out, _ = say("sweep", "list", store=str(tmp_path / "empty"))
    assert code == 0
    assert "has no run yet" in out


def test_cancel__is_seen_and_overruled_by_resume(
    say: Say, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    assert "nobody drives it now" in say("sweep", "cancel", "partial", store=store)[1]
    assert "cancelled" in say("sweep", "show", "partial")[1]
    assert say("sweep", "resume", "partial", "--serial")[0] == 0
    assert "nothing to cancel" in say("sweep", "cancel", "partial")[1]


def test_unknown_runs__are_four_and_name_the_nearest(say: Say, stored: tuple[str, dict[str, str]]) -> None:
    code, out, err = say("sweep", "show", "sampeld", store=stored[0])
    assert (code, out) == (4, "")
    assert "sampled" in err


def test_detach__refuses_what_a_detached_driver_cannot_do(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    code, _, err = say("sweep", "run", spec, "--detach", "--serial", store=store_of(stored[0]))
    assert code == 2
    assert "--detach" in err


def test_a_remote_scheduler__refuses_a_local_store(
    say: Say, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    code, _, err = say("sweep", "resume", "begun", "--scheduler", "tcp://10.0.0.1:8786", store=store_of(stored[0]))
    assert code == 2
    assert "s3://" in err


def _folded(tmp_path: Path, folds: str) -> Path:
    file = tmp_path / "folded.toml"
    file.write_text(SPEC.replace("small", "folded") + f"[folds]\n{folds}\n")
    return file


def test_cpcv__shows_train_beside_test_and_what_choosing_was_worth(
    say: Say, tmp_path: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    spec = _folded(tmp_path, 'method = "cpcv"\ngroups = 5\ntest_groups = 2\npurge = 3\nembargo = 2')
    code, out, _ = say("sweep", "plan", spec, store=store)
    assert code == 0
    assert "10 choices on a train each, 4 paths of tests" in " ".join(out.split())
    code, out, _err = say("sweep", "run", spec, "--serial")
    assert code == 0
    words = " ".join(out.split())
    assert " train test " in words
    assert "out of sample: choosing the plateau of each train gives Sharpe ratio" in words
    assert "(median of 4 paths," in words
    document = json.loads(say("sweep", "show", "folded", "--json")[1])
    (found,) = document["out_of_sample"]
    assert len(found["splits"]) == 10
    assert len(found["paths"]) == 4
    assert found["out_of_sample"] == pytest.approx(sorted(found["paths"])[1:3][0] / 2 + sorted(found["paths"])[2] / 2)
    best = document["best"][0]
    assert math.isfinite(best["train"])
    assert math.isfinite(best["test"])


def test_unlock__shows_a_locked_test_and_says_who_looked(
    say: Say, tmp_path: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    spec = _folded(tmp_path, 'method = "holdout"\ntest = "30%"\nlocked = true')
    code, out, _ = say("sweep", "run", spec, "--serial", store=store)
    assert code == 0
    assert "the test is locked: `quantbot sweep unlock" in " ".join(out.split())
    shown = json.loads(say("sweep", "show", "folded", "--json")[1])
    assert shown["locked"] is True
    assert {row["test"] for row in shown["best"]} == {None}
    assert {row["role"] for row in shown["best"]} == {"train"}
    one = ("backtest", spec, "--point", "fast=3,slow=10", "--fold", "test")
    code, _, err = say(*one)
    assert code != 0
    assert "is a locked holdout" in err
    code, out, _ = say("sweep", "unlock", "folded", "--who", "Ada Lovelace")
    assert code == 0
    words = " ".join(out.split())
    assert "Ada Lovelace looked at run" in words
    assert "out of sample: choosing the plateau of the train gives" in words
    assert "seen by Ada Lovelace on" in words
    assert say(*one)[0] == 0
    shown = json.loads(say("sweep", "show", "folded", "--json")[1])
    assert shown["locked"] is False
    assert [look["who"] for look in shown["looks"]] == ["Ada Lovelace"]
    assert None not in {row["test"] for row in shown["best"]}
    code, out, _ = say("sweep", "unlock", "folded", "--json")  # by this user of this machine
    assert code == 0
    assert next(look["who"] for look in json.loads(out)["looks"]) == "Ada Lovelace"


def test_unlock__of_an_open_run_says_that_it_is_open(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    store = store_of(stored[0])
    assert say("sweep", "run", spec, "--serial", store=store)[0] == 0
    code, _, err = say("sweep", "unlock", "small")
    assert code != 0
    assert "has no locked holdout" in err


def test_submit__leaves_the_run_to_runners_which_pause_and_resume_steer(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str]
) -> None:
    spec.write_text(SPEC.replace('"small"', '"left"').replace("step = 1", "step = 5"))
    options = ("--submit", "--priority", "7", "--core-hours", "2")
    code, out, err = say("sweep", "run", spec, *options, store=store_of(stored[0]))
    assert (code, "waits for a runner" in out, "quantbot runner" in err) == (0, True, True)
    assert "2 core-hours" in say("sweep", "status", "left")[1]
    assert "is paused: nobody drives it now" in say("sweep", "pause", "left")[1]
    assert "paused: 0 of" in say("sweep", "status", "left")[1]
    assert say("sweep", "resume", "left", "--submit")[0] == 0
    queue = json.loads(say("queue", "--json")[1])["queue"]
    assert [(place["priority"], place["status"]["state"]) for place in queue if place["priority"]] == [(7, "waiting")]
    assert "no runner" in say("queue")[1]
    assert say("sweep", "run", spec, "--submit", "--priority", "101")[0] == 2


def test_service_in_the_environment__has_the_command_submit(
    say: Say, spec: Path, stored: tuple[str, dict[str, str]], store_of: Callable[[str], str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("QUANTBOT_RUNNER", "service")
    spec.write_text(SPEC.replace('"small"', '"env"').replace("step = 1", "step = 4"))
    assert "waits for a runner" in say("sweep", "run", spec, store=store_of(stored[0]))[1]
    assert say("sweep", "run", spec, "--drive", "--serial", "--yes")[0] == 0
