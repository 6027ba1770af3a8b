"""The web app's entry: `quantbot app`, or `streamlit run app/streamlit_app.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import streamlit as st

from app import reads_user
from app.doctor import require_own_datasets
from app.format import plain
from app.security.roles import may
from quantbot.errors import QuantBotError
from quantbot.redaction import keep_secrets

ICON = Path(__file__).with_name("icon.png")  # a file of ours: an icon by name would be fetched from another host
# What is chosen is framed and tinted in the theme's colour; written in it too, it would be too faint on dark (3.5).
STYLE = """<style>
[data-testid=stButtonGroup] [aria-checked=true] *, [data-testid=stSliderThumbValue] * { color: CanvasText }
</style>"""
PAGES = (
    ("runs", "Runs", ":material/list:", "What is running, what is done, what broke."),
    ("new", "New sweep", ":material/add:", "What a sweep will cost, and whether it is allowed; then start it."),
    ("surface", "Surface", ":material/grid_on:", "Where a run's parameters are good."),
    ("trial", "Trial", ":material/show_chart:", "How one point earned its numbers."),
    ("book", "Book", ":material/layers:", "What the order book looked like at a moment, and why a fill happened."),
    ("risk", "Risk", ":material/shield:", "What can hurt a portfolio, and where that comes from."),
    (
        "compare",
        "Compare",
        ":material/compare_arrows:",
        "What differs between trials or runs, and whether by more than noise.",
    ),
    ("data", "Data", ":material/database:", "What is in the store, and whether it can be trusted."),
    ("overnight", "Overnight", ":material/bedtime:", "What the scheduled jobs did, and what is no longer what it was."),
)


def main() -> None:
    """Show the page that the URL names."""
    keep_secrets(os.environ)
    st.set_page_config(page_title="QuantBot", page_icon=str(ICON), layout="wide")
    st.html(STYLE)
    try:
        require_own_datasets()
    except QuantBotError as error:
        st.error(plain(error))
        st.stop()
    who = reads_user.gate()
    reads_user.badge(who)
    pages = [
        st.Page(f"views/{name}.py", title=title, icon=icon, url_path=name, help=sentence)
        for name, title, icon, sentence in PAGES
    ]
    # The page at "/" leads to Runs: Streamlit serves a default page at the root only, and /runs must work as well.
    home = st.Page(_home, title="QuantBot", default=True, visibility="hidden", url_path="home")
    # Found at /audit by whoever asks for it; offered where people log in, to those who may read it.
    offered: Literal["visible", "hidden"] = "visible" if not who.local and may(who, "read audit") else "hidden"
    pages.append(
        st.Page("views/audit.py", title="Audit", icon=":material/policy:", url_path="audit", visibility=offered)
    )
    st.navigation([home, *pages], position="top").run()


def _home() -> None:
    st.switch_page("views/runs.py")


if __name__ == "__main__":
    main()
