import numpy as np
import pytest

from quantbot.book import Action, BookInstrument, BookSession, Events
from quantbot.book.session import step_ends, usual_step_ns
from quantbot.errors import InputError

S = 10**9
L2 = BookInstrument("X", 0.01, 1.0, "by_price")


def _session(start: int, end: int) -> BookSession:
    return BookSession.of(Events.of(L2, "s", [(start, Action.SET, 1, 99, 5), (end, Action.SET, -1, 101, 4)]))


@pytest.mark.parametrize(("span", "step"), [(5 * S, S // 10), (100 * S, S), (23_400 * S, 10 * S)])
def test_steps__cover_every_event_and_lie_on_the_clocks_grid(span: int, step: int) -> None:
    start = 34_200 * S + 17
    session = _session(start, start + span)
    assert session.step_ns == step == usual_step_ns(start, start + span)
    assert (session.ts_end_ns % step == 0).all()
    assert (np.diff(session.ts_end_ns) == step).all()
    first, last = session.bounds_ns((0, len(session)))
    assert first <= start < first + step
    assert last - step < start + span <= last


def test_steps__are_one_at_least_and_begin_before_an_event_on_the_grid() -> None:
    assert step_ends(10, 10, 10).tolist() == [20]
    assert step_ends(10, 20, 10).tolist() == [20]


def test_session__annualises_by_how_long_it_lasts() -> None:
    assert _session(0, 23_400 * S).periods_per_year == 252 * 2340
    assert _session(0, 86_400 * S).periods_per_year == 365 * 8640


def test_session__can_be_read_again_and_refuses_windows_outside() -> None:
    session = _session(0, 10 * S)
    assert sum(len(part) for part in session.read()) == sum(len(part) for part in session.read()) == session.n_events
    assert (session.low_ticks, session.high_ticks) == (99, 101)
    with pytest.raises(InputError, match=r"100 steps and not be empty; was \(5, 5\)"):
        session.bounds_ns((5, 5))
    with pytest.raises(InputError, match="needs an event"):
        BookSession.of(Events.of(L2, "s", []))
