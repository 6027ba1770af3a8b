"""The report of a run: what its Surface page says, as one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from app import format as fmt
from app.figures.plane import largest, plane_figure, square_words
from app.figures.surface import Marks, surface_line, surface_scatter, trial_states, window_of
from app.figures.tabs import importance_figure, slices_figure
from app.scope import currencies, kinds_of, scope_parts
from app.sheet import cells, chart, notes, sheet, table
from quantbot.errors import NotFoundError
from sweeps.sessions import has_sessions

if TYPE_CHECKING:
    from sweeps.luck import Luck
    from sweeps.results import Run

N_BEST = 20
_MOST_CELLS = 100  # to a side of the map
_MOST_DRAWN = 2_000  # points of a search that are drawn where they lie
_MOST_SPLITS = 60


def run_report(run: Run) -> str:
    """Return the report as HTML; the same run and ledger give the same bytes.

    Parameters
    ----------
    run
        Finished or not: of an unfinished one the report says what there is, and how much is missing.
    """
    from app.luck import luck_sentences

    plan, status = run.plan, run.status
    found = run.luck(compute=False)
    money = currencies(plan.dataset_root_url, plan.dataset_name, plan.dataset_version, plan.symbols)
    places = plan.dataset_root_url, plan.dataset_name, plan.dataset_version, plan.assets
    kinds = kinds_of(*places) if has_sessions(plan) else ()
    told = "  ·  ".join([run.short, *scope_parts(plan, status, money, kinds)])
    said = [line for line in luck_sentences(run, found) if not line.startswith("warning: ")]
    warnings = [*plan.warnings, *(advice.sentence for advice in found.warnings)]
    if status.n_done < plan.n_trials:
        warnings.insert(0, f"{fmt.percent(status.n_done / plan.n_trials, 0)} done, {status.state}: more may change it")
    sections = [
        f"<h1>{escape(plan.spec.name)}</h1>",
        f'<p class="scope">{escape(plan.bundle.reference)}: {escape(told)}</p>',
        notes(warnings),
        _tiles(run, found),
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in said) + "</ul>",
        *_pictures(run),
        _noise(run),
        _folds(run),
        _best(run),
        _failures(run),
        f"<h2>Spec</h2><pre>{escape(plan.spec_toml)}</pre>",
        f"<h2>Open it in Python</h2><pre>{escape(_python(run))}</pre>",
    ]
    return sheet(f"{plan.spec.name} {run.short}", sections)


# -------------------------------------------------------------------------------------------------------------- answer


def _tiles(run: Run, found: Luck) -> str:
    label = run.measures[run.objective].label
    line = "unknown" if found.luck_line is None else fmt.signed(found.luck_line)
    counted = found.unknown.get("luck_line", "")
    if found.n_trials is not None and found.n_effective is not None:
        counted = (
            f"what noise alone would reach in {fmt.plural(found.n_trials, 'trial')} of the ledger, "
            f"{fmt.count(round(found.n_effective))} independent"
        )
    deflated = "unknown" if found.deflated_sharpe is None else f"{found.deflated_sharpe:.2f}"
    tests = [f"{name} {value:.2f}" for name, value in (("overfit", found.pbo), ("p", found.p)) if value is not None]
    why = found.unknown.get("deflated_sharpe", "") if found.deflated_sharpe is None else (
        "probability that the best is better than luck"
    )  # fmt: skip
    return "<div class=\"tiles\">" + "".join([
        _tile(f"Best {label}, one trial", *_best_of(run, found)),
        _tile(f"Plateau of {label}", *_plateau_of(run)),
        _tile("Deflated Sharpe", deflated, "; ".join([why, *tests])),
        _tile("Luck line, annual Sharpe", line, counted),
    ]) + "</div>"  # fmt: skip


def _tile(title: str, value: str, told: str) -> str:
    return f'<div class="tile"><span>{escape(title)}</span><b>{escape(value)}</b><span>{escape(told)}</span></div>'


def _best_of(run: Run, found: Luck) -> tuple[str, str]:
    fold, asset = _place(run)
    best = run.best(1, fold=fold, asset=asset)
    if not best:
        return "unknown", f"no trial of fold {fold} has a value"
    declared = run.measures[run.objective]
    interval = f"interval unknown: {found.unknown.get('best_interval', 'another trial was judged')}"
    if found.best is not None and found.best.trial == best[0]["trial"] and found.best.interval is not None:
        judged = found.best.interval
        low, high = fmt.measure(judged.low, declared), fmt.measure(judged.high, declared)
        interval = f"{fmt.percent(judged.level, 0)} interval {low} to {high}"
    return fmt.measure(best[0]["value"], declared), f"{interval}; at {fmt.point(best[0]['point'])}"


def _plateau_of(run: Run) -> tuple[str, str]:
    fold, asset = _place(run)
    plateau = run.plateau(fold=fold, asset=asset)
    if plateau is None:
        sampled = any(axis.sampled for axis in run.plan.axes)
        return "none", "drawn points have no neighbours" if sampled else "no point has neighbours with a value"
    declared = run.measures[run.objective]
    worst = f"worst neighbour {fmt.measure(plateau.worst, declared)}"
    return fmt.measure(plateau.score, declared), f"{worst}; at {fmt.point(plateau.point)}"


def _place(run: Run) -> tuple[str, str]:
    """Return fold and asset that the report shows: those that the page opens with."""
    from app.best import judged_fold

    return judged_fold(run), run.plan.assets[0]


# ------------------------------------------------------------------------------------------------------------ pictures


def _pictures(run: Run) -> list[str]:
    """Draw the map, slices through the point to take, and what matters; on the fold that a choice is made on."""
    from sweeps import overview
    from sweeps.importance import importance

    plan, declared = run.plan, run.measures[run.objective]
    if not plan.axes or not np.isfinite(run.values()).any():
        why = "Nothing varies: the run has one point." if not plan.axes else "No trial has a value."
        return [f"<h2>Surface</h2><p>{why}</p>"]
    fold, asset = _place(run)
    best = run.best(1, fold=fold, asset=asset)
    plateau = run.plateau(fold=fold, asset=asset)
    made = [f"<h2>Surface: {escape(declared.label)}, {escape(asset)}, fold {escape(fold)}</h2>",
            _map(run, fold, asset, best[0]["point"] if best else None, plateau)]  # fmt: skip
    point = plateau.point_index if plateau else best[0]["trial"] % plan.n_points if best else None
    if point is not None:
        text = fmt.point(plan.points.point(point))
        slices = overview.slices(run, point, run.objective, fold=fold, asset=asset)
        lines = slices_figure(slices, measure=declared, fold=fold)
        sampled = any(axis.sampled for axis in plan.axes)
        told = "Drawn points lie on no lines: the median of all points in each bin, with quartiles." if sampled else (
            f"One parameter at a time, the others held at {text}; the band is the range over folds."
        )  # fmt: skip
        made.append(f"<h2>Slices</h2>{chart(lines, 'slices', f'{declared.label} through {text}')}{_small(told)}")
    matters = importance(run, run.objective, fold=fold, asset=asset)
    if matters.effects:
        told = (
            f"Share of the variance over {fmt.plural(matters.n_points, 'point')} of this run's space, with 90 % "
            f"intervals. Not explained: {fmt.percent(matters.rest)}."
        )
        figure = chart(importance_figure(matters), "importance", told)
        made.append(f"<h2>What matters</h2>{figure}{_small(told)}")
    return made


def _map(run: Run, fold: str, asset: str, best: Mapping[str, Any] | None, plateau: Any) -> str:
    from sweeps import overview, surface

    plan, declared = run.plan, run.measures[run.objective]
    names = largest(plan.axes)
    limits = overview.limits(run, run.objective, fold)
    marks = Marks(
        best=tuple(best[name] for name in names) if best else None,
        plateau=tuple(plateau.point[name] for name in names) if plateau else None,
    )
    x, y = names[0], names[1] if len(names) > 1 else ""
    if any(axis.sampled for axis in plan.axes) and plan.n_known <= _MOST_DRAWN:
        return _drawn(run, fold, asset, x, y, limits, marks)
    plane = overview.plane(run, x, y, most=_MOST_CELLS, fold=fold, asset=asset)
    one = int(plane.n_planned.max(initial=0)) == 1
    title = declared.label if one else f"median {declared.label}"
    where = f" and {y}" if y else ""
    alt = f"{title} over {x}{where}" + (f"; best at {fmt.point(best)}" if best else "")
    if not y:
        window = window_of(plane)
        figure = surface_line(plane.x_values, {fold: (window.value[0], window.states[0])}, x=x, measure=declared,
                              marks=marks, value_name=title)  # fmt: skip
        return chart(figure, "map", alt)
    outline = None
    if plateau is not None:
        values = overview.point_values(run, run.objective, fold, asset)
        outline = surface.outline(run.geometry, values, plateau.point_index, x=x, y=y,
                                  better=overview.better(run, run.objective))  # fmt: skip
    figure = plane_figure(plane, measure=declared, limits=limits, marks=marks, outline=outline, title=title, alt=alt)
    told = f"{square_words(plane)}; colours end at 2 and 98 % of all trials. Ring: best. Square: plateau."
    return chart(figure, "map", alt) + _small(told)


def _drawn(
    run: Run, fold: str, asset: str, x: str, y: str, limits: tuple[float, float], marks: Marks
) -> str:  # fmt: skip
    plan, declared = run.plan, run.measures[run.objective]
    first = run.slices(fold, asset)[0] * plan.n_points
    here = slice(first, first + plan.n_known)
    values = run.values()[here]
    states = trial_states(values, run.state[here])
    columns = {name: column[: plan.n_known] for name, column in plan.points.columns.items()}
    up = columns[y] if y else np.where(np.isfinite(values), values, np.nan)
    figure = surface_scatter(columns[x], up, values, states, x=x, y=y or declared.label, measure=declared,
                             limits=limits, marks=marks if y else None)  # fmt: skip
    return chart(figure, "map", f"{declared.label} of {fmt.plural(plan.n_known, 'point')} drawn by the search")


def _noise(run: Run) -> str:
    """Draw the noise test, where one was run."""
    from app.figures.null import null_chart
    from app.luck import null_sentence
    from sweeps.null import read_null

    try:
        found = read_null(run)
    except NotFoundError:
        return ""
    declared = run.measures[found.objective]
    told = null_sentence(found, declared)
    return f"<h2>Noise test</h2>{chart(null_chart(found, declared), 'noise', told)}{_small(told + '.')}"


# -------------------------------------------------------------------------------------------------------------- tables


def _folds(run: Run) -> str:
    """Say what choosing on each train came to in its test."""
    from app.out_of_sample import document, sentences

    said = sentences(run)
    if not said:
        return ""
    declared = run.measures[run.objective]
    rows = [
        (one["asset"], split["name"], "" if split["point"] is None else fmt.point(split["point"]),
         *(fmt.measure(split[name], declared, reason="unknown") for name in ("train", "test")),
         fmt.percent(split["rank"], 0) if np.isfinite(split["rank"]) else "unknown")
        for one in document(run) for split in one["splits"]
    ]  # fmt: skip
    columns = ("asset", "split", "chosen on its train", "n:train", "n:test", "n:better than, of all points")
    shown = table(columns, [cells(columns, row) for row in rows[:_MOST_SPLITS]]) if rows and not run.locked else ""
    left = _small(f"The first {_MOST_SPLITS} of {fmt.plural(len(rows), 'split')}.") if len(rows) > _MOST_SPLITS else ""
    return f"<h2>Train beside test</h2>{''.join(_small(line) for line in said)}{shown}{left}"


def _best(run: Run) -> str:
    from app.best import best_trials

    rows = best_trials(run, N_BEST)
    if not rows:
        return ""
    declared = run.measures[run.objective]
    names = [axis.name for axis in run.plan.axes]
    beside = [run.measures[name] for name in ("cagr", "max_drawdown", "n_trades")
              if name in run.measures and name != run.objective]  # fmt: skip
    roles = [role for role in ("train", "test") if any(fold.role == role for fold in run.plan.folds)]
    columns = ["n:trial", "asset", *(f"n:{name}" for name in names), f"n:{declared.label}", "n:around it",
               "n:worst around", *(f"n:{role}" for role in roles), *(f"n:{each.label}" for each in beside)]  # fmt: skip
    written = [
        cells(columns, [
            str(row["trial"]), row["asset"], *(fmt.value(row["point"][name]) for name in names),
            *(fmt.measure(row[key], declared, reason="unknown")
              for key in ("value", "around", "worst_around", *roles)),
            *(fmt.measure(row["measures"][each.name], each) for each in beside),
        ]) for row in rows
    ]  # fmt: skip
    told = f"By {declared.label} on fold {rows[0]['fold']}. A maximum of many trials flatters."
    return f"<h2>Best trials</h2>{_small(told)}{table(columns, written, css='wide')}"


def _failures(run: Run) -> str:
    rows = run.failures().to_dict("records")
    if not rows:
        return "<h2>Failures</h2><p>No trial failed.</p>"
    columns = ("n:trials", "reason", "n:first trial", "first point")
    written = [
        cells(columns, (fmt.count(row["n_trials"]), str(row["reason"]), str(row["first_trial"]),
                        fmt.point(row["first_point"]))) for row in rows
    ]  # fmt: skip
    return f"<h2>Failures</h2>{table(columns, written)}"


def _small(text: str) -> str:
    return f'<p class="scope">{escape(text)}</p>'


def _python(run: Run) -> str:
    return (
        f"from sweeps import open_run\n\nrun = open_run({run.root.url!r}, {run.short!r})\n"
        f"run.best({N_BEST})\nrun.luck()\nrun.to_xarray()"
    )
