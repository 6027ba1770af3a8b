"""The command as a whole: help, exit codes, errors as words and as JSON, a foreign `datasets`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from app import cli, terminal
from app.terminal import EXIT_CODES, ExitCode, exit_code
from quantbot.errors import (
    CorruptError,
    DataError,
    DivergenceError,
    NotFoundError,
    QuantBotError,
    SpecError,
    StoreError,
    TooLargeError,
)

ROOT = Path(__file__).parents[2]


def _commands(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*words, name))


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))
LEAVES = [words for words, command in COMMANDS.items() if not getattr(command, "commands", {})]


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


def _main(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "quantbot")
def test_help__explains_and_has_an_example(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, out, _ = _main(capsys, *words, "--help")
    assert code == ExitCode.OK
    assert "Usage: quantbot" in out
    if words in LEAVES or not words:
        examples = out.partition("Examples:")[2]
        assert " ".join(("quantbot", *words)) in examples
        own = [line.split()[:2] for line in examples.splitlines() if line.strip().startswith("quantbot")]
        assert own, "an example is a line that can be typed"


SERVERS = ("app", "runner", "scheduler", "worker")  # they go on until they are told to end


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_commands__take_a_store_and_print_json_where_a_script_would_read(words: tuple[str, ...]) -> None:
    options = {option for parameter in COMMANDS[words].params for option in parameter.opts}  # type: ignore[attr-defined]
    if words[0] not in SERVERS:
        assert "--json" in options
    if words[0] not in ("strategies", "certs", "scheduler", "worker"):
        assert "--store" in options


def test_help__imports_nothing_heavy() -> None:
    program = (
        "import sys; from app.cli import main; main(sys.argv[1:]);"
        "heavy = {'numba', 'numpy', 'xarray', 'distributed', 'dask', 'pandas', 'scipy', 'zarr', 'streamlit', 'plotly'};"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    for words in (["--help"], ["sweep", "run", "--help"], ["ingest", "csv", "--help"]):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith("heavy: []"), (words, done.stdout[-300:])


def test_help__lists_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _main(capsys, "--help")
    for code, sentence in EXIT_CODES.items():
        assert f"{code.value:>3}  {sentence}" in out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("x"), 2),
        (SpecError("x"), 2),
        (TooLargeError("x"), 2),
        (NotFoundError("x"), 4),
        (StoreError("x"), 5),
        (CorruptError("x"), 5),
        (DivergenceError("x"), 5),
        (QuantBotError("x"), 1),
        (ValueError("x"), 1),
    ],
)
def test_exit_code__follows_the_kind_of_error(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_wrong_usage__is_two_with_the_usage_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _main(capsys, "data", "lisst")
    assert (code, out) == (2, "")
    assert "Usage: quantbot data" in err
    assert "lisst" in err
    assert "Traceback" not in err


def test_errors__are_json_on_stderr_with_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tmp_path / "bad.toml"
    spec.write_text('version = 1\n[data]\ndataset = "demo/sp500"\n[strategy]\nname = "sma_cros"\n[serch]\nn = 1\n')
    code, out, err = _main(capsys, "sweep", "plan", str(spec), "--store", str(tmp_path), "--json")
    error = json.loads(err)["error"]
    assert (code, out, error["exit_code"], error["type"]) == (2, "", 2, "SpecError")
    assert any("sma_cross" in problem for problem in error["problems"])
    assert any("serch" in problem for problem in error["problems"])


def test_errors__are_one_message_without_a_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = _main(capsys, "data", "show", "no/such", "--store", str(tmp_path))
    assert (code, out) == (4, "")
    assert err.startswith("error: ")
    assert "no/such" in err
    assert "Traceback" not in err


def test_debug__shows_where_from_any_place_on_the_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = _main(capsys, "data", "show", "no/such", "--debug", "--store", str(tmp_path))
    assert code == 4
    assert "Traceback" in err


def test_unexpected_errors__are_one_line_and_code_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("app.doctor.examine", broken)
    code, out, err = _main(capsys, "doctor")
    assert (code, out) == (1, "")
    assert err == "error: unexpected ZeroDivisionError: planted (--debug shows where)\n"


def test_ctrl_c__is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.doctor.examine", interrupted)
    code, _, err = _main(capsys, "doctor")
    assert (code, err) == (130, "interrupted\n")


@pytest.mark.parametrize("content", ["", "raise RuntimeError('half installed')"], ids=["other", "broken"])
def test_a_foreign_datasets__is_met_with_words_before_anything_else(tmp_path: Path, content: str) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text(content)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from app.cli import main; sys.exit(main(['data', 'list']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "QuantBot needs its own package 'datasets'" in done.stderr
    assert "environment of its own" in done.stderr
    assert "Traceback" not in done.stderr


def test_python_m_app__is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("quantbot ")


def test_a_closed_pipe__is_no_error() -> None:
    line = f"{sys.executable} -m app sweep run --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_our_signs__shows_a_question_mark() -> None:
    line = [sys.executable, "-m", "app", "strategies"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(line, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0
    assert b"sma_cross" in done.stdout


@pytest.mark.parametrize("words", [words for words, command in COMMANDS.items() if getattr(command, "commands", {})])
def test_help__of_a_group_cuts_no_sentence(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    _, out, _ = _main(capsys, *words, "--help")
    commands = out.partition("Commands:")[2].partition("\n\n")[0]
    assert commands
    assert "..." not in commands
