"""Below the map: slices, relief, parallel coordinates, importance, Pareto, train beside test, table, failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads
from app.figures.panels import pareto_panel, slices_panels
from app.figures.tabs import importance_figure, slices_figure, surface_3d
from app.views import _card, _panels, _parallel, _parts, _plane, _url

if TYPE_CHECKING:
    from app.views._controls import Controls
    from app.views._shown import Shown

_ROWS = 50  # to a page of the table
_MOST_3D = 100
_SECOND = ("max_drawdown", "volatility", "total_return")  # what the objective is usually weighed against
_KINDS = {"CSV": ("csv", "text/csv"), "Parquet": ("parquet", "application/vnd.apache.parquet"),
          "NetCDF": ("nc", "application/x-netcdf")}  # fmt: skip


def tabs(
    shown: Shown, controls: Controls, best: list[dict[str, Any]], trial: int | None, view: dict[str, str],
    gone: list[str],
) -> None:  # fmt: skip
    """Show one of the tabs; the others cost nothing."""
    trial = trial if trial is not None else (int(best[0]["trial"]) if best else None)
    shows: dict[str, Callable[[], None]] = {
        "Slices": lambda: _slices(shown, controls, trial, view),
        "3-D": lambda: _relief(shown, controls),
        "Parallel": lambda: _parallel.parallel(shown, controls, view),
        "Importance": lambda: _importance(shown, controls),
        "Pareto": lambda: _pareto(shown, controls, trial, view),
        "Train / test": lambda: _train_test(shown, controls),
        "Table": lambda: _table(shown, controls, view, gone),
        f"Failures ({fmt.count(shown.status.n_failed)})": lambda: _failures(shown, view),
        "Spec": lambda: _spec(shown, controls),
    }
    if not any(fold.role == "test" for fold in shown.plan.folds):
        del shows["Train / test"]
    if controls.y is None:
        del shows["3-D"]
    codes = {name.split(" (")[0]: name for name in shows}
    key = "s.view"
    wanted = view.pop(key, "")
    if st.session_state.get(key) not in codes:
        if wanted and wanted not in codes:
            gone.append(f"the tab {wanted!r} of the link is not here")
        st.session_state[key] = wanted if wanted in codes else next(iter(codes))
    chosen = st.segmented_control(
        "Below the map", list(codes), key=key, required=True, label_visibility="collapsed",
        format_func=lambda code: codes[code],
    )  # fmt: skip
    view[key] = str(chosen)
    shows[codes[str(chosen)]]()


def _slices(shown: Shown, controls: Controls, trial: int | None, view: dict[str, str]) -> None:
    if trial is None:
        st.caption("No trial has a value.")
        return
    point = trial % shown.plan.n_points
    found = reads.of_run(
        "slices", shown.identity, shown.mark, point, controls.measure.name, fold=controls.fold, asset=controls.asset,
        within=controls.within,
    )  # fmt: skip
    text = fmt.point(shown.plan.points.point(point))
    alt = f"{controls.measure.label} along each parameter through {text}"
    drawn = _panels.panels(
        slices_panels(found, measure=controls.measure, fold=controls.fold, alt=alt), key="s.slices",
        on_pick=lambda panel, series, at: _pick(int(found[panel].trials[at])),
    )  # fmt: skip
    if not drawn:
        st.plotly_chart(
            slices_figure(found, measure=controls.measure, fold=controls.fold), key="s.slices.figure", alt=alt,
            config={"displayModeBar": False},
        )  # fmt: skip
    _picked(shown, view)
    if any(axis.sampled for axis in shown.plan.axes):
        st.caption("Drawn points lie on no lines: the median of all points in each bin, with quartiles.")
    else:
        st.caption(fmt.plain(f"One parameter at a time, the others held at {text}; the band is the range over folds."))


def _relief(shown: Shown, controls: Controls) -> None:
    plane = reads.plane(shown.identity, shown.mark, most=_MOST_3D, **controls.question())
    title = controls.title(plane)
    st.plotly_chart(
        surface_3d(
            plane, measure=controls.measure, title=title,
            limits=reads.limits(shown.identity, shown.mark, controls.measure.name, controls.fold),
        ), key="s.relief", alt=f"{title} over {plane.x} and {plane.y} as a relief", config={"displayModeBar": False},
    )  # fmt: skip
    st.caption("The plane of the map, at most 100 x 100 squares. Heights between squares mean nothing.")


def _importance(shown: Shown, controls: Controls) -> None:
    found = reads.of_run(
        "importance", shown.identity, shown.mark, controls.measure.name, fold=controls.fold, asset=controls.asset,
        within=controls.within,
    )  # fmt: skip
    if not found.effects:
        st.caption("The measure does not vary over the points of this run, so nothing explains it.")
        return
    first = found.effects[0]
    told = (
        f"{' x '.join(first.axes)} explains {fmt.percent(first.share, 0)} of the variance of {controls.measure.label}"
    )
    st.plotly_chart(importance_figure(found), key="s.importance", alt=told, config={"displayModeBar": False})
    bins = " Drawn numbers are put in 12 bins." if found.binned else ""
    st.caption(fmt.plain(
        f"Share of the variance of {controls.measure.label} over {fmt.plural(found.n_points, 'point')}, of this run's "
        f"space: wider or narrower ranges give other shares. Not explained: {fmt.percent(found.rest)} (three and more "
        f"parameters together, noise).{bins} Lines are 90 % intervals by a Bayesian bootstrap over points."
    ))  # fmt: skip
    with st.expander("As a table"):
        rows = [{"effect": " x ".join(effect.axes), "share": fmt.percent(effect.share), "from": fmt.percent(effect.low),
                 "to": fmt.percent(effect.high)} for effect in found.effects]  # fmt: skip
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Shares of variance")


def _pareto(shown: Shown, controls: Controls, trial: int | None, view: dict[str, str]) -> None:
    """Show the objective against a second measure: what is bought with what."""
    others = [name for name, measure in shown.measures.items() if measure.better and name != controls.measure.name]
    if not others:
        st.caption("This run has no second measure that is better one way or the other.")
        return
    usual = next((name for name in _SECOND if name in others), others[0])
    place, _ = st.columns([2, 5])
    with place:
        name = _url.choose("Against", others, "s.m2", view, default=usual,
                           text=lambda other: shown.measures[other].label)  # fmt: skip
    found = reads.of_run(
        "pareto", shown.identity, shown.mark, controls.measure.name, name, fold=controls.fold, asset=controls.asset,
        within=controls.within,
    )  # fmt: skip
    if not found.n_points:
        st.caption("No point has a value of both measures.")
        return
    first, second = controls.measure, shown.measures[name]
    told = (
        f"{fmt.plural(found.n_front, 'point')} of {fmt.count(found.n_points)} are beaten by none in both {first.label}"
    )
    told += f" and {second.label}"
    own = shown.run.slices(controls.fold, controls.asset)[0] * shown.plan.n_points
    document = pareto_panel(
        found, shown.plan.points, first=first, second=second, alt=told,
        selected=None if trial is None else trial % shown.plan.n_points,
    )  # fmt: skip
    if not _panels.panels(
        document, key="s.pareto",
        on_pick=lambda panel, series, at: _pick(own + document["panels"][panel]["series"][series]["ids"][at]),
    ):  # fmt: skip
        st.caption("This version of Streamlit draws no charts of ours; 1.51 and later do.")
    _picked(shown, view)
    few = len(found.points) < found.n_points
    st.caption(
        fmt.plain(f"{told}.{f' {fmt.count(len(found.points))} are shown.' if few else ''} Click one to open it.")
    )


def _pick(trial: int) -> None:
    st.session_state["s.picked"] = trial


def _picked(shown: Shown, view: dict[str, str]) -> None:
    """Link to the trial that was picked in a chart."""
    trial = st.session_state.get("s.picked", -1)
    if 0 <= trial < shown.plan.n_trials:
        point = fmt.point(shown.plan.points.point(trial % shown.plan.n_points))
        _card.trial_link(shown, trial, f"Open trial {fmt.count(trial)}: {point}", view)


def _train_test(shown: Shown, controls: Controls) -> None:
    for sentence in reads.out_of_sample(shown.identity, shown.mark):
        st.caption(fmt.plain(sentence))
    sides = ("train", "test")  # roles: each is all folds that have it
    measure = controls.measure
    if controls.y is not None:
        for place, side in zip(st.columns(2), sides, strict=True):
            with place:
                plane = reads.plane(shown.identity, shown.mark, most=_MOST_3D, **controls.question() | {"fold": side})
                title = f"{controls.title(plane)}, {side}"
                _plane.chart(
                    plane, key=f"s.{side}", measure=measure, title=title, alt=f"{title} over {plane.x} and {plane.y}",
                    caption=f"{title}, {shown.name}", height=380, on_pick=lambda x, y: None,
                    limits=reads.limits(shown.identity, shown.mark, measure.name, side),
                )  # fmt: skip
    found = reads.of_run(
        "degradation", shown.identity, shown.mark, measure.name, train=sides[0], test=sides[1], asset=controls.asset,
        within=controls.within,
    )  # fmt: skip
    if not found.n_points:
        st.caption("No point has a value in both.")
        return
    rank = "unknown" if found.correlation != found.correlation else f"{found.correlation:+.2f}".replace("-", fmt.MINUS)
    st.caption(fmt.plain(
        f"{fmt.plural(found.n_points, 'point')}: median {measure.label} {fmt.measure(found.train, measure)} in train, "
        f"{fmt.measure(found.test, measure)} in test; {fmt.percent(found.worse, 0)} are worse in test; rank "
        f"correlation {rank}. Each side has colours of its own folds."
    ))  # fmt: skip


def _table(shown: Shown, controls: Controls, view: dict[str, str], gone: list[str]) -> None:
    names = [controls.measure.name, *(name for name in shown.measures if name != controls.measure.name)]
    names += [axis.name for axis in shown.plan.axes]
    left, middle, right, pages = st.columns([3, 2, 2, 2], vertical_alignment="bottom")
    with left:
        sort = _url.choose(
            "Sort by", names, "s.sort", view, default=names[0], gone=gone,
            text=lambda name: shown.measures[name].label if name in shown.measures else name,
        )  # fmt: skip
    with middle:
        order = _url.choose("Order", ["best first", "rising", "falling"], "s.order", view, default="best first")
    with right:
        states = ["any", "ok", "failed", "not run yet", "not promoted"]
        state = _url.choose("State", states, "s.state", view, default="any", gone=gone)
    page = int(pages.number_input("Page", min_value=1, value=1, step=1, key="table.page"))
    question: dict[str, Any] = {"fold": controls.fold, "asset": controls.asset, "within": controls.within}
    descending = None if order == "best first" else order == "falling"
    rows = reads.table(
        shown.identity, shown.mark, offset=(page - 1) * _ROWS, limit=_ROWS, sort=sort, descending=descending,
        state=None if state == "any" else state, of=controls.measure.name, **question,
    )  # fmt: skip
    if rows.empty:
        st.caption("No trial on this page.")
    else:
        found = st.dataframe(
            _written(rows, shown), hide_index=True, key="table.rows", on_select="rerun", selection_mode="single-row",
            alt=f"Trials {(page - 1) * _ROWS + 1} to {(page - 1) * _ROWS + len(rows)} by {sort}",
        )  # fmt: skip
        chosen = found["selection"]["rows"]
        if chosen and chosen[0] < len(rows):
            trial = int(rows["trial"].iloc[chosen[0]])
            _card.trial_link(shown, trial, f"Open trial {fmt.count(trial)}", view)
    _downloads(shown, controls, question)


def _written(rows: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Write every cell as people read it; what isn't a number says why."""
    written = pd.DataFrame({"trial": rows["trial"]})
    for axis in shown.plan.axes:
        written[axis.name] = [fmt.value(value) for value in rows[axis.name]]
    written["asset"], written["fold"], written["state"] = rows["asset"], rows["fold"], rows["state"]
    for name, measure in shown.measures.items():
        written[measure.label] = [
            fmt.measure(value, measure, reason=fmt.UNDEFINED if state == "ok" else state)
            for value, state in zip(rows[name], rows["state"], strict=True)
        ]
    if (rows["reason"] != "").any():
        written["reason"] = rows["reason"]
    return written


