"""Audit: who did what, the newest first; whether the log is whole. For operators."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads, reads_user
from app.views import _parts

_SHOWN = 200


@_parts.page
def page() -> None:
    """Show the newest entries."""
    st.subheader("Audit", anchor=False)
    entries = reads_user.audit_log(_SHOWN)
    if not entries:
        st.markdown("Nobody has done anything here yet.")
        return
    st.caption(fmt.plain(f"The newest {fmt.plural(len(entries), 'entry', 'entries')} in {reads.store_url()}"))
    st.dataframe(
        pd.DataFrame({
            "number": [entry.number for entry in entries],
            "when": [fmt.instant(entry.at_ns) for entry in entries],
            "who": [entry.user for entry in entries],
            "role": [entry.role for entry in entries],
            "did": [entry.action for entry in entries],
            "outcome": [entry.outcome for entry in entries],
            "to": [entry.subject for entry in entries],
            "details": ["; ".join(f"{name}: {value}" for name, value in entry.details.items()) for entry in entries],
        }), hide_index=True, alt="Audit log",
    )  # fmt: skip
    if st.button("Verify all of it", key="audit.verify", icon=":material/verified_user:"):
        found = reads_user.verify_audit()
        if found.problems:
            st.error("  \n".join(fmt.plain(problem) for problem in found.problems))
        else:
            told = f"All {fmt.plural(found.n_entries, 'entry', 'entries')} are whole, in order and without a gap."
            st.success(fmt.plain(f"{told} Head: {found.head}"))


if __name__ == "__main__":
    page()
