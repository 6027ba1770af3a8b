"""Compare: what differs between trials or runs, and whether it is more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import format as fmt
from app import reads, reads_trial
from app.figures.compare import compare_chart, difference_map
from app.views import _parts, _shown, _sides, _url
from app.views._explained import explanation
from app.views._trial_tabs import delta
from quantbot.errors import QuantBotError
from sweeps.compare import MOST, Side, common_folds, common_measures, differing_parameters, unlike

if TYPE_CHECKING:
    from app.views._shown import Shown
    from quantbot.selection.paired import Paired
    from sweeps.compare import Common

KEYS = (*_sides.KEYS, "k.x", "k.y", "k.m", "k.fold", "k.asset", "k.log")
_KINDS = {
    "data": "Other data", "strategy": "Another strategy", "engine": "Another engine", "costs": "Other costs or rules",
    "folds": "Another time",
}  # fmt: skip


@dataclass(frozen=True)
class _Column:
    """A side as this session shows it."""

    letter: str
    text: str
    shown: Shown
    side: Side

    @property
    def place(self) -> tuple[str, int, int]:
        """Where its path is read from: run, mark, trial."""
        return self.shown.identity, self.shown.mark, self.side.trial


@_parts.page
def page() -> None:
    """Show two to six trials, or two to six runs by what each would choose."""
    view = _url.arrive("compare", KEYS)
    st.subheader("Compare", anchor=False)
    if not reads.runs():
        _shown.none_yet()
        return
    texts = _sides.sides(view)[:MOST]
    for key in _sides.KEYS:
        view.pop(key, None)
    view |= _sides.written(texts)
    columns, gone = _open(texts)
    labels = _labels(columns)
    _heads(columns, labels, texts)
    _parts.warnings(gone)
    _add(texts)
    if len(columns) < 2:
        st.info(
            "Two to six trials or runs are needed. Add them here, or press Compare on a trial, a surface's card or a"
            " run." if not columns else "One more is needed: add it above, or press Compare on another trial."
        )  # fmt: skip
        _url.keep("compare", view)
        return
    _not_the_same(columns, labels)
    _parameters(columns, labels)
    _measures(columns, labels)
    _paths(columns, labels, view)
    _why(columns, labels)
    _map(columns, labels, view)
    _url.keep("compare", view)


def _open(texts: Sequence[str]) -> tuple[list[_Column], list[str]]:
    """Open the sides; a side that is gone is told, and the others stay."""
    columns, gone = [], []
    for letter, text in zip(_sides.LETTERS.upper(), texts, strict=False):
        wanted = _sides.parse(text)
        try:
            shown = _shown.show(reads.find_run(wanted.run))
            side = reads_trial.side(shown.identity, shown.mark, wanted.trial)
        except QuantBotError as error:
            gone.append(f"{letter}: {error}")
            continue
        columns.append(_Column(letter, text, shown, side))
    return columns, gone


def _labels(columns: Sequence[_Column]) -> list[str]:
    """Name each side by what sets it apart."""
    if not columns:
        return []
    runs = {column.shown.identity for column in columns}
    differing = differing_parameters([column.side for column in columns])
    labels = []
    for number, column in enumerate(columns):
        values = {name: own[number] for name, own in differing.items() if own[number] is not None}
        words = [column.shown.name] if len(runs) > 1 else []
        words += [fmt.point(values)] if values else []
        labels.append(f"{column.letter} {' '.join(words) or f'trial {column.side.trial}'}"[:60])
    return labels


def _heads(columns: Sequence[_Column], labels: Sequence[str], texts: Sequence[str]) -> None:
    for start in range(0, len(columns), 3):
        for place, column, label in zip(
            st.columns(3), columns[start : start + 3], labels[start : start + 3], strict=False
        ):  # fmt: skip
            with place.container(border=True, height="stretch", gap="xsmall"):
                row = column.side.row
                st.markdown(f"**{fmt.plain(label)}**")
                st.caption(fmt.plain(f"{column.shown.name} {fmt.short(column.shown.identity)}, trial {row['trial']}"))
                st.caption(fmt.plain(f"{fmt.point(row['point']) or 'nothing varies'}; {row['asset']}, {row['fold']}"))
                if row["state"] != "ok":
                    st.caption(f":orange[{fmt.plain(row['state'])}] {fmt.plain(row['reason'])}")
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.page_link(
                        _url.TRIAL, label="Trial", icon=":material/show_chart:",
                        query_params={"run": column.shown.identity, "trial": str(row["trial"])},
                    )  # fmt: skip
                    st.button(
                        "Remove", key=f"k.remove.{column.letter}", type="tertiary", icon=":material/close:",
                        on_click=_write, args=([text for text in texts if text != column.text],),
                    )  # fmt: skip


def _write(texts: list[str]) -> None:
    """Put sides into the address; the next run of the page takes them from there."""
    _url.turn("compare", **{**dict.fromkeys(_sides.KEYS), **_sides.written(texts)})


def _add(texts: Sequence[str]) -> None:
    if len(texts) >= MOST:
        st.caption(f"{MOST} are the most.")
        return
    known = reads.runs()
    with st.expander("Add a run or a trial", expanded=len(texts) < 2, icon=":material/add:"):
        run_place, trial_place, button = st.columns([4, 2, 1], vertical_alignment="bottom")
        run = run_place.selectbox(
            "Run",
            known,
            key="k.add.run",
            format_func=lambda run: f"{run.name or 'unnamed'} {run.short}, {run.strategy}",
        )
        trial = trial_place.text_input(
            "Trial", key="k.add.trial", placeholder="its plateau, else its best",
            help="The number of a trial; without one, what the run would choose: its plateau, else its best.",
        )  # fmt: skip
        if not trial.strip() or trial.strip().isdecimal():
            number = int(trial) if trial.strip() else None
            added = str(_sides.SideText(run.identity, number))
            button.button("Add", key="k.add", on_click=_write, args=([*texts, added],), disabled=added in texts)
        else:
            st.caption("A trial is a whole number.")


# ---------------------------------------------------------------------------------------------------------- tables


def _not_the_same(columns: Sequence[_Column], labels: Sequence[str]) -> None:
    st.markdown("**What is not the same**")
    found = unlike([column.side for column in columns])
    if not found:
        st.markdown("Same data version, asset, strategy source, engine, costs and time: only parameters differ.")
        return
    rows = [
        {"": _KINDS[one.kind], "what": one.what} | dict(zip(labels, one.texts, strict=True)) for one in found
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="What is not the same, beside parameters")
    kinds = dict.fromkeys(_KINDS[one.kind].lower() for one in found)
    _parts.warnings([f"A difference below may come from {', '.join(kinds)}, not from the parameters."])


def _parameters(columns: Sequence[_Column], labels: Sequence[str]) -> None:
    st.markdown("**Parameters that differ**")
    found = differing_parameters([column.side for column in columns])
    if not found:
        st.markdown("None: every parameter is the same.")
        return
    rows = [
        {"parameter": name}
        | {label: "no such parameter" if value is None else fmt.value(value)
           for label, value in zip(labels, values, strict=True)}
        for name, values in found.items()
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Parameters that differ")


def _measures(columns: Sequence[_Column], labels: Sequence[str]) -> None:
    st.markdown("**Measures**")
    found = common_measures([column.side for column in columns])
    rows = []
    for declared, values in found.values():
        if declared.group == "hold":
            continue
        row = {"measure": declared.label}
        row |= {
            label: fmt.measure(value, declared, reason=_reason(column))
            for label, column, value in zip(labels, columns, values, strict=True)
        }
        for column, value in zip(columns[1:], values[1:], strict=True):
            change = value - values[0]
            row[f"{column.letter} minus {columns[0].letter}"] = delta(change, declared) if change == change else ""
        rows.append(row)
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Measures of each side, and differences")


def _reason(column: _Column) -> str:
    """Say why a side has no number: a trial that failed is not one that has it undefined."""
    state = str(column.side.row["state"])
    return fmt.UNDEFINED if state == "ok" else state


# ----------------------------------------------------------------------------------------------------------- paths


def _paths(columns: Sequence[_Column], labels: Sequence[str], view: dict[str, str]) -> None:
    st.markdown("**Through time**")
    ready = [column.side.row["state"] in ("ok", "not run yet") for column in columns]
    if not all(ready):
        lacking = ", ".join(column.letter for column, fit in zip(columns, ready, strict=True) if not fit)
        st.info(f"{lacking} has no path: it failed, was not promoted, or is locked.")
        return
    places = [column.place for column in columns]
    try:
        paths = reads_trial.aligned(places)
    except QuantBotError as error:
        _parts.problem(error)
        return
    for column, label in zip(columns[1:], labels[1:], strict=True):
        found = reads_trial.paired(places, columns.index(column))
        st.markdown(_verdict(found, label, labels[0]))
    if "k.log" not in st.session_state:
        st.session_state["k.log"] = view.get("k.log") == "1"
    log = st.toggle("Logarithmic growth", key="k.log")
    view.pop("k.log", None)
    view |= {"k.log": "1"} if log else {}
    last = ", ".join(
        f"{label} {fmt.percent(float(growth) - 1, sign=True)}"
        for label, growth in zip(labels, paths.growth[:, -1], strict=True)
    )  # fmt: skip
    st.plotly_chart(
        compare_chart(paths, labels, log=log), key="k.chart", alt=f"Growth of 1 on common bars: {last}",
        config={"displaylogo": False},
    )  # fmt: skip
    told = f"{fmt.count(paths.ts_end_ns.size)} common bars"
    left_out = [f"{column.letter} {fmt.count(n)}" for column, n in zip(columns, paths.n_left_out, strict=True) if n]
    told += f"; left out, as another side lacks them: {', '.join(left_out)}" if left_out else ""
    st.caption(fmt.plain(told))


def _why(columns: Sequence[_Column], labels: Sequence[str]) -> None:
    """Explain the differences of trials of portfolios; of other trials there is but one asset to explain them by."""
    first = columns[0]
    for column, label in zip(columns[1:], labels[1:], strict=True):
        both = (first, column)
        if all(one.shown.plan.members and one.side.row["state"] == "ok" for one in both):
            explanation(first.place, column.place, (labels[0], label), f"k.why.{column.letter}")


def _verdict(found: Paired | str, label: str, first: str) -> str:
    """Say whether a side is better than the first by more than noise."""
    if isinstance(found, str):
        return fmt.plain(f"{label} against {first}: whether it is more than noise is unknown ({found})")
    if not (math.isfinite(found.sharpe_low) and math.isfinite(found.sharpe_high)):
        return fmt.plain(f"{label} against {first}: no difference of Sharpe ratios, since one of them never moves")
    low, value, high = (
        f"{end:+.2f}".replace("-", fmt.MINUS) for end in (found.sharpe_low, found.sharpe, found.sharpe_high)
    )
    if found.sharpe_low > 0:
        verdict = "better by more than noise"
    elif found.sharpe_high < 0:
        verdict = "worse by more than noise"
    else:
        verdict = "not told apart from noise"
    told = (
        f"Sharpe ratio {value}, {fmt.percent(found.confidence, 0)} interval {low} to {high} on"
        f" {fmt.count(found.n_bars)} common bars"
    )
    return f"{fmt.plain(label)} against {fmt.plain(first)}: **{verdict}**; {fmt.plain(told)}"


# ------------------------------------------------------------------------------------------------------ difference map


def _map(columns: Sequence[_Column], labels: Sequence[str], view: dict[str, str]) -> None:
    """Show where two runs differ, point by point."""
    runs = list(dict.fromkeys(column.shown.identity for column in columns))
    if len(runs) != 2:
        _forget(view)
        return
    first, second = (next(column.shown for column in columns if column.shown.identity == run) for run in runs)
    st.markdown(f"**Where {fmt.plain(second.name)} differs from {fmt.plain(first.name)}**")
    found = reads_trial.common((first.identity, first.mark), (second.identity, second.mark))
    folds = common_folds(first.run, second.run)
    assets = [asset for asset in first.plan.assets if asset in second.plan.assets]
    names = [name for name in first.measures if name in second.measures]
    if isinstance(found, str) or not folds or not assets or not names:
        st.info(found if isinstance(found, str) else "These runs have no fold, asset or measure in common.")
        _forget(view)
        return
    _difference(first, second, found, (names, folds, assets), view)


def _difference(
    first: Shown, second: Shown, found: Common, choices: tuple[list[str], list[str], list[str]], view: dict[str, str]
) -> None:
    gone: list[str] = []
    measures, folds, assets = choices
    axes = sorted(found.axes, key=lambda axis: -len(axis))
    names = [axis.name for axis in axes]
    places = st.columns(5)
    with places[0]:
        x = _url.choose("x", names, "k.x", view, default=names[0], gone=gone)
    rest = ["", *(name for name in names if name != x)]
    with places[1]:
        default = rest[min(1, len(rest) - 1)]
        y = _url.choose("y", rest, "k.y", view, default=default, text=lambda name: name or "none",
                        code=lambda name: name or "-", gone=gone)  # fmt: skip
    objective = first.plan.spec.objective.metric
    with places[2]:
        measure = _url.choose(
            "Measure", measures, "k.m", view, default=objective if objective in measures else measures[0],
            text=lambda name: first.measures[name].label, gone=gone,
        )  # fmt: skip
    with places[3]:
        fold = _url.choose("Fold", folds, "k.fold", view, default=folds[0], gone=gone, disabled=len(folds) < 2)
    with places[4]:
        asset = _url.choose("Asset", assets, "k.asset", view, default=assets[0], gone=gone, disabled=len(assets) < 2)
    _parts.warnings(gone)
    plane = reads_trial.difference(
        (first.identity, first.mark), (second.identity, second.mark), measure, x, y, fold, asset
    )
    declared = first.measures[measure]
    figure = difference_map(plane, declared, (first.name, second.name))
    told = f"{declared.label} of {second.name} minus {first.name} over {x}{f' and {y}' if y else ''}"
    st.plotly_chart(figure, key="k.map", alt=told, config={"displayModeBar": False})
    n = found.points.n_points
    parts = [f"{fmt.plural(n, 'point')} in both runs, of {fmt.count(first.plan.n_points)} and"
             f" {fmt.count(second.plan.n_points)}", "blue: the second is better"]  # fmt: skip
    if found.pinned:
        parts.append(f"at {fmt.point(found.pinned)}, which only one of them varies")
    if len(names) > 1 + bool(y):
        parts.append("a square is the median over the other axes")
    st.caption(fmt.plain("; ".join(parts) + "; nothing is interpolated."))


def _forget(view: dict[str, Any]) -> None:
    for key in ("k.x", "k.y", "k.m", "k.fold", "k.asset"):
        view.pop(key, None)


if __name__ == "__main__":
    page()
