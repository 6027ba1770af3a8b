"""Risk: what can hurt, and where does it come from? Of a trial of a portfolio run, or of files of your own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads, reads_risk, reads_user
from app.views import _parts, _risk_tabs, _shown, _url
from quantbot.errors import NotFoundError, QuantBotError

if TYPE_CHECKING:
    from app.views._shown import Shown
    from sweeps.holdings import Holdings
    from sweeps.risk import RiskView

KEYS = ("run", "trial", "r.from", "r.at", "r.beta", "r.win", "r.how", *_risk_tabs.KEYS)
CARRIED = ("s.", _url.POINT)
SOURCES = {"run": "A trial of a portfolio run", "files": "Files of your own"}
KINDS = {"returns": "returns (0.01 is 1 %)", "closes": "closing prices"}
EXAMPLE = "date,AAPL,JNJ,XOM\n2026-01-02,0.004,-0.001,0.010\n2026-01-05,-0.012,0.003,0.002"
HELD = "asset,weight\nAAPL,0.5\nJNJ,0.3\nXOM,0.2"


@dataclass(frozen=True, eq=False)
class Subject:
    """Whose risk is shown, and what names it for a cache; trials have a place, files do not."""

    holdings: Holdings
    key: str
    place: tuple[str, int, int] | None = None
    shown: Shown | None = None


@_parts.page
def page() -> None:
    """Show where the risk of a portfolio is."""
    view = _url.arrive("risk", KEYS, CARRIED)
    st.subheader("Risk", anchor=False)
    source = _source(view)
    try:
        subject = _files() if source == "files" else _trial(view)
    finally:
        if source == "files":
            for key in [key for key in view if key in ("run", "trial") or key.startswith(CARRIED)]:
                del view[key]
    if subject is not None:
        _look(subject, view)
    _url.keep("risk", view)


def _source(view: dict[str, str]) -> str:
    wanted = view.pop("r.from", "run")
    if st.session_state.get("r.from") not in SOURCES:
        st.session_state["r.from"] = wanted if wanted in SOURCES else "run"
    chosen = str(
        st.segmented_control(
            "Whose", list(SOURCES), key="r.from", required=True, label_visibility="collapsed",
            format_func=SOURCES.__getitem__,
        )
    )  # fmt: skip
    view["r.from"] = chosen
    return chosen


# -------------------------------------------------------------------------------------------------------------- trials


def _trial(view: dict[str, str]) -> Subject | None:
    known = [run for run in reads.runs() if reads_risk.holds_portfolios(run.identity)]
    if not known:
        _parts.empty(
            "There is no run of portfolios yet. Start one (engine = portfolio), or choose Files of your own above.",
            "New sweep", _url.NEW,
        )  # fmt: skip
        return None
    wanted = reads.find_run(view["run"]) if "run" in view else known[0]
    if wanted.identity not in {run.identity for run in known}:
        st.info(
            fmt.plain(
                f"The trials of {wanted.name or wanted.short} hold one asset each; risk by asset is of portfolio runs."
            )
        )
        wanted = known[0]
        view.pop("trial", None)
    place, number = st.columns([4, 1], vertical_alignment="bottom")
    with place:
        chosen = _url.choose(
            "Run", known, "run", view, default=wanted, code=lambda run: run.identity,
            text=lambda run: f"{run.name or 'unnamed'} {run.short}, {run.strategy}",
        )  # fmt: skip
    shown = _shown.show(chosen)
    _parts.scope(shown.plan, shown.name, shown.status, reads.currency(shown.plan))
    trial = _number(shown, number, view)
    row = shown.run.row(trial)
    if row["state"] != "ok":
        st.warning(fmt.plain(f"Trial {trial} has no path: {row['state']} {row['reason']}"))
        return None
    words = [f"trial {fmt.count(trial)}", row["fold"], fmt.point(row["point"])]
    st.markdown(fmt.plain("; ".join(word for word in words if word)))
    _, ahead = st.columns([5, 1])
    ahead.page_link(
        _url.TRIAL, label="Open the trial", icon=":material/show_chart:",
        query_params={"run": shown.identity, "trial": str(trial)},
    )  # fmt: skip
    at = (shown.identity, shown.mark, trial)
    return Subject(reads_risk.of_trial(at), repr(at), at, shown)


def _number(shown: Shown, place: Any, view: dict[str, str]) -> int:
    """Choose a trial by its number; the plateau, else the best, where the address names none."""
    text = view.pop("trial", "")
    if text and (not text.isdecimal() or int(text) >= shown.plan.n_trials):
        raise NotFoundError(f"run {shown.name} has trials 0 to {shown.plan.n_trials - 1}, no trial {text!r:.40}")
    key = "r.trial"
    at = f"{shown.identity} {text}"
    if st.session_state.get("r.trial of") != at or key not in st.session_state:
        st.session_state[key] = int(text) if text else reads_risk.chosen_trial(shown.identity, shown.mark)
    trial = int(place.number_input("Trial", 0, shown.plan.n_trials - 1, key=key, step=1))
    st.session_state["r.trial of"] = f"{shown.identity} {trial}"
    view["trial"] = str(trial)
    return trial


# --------------------------------------------------------------------------------------------------------------- files


def _files() -> Subject | None:
    if not reads_user.allowed("upload"):
        st.info("Handing in files needs the role of a researcher.")
        return None
    most = reads_user.in_force().upload_mb
    left, middle, right = st.columns([3, 2, 3])
    with left:
        returns = st.file_uploader(
            "Returns: a date, and a column an asset (CSV)", type="csv", key="r.returns", max_upload_size=most
        )
    with middle:
        kind = st.radio("They are", list(KINDS), key="r.kind", format_func=KINDS.__getitem__)
    with right:
        positions = st.file_uploader("Positions: asset, and weight, value or quantity and price (CSV, optional)",
                                     type="csv", key="r.positions", max_upload_size=most)  # fmt: skip
    if returns is None:
        st.markdown("Files stay in this session: nothing is stored. They look like this:")
        one, two = st.columns(2)
        one.code(EXAMPLE, language="text")
        two.code(HELD, language="text")
        return None
    try:
        holdings, key = reads_risk.of_files(
            (returns.name, returns.getvalue()), cast("reads_risk.Kind", kind),
            (positions.name, positions.getvalue()) if positions else None,
        )  # fmt: skip
    except QuantBotError as error:
        _parts.problem(error)
        return None
    n_held = int(np.count_nonzero(holdings.weights[-1]))
    parts = [
        f"**{fmt.plain(holdings.title)}**",
        fmt.plain(f"{fmt.plural(len(holdings.ts_end_ns), 'period')} of {fmt.plural(len(holdings.assets), 'asset')}"),
        fmt.plain(f"{fmt.day(int(holdings.ts_end_ns[0]))} to {fmt.day(int(holdings.ts_end_ns[-1]))}"),
        fmt.plain(f"{n_held} held, {holdings.periods_per_year:g} periods a year"),
    ]
    st.markdown("  ·  ".join(parts))
    _parts.warnings(holdings.notes)
    return Subject(holdings, key)


# ------------------------------------------------------------------------------------------------------------ the look


def _look(subject: Subject, view: dict[str, str]) -> None:
    holdings = subject.holdings
    held = np.flatnonzero(np.abs(holdings.weights).sum(axis=1) > 0)
    if not held.size:
        st.info("Nothing is ever held here, so there is no risk to look at.")
        return
    bar, beta, window, method = _controls(subject, held, view)
    try:
        seen = reads_risk.view(subject.key, holdings, bar, beta, window, method)
    except QuantBotError as error:
        _parts.problem(error)
        return
    if seen.left_out:
        named = ", ".join(f"{asset} {fmt.percent(weight)}" for asset, weight in seen.left_out.items())
        _parts.warnings([f"held, but without a whole history in the window, so not counted: {named}"])
    _headline(seen)
    _risk_tabs.show(subject, seen, window, view)


def _controls(subject: Subject, held: Any, view: dict[str, str]) -> tuple[int, float, int, str]:
    """Choose close, level, history and scenarios; all stand in the address."""
    from quantbot.risk import SCENARIOS

    holdings = subject.holdings
    days = holdings.ts_end_ns[held]
    first, last = _day(int(days[0])), _day(int(days[-1]))
    places = st.columns([2, 2, 2, 3])
    _start("r.at", _wanted_day(view.pop("r.at", ""), first, last))
    with places[0]:
        day = st.date_input("As of the close of", key="r.at", min_value=first, max_value=last, format="YYYY-MM-DD")
    levels = sorted({0.9, 0.95, 0.975, 0.99, round(holdings.beta, 6)})
    with places[1]:
        beta = _url.choose("Level of CVaR", levels, "r.beta", view, default=round(holdings.beta, 6), text=_level)
    most = len(holdings.ts_end_ns)
    windows = sorted({n for n in (125, 250, 500, 1000, 2500, holdings.window) if 20 <= n <= most} or {most})
    with places[2]:
        window = _url.choose(
            "History", windows, "r.win", view, default=holdings.window if holdings.window in windows else windows[-1],
            text=lambda n: f"{fmt.count(n)} bars",
        )  # fmt: skip
    left_out = ("factor_model",) if holdings.given is not None else ("factor_model", "user")
    methods = [name for name in SCENARIOS if name not in left_out]
    with places[3]:
        method = _url.choose(
            "Scenarios", methods, "r.how", view, default="historical", text=lambda name: SCENARIOS[name].title
        )
    if day != last:
        view["r.at"] = day.isoformat()
    end = int(datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC).timestamp()) * 10**9
    chosen = held[max(int(np.searchsorted(days, end, side="right")) - 1, 0)]
    return int(chosen), beta, window, method


def _start(key: str, value: Any) -> None:
    if key not in st.session_state:
        st.session_state[key] = value


def _wanted_day(text: str, first: date, last: date) -> date:
    try:
        wanted = date.fromisoformat(text)
    except ValueError:
        wanted = last
    wanted = min(max(wanted, first), last)
    kept = st.session_state.get("r.at")
    if kept is not None and not first <= kept <= last:
        st.session_state["r.at"] = wanted
    return wanted


def _headline(seen: RiskView) -> None:
    """Show the totals, each with its level, horizon, scenarios and sign."""
    holdings = seen.holdings
    cvar, var, volatility = (seen.contributions(kind) for kind in ("cvar", "var", "volatility"))
    year = volatility.total * float(np.sqrt(holdings.periods_per_year))
    level = fmt.percent(seen.beta, 1 if round(seen.beta * 1000) % 10 else 0)
    tiles = st.columns(5)
    tiles[0].metric(f"CVaR {level}", fmt.risk(cvar.total), border=True,
                    help=f"Mean loss in the worst {fmt.percent(1 - seen.beta)} of scenarios, one bar ahead, share of"
                    " equity; positive is a loss.")  # fmt: skip
    tiles[1].metric(f"VaR {level}", fmt.risk(var.total), border=True,
                    help=f"The loss that {fmt.percent(1 - seen.beta)} of scenarios exceed, one bar ahead.")  # fmt: skip
    tiles[2].metric("Volatility a year", fmt.percent(year), border=True,
                    help="Deviation of a bar's return, times the root of the bars of a year.")  # fmt: skip
    tiles[3].metric("Diversification", f"{seen.diversification():.2f}", border=True,
                    help="Volatilities of the positions, added up, over that of the portfolio: 1 is none.")  # fmt: skip
    weights = holdings.weights[seen.bar]
    tiles[4].metric("Gross / net", f"{fmt.percent(float(np.abs(weights).sum()), 0)} / "
                    f"{fmt.percent(float(weights.sum()), 0)}", border=True,
                    help="Sum of absolute weights, and of weights, at this close.")  # fmt: skip
    n = seen.scenarios.returns.shape[0]
    st.caption(
        fmt.plain(
            f"As of {fmt.instant(int(holdings.ts_end_ns[seen.bar]))}, from {fmt.plural(len(seen.rows), 'bar')} of"
            f" history ({fmt.day(int(holdings.ts_end_ns[seen.rows[0]]))} on), {fmt.plural(n, 'scenario')}, one bar"
            " ahead; losses are positive, shares of equity."
        )
    )


def _level(beta: float) -> str:
    return f"{100 * beta:g} %"


def _day(ts_ns: int) -> date:
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).date()


if __name__ == "__main__":
    page()
