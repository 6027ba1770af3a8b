"""Book: what the order book looked like at a moment, and why a fill happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import streamlit as st

from app import format as fmt
from app import reads, reads_book
from app.figures.book import depth_alt, depth_chart, ladder_chart
from app.views import _book_orders, _book_tabs, _parts, _shown, _trial_book, _url
from quantbot.errors import NotFoundError, QuantBotError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.reads_book import Place
    from app.views._shown import Shown
    from datasets.moments import Look, Moments
    from quantbot.book.depth import Clock
    from sweeps.results import TrialReplay

KEYS = ("run", "trial", "dataset", "asset", "b.session", "b.t", "b.span", "b.clock", "b.step", "b.order")
MS, S, MIN = 10**6, 10**9, 60 * 10**9
SPANS = {
    10 * MS: "10 ms",
    100 * MS: "100 ms",
    S: "1 s",
    10 * S: "10 s",
    MIN: "1 min",
    10 * MIN: "10 min",
    60 * MIN: "1 h",
}
STEPS = {MS: "1 ms", 10 * MS: "10 ms", 100 * MS: "100 ms", S: "1 s", 10 * S: "10 s", MIN: "1 min"}
CLOCKS = ("received", "exchange")
_LONGEST_NS = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Subject:
    """Whose book is shown, and what a trial did there."""

    place: Place
    moments: Moments
    replay: TrialReplay | None = None
    trial: tuple[str, int, int] | None = None  # identity, mark, trial


@_parts.page
def page() -> None:
    """Show a book at a moment."""
    view = _url.arrive("book", KEYS)
    st.subheader("Book", anchor=False)
    subject = _trial(view) if "run" in view else _dataset(view)
    if subject is not None:
        _at(subject, view)
    _url.keep("book", view)


def _dataset(view: dict[str, str]) -> Subject | None:
    known = reads_book.entries()
    if not known:
        _parts.empty(
            "There is no dataset of order-book events yet. quantbot ingest brings one in: LOBSTER, ITCH, Databento,"
            " Binance and others.", "Data: what is there", _url.DATA,
        )  # fmt: skip
        return None
    gone: list[str] = []
    places = st.columns([3, 2, 2])
    with places[0]:
        entry = _url.choose("Dataset", known, "dataset", view, default=known[0], text=_named, code=_named, gone=gone)
    with places[1]:
        asset = _url.choose("Instrument", entry.assets, "asset", view, default=entry.assets[0], gone=gone)
    sessions = reads_book.sessions(entry.name, entry.version, asset)
    with places[2]:
        session = _url.choose("Session", sessions, "b.session", view, default=sessions[0], gone=gone)
    _parts.warnings(gone)
    place = (entry.name, entry.version, asset, session)
    return Subject(place, reads_book.moments(place))


def _trial(view: dict[str, str]) -> Subject | None:
    """Take session and fills from a trial, and lead back to it."""
    shown = _shown.show(reads.find_run(view["run"]))
    _parts.scope(shown.plan, shown.name, shown.status, reads.currency(shown.plan))
    if not _trial_book.holds_books(shown):
        st.info(fmt.plain(f"The trials of {shown.name} trade on bars; a book is of runs with engine = book."))
        return None
    text = view.get("trial", "")
    if not text:
        best = shown.run.best(1)
        text = str(best[0]["trial"]) if best else ""
    if not text.isdecimal() or int(text) >= shown.plan.n_trials:
        raise NotFoundError(f"run {shown.name} has trials 0 to {shown.plan.n_trials - 1}, no trial {text!r:.40}")
    trial = int(text)
    for key in ("dataset", "asset", "b.session"):
        view.pop(key, None)
    view["trial"] = text
    row = shown.run.row(trial)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            _url.TRIAL, label="Back to the trial", icon=":material/arrow_back:",
            query_params={"run": shown.identity, "trial": text},
        )  # fmt: skip
        st.markdown(fmt.plain(f"trial {fmt.count(trial)}: {fmt.point(row['point'])}; {row['asset']}; {row['fold']}"))
    place = reads_book.place_of(shown.identity, shown.mark, trial)
    replay = _replayed(shown, trial)
    if replay is not None and "b.t" not in view and len(replay.orders["ts_ns"]):
        view["b.t"] = str(int(replay.orders["ts_ns"][0]))
    return Subject(place, reads_book.moments(place), replay, (shown.identity, shown.mark, trial))


def _replayed(shown: Shown, trial: int) -> TrialReplay | None:
    """Return the trial in full, or say why it can't be replayed; the book can be looked at all the same."""
    try:
        replay, _ = reads.replay(shown.identity, shown.mark, trial)
    except QuantBotError as error:
        st.warning("This trial can't be replayed here; below is the book without its orders.")
        _parts.problem(error)
        return None
    if replay.equal is False:
        st.error(fmt.plain(f"Not the stored row: {replay.mismatch}"), icon=":material/error:")
    return replay


def _named(entry: Any) -> str:
    return str(entry.name)


# ---------------------------------------------------------------------------------------------------------- the moment


