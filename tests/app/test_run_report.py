"""The report of a run: what its page says, in one file that asks nobody for anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.cli import main
from app.run_report import run_report
from sweeps.results import open_run

Stored = tuple[str, dict[str, str]]
RUNS = ("three", "two", "one", "none", "words", "sampled", "learning", "halved", "five", "locked", "flat", "partial",
        "begun", "failing")  # fmt: skip


def text_of(stored: Stored, name: str) -> str:
    return run_report(open_run(stored[0], stored[1][name])).replace("\u00a0", " ")


def visible(html: str) -> str:
    """Return what a reader sees: neither scripts nor tags."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", " ", html, flags=re.DOTALL))


@pytest.mark.parametrize("name", RUNS)
def test_report__is_written_of_a_run_of_every_kind(stored: Stored, name: str) -> None:
    seen = visible(text_of(stored, name))
    assert stored[1][name][:12] in seen
    assert not {"nan", "None", "inf"} & set(seen.split())


def test_report__asks_no_host_for_anything(stored: Stored) -> None:
    html = text_of(stored, "three")
    own = html.replace(re.search(r"<script>.*?</script>", html, re.DOTALL)[0], "")  # type: ignore[index]
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(|https?://(?!plot)", own)


def test_report__says_what_the_page_says(stored: Stored) -> None:
    run = open_run(stored[0], stored[1]["three"])
    found = run.luck(compute=False)
    seen = visible(text_of(stored, "three"))
    assert "108 of 108 trials done, 0 failed" in seen
    assert f"{found.deflated_sharpe:.2f}" in seen
    for part in ("Surface", "Slices", "What matters", "Train beside test", "Best trials", "Failures", "Spec", "Python"):
        assert part in seen
    best = run.best(1)[0]
    assert f"{best['value']:+.2f}".replace("-", "\u2212") in seen


def test_report__writes_unknown_with_its_reason_where_nothing_is_known(stored: Stored) -> None:
    seen = visible(text_of(stored, "partial"))
    assert "unknown" in seen
    assert "the run is not finished" in seen
    assert "56 % done" in seen


def test_report__groups_failures_and_does_not_show_what_is_locked(stored: Stored) -> None:
    assert "returned NaN" in visible(text_of(stored, "failing"))
    locked = visible(text_of(stored, "locked"))
    assert "sweep unlock" in locked


def test_report__has_the_same_bytes_twice(stored: Stored) -> None:
    assert text_of(stored, "two") == text_of(stored, "two")


def test_report__escapes_what_people_wrote(stored: Stored) -> None:
    html = text_of(stored, "two")
    assert "fast &lt; slow" in html
    assert "fast < slow" not in html


def test_command__writes_the_file_and_names_it(
    capsys: pytest.CaptureFixture[str], stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "one", "--store", stored[0]]) == 0
    name = f"one-{stored[1]['one'][:12]}.html"
    assert name in capsys.readouterr().out
    assert (tmp_path / name).read_text().startswith("<!doctype html>")
    assert main(["report", "no-such-run", "--store", stored[0]]) == 4
