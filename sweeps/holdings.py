"""What is held through time, and what it is judged by: of a trial of a run, or of files that somebody brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from quantbot.errors import InputError
from quantbot.market import Floats, Nanoseconds
from quantbot.portfolio.replay import HELD_BY
from quantbot.portfolio.rules import Rules

if TYPE_CHECKING:
    from datasets.holdings import ReturnsTable
    from quantbot.engine import Tables
    from quantbot.portfolio.given import GivenScenarios
    from quantbot.risk import Shock
    from sweeps.results import Run, TrialReplay

DEFAULT_WINDOW, DEFAULT_BETA = 500, 0.95


@dataclass(frozen=True, eq=False)
class Holdings:
    """What is held through time, and the returns that it is judged by.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,), int64 UTC.
    returns
        Shape (n_bars, n_assets), simple returns per bar; NaN where unknown.
    weights
        Shape (n_bars, n_assets): shares of equity at each close, after what fills at it.
    first
        The first bar that is shown; what comes before is history.
    beta, window
        What the holdings themselves go by, where they do.
    given
        Scenarios that the run was handed, where it was.
    shocks
        Named shocks of the spec's own, each a move of every asset.
    by_strategy
        Of several strategies on one pool, what of `weights` is each one's, of the same shape; they sum to them.
    rules
        What the run says of weights; None where it is not one rule, or nobody says it.
    """

    title: str
    assets: tuple[str, ...]
    ts_end_ns: Nanoseconds
    returns: Floats
    weights: Floats
    periods_per_year: float
    first: int = 0
    beta: float = DEFAULT_BETA
    window: int = DEFAULT_WINDOW
    notes: tuple[str, ...] = ()
    given: GivenScenarios | None = None
    shocks: tuple[Shock, ...] = ()
    by_strategy: Mapping[str, Floats] = field(default_factory=dict)
    rules: Rules | None = None


def holdings_of(run: Run, replay: TrialReplay) -> Holdings:
    """Return what a trial of a portfolio run holds.

    Raises
    ------
    InputError
        If the run's trials hold no portfolio.
    """
    from quantbot.market import Panel
    from sweeps.task import load_data

    where = run.plan.trial(replay.trial)
    panel = load_data(run.plan, where.asset)
    if not isinstance(panel, Panel):
        raise InputError(f"trials of {run.plan.engine} hold one asset each; risk is of trials of the portfolio engine")
    start, stop = where.fold.window(panel.ts_end_ns)
    held = {name: np.zeros((stop, len(panel.assets))) for name in replay.by_asset if name.startswith("weight")}
    for name, weights in held.items():
        weights[start:stop] = replay.by_asset[name]
    settings = dict(run.plan.settings) | where.settings
    job = run.plan.job()
    by_strategy = {name.removeprefix(HELD_BY): own for name, own in held.items() if name.startswith(HELD_BY)}
    return Holdings(
        f"{run.plan.spec.name}, trial {replay.trial}",
        panel.assets,
        panel.ts_end_ns[:stop],
        panel.returns()[:stop],
        held["weight"],
        panel.periods_per_year,
        start,
        float(settings.get("optimise.beta", DEFAULT_BETA)),
        int(settings.get("scenarios.window", DEFAULT_WINDOW)),
        given=job.given,
        shocks=shocks_of(job.tables, panel.assets),
        by_strategy=by_strategy,
        rules=None if by_strategy else Rules(settings, job.tables, panel.assets, panel.periods_per_year),
    )


def shocks_of(tables: Tables, assets: Sequence[str]) -> tuple[Shock, ...]:
    """Return the shocks that a spec names in [stress.shocks].

    Examples
    --------
    >>> (found,) = shocks_of({"stress.shocks": {"rates": {"assets": ("B",), "move": -0.1, "others": -0.02}}}, "AB")
    >>> found.name, found.returns.tolist()
    ('rates', [-0.02, -0.1])
    """
    from quantbot.risk import Shock

    found = []
    for name, row in tables.get("stress.shocks", {}).items():
        named = cast("tuple[str, ...]", row["assets"])
        moves = (float(cast("float", row.get(side, 0.0))) for side in ("move", "others"))
        found.append(Shock(name, np.where(np.isin(np.array(list(assets)), np.array(named)), *moves)))
    return tuple(found)


def holdings_from(table: ReturnsTable, weights: Mapping[str, float] | None, *, title: str = "your files") -> Holdings:
    """Return holdings that somebody brings along; without weights an equal share of each asset.

    Raises
    ------
    InputError
        If an asset that is held has no returns, by name.
    """
    held = {asset: 1.0 / len(table.assets) for asset in table.assets} if weights is None else dict(weights)
    if missing := [asset for asset in held if asset not in table.assets]:
        named = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise InputError(
            f"{named}: held, but {'without' if len(missing) == 1 else 'all without'} returns; the returns have "
            f"{', '.join(table.assets[:10])}{', ...' if len(table.assets) > 10 else ''}"
        )
    row = np.array([held.get(asset, 0.0) for asset in table.assets])
    days = max((int(table.ts_end_ns[-1]) - int(table.ts_end_ns[0])) / 86_400e9, 1.0)
    a_year = (len(table.ts_end_ns) - 1) * 365.25 / days
    usual = min((252.0, 52.0, 12.0, 365.0), key=lambda n: abs(np.log(n / a_year)))
    notes = () if weights is not None else ("No positions were given: an equal share of each asset is shown.",)
    return Holdings(
        title, table.assets, table.ts_end_ns, table.returns, np.tile(row, (len(table.returns), 1)),
        usual if 0.8 < a_year / usual < 1.25 else a_year, notes=notes,
    )  # fmt: skip
