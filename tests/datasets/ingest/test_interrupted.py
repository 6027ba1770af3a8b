"""An ingest that fails or is killed leaves no dataset that anybody could see."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.catalog import Catalog
from datasets.ingest import BarOptions, ingest_csv
from datasets.store import Store, open_store

_INGEST = """
import sys
from datasets.ingest import BarOptions, ingest_csv
from datasets.store import open_store

def tell(done, text):
    print(f"{done:.2f} {text}", flush=True)

ingest_csv(open_store(sys.argv[1]), "test/bars", sys.argv[2], BarOptions(stamp="end"), progress=tell)
"""


def long_file(path: Path, n_rows: int = 400_000) -> Path:
    lines = [
        f"{1_600_000_000 + 60 * row},{10 + row % 97}.5,{120 + row % 89}.25,5.125,{9 + row % 83}.75,{row}"
        for row in range(n_rows)
    ]
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(lines))
    return path


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_ingest__that_is_killed_while_it_writes_shows_nothing(tmp_path: Path, delay: float) -> None:
    url, path = (tmp_path / "store").as_uri(), long_file(tmp_path / "bars.csv")
    with subprocess.Popen([sys.executable, "-c", _INGEST, url, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "writing" in line:
                break
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
    root = open_store(url)
    names = Catalog(root).names()
    if names:  # it was quicker than the kill: then the dataset is whole
        assert Catalog(root).open("test/bars").damage() == []
    again = ingest_csv(root, "test/bars", path, BarOptions(stamp="end"))
    assert again.created is not bool(names)
    assert again.dataset.damage() == []


def test_ingest__that_fails_while_it_writes_shows_nothing(
    root: Store, write: Callable[..., Path], clean_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = type(root).put_new

    def fail_third(self: Store, key: str, data: bytes) -> bool:
        written.append(key)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return real(self, key, data)

    monkeypatch.setattr(type(root), "put_new", fail_third)
    path = write(clean_lines)
    with pytest.raises(OSError, match="No space left"):
        _ = [ingest_csv(root, f"test/bars-{attempt}", path, BarOptions(zone="UTC")) for attempt in range(3)]
    monkeypatch.undo()
    for name in Catalog(root).names():
        assert Catalog(root).open(name).damage() == []


def test_ingest__that_progress_stops_writes_nothing(
    root: Store, write: Callable[..., Path], clean_lines: list[str]
) -> None:
    def stop(done: float, text: str) -> None:
        if "writing" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_csv(root, "test/bars", write(clean_lines), BarOptions(zone="UTC"), progress=stop)
    assert root.list() == []
