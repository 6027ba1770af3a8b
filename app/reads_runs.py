"""What the Runs page reads of one run beyond its line: who asked for it, its log, its trials by state, its failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads
from quantbot.errors import InputError, QuantBotError

if TYPE_CHECKING:
    from sweeps.retry import Retry

_LOG_LINES, _LOG_BYTES = 40, 64_000


def request(identity: str) -> Mapping[str, Any]:
    """Return what was submitted: who, when, the spec."""
    return _request(reads.store_url(), identity)


@st.cache_resource(max_entries=256, show_spinner=False)
def _request(url: str, identity: str) -> Mapping[str, Any]:
    from sweeps.runstore import RunStore

    return RunStore(reads.store(), identity).request()


def log(identity: str) -> str:
    """Return the end of what a driver on this machine wrote; empty where none did."""
    from sweeps.submission import driver_log

    path = driver_log(identity)
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _LOG_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def luck_words(identity: str, mark: int) -> str:
    """Say in a few words how much of a finished run's best is luck, as the ledger has it within half a minute."""
    return _luck_words(reads.store_url(), identity, mark)


@st.cache_data(max_entries=256, ttl=30, show_spinner=False)
def _luck_words(url: str, identity: str, mark: int) -> str:
    try:
        found = reads.luck(identity, mark)
    except QuantBotError:
        return "luck unknown"
    if found.deflated_sharpe is None or found.luck_line is None:
        return "luck unknown"
    return f"deflated {found.deflated_sharpe:.2f}, luck {fmt.signed(found.luck_line, 1)}"


def states(identity: str, mark: int) -> dict[str, int]:
    """Return how many trials are in each state, by the state's name."""
    return _states(reads.store_url(), identity, mark)


@st.cache_resource(max_entries=32, show_spinner=False)
def _states(url: str, identity: str, mark: int) -> dict[str, int]:
    from sweeps.results import STATES

    counts = np.bincount(reads.open_run(identity, mark).state, minlength=1 + max(STATES)).tolist()
    return {name: counts[code] for code, name in STATES.items() if counts[code]}


def failures(identity: str, mark: int) -> list[dict[str, Any]]:
    """Return why trials failed, as rows of `Run.failures`."""
    return _failures(reads.store_url(), identity, mark)


@st.cache_resource(max_entries=32, show_spinner="Reading failures")
def _failures(url: str, identity: str, mark: int) -> list[dict[str, Any]]:
    table = reads.open_run(identity, mark).failures()
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def retry(identity: str, mark: int, reason: str | None) -> Retry | str:
    """Return the spec of a sweep of exactly the points that failed, or in words why there is none."""
    return _retry(reads.store_url(), identity, mark, reason)


@st.cache_resource(max_entries=64, show_spinner="Gathering what failed")
def _retry(url: str, identity: str, mark: int, reason: str | None) -> Retry | str:
    from sweeps.retry import retry as gather

    try:
        return gather(reads.open_run(identity, mark), reason)
    except InputError as error:
        return str(error)


def report(identity: str, mark: int) -> str:
    """Return the run as one HTML file: `app.run_report`."""
    from app.run_report import run_report

    return run_report(reads.open_run(identity, mark))
