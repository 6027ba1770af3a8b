"""A sheet: one HTML file that needs nothing else, made for the screen and for print; what all reports share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs

from app import format as fmt
from quantbot.errors import StoreError

WIDTH = 1000  # pixels of a figure: an A4 page on its side
FOOTER = (
    "Made by QuantBot. A decision at a bar's close sees only what was known by then. A past return promises nothing."
)

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff;
       max-width: 1120px; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.45rem; margin: 0 0 .25rem; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; }
.scope, footer { color: #4a5460; }
.note { background: #fff6dd; padding: .4rem .6rem; border-radius: 4px; }
.chips { margin: .6rem 0; }
.chip { display: inline-block; background: #eef1f4; border-radius: 4px;
        padding: .1rem .5rem; margin: 0 .35rem .35rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: left; font-weight: 600; color: #4a5460; }
th.n, td.n { text-align: right; white-space: nowrap; }
td, th { padding: .22rem .6rem; border-bottom: 1px solid #e3e7eb; vertical-align: top; }
table.wide { font-size: .8rem; }
table.wide th.n { white-space: normal; vertical-align: bottom; }
table.wide td, table.wide th { padding: .18rem .35rem; }
h1, p, li { overflow-wrap: anywhere; }
td:not(.n) { overflow-wrap: anywhere; min-width: 4.5rem; }
td.doc { color: #4a5460; font-size: .88rem; }
table.months td, table.months th { text-align: right; padding: .2rem .35rem; font-size: .88rem; }
table.months th:first-child { text-align: left; }
footer { margin: 2.5rem 0 1rem; font-size: .85rem; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; margin: .9rem 0; }
.tile { border: 1px solid #d5dbe1; border-radius: 6px; padding: .5rem .7rem; break-inside: avoid; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; }
.tile span { display: block; color: #4a5460; font-size: .86rem; overflow-wrap: anywhere; }
pre { background: #f4f6f8; border-radius: 4px; padding: .6rem .8rem; overflow-wrap: anywhere; white-space: pre-wrap;
      font-size: .84rem; }
ul { margin: .3rem 0; padding-left: 1.1rem; }
figure { margin: 0; break-inside: avoid; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { max-width: none; margin: 0; padding: 0; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  .modebar { display: none; }
}
"""


def sheet(title: str, sections: Sequence[str], *, charts: bool = True) -> str:
    """Return the whole file, made of parts that are HTML already; no part of it is fetched from anywhere.

    Parameters
    ----------
    charts
        Whether a part is a `chart`; without, the file needs no script at all.
    """
    script = f"<script>{get_plotlyjs()}</script>" if charts else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(fmt.visible(title))}</title><style>{STYLE}</style>"
        f"{script}</head><body>\n" + _visible("\n".join(sections)) + f"\n<footer>{FOOTER}</footer>\n</body></html>\n"
    )


def _visible(html: str) -> str:
    """Write marks that would turn text around as their codes, wherever somebody's words have them."""
    return fmt.visible(html).replace("<U+", "&lt;U+")


def write_sheet(text: str, path: Path) -> None:
    """Write a sheet; what was at `path` is replaced only once the new one is whole.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StoreError(f"the report can't be written to {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def chart(figure: go.Figure, name: str, alt: str) -> str:
    """Return a figure as HTML on white, of a width that fits on paper.

    Parameters
    ----------
    name
        The element's, unlike any other's in the sheet; by it equal sheets have equal bytes.
    alt
        The finding in words.
    """
    figure.update_layout(template="plotly_white", paper_bgcolor="white", plot_bgcolor="white", width=WIDTH)
    html: str = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, div_id=name, config={"displaylogo": False}
    )
    return f'<figure role="img" aria-label="{escape(alt)}">{html}</figure>'


def table(columns: Sequence[str], rows: Sequence[str], css: str = "") -> str:
    """Return a table; a column whose name begins with "n:" has numbers, and stands to the right."""
    head = "".join(
        f'<th class="n">{_name(name.removeprefix("n:"))}</th>' if name.startswith("n:") else f"<th>{_name(name)}</th>"
        for name in columns
    )
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _name(text: str) -> str:
    """Return a column's name that may break after its dots and low lines: ``execution.fee_bps``."""
    return escape(text).replace(".", ".<wbr>").replace("_", "_<wbr>")


def cells(columns: Sequence[str], values: Sequence[str]) -> str:
    """Return one row of such a table."""
    return "<tr>" + "".join(
        f'<td class="n">{escape(value)}</td>' if name.startswith("n:") else f"<td>{escape(value)}</td>"
        for name, value in zip(columns, values, strict=True)
    ) + "</tr>"  # fmt: skip


def notes(sentences: Sequence[str]) -> str:
    """Return sentences that a reader should know before the answer."""
    return "".join(f'<p class="note">{escape(sentence)}</p>' for sentence in sentences)
