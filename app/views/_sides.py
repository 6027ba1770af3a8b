"""Which trials are compared: the address's ``k.a``, ``k.b``, ... and the links that other pages have to them.

A side is written ``<first digits of the run>.<trial>``, or without a trial for the run's own choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from app import format as fmt
from app.views import _url

LETTERS = "abcdef"
KEYS = tuple(f"k.{letter}" for letter in LETTERS)


@dataclass(frozen=True)
class SideText:
    """A side as an address names it."""

    run: str
    trial: int | None = None

    def __str__(self) -> str:
        return fmt.short(self.run) if self.trial is None else f"{fmt.short(self.run)}.{self.trial}"


def parse(text: str) -> SideText:
    """Read a side; what follows the last dot is a trial if it is a number.

    Examples
    --------
    >>> parse("3fa2c41b9d00.17")
    SideText(run='3fa2c41b9d00', trial=17)
    """
    run, dot, trial = text.rpartition(".")
    if dot and trial.isdecimal() and len(trial) < 16:
        return SideText(run, int(trial))
    return SideText(text)


def sides(view: Mapping[str, str]) -> list[str]:
    """Return the sides of a view, in the order of their letters, each once."""
    return list(dict.fromkeys(view[key] for key in KEYS if view.get(key)))


def written(texts: list[str]) -> dict[str, str]:
    """Return sides as an address has them."""
    return dict(zip(KEYS, texts, strict=False))


def compare_link(run: str, trial: int | None, label: str = "Compare") -> None:
    """Link to Compare with a trial, or a run's own choice, added to what is compared in this session."""
    own = str(SideText(run, trial))
    known = [text for text in sides(_url.last_view("compare")) if text != own][: len(LETTERS) - 1]
    text = f"{label} with {len(known)} more" if known else label
    st.page_link(
        _url.COMPARE, label=text, icon=":material/compare_arrows:", query_params=written([*known, own]),
        help="Lay it beside other trials or runs: what differs, and whether it is more than noise.",
    )  # fmt: skip
