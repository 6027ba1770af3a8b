"""The map as a component of our own; it gets data only, and a plotly chart takes its place where it is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from app.figures.plane import plane_bytes, plane_figure
from sweeps.surface import Plane

_HERE = Path(__file__).parent
# Registered once per process: a module of the pages is read again with every run of the script.
_MAP: Any = (
    st.components.v2.component(
        "quantbot_plane",
        js=(_HERE / "plane.js").read_text(encoding="utf-8"),
        css=(_HERE / "plane.css").read_text(encoding="utf-8"),
    )
    if hasattr(st.components, "v2")
    else None
)


def chart(
    plane: Plane,
    *,
    key: str,
    on_pick: Callable[[int, int], None],
    on_open: Callable[[int, int], None] | None = None,
    on_window: Callable[[Any], None] | None = None,
    **drawn: Any,
) -> None:
    """Draw a map.

    Parameters
    ----------
    on_pick, on_open
        Are told the indices, on x and y, of the first values of the square that was clicked, or opened by Enter.
    on_window
        Is told the half-open ranges of indices, ``{"x": [from, to], "y": [from, to]}``, that a wheel or a box asks for,
        or ``{"whole": True}``.
    drawn
        What `app.figures.plane.plane_bytes` takes.
    """
    if _MAP is None:
        _fallback(plane, key, on_pick, drawn)
        return

    def told(event: str) -> Any:
        return (st.session_state.get(key) or {}).get(event)

    def picked() -> None:
        if cell := told("pick"):
            on_pick(int(cell["x"]), int(cell["y"]))

    def opened() -> None:
        if (cell := told("open")) and on_open is not None:
            on_open(int(cell["x"]), int(cell["y"]))

    def moved() -> None:
        if (window := told("window")) and on_window is not None:
            on_window(window)

    _MAP(
        key=key, data=plane_bytes(plane, **drawn), on_pick_change=picked, on_open_change=opened,
        on_window_change=moved,
    )  # fmt: skip


def _fallback(plane: Plane, key: str, on_pick: Callable[[int, int], None], drawn: dict[str, Any]) -> None:
    def clicked() -> None:
        points = st.session_state[key]["selection"]["points"]
        if points:
            labels = [[str(value) for value in values.tolist()] for values in (plane.x_values, plane.y_values)]
            at = labels[0].index(str(points[0]["x"])), labels[1].index(str(points[0]["y"]))
            on_pick(int(plane.x_edges[at[0]]), int(plane.y_edges[at[1]]))

    st.plotly_chart(
        plane_figure(plane, **drawn), key=key, on_select=clicked, selection_mode="points", alt=drawn.get("alt"),
        config={"displayModeBar": False},
    )  # fmt: skip
