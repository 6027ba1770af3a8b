"""What every page has: the line that says what is shown, the states, and a floor under errors."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import format as fmt
from quantbot.errors import NotFoundError, QuantBotError, SpecError

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.status import RunStatus

_LOG = logging.getLogger(__name__)
_MANY = 4


def page(show: Callable[[], None]) -> Callable[[], None]:
    """Wrap a page so that what goes wrong is a sentence, never a traceback."""

    @functools.wraps(show)
    def guarded() -> None:
        try:
            show()
        except QuantBotError as error:
            problem(error)
            if isinstance(error, NotFoundError):
                st.page_link("views/runs.py", label="All runs", icon=":material/list:")
        except Exception:
            number = secrets.token_hex(4)
            _LOG.exception("page %s failed, error %s", Path(show.__code__.co_filename).stem, number)
            st.error(f"This page failed unexpectedly. The server's log has the details under error {number}.")

    return guarded


def problem(error: QuantBotError) -> None:
    """Show an error in its own words; everything in it is text."""
    if isinstance(error, SpecError):
        st.error("\n".join(f"- {fmt.plain(line)}" for line in error.problems))
        return
    lines = [fmt.plain(line) for line in str(error).splitlines()]
    shown = st.warning if isinstance(error, NotFoundError) else st.error
    shown("  \n".join(lines) or type(error).__name__)


def warnings(sentences: Sequence[str]) -> None:
    """Show sentences that a reader should know before the answer."""
    if sentences:
        st.caption("  \n".join(f":orange[:material/warning:] {fmt.plain(sentence)}" for sentence in sentences))


def scope(plan: Plan, name: str, status: RunStatus, currency: str) -> None:
    """Say in one line what is shown: run, trials, folds, period, data version, currency, fidelity."""
    start, end = min(fold.start_ns for fold in plan.folds), max(fold.end_ns for fold in plan.folds)
    trials = f"{fmt.count(status.n_done)} of {fmt.plural(plan.n_trials, 'trial')} done"
    failed = f"{fmt.count(status.n_failed)} failed"
    parts = [
        name_and_id(name, plan.identity),
        f"{trials}, {failed}",
        fmt.plain(listed([fold.name for fold in plan.folds], "fold")),
        fmt.plain(f"{fmt.day(start)} to {fmt.day(end - 1)}"),
        fmt.plain(f"{plan.dataset_name}@{fmt.short(plan.dataset_version)}: {listed(plan.assets, 'asset')}"),
        fmt.plain(currency),
        "F0 bars",
    ]
    st.markdown("  ·  ".join(parts))


def name_and_id(name: str, identity: str) -> str:
    """Return a run's name and short identity as markdown."""
    return f"**{fmt.plain(name)}** `{fmt.short(identity)}`"


def listed(names: Sequence[str], noun: str) -> str:
    """Return ``fold all``, ``folds train, test`` or ``37 assets``."""
    if len(names) > _MANY:
        return fmt.plural(len(names), noun)
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def empty(sentence: str, label: str, target: str, *, icon: str = ":material/arrow_forward:") -> None:
    """Say that there is nothing yet, and offer what to do next."""
    with st.container(border=True):
        st.markdown(fmt.plain(sentence))
        st.page_link(target, label=label, icon=icon)
