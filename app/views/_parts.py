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
from app import reads, reads_user
from app.scope import listed, scope_parts
from quantbot.errors import NotFoundError, QuantBotError, RefusedError, SpecError
from quantbot.redaction import redact

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from sweeps.plan import Plan
    from sweeps.status import RunStatus

__all__ = ["empty", "listed", "name_and_id", "page", "problem", "scope", "warnings"]

_LOG = logging.getLogger(__name__)


def page(show: Callable[[], None]) -> Callable[[], None]:
    """Wrap a page so that what goes wrong is a sentence, never a traceback."""

    @functools.wraps(show)
    def guarded() -> None:
        try:
            trouble()
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
    if isinstance(error, RefusedError):
        reads_user.refusal(error)
        return
    if isinstance(error, SpecError):
        st.error("\n".join(f"- {fmt.plain(redact(line))}" for line in error.problems))
        return
    lines = [fmt.plain(line) for line in redact(str(error)).splitlines()]
    shown = st.warning if isinstance(error, NotFoundError) else st.error
    shown("  \n".join(lines) or type(error).__name__)


def trouble() -> None:
    """Show what went wrong in the act of a button, if anything did; refuse whoever is no user any more."""
    reads_user.user()
    error = reads_user.trouble()
    if error is not None:
        problem(error)


def export_button(
    place: DeltaGenerator, label: str, write: Callable[[], bytes | str], file: str, mime: str, *, subject: str,
    key: str, icon: str = ":material/download:", help: str | None = None,  # noqa: A002 - as Streamlit calls it
) -> None:  # fmt: skip
    """Offer a file that is made when somebody takes it, to those who may; others see that they may not.

    Parameters
    ----------
    subject
        What the audit log says it is about: a run's identity.
    """
    if not reads_user.allowed("export"):
        place.button(label, key=key, icon=icon, disabled=True, help="Taking files away needs the role of a researcher.")
        return
    place.download_button(
        label, reads_user.exporting(write, subject, file), file, mime, key=key, icon=icon, on_click="ignore", help=help
    )


def warnings(sentences: Sequence[str]) -> None:
    """Show sentences that a reader should know before the answer."""
    if sentences:
        st.caption("  \n".join(f":orange[:material/warning:] {fmt.plain(sentence)}" for sentence in sentences))


def scope(plan: Plan, name: str, status: RunStatus, currency: str) -> None:
    """Say in one line what is shown: run, trials, folds, period, data version, currency, fidelity."""
    parts = [name_and_id(name, plan.identity), *map(fmt.plain, scope_parts(plan, status, currency, reads.kinds(plan)))]
    st.markdown("  ·  ".join(parts))


def name_and_id(name: str, identity: str) -> str:
    """Return a run's name and short identity as markdown."""
    return f"**{fmt.plain(name)}** `{fmt.short(identity)}`"


def empty(sentence: str, label: str, target: str, *, icon: str = ":material/arrow_forward:") -> None:
    """Say that there is nothing yet, and offer what to do next."""
    with st.container(border=True):
        st.markdown(fmt.plain(sentence))
        st.page_link(target, label=label, icon=icon)