def _downloads(shown: Shown, controls: Controls, question: Mapping[str, Any]) -> None:
    places = st.columns([1, 1, 1, 5])
    for place, (label, (ending, mime)) in zip(places, _KINDS.items(), strict=False):
        kind = "netcdf" if ending == "nc" else ending
        _parts.export_button(
            place, label, _writer(shown, kind, controls, question), f"{shown.name}-{shown.identity[:12]}.{ending}",
            mime, subject=shown.identity, key=f"table.{ending}",
            help="All rows of the run, labelled" if ending == "nc" else "These rows, all of them",
        )  # fmt: skip


def _writer(shown: Shown, kind: str, controls: Controls, question: Mapping[str, Any]) -> Callable[[], bytes]:
    """Return what makes the file once somebody wants it."""
    identity, mark, of = shown.identity, shown.mark, controls.measure.name
    return lambda: reads.export(identity, mark, kind, of=of, **question)


def _failures(shown: Shown, view: dict[str, str]) -> None:
    table = shown.run.failures()
    if table.empty:
        st.caption("No trial failed.")
        return
    rows = pd.DataFrame(
        {
            "trials": table["n_trials"],
            "reason": table["reason"],
            "first point": [fmt.point(point) for point in table["first_point"]],
        }
    )
    st.dataframe(rows, hide_index=True, alt="Failures by reason")
    for count, trial in list(zip(table["n_trials"], table["first_trial"], strict=True))[:5]:
        _card.trial_link(shown, int(trial), f"First of {fmt.count(int(count))}: trial {fmt.count(int(trial))}", view)
    st.page_link(_url.RUNS, label="Retry what failed on the Runs page", icon=":material/refresh:",
                 query_params={"run": shown.identity})  # fmt: skip


def _spec(shown: Shown, controls: Controls) -> None:
    st.markdown("**Copy Python**: the same plane in a notebook")
    st.code(python(shown, controls), language="python")
    st.markdown("**Spec**")
    st.code(shown.plan.spec_toml, language="toml")


def python(shown: Shown, controls: Controls) -> str:
    """Return lines that reopen what is shown."""
    asked = controls.question()
    parts = [repr(asked.pop("x")), repr(asked.pop("y")), repr(asked.pop("measure"))]
    if asked["how"] != "quantile":
        del asked["q"]
    parts += [f"{name}={dict(value) if isinstance(value, Mapping) else value!r}"
              for name, value in asked.items() if value not in (None, {}, ())]  # fmt: skip
    return (
        "from sweeps import open_run, overview\n\n"
        f"run = open_run({reads.store_url()!r}, {shown.identity[:12]!r})\n"
        f"plane = overview.plane(run, {', '.join(parts)})\n"
    )
