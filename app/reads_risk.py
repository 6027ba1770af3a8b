"""What the Risk page and the explanation of a difference read; cached like everything in `app.reads`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from app import reads, reads_user
from quantbot.engine import get_engine
from quantbot.errors import InputError, QuantBotError

if TYPE_CHECKING:
    from quantbot.market import Floats, Nanoseconds
    from quantbot.portfolio import Frontier
    from quantbot.risk import ContributionIntervals, DrawdownAttribution, PnlAttribution, RollingContributions
    from sweeps.attribution import Explained, GuardEffect
    from sweeps.holdings import Holdings
    from sweeps.risk import RiskView

Place = tuple[str, int, int]  # identity, mark and trial
Kind = Literal["returns", "closes"]


@st.cache_resource(ttl=5, max_entries=4, show_spinner=False)
def _scenario_names(url: str) -> list[str]:
    from datasets.scenarios import scenario_names as names

    return names(reads.store())


def scenario_names() -> list[str]:
    """Return the names of stored scenarios; at most a few seconds old."""
    return _scenario_names(reads.store_url())


def holds_portfolios(identity: str) -> bool:
    """Return whether the trials of a run hold many assets together."""
    return _holds_portfolios(reads.store_url(), identity)


@st.cache_resource(max_entries=1_000, show_spinner=False)
def _holds_portfolios(url: str, identity: str) -> bool:
    from sweeps.runstore import RunStore

    return bool(get_engine(RunStore(reads.store(), identity).plan().engine).joint)


def chosen_trial(identity: str, mark: int) -> int:
    """Return the trial that a run would choose: its plateau, else its best."""
    from sweeps.compare import side_of

    return side_of(reads.open_run(identity, mark)).trial


def factor_returns(factors: tuple[tuple[str, str], ...], seen: RiskView) -> tuple[Floats, tuple[str, ...]]:
    """Return what assets of datasets did on the bars of a view, each named by dataset and asset."""
    from sweeps.risk import returns_between

    versions = {entry.name: entry.version for entry in reads.catalogue()}
    bars = [reads.bars(name, versions[name], asset) for name, asset in factors]
    return returns_between(bars, seen), tuple(asset for _, asset in factors)


def of_trial(place: Place) -> Holdings:
    """Return what a trial holds."""
    return _of_trial(reads.store_url(), *place)


@st.cache_resource(max_entries=8, show_spinner="Reading what it held")
def _of_trial(url: str, identity: str, mark: int, trial: int) -> Holdings:
    from sweeps.holdings import holdings_of

    replayed, _ = reads.replay(identity, mark, trial)
    return holdings_of(reads.open_run(identity, mark), replayed)


def of_files(returns: tuple[str, bytes], kind: Kind, positions: tuple[str, bytes] | None) -> tuple[Holdings, str]:
    """Return the holdings of files, each its name and its bytes, and what names them.

    Raises
    ------
    QuantBotError
        With the line and the value that can't be.
    """
    for name, data in (returns, *([positions] if positions else [])):
        reads_user.uploading(name, data)
    digest = hashlib.sha256(repr((kind, returns, positions)).encode()).hexdigest()
    return _of_files(digest, returns, kind, positions), digest


@st.cache_resource(max_entries=8, show_spinner="Reading your files")
def _of_files(digest: str, _returns: tuple[str, bytes], _kind: Kind, _positions: tuple[str, bytes] | None) -> Holdings:
    from datasets.holdings import read_holdings, read_returns
    from sweeps.holdings import holdings_from

    table = read_returns(_returns[1], kind=_kind, source=_returns[0])
    held = read_holdings(_positions[1], source=_positions[0]) if _positions else None
    return holdings_from(table, held, title=_positions[0] if _positions else _returns[0])


def view(key: str, holdings: Holdings, bar: int, beta: float, window: int, method: str) -> RiskView:
    """Return the risk of holdings, which `key` names, as seen from one close."""
    return _view(key, holdings, bar, beta, window, method)


@st.cache_resource(max_entries=16, show_spinner="Making scenarios")
def _view(key: str, _holdings: Holdings, bar: int, beta: float, window: int, method: str) -> RiskView:
    from sweeps.risk import risk_view

    found = risk_view(_holdings, bar=bar, beta=beta, window=window, method=method)
    found.scenarios  # noqa: B018 - what can't be made is said here
    return found


def intervals(key: str, seen: RiskView) -> ContributionIntervals | str:
    """Return CVaR's contributions with intervals, or in words why they are unknown."""
    return _intervals(key, seen.bar, seen.beta, len(seen.rows), seen)


@st.cache_resource(max_entries=16, show_spinner="Drawing its history again")
def _intervals(key: str, bar: int, beta: float, window: int, _seen: RiskView) -> ContributionIntervals | str:
    try:
        return _seen.intervals()
    except QuantBotError as error:
        return str(error)


def frontier(key: str, seen: RiskView, which: str) -> tuple[Frontier, tuple[Frontier, ...]]:
    """Return the frontier, and those of histories drawn again."""
    return _frontier(key, seen.bar, seen.beta, len(seen.rows), seen.method, which, seen)


@st.cache_resource(max_entries=16, show_spinner="Tracing the frontier")
def _frontier(
    key: str, bar: int, beta: float, window: int, method: str, which: str, _seen: RiskView
) -> tuple[Frontier, tuple[Frontier, ...]]:
    return _seen.frontier(which=which), _seen.cloud(which=which)


def through_time(key: str, holdings: Holdings, window: int, beta: float) -> tuple[Nanoseconds, RollingContributions]:
    """Return who carried the risk at closes all along."""
    return _through_time(key, window, beta, holdings)


@st.cache_resource(max_entries=16, show_spinner="Looking from every close")
def _through_time(key: str, window: int, beta: float, _holdings: Holdings) -> tuple[Nanoseconds, RollingContributions]:
    from sweeps.risk import through_time as look

    return look(_holdings, window=window, beta=beta)


def profit(place: Place) -> PnlAttribution:
    """Return who earned what in a trial."""
    return _attributed(reads.store_url(), "profit", *place)  # type: ignore[no-any-return]


def drawdowns(place: Place) -> tuple[DrawdownAttribution, ...]:
    """Return who made the drawdowns of a trial."""
    return _attributed(reads.store_url(), "drawdowns", *place)  # type: ignore[no-any-return]


def guard_effects(place: Place) -> tuple[GuardEffect, ...]:
    """Return what each guard of a trial did."""
    return _attributed(reads.store_url(), "guard_effects", *place)  # type: ignore[no-any-return]


@st.cache_resource(max_entries=16, show_spinner="Adding up who earned what")
def _attributed(url: str, what: str, identity: str, mark: int, trial: int) -> Any:
    from sweeps import attribution

    replayed, _ = reads.replay(identity, mark, trial)
    return getattr(attribution, what)(reads.open_run(identity, mark), replayed)


def explained(first: Place, second: Place) -> Explained | str:
    """Return why two trials of portfolios ended apart, or in words why that can't be told."""
    return _explained(reads.store_url(), first, second)


@st.cache_resource(max_entries=16, show_spinner="Explaining the difference")
def _explained(url: str, first: Place, second: Place) -> Explained | str:
    from sweeps.attribution import explain

    try:
        one, other = (
            (reads.open_run(identity, mark), reads.replay(identity, mark, trial)[0])
            for identity, mark, trial in (first, second)
        )
        return explain(one, other)
    except InputError as error:
        return str(error)
