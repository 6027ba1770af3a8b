"""The report of one backtest: a single HTML file that needs nothing else, made for the screen and for print."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.io
from plotly.offline import get_plotlyjs

from app import format as fmt
from app.figures import theme
from app.figures.trial import trial_chart
from quantbot.errors import StoreError

if TYPE_CHECKING:
    from app.backtest import Backtest

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "year")
TRADES_SHOWN = 200
_TRADE_COLUMNS = {"entry_ns": "entry", "exit_ns": "exit", "pnl": "profit", "n_bars": "bars"}
# The return at which a month's and a year's cell has the full colour: two deviations of an index's.
_FULL_MONTH, _FULL_YEAR = 0.08, 0.3

_STYLE = """
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
td.doc { color: #4a5460; font-size: .88rem; }
table.months td, table.months th { text-align: right; padding: .2rem .35rem; font-size: .88rem; }
table.months th:first-child { text-align: left; }
footer { margin: 2.5rem 0 1rem; font-size: .85rem; }
@media print {
  body { max-width: none; margin: 0; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  .modebar { display: none; }
}
"""


def write_report(trial: Backtest, path: Path) -> None:
    """Write the report; what was at `path` is replaced only once the new one is whole.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    text = report(trial)
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


def report(trial: Backtest) -> str:
    """Return the report as HTML: the chart, the measures beside buy-and-hold, months, trades and every setting."""
    chips = "".join(
        f'<span class="chip">{escape(name)} <b>{escape(fmt.value(value))}</b></span>'
        for name, value in trial.point.items()
    )
    notes = "".join(f'<p class="note">{escape(remark)}</p>' for remark in trial.remarks)
    sections = [
        f"<h1>{escape(trial.strategy)} on {escape(trial.asset)}</h1>",
        f'<p class="scope">{escape(trial.name)}: {escape(trial.dataset)}, {escape(trial.scope)}</p>',
        f'<div class="chips">{chips}</div>{notes}',
        _chart(trial),
        f"<h2>Measures</h2>{_measures(trial)}<p class='scope'>{escape(trial.counts())}</p>",
        f"<h2>Returns by month</h2>{_months(trial)}",
        f"<h2>Trades</h2>{_trades(trial)}",
        f"<h2>Settings</h2>{_settings(trial)}",
        "<footer>Made by QuantBot. A decision at a bar's close sees only what was known by then. A past return"
        " promises nothing.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(trial.title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def _chart(trial: Backtest) -> str:
    figure = trial_chart(trial.replay, currency=trial.currency)
    figure.update_layout(template="plotly_white", paper_bgcolor="white", plot_bgcolor="white")
    html: str = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return html


def _measures(trial: Backtest) -> str:
    docs = {measure.label: measure.doc for measure in trial.measures}
    rows = [
        f'<tr><td>{escape(label)}</td><td class="n">{escape(value)}</td><td class="n">{escape(hold)}</td>'
        f'<td class="doc">{escape(docs[label])}</td></tr>'
        for label, value, hold in trial.table()
    ]
    return _table(("measure", "n:trial", "n:buy and hold", "meaning"), rows)


def _months(trial: Backtest) -> str:
    years, returns = trial.monthly_returns()
    rows = []
    for year, row in zip(years, returns.tolist(), strict=True):
        cells = "".join(_return_cell(value, _FULL_MONTH) for value in row[:-1]) + _return_cell(row[-1], _FULL_YEAR)
        rows.append(f"<tr><th>{year}</th>{cells}</tr>")
    return _table(("", *MONTHS), rows, css="months")


def _return_cell(value: float, full_colour: float) -> str:
    if math.isnan(value):
        return "<td></td>"
    # Blue up, vermillion down, as everywhere; the sign is written too, so colour is never the only one.
    hue = theme.BLUE if value >= 0 else theme.VERMILLION
    strength = round(0.55 * min(abs(value) / full_colour, 1) * 255)
    return f'<td style="background:{hue}{strength:02x}">{fmt.percent(value, sign=True)}</td>'


def _trades(trial: Backtest) -> str:
    trades = trial.replay.trades
    n_trades = len(trades["pnl"])
    if not n_trades:
        return "<p>No trade.</p>"
    shown = [name for name in trades if name.removeprefix("entry_").removeprefix("exit_") not in ("bar", "open")]
    rows = []
    for row in range(max(n_trades - TRADES_SHOWN, 0), n_trades):
        cells = "".join(f'<td class="n">{escape(_trade_cell(trial, name, row))}</td>' for name in shown)
        rows.append(f"<tr>{cells}</tr>")
    left_out = n_trades - len(rows)
    note = f"<p class='scope'>The last {len(rows)}; {fmt.count(left_out)} before them left out.</p>" if left_out else ""
    return note + _table([f"n:{_TRADE_COLUMNS.get(name, name.replace('_', ' '))}" for name in shown], rows)


def _trade_cell(trial: Backtest, name: str, row: int) -> str:
    value = trial.replay.trades[name][row]
    if name.startswith("exit") and trial.replay.trades["open"][row] and name.endswith("_ns"):
        return "still open"
    if name.endswith("_ns"):
        return fmt.day(int(value)) if trial.daily else fmt.instant(int(value)).removesuffix(" UTC")
    if name.endswith("price"):
        return fmt.price(float(value))
    match name:
        case "return":
            return fmt.percent(float(value), sign=True)
        case "pnl" | "fee" | "fees":
            return fmt.money(float(value))
        case "side":
            return "long" if value > 0 else "short"
    return fmt.value(value)


def _settings(trial: Backtest) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td>{escape(fmt.value(value))}</td></tr>" for name, value in trial.settings.items()
    ]
    return _table(("setting", "value"), rows)


def _table(columns: Sequence[str], rows: Sequence[str], css: str = "") -> str:
    head = "".join(
        f'<th class="n">{escape(name.removeprefix("n:"))}</th>' if name.startswith("n:") else f"<th>{escape(name)}</th>"
        for name in columns
    )
    return f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
