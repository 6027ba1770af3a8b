"""Strategies of one's own, written into a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write files (path without suffix: text) below the test's folder; return a reference to `revert` in the first."""

    def write_files(files: dict[str, str] | None = None, **more: str) -> str:
        first = ""
        for name, text in {**(files or {}), **more}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            first = first or f"{path}:revert"
        return first

    return write_files
