"""One trial of a spec in full, at any point: what ``quantbot backtest`` shows and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app import format as fmt
from quantbot.engine import Replay, get_engine
from quantbot.errors import InputError, NotFoundError, ParameterError
from quantbot.measures import Measure
from quantbot.parameters import Parameter, Value, nearest
from quantbot.paths import monthly_returns
from sweeps.trial import Fold

if TYPE_CHECKING:
    from datasets.store import Store

_HOLD = "hold_"
_DAYLIGHT_NS = 20 * 3600 * 10**9  # closes of daily bars lie 23 to 25 hours apart, or more


@dataclass(frozen=True, eq=False)
class Backtest:
    """One trial, replayed, with all that a table or a report says about it.

    Attributes
    ----------
    settings
        Every setting in force: strategy parameters by name, the engine's dotted.
    point
        Those of `settings` that were asked for, or that the spec varies.
    remarks
        What the reader should know: defaults that stood in for what the point left out.
    """

    name: str
    strategy: str
    dataset: str
    currency: str
    asset: str
    fold: Fold
    settings: Mapping[str, Value]
    point: Mapping[str, Value]
    measures: tuple[Measure, ...]
    replay: Replay
    remarks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What was run, in one line."""
        return f"{self.strategy} ({fmt.point(self.point) or 'no parameters'}) on {self.asset} of {self.dataset}"

    @property
    def scope(self) -> str:
        """Period, fold, bars and fidelity, in one line."""
        times = self.replay.ts_end_ns
        fold = "whole period" if self.fold.role == "all" else f"fold {self.fold.name}"
        return (
            f"{fold}, {fmt.day(int(times[0]))} to {fmt.day(int(times[-1]))}, {fmt.plural(times.shape[0], 'bar')},"
            f" {self.currency}, fidelity F0 (bars, constant costs)"
        )

    @property
    def daily(self) -> bool:
        """Whether bars are a day or longer, so that a date says enough of a time."""
        steps = np.diff(self.replay.ts_end_ns)
        return bool(steps.size == 0 or np.median(steps) >= _DAYLIGHT_NS)

    def table(self) -> list[tuple[str, str, str]]:
        """Return a row for each measure: its label, its value, and buy-and-hold's where there is one."""
        by_name = {measure.name: measure for measure in self.measures}
        rows = []
        for measure in self.measures:
            if measure.name.startswith(_HOLD) and measure.name.removeprefix(_HOLD) in by_name:
                continue
            hold = by_name.get(_HOLD + measure.name)
            rows.append((measure.label, self.written(measure), self.written(hold) if hold else ""))
        return rows

    def written(self, measure: Measure) -> str:
        """Write one measure by its declaration; what is undefined says why."""
        no_trades = self.replay.row.get("n_trades", len(self.replay.orders["bar"])) == 0
        reason = "no trades" if no_trades and not measure.name.startswith(_HOLD) else fmt.UNDEFINED
        return fmt.measure(self.replay.row[measure.name], measure, currency=self.currency, reason=reason)

    def counts(self) -> str:
        """Say how many orders and trades there were."""
        n_orders, n_trades = len(self.replay.orders["bar"]), len(self.replay.trades["pnl"])
        if self.replay.assets:
            n_decisions = len(self.replay.tables["decisions"]["bar"])
            return f"{fmt.plural(n_orders, 'order')}, {fmt.plural(n_decisions, 'decision')}"
        still_open = int(np.count_nonzero(self.replay.trades["open"]))
        tail = f", {still_open} still open at the end" if still_open else ""
        return f"{fmt.plural(n_orders, 'order')}, {fmt.plural(n_trades, 'trade')}{tail}"

    def monthly_returns(self) -> tuple[list[int], NDArray[np.float64]]:
        """Return the years and the return in each of their months, shape (n_years, 13); the last column is the year's.

        A month's return compounds from the equity at the end of the month before, the first one's from the initial
        cash; NaN where there is no bar.
        """
        cash = float(self.settings.get("execution.initial_cash", self.replay.curves["equity"][0]))
        found = monthly_returns(self.replay.ts_end_ns, self.replay.curves["equity"], cash)
        return list(found.years), np.column_stack([found.returns, found.totals])

    def document(self) -> dict[str, Any]:
        """Return what a script reads; measures that are undefined are null."""
        return {
            "name": self.name,
            "strategy": self.strategy,
            "dataset": self.dataset,
            "asset": self.asset,
            "currency": self.currency,
            "fold": {"name": self.fold.name, "role": self.fold.role},
            "start_ns": int(self.replay.ts_end_ns[0]),
            "end_ns": int(self.replay.ts_end_ns[-1]),
            "n_bars": int(self.replay.ts_end_ns.shape[0]),
            "point": dict(self.point),
            "settings": dict(self.settings),
            "measures": {measure.name: self.replay.row[measure.name] for measure in self.measures},
            "n_orders": len(self.replay.orders["bar"]),
            "n_trades": len(self.replay.trades["pnl"]),
            "remarks": list(self.remarks),
        }


