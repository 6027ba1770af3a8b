"""The URL is the view: what a page's controls say stands in its address, under the page's own prefix.

Streamlit keeps a widget's value in the session; a link, the Back button or a reload changes the address behind its
back. So every page reads its own keys first, and whenever they are not what it wrote itself last, the address wins.
But a click may be sent before the browser has taken over what the page wrote last: where a widget was touched since,
the address that came along is old, and says nothing. Foreign keys are ignored, since going back shows the old page
with the new page's keys for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import streamlit as st

RUNS, NEW, SURFACE, TRIAL, BOOK, RISK, COMPARE, DATA, OVERNIGHT = (
    f"views/{name}.py" for name in ("runs", "new", "surface", "trial", "book", "risk", "compare", "data", "overnight")
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
    written = last_view(page)
    wanted: dict[str, str] | None = st.session_state.pop(f"wanted {page}", None)
    if wanted is not None:
        view = wanted
    elif _touched(page):
        view = written
    else:
        view = own_keys(keys, prefixes) or written
    for key in {*view, *written}:
        if view.get(key) != written.get(key):
            st.session_state.pop(key, None)
    _remember(page, view)
    return dict(view)


def keep(page: str, view: dict[str, str]) -> None:
    """Write the view into the address, and remember it."""
    _remember(page, view)
    if dict(st.query_params.items()) != view:
        st.query_params.from_dict(view)


def turn(page: str, **changes: str | None) -> None:
    """Let the next run of a page show its last view with these changes; None leaves a key out. For callbacks."""
    view = {key: value for key, value in (last_view(page) | changes).items() if value is not None}
    st.session_state[f"wanted {page}"] = view
    st.query_params.from_dict(view)


def _remember(page: str, view: dict[str, str]) -> None:
    st.session_state[f"written {page}"] = dict(view)
    st.session_state[f"held {page}"] = {key: st.session_state[key] for key in view if key in st.session_state}


def _touched(page: str) -> bool:
    """Return whether a widget of the page has another value than when its view was remembered."""
    held: dict[str, Any] = st.session_state.get(f"held {page}", {})
    return any(key in st.session_state and st.session_state[key] != value for key, value in held.items())


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
