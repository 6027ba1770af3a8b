"""What only the data show of a portfolio's settings, found before anything runs: refusals and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from quantbot.engine import Job, Points
from quantbot.market import Panel
from quantbot.parameters import nearest
from quantbot.portfolio.chains import make_chain
from quantbot.portfolio.pooled import strategies
from quantbot.portfolio.sections import GIVEN, STRATEGIES, defaults
from quantbot.risk.scenarios import SCENARIOS

if TYPE_CHECKING:
    from quantbot.portfolio.engine import PortfolioEngine

LOOKED_AT = 200  # settings whose first decision is tried
LOOKED_AT_DRAWN = 5  # where scenarios are drawn, which takes longer
_SHOWN = 3


def problems(
    engine: PortfolioEngine, job: Job, panel: Panel, windows: Sequence[tuple[int, int]], points: Points
) -> tuple[list[str], list[str]]:
    """Return refusals and warnings, each with its place in the spec.

    Refused are returns that are not finite, tables that contradict themselves, and a spec of which no setting that was
    looked at has an answer to its first decision; where some have one, the others are a warning, since a trial fails
    by itself.
    """
    if refused := [*_impossible_returns(panel), *_impossible_tables(job), *_impossible_scenarios(job, panel, points)]:
        return refused, []
    inside = [window for window in windows if window[1] > window[0]]
    if not inside:
        return [], []
    refused, warnings = _first_decisions(engine, job, panel, inside[0], points)
    told = [*warnings, *_unknown_funding(job, panel, inside, points)]
    return refused, [*told, *_doubtful_scenarios(job, panel, inside), *_more_than_all(job, points)]


def _more_than_all(job: Job, points: Points) -> list[str]:
    """Return a warning where strategies are given more than the account may buy."""

    def greatest(name: str) -> float:
        column = points.columns.get(name)
        return float(job.settings[name] if column is None else column.max())

    names = [f"{STRATEGIES}.{name}.allocation" for name in job.tables.get(STRATEGIES, {})]
    total, leverage = sum(greatest(name) for name in names), greatest("execution.leverage")
    if total <= leverage + 1e-9:
        return []
    return [
        f"{STRATEGIES}: allocations come to up to {total:g} of the equity, execution.leverage is {leverage:g}: where"
        " the strategies want more than that, purchases are cut"
    ]


def _impossible_scenarios(job: Job, panel: Panel, points: Points) -> list[str]:
    """Refuse scenarios that are handed in and that the trials can't take, and those that nobody takes."""
    given, wanted = job.given, GIVEN in _all_of("scenarios.method", job, points)
    if given is None:
        where = "name some in [data] scenarios, as quantbot ingest scenarios has stored them"
        return [f"scenarios.method: {GIVEN} takes scenarios that are handed in; {where}"] if wanted else []
    if not wanted:
        return [f'data.scenarios: no trial takes them; say scenarios.method = "{GIVEN}", or leave them out']
    lacking = [asset for asset in panel.assets if asset not in given.assets]
    found = []
    if lacking:
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        found.append(
            f"data.scenarios: they have no column for {', '.join(lacking[:_SHOWN])}{more}"
            f"{nearest(lacking[0], given.assets)}; add it, or leave the asset out of data.assets"
        )
    if given.dated and given.known_ns[0] > panel.ts_end_ns[-1]:
        first, last = (np.datetime64(int(at), "ns").astype("datetime64[s]") for at in
                       (given.known_ns[0], panel.ts_end_ns[-1]))  # fmt: skip
        found.append(f"data.scenarios: the first set is known at {first}Z, after the last bar at {last}Z")
    return found


def _doubtful_scenarios(job: Job, panel: Panel, windows: Sequence[tuple[int, int]]) -> list[str]:
    if job.given is None:
        return []
    if not job.given.dated:
        return ["data.scenarios: they have no time, so every decision sees them, whatever they know of what came later"]
    start = min(start for start, _ in windows)
    if job.given.known_ns[0] > panel.ts_end_ns[start]:
        first = np.datetime64(int(job.given.known_ns[0]), "ns").astype("datetime64[s]")
        return [f"data.scenarios: the first set is known at {first}Z; nothing is decided before"]
    return []