def run_backtest(
    spec_path: Path,
    root: Store,
    point: Mapping[str, Value],
    *,
    asset: str | None = None,
    fold: str | None = None,
    plain_python: bool = False,
) -> Backtest:
    """Replay one point of a spec.

    Parameters
    ----------
    point
        Settings by name; they need not lie on the spec's grid, only within their declarations.
    asset, fold
        By default the spec's first.

    Raises
    ------
    SpecError, ParameterError, NotFoundError
        If the spec, the point, the asset or the fold is not usable.
    """
    from sweeps.looks import is_locked
    from sweeps.plan import make_plan
    from sweeps.runstore import RunStore
    from sweeps.spec import load_spec
    from sweeps.task import load_data

    plan = make_plan(load_spec(spec_path), root, probe=False)
    chosen = _pick("asset", asset, plan.assets)
    where = {candidate.name: candidate for candidate in plan.folds}[
        _pick("fold", fold, [candidate.name for candidate in plan.folds])
    ]
    if where.role == "test" and is_locked(RunStore(root, plan.identity), plan):
        raise InputError(
            f"fold {where.name} is a locked holdout; run the sweep, then `quantbot sweep unlock` records the look"
        )
    engine = get_engine(plan.engine)
    job = plan.job()
    declared = {parameter.name: parameter for parameter in job.strategy.parameters} | {
        f"{section}.{parameter.name}": parameter
        for section, parameters in engine.sections.items()
        for parameter in parameters
    }
    checked = _checked(point, declared)
    settings = {**job.settings, **checked}
    left_out = [axis.name for axis in plan.axes if axis.name not in checked]
    data = load_data(plan, chosen)
    job = replace(job, settings=settings, plain_python=plain_python or plan.plain_python)
    engine.check(job)
    replay = engine.replay(job, data, where.window(data.ts_end_ns), {})
    shown = {axis.name: settings[axis.name] for axis in plan.axes} | checked
    return Backtest(
        name=plan.spec.name,
        strategy=job.strategy.name,
        dataset=f"{plan.dataset_name}@{fmt.short(plan.dataset_version)}",
        currency=data.currency,
        asset=chosen,
        fold=where,
        settings=settings,
        point=shown,
        measures=tuple(measure for measure in engine.measures if measure.name in replay.row),
        replay=replay,
        remarks=_remarks(left_out, settings),
    )


def _checked(point: Mapping[str, Value], declared: Mapping[str, Parameter]) -> dict[str, Value]:
    for name in point:
        if name not in declared:
            raise ParameterError(f"no setting {name!r}{nearest(name, declared)}; there are {', '.join(declared)}")
    # Parameters know themselves by their bare name; a dotted one would be called "fee_bps" in an error.
    return {name: declared[name].check(value) for name, value in point.items()}


def _remarks(left_out: list[str], settings: Mapping[str, Value]) -> tuple[str, ...]:
    if not left_out:
        return ()
    named = fmt.point({name: settings[name] for name in left_out})
    return (f"the spec varies {', '.join(left_out)}, which --point leaves out: taken at the default, {named}",)


def _pick(noun: str, wanted: str | None, known: tuple[str, ...] | list[str]) -> str:
    if wanted is None:
        return known[0]
    if wanted not in known:
        raise NotFoundError(f"no {noun} {wanted!r} in the spec; there are {', '.join(known)}{nearest(wanted, known)}")
    return wanted