def _at(subject: Subject, view: dict[str, str]) -> None:
    """Choose clock, window and moment, and show the book then."""
    about, instrument = subject.moments.about, subject.moments.instrument
    by = "market by order" if instrument.kind == "by_order" else "market by price"
    st.markdown(
        "  ·  ".join((
            f"**{fmt.plain(subject.place[0])}** `{fmt.short(subject.place[1])}`",
            fmt.plain(f"{instrument.symbol} {about.session}: {fmt.plural(about.n_events, 'event')}, {by}"),
            fmt.plain(f"tick {instrument.tick_size:g}, lot {instrument.lot_size:g} {instrument.currency}"),
            fmt.plain(f"{fmt.moment(about.start_ns)} to {fmt.moment(about.end_ns, date=False)}"),
        ))
    )  # fmt: skip
    places = st.columns([3, 1.4, 1.4, 1.4, 4.2], vertical_alignment="bottom")
    with places[1]:
        usual = "received" if subject.replay is None else "exchange"  # fills happen by the exchange's clock
        chosen = _url.choose("Clock", CLOCKS, "b.clock", view, default=usual, help=_CLOCK_HELP)
        clock = cast("Clock", chosen)
    with places[2]:
        span_ns = _url.choose("Window", list(SPANS), "b.span", view, default=10 * S, text=SPANS.__getitem__)
    with places[3]:
        step_ns = _url.choose("Step", list(STEPS), "b.step", view, default=S, text=STEPS.__getitem__)
    ts_ns = _moment(subject, clock, view, places[0])
    seen = reads_book.look(subject.place, ts_ns, span_ns, clock)
    _ways(seen, step_ns, places[4])
    if subject.replay is not None:
        _fill_ways(subject.replay, ts_ns)
    _pictures(subject, seen, view)
    if subject.replay is not None:
        _fills(subject.replay, ts_ns)
    _book_tabs.events(subject.moments.instrument, seen)


_CLOCK_HELP = "Which of an event's two times places it: when the exchange wrote it, or when it was received."


def _moment(subject: Subject, clock: Clock, view: dict[str, str], place: Any) -> int:
    """Return the moment of the address, the middle of the session where it names none; a field shows and takes it."""
    start, end = subject.moments.span_ns(clock)
    text = view.pop("b.t", "")
    wanted = int(text) if text.isdecimal() and len(text) <= 19 else -1
    ts_ns = min(max(wanted, start), end) if wanted >= 0 else (start + end) // 2
    if wanted >= 0 and ts_ns != wanted:
        st.caption(":orange[:material/warning:] The moment of the link is not in this session; the nearest is shown.")
    view["b.t"] = str(ts_ns)
    st.session_state["b.at"] = fmt.moment(ts_ns)
    place.text_input(
        "At (UTC)", key="b.at", on_change=_typed, args=(ts_ns,),
        help="A time of day, a date and time, or nanoseconds since 1970.",
    )  # fmt: skip
    return ts_ns


def _typed(shown_ns: int) -> None:
    found = moment_ns(str(st.session_state["b.at"]), shown_ns)
    _go(shown_ns if found is None else found)


def moment_ns(text: str, near_ns: int) -> int | None:
    """Read a moment in UTC as people write it; a time alone is of the day of `near_ns`; None if it can't be read.

    Examples
    --------
    >>> moment_ns("2012-06-21 13:30:00.004 241 176", 0), moment_ns("13:30:01", 1_340_285_400_004_241_176)
    (1340285400004241176, 1340285401000000000)
    """
    text = text.strip().removesuffix("UTC").strip()
    if text.isdecimal() and len(text) > 10:
        return min(int(text[:19]), _LONGEST_NS)
    whole, _, part = text.partition(".")
    digits = "".join(part.split())
    if digits and not digits.isdecimal():
        return None
    if ":" in whole and "-" not in whole:
        whole = f"{fmt.day(near_ns)} {whole}"
    try:
        seconds = int(datetime.fromisoformat(f"{whole.strip()}+00:00").timestamp())
    except ValueError:
        return None
    return seconds * S + int(digits[:9].ljust(9, "0") or 0)


def _ways(seen: Look, step_ns: int, place: Any) -> None:
    """Offer the nearest events and a step of time to either side."""
    with place.container(horizontal=True, gap="small"):
        for key, icon, text, target, told in (
            (
                "b.earlier",
                ":material/keyboard_double_arrow_left:",
                "",
                seen.ts_ns - step_ns,
                f"{STEPS[step_ns]} earlier",
            ),
            ("b.previous", ":material/chevron_left:", "Previous event", seen.previous_ns, "To the event before"),
            ("b.next", ":material/chevron_right:", "Next event", seen.next_ns, "To the next event"),
            ("b.later", ":material/keyboard_double_arrow_right:", "", seen.ts_ns + step_ns, f"{STEPS[step_ns]} later"),
        ):
            st.button(text, key=key, icon=icon, disabled=target is None, help=told, on_click=_go, args=(target,))


