"""The report of one backtest: a single HTML file that needs nothing else, made for the screen and for print."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from app import format as fmt
from app.figures import theme
from app.figures.trial import trial_chart
from app.sheet import chart, notes, sheet, table, write_sheet

if TYPE_CHECKING:
    from app.backtest import Backtest

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "year")
TRADES_SHOWN = 200
_TRADE_COLUMNS = {"entry_ns": "entry", "exit_ns": "exit", "pnl": "profit", "n_bars": "bars"}
# The return at which a month's and a year's cell has the full colour: two deviations of an index's.
_FULL_MONTH, _FULL_YEAR = 0.08, 0.3


def write_report(trial: Backtest, path: Path) -> None:
    """Write the report; what was at `path` is replaced only once the new one is whole.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    write_sheet(report(trial), path)


def report(trial: Backtest) -> str:
    """Return the report as HTML: the chart, the measures beside buy-and-hold, months, trades and every setting."""
    chips = "".join(
        f'<span class="chip">{escape(name)} <b>{escape(fmt.value(value))}</b></span>'
        for name, value in trial.point.items()
    )
    sections = [
        f"<h1>{escape(trial.strategy)} on {escape(trial.asset)}</h1>",
        f'<p class="scope">{escape(trial.name)}: {escape(trial.dataset)}, {escape(trial.scope)}</p>',
        f'<div class="chips">{chips}</div>{notes(trial.remarks)}',
        _chart(trial),
        f"<h2>Measures</h2>{_measures(trial)}<p class='scope'>{escape(trial.counts())}</p>",
        f"<h2>Returns by month</h2>{_months(trial)}",
        f"<h2>Trades</h2>{_trades(trial)}",
        f"<h2>Settings</h2>{_settings(trial)}",
    ]
    return sheet(trial.title, sections)


def _chart(trial: Backtest) -> str:
    figure = trial_chart(trial.replay, currency=trial.currency)
    return chart(figure, "trial", f"Price, equity, drawdown, exposure and turnover of {trial.title}")


def _measures(trial: Backtest) -> str:
    docs = {measure.label: measure.doc for measure in trial.measures}
    rows = [
        f'<tr><td>{escape(label)}</td><td class="n">{escape(value)}</td><td class="n">{escape(hold)}</td>'
        f'<td class="doc">{escape(docs[label])}</td></tr>'
        for label, value, hold in trial.table()
    ]
    return table(("measure", "n:trial", "n:buy and hold", "meaning"), rows)


def _months(trial: Backtest) -> str:
    years, returns = trial.monthly_returns()
    rows = []
    for year, row in zip(years, returns.tolist(), strict=True):
        cells = "".join(_return_cell(value, _FULL_MONTH) for value in row[:-1]) + _return_cell(row[-1], _FULL_YEAR)
        rows.append(f"<tr><th>{year}</th>{cells}</tr>")
    return table(("", *MONTHS), rows, css="months")


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
    return note + table([f"n:{_TRADE_COLUMNS.get(name, name.replace('_', ' '))}" for name in shown], rows)


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
    return table(("setting", "value"), rows)
