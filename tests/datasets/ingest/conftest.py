"""Small clean raw files, and stores to ingest them into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.store import Store, open_store

_HEADER = "time,open,high,low,close,volume"
_ROWS = [f"2024-03-0{day},10.{day},11,9.5,10.5,{day}00" for day in range(4, 9)]


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def clean_lines() -> list[str]:
    """A header and five daily bars, Monday 4 to Friday 8 March 2024."""
    return [_HEADER, *_ROWS]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write lines, a text or bytes to a file, and give its path."""

    def write_file(content: list[str] | str | bytes, name: str = "bars.csv") -> Path:
        text = "\n".join(content) + "\n" if isinstance(content, list) else content
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_file


@pytest.fixture
def shared_data() -> Path:
    folder = Path(__file__).parents[4] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real market data: {folder} is not there")
    return folder
