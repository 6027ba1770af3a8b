"""The URL is the view: what a page's controls say stands in its address, under the page's own prefix.

Streamlit keeps a widget's value in the session; a link, the Back button or a reload changes the address behind its
back. So every page reads its own keys first, and whenever they are not what it wrote itself last, the address wins.
Foreign keys are ignored, since going back shows the old page with the new page's keys for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import streamlit as st

RUNS, NEW, SURFACE, TRIAL, COMPARE, DATA = (
    f"views/{name}.py" for name in ("runs", "new", "surface", "trial", "compare", "data")
)
POINT = "p."  # what precedes a parameter's name in an address
MAX_TEXT = 500

T = TypeVar("T")


def own_keys(keys: Iterable[str], prefixes: Sequence[str] = ()) -> dict[str, str]:
    """Return those keys of the address that are this page's own."""
    wanted = set(keys)
    return {
        key: value[:MAX_TEXT]
        for key, value in st.query_params.items()
        if key in wanted or (prefixes and key.startswith(tuple(prefixes)))
    }


def arrive(page: str, keys: Iterable[str], prefixes: Sequence[str] = ()) -> dict[str, str]:
    """Return the view to show: the address's, or where it says nothing the page's last one of this session.

    Widgets whose address key differs from what the page wrote last are forgotten, so that they start from the address.
    """
    found = own_keys(keys, prefixes)
    written: dict[str, str] = st.session_state.get(f"written {page}", {})
    view = found or written
    if view != written:
        for key in {*view, *written}:
            if view.get(key) != written.get(key):
                st.session_state.pop(key, None)
    return dict(view)


def keep(page: str, view: dict[str, str]) -> None:
    """Write the view into the address, and remember it."""
    st.session_state[f"written {page}"] = dict(view)
    if dict(st.query_params.items()) != view:
        st.query_params.from_dict(view)


def last_view(page: str) -> dict[str, str]:
    """Return a page's last view in this session."""
    return dict(st.session_state.get(f"written {page}", {}))


def choose(
    label: str,
    options: Sequence[T],
    key: str,
    view: dict[str, str],
    *,
    default: T,
    text: Callable[[T], str] = str,
    code: Callable[[T], str] = str,
    gone: list[str] | None = None,
    **more: Any,
) -> T:
    """Show a choice that starts from the view, and write what is chosen back into it.

    Parameters
    ----------
    text, code
        An option as people read it, and as the address has it.
    gone
        Gets a sentence when the address names an option that is not there.
    """
    codes = {code(option): option for option in options}
    wanted = view.pop(key, None)
    if key not in st.session_state or st.session_state[key] not in options:
        if wanted is not None and wanted not in codes and gone is not None:
            gone.append(f"{label} {wanted!r} of the link is not here")
        st.session_state[key] = codes.get(wanted or "", default)
    chosen: T = st.selectbox(label, options, key=key, format_func=text, **more)
    view[key] = code(chosen)  # written even at its default, which may change one day
    return chosen
