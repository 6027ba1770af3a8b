"""Every code block of the README and the docs runs; every link inside the repository leads somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import terminal
from app.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST = ("README.md",)
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def _blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def _with(*languages: str) -> list[Any]:
    """Return the pages that have such blocks; those that nobody begins with are slow tests."""
    found = [page for page in PAGES if _blocks(page, *languages)]
    return [pytest.param(page, marks=[] if page.name in FIRST else pytest.mark.slow)
            for page in found]  # fmt: skip


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    kept = {name: value for name, value in os.environ.items() if name != "QUANTBOT_STORE"}
    return {**kept, "PATH": path, "NO_COLOR": "1", "COLUMNS": "160"}


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


@pytest.mark.parametrize("page", _with("python", "console"), ids=_name)
def test_code_blocks__run_in_order_as_a_reader_would_type_them(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python blocks of a page share one file; `$` lines of its console blocks are typed between them.

    The page that everybody starts with runs each command as a process; on the others this process is the command.
    """
    text = page.read_text(encoding="utf-8")
    environment = _environment()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUANTBOT_STORE", raising=False)
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    python: list[str] = []
    n_run = 0
    for language, body in [*BLOCK.findall(text), ("end", "")]:
        if language in ("console", "end") and len(python) > n_run:  # a block may use the names of all before it
            _run([sys.executable, "-c", "\n".join(python)], tmp_path, environment, python[-1])
            n_run = len(python)
        if language == "python":
            if match := re.match(r"# (\w+\.py)\n", body):  # a file that the reader writes
                (tmp_path / match[1]).write_text(body, encoding="utf-8")
                continue
            python.append(body)
        elif language == "console":
            for line in body.replace("\\\n", " ").splitlines():
                words = shlex.split(line[2:], comments=True) if line.startswith("$ quantbot ") else []
                if words and page.name in FIRST:
                    _run(words, tmp_path, environment, line)
                elif words:
                    assert main(words[1:]) == 0, f"{line}\n{capsys.readouterr()}"
        elif language == "toml" and (match := re.match(r"# (\w+\.toml)\n", body)):
            (tmp_path / match[1]).write_text(body, encoding="utf-8")


def _run(command: list[str], folder: Path, environment: dict[str, str], block: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=240)
    assert done.returncode == 0, f"{block}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links__lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


def test_faults__name_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "concepts" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", page)
    texts: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        texts[path.name] = texts.get(path.name, "") + path.read_text(encoding="utf-8")
    assert len(named) > 30
    assert [name for name in named if f"def test_{name[1]}(" not in texts.get(name[0], "")] == []
