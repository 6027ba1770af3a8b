"""A world for schedules in tests: an exchange's vendor whose file grows by a bar each session, and a clock to turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.calendars import load_sessions
from datasets.store import Store
from sweeps.executors import serial
from sweeps.run import drive
from sweeps.schedule.rules import NS, ns_of
from sweeps.schedule.steps import Hands

HOUR = 3600 * NS
SPEC = """
version = 1
[run]
name = "{name}"
[data]
dataset = "{dataset}"
[strategy]
name = "sma_cross"
[parameters]
fast = {{ values = [3, 5] }}
slow = {{ values = [8, 13] }}
"""
SCHEDULE = """
version = 1
title = "{title}"
[when]
{when}
[[refresh]]
dataset = "{dataset}"
format = "csv"
paths = ["{name}.csv"]
retries = 1
retry_after = "30min"
options = {{ zone = "{zone}", calendar = "{calendar}", symbol = "{symbol}" }}
[[run]]
spec = "specs/{name}.toml"
[[pin]]
name = "the one we trade"
spec = "specs/{name}.toml"
point = {{ fast = 3, slow = 8 }}
holds = "total_return > {level}"
"""


@dataclass
class Vendor:
    """Daily bars of one exchange up to now, written to a file as a vendor would."""

    calendar: str
    zone: str
    path: Path
    seed: int
    first: str = "2025-10-01"
    last: str = "2026-04-10"
    restated: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        sessions = load_sessions(self.calendar, np.datetime64(self.first), np.datetime64(self.last))
        inside = (sessions.dates >= np.datetime64(self.first)) & (sessions.dates <= np.datetime64(self.last))
        self.dates, self.close_ns = sessions.dates[inside], sessions.close_ns[inside]
        draws = np.random.default_rng(self.seed)
        self.close = 100 * np.exp(np.cumsum(draws.normal(0.0003, 0.012, len(self.dates))))

    def write(self, now_ns: int, *, torn: bool = False) -> None:
        """Write what is known at a moment; torn, its last line is half there."""
        lines = ["date,open,high,low,close,volume"]
        for row in np.flatnonzero(self.close_ns <= now_ns):
            close = self.close[row] * (1.004 if int(row) in self.restated else 1.0)
            lines.append(f"{self.dates[row]},{close:.4f},{close * 1.01:.4f},{close * 0.99:.4f},{close:.4f},1000")
        if torn:
            lines[-1] = lines[-1][:17]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass
class Clock:
    """A clock that tests turn."""

    ns: int

    def __call__(self) -> int:
        return self.ns

    def set(self, text: str) -> None:
        self.ns = ns_of(text)


REFRESH = """
version = 1
[when]
{when}
{more}
[[refresh]]
dataset = "sim/{name}"
format = "csv"
paths = ["{name}.csv"]
retries = 1
retry_after = "30min"
options = {{ zone = "{zone}", calendar = "{calendar}", symbol = "IDX" }}
"""


def write_refresh(folder: Path, name: str, *, calendar: str, zone: str, when: str, more: str = "") -> Path:
    """Write a schedule that only refreshes data, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.toml"
    text = REFRESH.format(name=name, when=when, more=more, zone=zone, calendar=calendar)
    file.write_text(text, encoding="utf-8")
    return file


def write_schedule(
    folder: Path, name: str, *, calendar: str, zone: str, when: str, symbol: str = "IDX", level: float = 0.0
) -> Path:
    """Write a schedule with a sweep of four trials and a pin, and return its file."""
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "specs" / f"{name}.toml").write_text(SPEC.format(name=name, dataset=f"sim/{name}"), encoding="utf-8")
    file = folder / f"{name}.toml"
    text = SCHEDULE.format(
        name=name, title=f"{name} overnight", when=when, dataset=f"sim/{name}", zone=zone, calendar=calendar,
        symbol=symbol, level=level,
    )  # fmt: skip
    file.write_text(text, encoding="utf-8")
    return file


def hands(root: Store, clock: Clock, **more: object) -> Hands:
    """Return hands that drive runs here, one block after the other."""

    @contextmanager
    def driving() -> Iterator[Callable[[str], None]]:
        with serial() as executor:
            yield lambda identity: drive(root, identity, executor)  # type: ignore[misc]

    return Hands(now_ns=clock, driving=driving, **more)  # type: ignore[arg-type]