def _fill_ways(replay: TrialReplay, ts_ns: int) -> None:
    """Say which fill is looked at and why it happened, and offer those before and after."""
    fills = replay.orders
    stamps = fills["ts_ns"]
    if not len(stamps):
        st.info("This trial has no fill.")
        return
    before = int(np.searchsorted(stamps, ts_ns, "left")) - 1
    after = int(np.searchsorted(stamps, ts_ns, "right"))
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for key, icon, text, row in (
            ("b.fill.previous", ":material/first_page:", "Previous fill", before),
            ("b.fill.next", ":material/last_page:", "Next fill", after if after < len(stamps) else -1),
        ):
            target = int(stamps[row]) if row >= 0 else None
            st.button(text, key=key, icon=icon, disabled=target is None, on_click=_go, args=(target,))
        st.markdown(fmt.plain(_why(fills, before + 1, after)))


def _why(fills: Mapping[str, Any], first: int, stop: int) -> str:
    """Explain the fills of one moment."""
    if first == stop:
        return f"No fill at this moment; the trial has {fmt.plural(len(fills['ts_ns']), 'fill')}."
    lines = []
    for row in range(first, min(stop, first + 3)):
        side = "bought" if fills["side"][row] > 0 else "sold"
        rested = (int(fills["ts_ns"][row]) - int(fills["placed_ns"][row])) / 1e9
        how = (
            f"{fills['reason'][row]}, as maker after resting {fmt.duration(rested)},"
            f" {fills['queue_lots'][row]:.4g} lots ahead"
            if fills["maker"][row]
            else f"{fills['reason'][row]}, as taker"
        )
        lines.append(f"Fill {row + 1} of {len(fills['ts_ns'])}: {side} {fmt.count(int(fills['lots'][row]))} at"
                     f" {fills['price'][row]:.10g}: {how}; position then {fills['position'][row]}.")  # fmt: skip
    return " ".join(lines)


def _fills(replay: TrialReplay, ts_ns: int) -> None:
    if not len(replay.orders["ts_ns"]):
        return
    st.markdown("**Fills of the trial**")
    turn = st.session_state["b.turn"]
    chosen = _trial_book.fill_table(replay.orders, f"b.fills.{turn}")
    if chosen is not None and int(replay.orders["ts_ns"][chosen]) != ts_ns:
        _go(int(replay.orders["ts_ns"][chosen]))
        st.rerun()


def _go(ts_ns: int | None) -> None:
    st.session_state["b.turn"] = st.session_state.get("b.turn", 0) + 1
    _url.turn("book", **{"b.t": str(max(ts_ns or 0, 0)), "b.order": None})


# -------------------------------------------------------------------------------------------------------- the pictures


def _pictures(subject: Subject, seen: Look, view: dict[str, str]) -> None:
    instrument = subject.moments.instrument
    turn = st.session_state.setdefault("b.turn", 0)  # a new picture is a new chart: old clicks are no wishes any more
    own = None
    if subject.replay is not None and subject.trial is not None:
        own = _book_orders.own(subject.replay, subject.trial, seen, instrument, view, turn)
    left, right = st.columns([7, 2.4])
    with left:
        st.plotly_chart(
            depth_chart(seen.picture, instrument, seen.ts_ns, own), key=f"b.depth.{turn}",
            alt=depth_alt(seen.picture, instrument), on_select=_on_click, selection_mode="points",
            config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]},
        )  # fmt: skip
    with right:
        st.plotly_chart(
            ladder_chart(seen.ladder, instrument), key="b.ladder", config={"displayModeBar": False},
            alt=_ladder_alt(seen, instrument),
        )  # fmt: skip
    picture = seen.picture
    told = [f"{fmt.plural(picture.n_events, 'event')}, {fmt.plural(picture.n_trades, 'trade')} in the window"]
    if picture.n_trades > len(picture.trade_ns):
        told.append(f"the {fmt.count(len(picture.trade_ns))} largest are drawn")
    if picture.row_ticks > 1:
        told.append(f"one row is {picture.row_ticks} ticks")
    if (picture.lots < 0).any():
        told.append("more levels rest beyond those drawn")
    told.append("a column shows the book at its end; click a trade to go there")
    st.caption(fmt.plain("; ".join(told)))


def _ladder_alt(seen: Look, instrument: Any) -> str:
    from app.figures.book import price_text

    best = [
        f"{name} {price_text(int(ticks[0]), instrument)}, {fmt.count(int(lots[0]))} lots"
        if len(ticks)
        else f"no {name}"
        for name, ticks, lots in (
            ("best bid", seen.ladder.bid_ticks, seen.ladder.bid_lots),
            ("best ask", seen.ladder.ask_ticks, seen.ladder.ask_lots),
        )
    ]
    return f"Ladder at {fmt.moment(seen.ts_ns)}: {'; '.join(best)}"


def _on_click() -> None:
    """Go to the trade or fill that was clicked."""
    points = st.session_state[f"b.depth.{st.session_state['b.turn']}"]["selection"]["points"]
    stamps = [point["customdata"][0] for point in points if isinstance(point.get("customdata"), list)]
    if stamps and str(stamps[0]).isdecimal():
        _go(int(stamps[0]))


if __name__ == "__main__":
    page()
