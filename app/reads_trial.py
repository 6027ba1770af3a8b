"""What the pages of trials read: paths, neighbours, intervals, comparisons; cached like everything in `app.reads`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import streamlit as st

from app import reads
from quantbot.errors import InputError, QuantBotError

if TYPE_CHECKING:
    from quantbot.paths import Rolling
    from quantbot.selection.bootstrap import Intervals
    from quantbot.selection.paired import Paired
    from sweeps.compare import Aligned, Common, Side
    from sweeps.curves import TrialCurves
    from sweeps.neighbours import Neighbour, Spread
    from sweeps.surface import Plane

Table = Literal["curves", "orders", "trades"]
Format = Literal["csv", "parquet"]


def curves(identity: str, mark: int, trial: int) -> TrialCurves:
    """Return the path of a trial, replayed once."""
    return _curves(reads.store_url(), identity, mark, trial)


@st.cache_resource(max_entries=12, show_spinner=False)
def _curves(url: str, identity: str, mark: int, trial: int) -> TrialCurves:
    from sweeps.curves import curves_of

    replayed, _ = reads.replay(identity, mark, trial)
    return curves_of(reads.open_run(identity, mark), replayed)


def rolling(identity: str, mark: int, trial: int, n_bars: int) -> Rolling:
    """Return what windows of so many bars of a trial came to."""
    return _rolling(reads.store_url(), identity, mark, trial, n_bars)


@st.cache_resource(max_entries=32, show_spinner="Rolling the window")
def _rolling(url: str, identity: str, mark: int, trial: int, n_bars: int) -> Rolling:
    return curves(identity, mark, trial).rolling(n_bars)


def intervals(identity: str, mark: int, trial: int) -> Intervals | str:
    """Return bootstrap intervals of a trial's measures, or in words why they are unknown."""
    return _intervals(reads.store_url(), identity, mark, trial)


@st.cache_resource(max_entries=64, show_spinner="Drawing its bars again")
def _intervals(url: str, identity: str, mark: int, trial: int) -> Intervals | str:
    from quantbot.selection import bootstrap_intervals
    from sweeps.assessment import CONFIDENCE, N_DRAWS

    path = curves(identity, mark, trial)
    try:
        return bootstrap_intervals(path.returns, path.periods_per_year, confidence=CONFIDENCE, n_draws=N_DRAWS)
    except InputError as error:
        return str(error)


def neighbours(identity: str, mark: int, trial: int, measures: Sequence[str]) -> tuple[Neighbour, ...]:
    """Return what lies one step beside a trial."""
    return _neighbours(reads.store_url(), identity, mark, trial, tuple(measures))


@st.cache_resource(max_entries=128, show_spinner=False)
def _neighbours(url: str, identity: str, mark: int, trial: int, measures: tuple[str, ...]) -> tuple[Neighbour, ...]:
    from sweeps.neighbours import neighbours as beside

    return beside(reads.open_run(identity, mark), trial, measures)


def spread(identity: str, mark: int, trial: int, measure: str) -> tuple[Spread, ...]:
    """Return how a measure of a trial's point varies over folds."""
    from sweeps.neighbours import fold_spread

    return fold_spread(reads.open_run(identity, mark), trial, measure)


def export(identity: str, mark: int, trial: int, table: Table, form: Format) -> bytes:
    """Return a trial's curves, orders or trades as a file's bytes."""
    from sweeps.curves import order_frame, trade_frame

    path = curves(identity, mark, trial)
    match table:
        case "curves":
            frame = path.frame()
        case "orders":
            frame = order_frame(path.replay)
        case "trades":
            frame = trade_frame(path.replay)
    if form == "csv":
        text: str = frame.to_csv(index=False)
        return text.encode()
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------------- comparing


def side(identity: str, mark: int, trial: int | None) -> Side:
    """Return one side of a comparison: a trial, or a run's own choice."""
    return _side(reads.store_url(), identity, mark, trial)


@st.cache_resource(max_entries=32, show_spinner=False)
def _side(url: str, identity: str, mark: int, trial: int | None) -> Side:
    from sweeps.compare import side_of

    return side_of(reads.open_run(identity, mark), trial)


def aligned(places: Sequence[tuple[str, int, int]]) -> Aligned:
    """Return the paths of trials, each (run, mark, trial), on the bars that all have."""
    return _aligned(reads.store_url(), tuple(places))


@st.cache_resource(max_entries=16, show_spinner="Replaying the trials")
def _aligned(url: str, places: tuple[tuple[str, int, int], ...]) -> Aligned:
    from sweeps.compare import aligned as lay

    return lay([curves(*place) for place in places])


def paired(places: Sequence[tuple[str, int, int]], second: int) -> Paired | str:
    """Return what one of the sides has over the first, or in words why it is unknown."""
    return _paired(reads.store_url(), tuple(places), second)


@st.cache_resource(max_entries=64, show_spinner="Drawing pairs of bars")
def _paired(url: str, places: tuple[tuple[str, int, int], ...], second: int) -> Paired | str:
    from quantbot.selection.paired import paired_difference
    from sweeps.assessment import CONFIDENCE

    try:
        paths = aligned(places)
        return paired_difference(
            paths.returns[0], paths.returns[second], curves(*places[0]).periods_per_year, confidence=CONFIDENCE
        )
    except InputError as error:
        return str(error)


def common(first: tuple[str, int], second: tuple[str, int]) -> Common | str:
    """Return the points that two runs, each (run, mark), share; or in words why there are none."""
    return _common(reads.store_url(), first, second)


@st.cache_resource(max_entries=8, show_spinner="Matching the points")
def _common(url: str, first: tuple[str, int], second: tuple[str, int]) -> Common | str:
    from sweeps.compare import common_points

    try:
        return common_points(reads.open_run(*first), reads.open_run(*second))
    except QuantBotError as error:
        return str(error)


def difference(
    first: tuple[str, int], second: tuple[str, int], measure: str, x: str, y: str, fold: str, asset: str
) -> Plane:
    """Return the difference of a measure over two common axes, the median over the others."""
    return _difference(reads.store_url(), first, second, measure, x, y, fold, asset)


@st.cache_resource(max_entries=32, show_spinner="Taking the difference")
def _difference(
    url: str, first: tuple[str, int], second: tuple[str, int], measure: str, x: str, y: str, fold: str, asset: str
) -> Plane:
    from sweeps.compare import difference_plane

    shared = common(first, second)
    if isinstance(shared, str):
        raise InputError(shared)
    runs = reads.open_run(*first), reads.open_run(*second)
    return difference_plane(*runs, measure, x, y, fold=fold, asset=asset, common=shared)