def _unknown_funding(job: Job, panel: Panel, windows: Sequence[tuple[int, int]], points: Points) -> list[str]:
    """Return by asset where funding is not known, and what becomes of a trial that holds it there."""
    if panel.funding is None:
        return []
    inside = np.zeros(len(panel), dtype=bool)
    for start, stop in windows:
        inside[start:stop] = True
    gone = np.isnan(panel.funding) & inside[:, None]
    assets = np.flatnonzero(gone.any(axis=0))
    if not assets.size:
        return []
    told = []
    for asset in assets[:_SHOWN].tolist():
        when = np.datetime64(int(panel.ts_end_ns[gone[:, asset]][0]), "ns").astype("datetime64[s]")
        told.append(f"{panel.assets[asset]} in {gone[:, asset].sum():,} bars, the first {when}Z")
    more = f" and {assets.size - _SHOWN} more assets" if assets.size > _SHOWN else ""
    words = points.columns.get("execution.missing_funding", np.array([job.settings["execution.missing_funding"]]))
    then = 'fails (execution.missing_funding = "flag" counts it as 0, and says so in the row)'
    if "error" not in words:
        then = "counts it as 0, and says how often in funding_unknown"
    return [f"the funding rate is not known of {'; '.join(told)}{more}: a trial that holds it then {then}"]


def _impossible_returns(panel: Panel) -> list[str]:
    from quantbot.portfolio.engine import history_of

    with np.errstate(divide="ignore", invalid="ignore"):
        returns = history_of(panel).returns
    found = []
    for bar, asset in np.argwhere(np.isinf(returns) | (panel.close <= 0.0))[:_SHOWN]:
        when = np.datetime64(int(panel.ts_end_ns[bar]), "ns").astype("datetime64[s]")
        found.append(
            f"data.assets: {panel.assets[asset]} closes at {panel.close[bar, asset]:g} at {when}Z, its return is"
            f" {returns[bar, asset]:g}; a portfolio needs prices above 0: mend the data, or leave the asset out"
        )
    return found


def _impossible_tables(job: Job) -> list[str]:
    found = []
    for name, row in job.tables.get("constraints.groups", {}).items():
        low, high = row.get("low", -np.inf), row.get("high", np.inf)
        if isinstance(low, float) and isinstance(high, float) and low > high:
            found.append(f"constraints.groups.{name}: low must not be above high, found {low:g} and {high:g}")
    for name, row in job.tables.get("constraints.assets", {}).items():
        limits = {**defaults(), **job.settings}
        low, high = (row.get(side, float(limits[f"constraints.{side}"])) for side in ("min_weight", "max_weight"))
        if isinstance(low, float) and isinstance(high, float) and low > high:
            found.append(f"constraints.assets.{name}: min_weight {low:g} is above max_weight {high:g}")
    return found


def _all_of(name: str, job: Job, points: Points) -> set[str]:
    """Return every value that a choice has in a job: of its settings, of strategies on its pool, of its points."""
    pooled = [f"{STRATEGIES}.{strategy}.{name}" for strategy in job.tables.get(STRATEGIES, {})]
    said = [one for one in pooled if one in job.settings]
    said += [name] * (len(said) < len(pooled) or not pooled)
    values: set[str] = set()
    for one in said:
        column = points.columns.get(one)
        values |= {str(job.settings[one])} if column is None else set(np.unique(column).tolist())
    return values


def _first_decisions(
    engine: PortfolioEngine, job: Job, panel: Panel, window: tuple[int, int], points: Points
) -> tuple[list[str], list[str]]:
    """Try the first decision of settings from all over."""
    from quantbot.portfolio.engine import history_of

    drawn = any(SCENARIOS[method].draws for method in _all_of("scenarios.method", job, points))
    begins = engine.seams(job, points)
    n_looked = min(len(begins), LOOKED_AT_DRAWN if drawn else LOOKED_AT)
    chosen = begins[np.linspace(0, len(begins) - 1, n_looked).astype(np.int64)]
    history = history_of(panel)
    failed: dict[str, list[int]] = {}
    for row in chosen.tolist():
        settings = {**job.settings, **points.point(row)}
        pooled = strategies({**defaults(), **settings}, job.tables)
        each = [(f"strategy {name}: ", own) for name, (_, own) in pooled.items()] or [("", settings)]
        for who, own in each:
            chain = make_chain(history, window, own, job.tables, most=1, given=job.given)
            if chain.failed:
                failed.setdefault(who + chain.failed, []).append(row)
                break
    n_failed = sum(len(rows) for rows in failed.values())
    told = [f"{why}{_at(points, rows[0])}" for why, rows in failed.items()]
    more = f"; and {len(told) - _SHOWN} more reasons" if len(told) > _SHOWN else ""
    if n_failed == n_looked:
        return [f"optimise: {why}; loosen one of them" for why in told[:_SHOWN]], []
    if n_failed:
        return [], [f"{n_failed} of {n_looked} settings that were tried will fail: {'; '.join(told[:_SHOWN])}{more}"]
    return [], []


def _at(points: Points, row: int) -> str:
    said = ", ".join(f"{name} = {value}" for name, value in points.point(row).items())
    return f" (at {said})" if said else ""
