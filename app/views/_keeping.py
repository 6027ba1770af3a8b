"""What a form holds, kept while its page is away: Streamlit forgets a widget that a run of the script does not show."""

from __future__ import annotations

from typing import Any

import streamlit as st


def first(key: str, value: Any) -> None:
    """Give a widget its first value; a default of its own would contradict what is kept."""
    st.session_state.setdefault(key, value)


def bring_back(form: str, prefix: str) -> None:
    """Put back what the form held when its page was shown last."""
    for key, value in st.session_state.get(f"kept {form}", {}).items():
        if key.startswith(prefix):
            st.session_state.setdefault(key, value)


def put_away(form: str, prefix: str, *, but: tuple[str, ...] = ()) -> None:
    """Keep what the form holds now, and what it held in rows that are not shown at the moment."""
    now = {key: value for key, value in st.session_state.items() if str(key).startswith(prefix) and key not in but}
    st.session_state[f"kept {form}"] = st.session_state.get(f"kept {form}", {}) | now
