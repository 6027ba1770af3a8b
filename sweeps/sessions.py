"""Sessions as a dimension of a run on order books: each of its assets is one instrument in one session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.engine import get_engine

if TYPE_CHECKING:
    from sweeps.plan import Plan


def has_sessions(plan: Plan) -> bool:
    """Return whether the assets of a run are sessions of instruments."""
    return get_engine(plan.engine).dataset_kind == "events"


def name_of(instrument: str, session: str) -> str:
    """Return how the asset is called that is one session of an instrument.

    Examples
    --------
    >>> name_of("BRK B", "2024-01-02")
    'BRK B 2024-01-02'
    """
    return f"{instrument} {session}"


def parts_of(asset: str) -> tuple[str, str]:
    """Return (instrument, session) of such an asset.

    Examples
    --------
    >>> parts_of("BRK B 2024-01-02")
    ('BRK B', '2024-01-02')
    """
    instrument, _, session = asset.rpartition(" ")
    return instrument, session


def instruments(plan: Plan) -> tuple[str, ...]:
    """Return the instruments of a run on order books, in its order; none of other runs."""
    return tuple(dict.fromkeys(parts_of(asset)[0] for asset in plan.assets)) if has_sessions(plan) else ()


def sessions(plan: Plan, instrument: str | None = None) -> tuple[str, ...]:
    """Return the sessions of a run on order books (of one instrument), in its order; none of other runs."""
    pairs = [parts_of(asset) for asset in plan.assets] if has_sessions(plan) else []
    return tuple(dict.fromkeys(session for own, session in pairs if instrument in (None, own)))


def assets_called(plan: Plan, name: str) -> list[int]:
    """Return which assets a name means: that very asset; or all sessions of an instrument, or of all one session."""
    if name in plan.assets:
        return [plan.assets.index(name)]
    if not has_sessions(plan):
        return []
    return [index for index, asset in enumerate(plan.assets) if name in parts_of(asset)]
