"""Small charts as a component of our own: no charting library has to arrive before the page is quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
_PANELS: Any = (
    st.components.v2.component(
        "quantbot_panels",
        js=(_HERE / "panels.js").read_text(encoding="utf-8"),
        css=(_HERE / "panels.css").read_text(encoding="utf-8"),
    )
    if hasattr(st.components, "v2")
    else None
)


def panels(document: dict[str, Any], *, key: str, on_pick: Callable[[int, int, int], None]) -> bool:
    """Draw what `app.figures.panels` made; return whether there is something to draw it.

    Parameters
    ----------
    on_pick
        Is told the panel, the series and the point of it that was clicked, or chosen by Enter.
    """
    if _PANELS is None:
        return False

    def picked() -> None:
        found = (st.session_state.get(key) or {}).get("pick")
        if found:
            on_pick(int(found["panel"]), int(found["series"]), int(found["index"]))

    _PANELS(key=key, data=document, on_pick_change=picked)
    return True
