"""New sweep: what will it cost, and is it allowed? A form made from declarations, and the spec that it writes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import draft as drafts
from app import format as fmt
from app import reads
from app.draft import AxisDraft, Draft, is_drawn
from app.views import _axes, _parts, _url
from quantbot.errors import QuantBotError

if TYPE_CHECKING:
    from datasets.catalog import Entry
    from quantbot.engine import Engine
    from quantbot.strategies.contract import Strategy

OWN = "my own ..."
FORM, TOML = "Form", "TOML"


@_parts.page
def page() -> None:
    """Show the form on the left, what it will cost on the right."""
    st.subheader("New sweep", anchor=False)
    entries = [entry for entry in reads.catalogue() if not entry.problem]
    if not entries:
        _parts.empty("There is no dataset to sweep over yet.", "Data: how to bring one in", _url.DATA)
        return
    origin = st.query_params.get("from", "")
    if origin and st.session_state.get("n.origin") != origin:
        st.session_state["n.origin"] = origin
        st.session_state["n.face"] = TOML
        st.session_state["n.toml"] = reads.spec_of(origin)
    # The cost comes first in code, last on the page: the form's widgets must not move when it changes.
    left, right = st.columns([5, 3], gap="large")
    with left:
        st.session_state.setdefault("n.face", FORM)
        face = st.segmented_control("Write it as", [FORM, TOML], key="n.face", label_visibility="collapsed")
        text = _toml() if face == TOML else _form(entries)
    with right:
        _cost(text)
        if face != TOML and text:
            st.markdown("**The same as TOML**")
            st.code(text, language="toml", wrap_lines=True)


def _toml() -> str:
    st.session_state.setdefault("n.toml", st.session_state.get("n.written", ""))
    return st.text_area("Spec", key="n.toml", height=560, help="As in sweeps/examples; checked as you leave the field.")


def _form(entries: list[Entry]) -> str:
    """Show the form and return its spec as TOML, empty while a row can't be read."""
    engine = reads.engine()
    strategy, reference = _strategy()
    if strategy is None:
        return ""
    st.markdown("**Data**")
    data = _data(entries)
    st.markdown("**Parameters**")
    search = _search()
    sampled = is_drawn(search)
    axes: dict[str, tuple[Any, AxisDraft]] = {}
    st.caption("One value, a list (5, 10, 20), or a range: from, to, step.")
    for place, parameter in enumerate(strategy.parameters):
        varied = place < 2 and parameter.kind != "choice"
        row = _axes.row(parameter, f"n.{reference}.{parameter.name}", sampled=sampled, varied=varied)
        axes[parameter.name] = (parameter, row)
    search["where"] = st.text_input(
        "Condition",
        key="n.where",
        placeholder=_where_example(strategy),
        help="Points for which it is false are left out.",
    )
    sections = _sections(engine, axes, sampled)
    folds = _folds()
    groups, metric = _measures(engine)
    try:
        document = drafts.document(
            Draft(
                reference,
                axes=axes,
                sections=sections,
                search=search,
                folds=folds,
                groups=groups,
                metric=metric,
                **data,
            )
        )
    except QuantBotError as error:
        _parts.problem(error)
        return ""
    text = reads.to_toml(document)
    st.session_state["n.written"] = text
    return text


def _strategy() -> tuple[Strategy | None, str]:
    known = reads.strategies()
    left, right = st.columns([1, 1])
    with left:
        name = st.selectbox("Strategy", [*known, OWN], key="n.strategy")
    with right:
        if name == OWN:
            reference = st.text_input(
                "Module or file", key="n.reference", placeholder="package.module:function or file.py:function",
                help="Code that you trust: it runs on this machine.",
            )  # fmt: skip
        else:
            st.text_input("Name of the run", key="n.name", placeholder="optional", max_chars=128)
    if name != OWN:
        st.caption(fmt.plain(known[name].doc.split("\n\n")[0]))
        return known[name], name
    if not reference:
        return None, ""
    try:
        strategy = reads.strategy(reference)
    except QuantBotError as error:
        _parts.problem(error)
        return None, ""
    st.caption(fmt.plain(strategy.doc.split("\n\n")[0]))
    return strategy, reference


def _data(entries: list[Entry]) -> dict[str, Any]:
    by_name = {entry.name: entry for entry in entries}
    source, assets, first, last = st.columns([3, 3, 2, 2])
    with source:
        name = st.selectbox("Dataset", list(by_name), key="n.dataset")
    entry = by_name[name]
    with assets:
        chosen = st.multiselect("Assets", entry.assets, key=f"n.assets.{name}", placeholder=f"all {len(entry.assets)}")
    low, high = (datetime.fromtimestamp(ts // 10**9, UTC).date() for ts in (entry.start_ns, entry.end_ns))
    bounds: dict[str, Any] = {"value": None, "min_value": low, "max_value": high, "format": "YYYY-MM-DD"}
    with first:
        start: date | None = st.date_input("From", key=f"n.start.{name}", help=f"Data begin {low}", **bounds)
    with last:
        end: date | None = st.date_input("To", key=f"n.end.{name}", help=f"Data end {high}", **bounds)
    named = st.session_state.get("n.name") or ""
    return {"dataset": name, "assets": chosen, "start": start, "end": end, "name": named.strip()}


def _search() -> dict[str, Any]:
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    with left:
        method = st.segmented_control(
            "Points", ["grid", "random", "sobol", "lhs", "bayes", "halving"], key="n.method", default="grid",
            required=True, help="Every combination; so many drawn at random, by a Sobol sequence or as a Latin "
            "hypercube, which leave fewer gaps; batches that learn from those before; or many points on little "
            "history, of which the better ones go on to more.",
        )  # fmt: skip
    if method == "grid":
        return {"method": "grid"}
    search: dict[str, Any] = {"method": method}
    if method == "halving":
        with left:
            initial = st.segmented_control(
                "First points", ["lhs", "sobol", "random", "grid"], key="n.initial", default="lhs", required=True
            )
        with middle:
            search |= {"rungs": int(st.number_input("Rungs", 2, 20, 3, key="n.rungs"))}
        with right:
            search |= {"eta": int(st.number_input("One goes on of", 2, 1_000, 3, key="n.eta"))}
        search |= {"initial": initial} if initial != "lhs" else {}
        if initial == "grid":
            return search
    with middle:
        search["n"] = int(st.number_input("Number of points", 1, 10_000_000, 256, key="n.n"))
    with right:
        search["seed"] = int(st.number_input("Seed", 0, 2**53, 0, key="n.seed"))
    if method == "bayes":
        with left:
            search["batch"] = int(st.number_input("Chosen at a time", 1, 4_096, 32, key="n.batch"))
    return search


def _sections(engine: Engine, axes: dict[str, tuple[Any, AxisDraft]], sampled: bool) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for section, parameters in engine.sections.items():
        with st.expander(section.capitalize()):
            for parameter in parameters:
                row = _axes.row(parameter, f"n.{section}.{parameter.name}", sampled=sampled)
                if row.mode != "one value":
                    name = f"{section}.{parameter.name}"
                    axes[name] = (parameter, row)
                elif row.value != parameter.default:
                    sections.setdefault(section, {})[parameter.name] = row.value
    return sections


def _folds() -> dict[str, Any]:
    with st.expander("Folds"):
        method = st.segmented_control(
            "Evaluate also", ["none", "holdout", "walk_forward"], key="n.folds", default="none", required=True,
            help="The whole period is always evaluated; folds come beside it, train and test told apart.",
        )  # fmt: skip
        if method == "none":
            return {"method": "none"}
        left, middle, right = st.columns(3)
        made: dict[str, Any] = {"method": method}
        with left:
            if method == "holdout":
                made["test"] = st.text_input(
                    "Test", "20%", key="n.test", help="The last part, or its first day."
                ).strip()
            else:
                made["n"] = int(st.number_input("Number of tests", 1, 1000, 5, key="n.tests"))
        with middle:
            made["purge"] = int(st.number_input("Purge (bars)", 0, 10**9, 0, key="n.purge"))
        with right:
            made["embargo"] = int(st.number_input("Embargo (bars)", 0, 10**9, 0, key="n.embargo"))
    return {name: value for name, value in made.items() if value != 0}


def _measures(engine: Engine) -> tuple[list[str], str]:
    groups = list(dict.fromkeys(measure.group for measure in engine.measures if measure.group != "hold"))
    left, right = st.columns([3, 2])
    with left:
        chosen = st.multiselect("Measures", groups, key="n.groups", default=list(engine.default_groups))
    ranked = {
        measure.name: measure
        for measure in engine.measures
        if measure.group in (chosen or engine.default_groups) and measure.better
    }
    with right:
        preferred = list(ranked).index("sharpe") if "sharpe" in ranked else 0
        metric = st.selectbox(
            "Objective", list(ranked), index=preferred, key="n.metric", format_func=lambda name: ranked[name].label
        )
    return ([] if tuple(chosen) == tuple(engine.default_groups) else chosen), metric or "sharpe"


def _where_example(strategy: Strategy) -> str:
    names = [parameter.name for parameter in strategy.parameters if parameter.kind != "choice"]
    return f"optional, for example {names[0]} < {names[1]}" if len(names) > 1 else "optional"


def _cost(text: str) -> None:
    st.markdown("**What it will cost**")
    if not text.strip():
        st.caption("Complete the form on the left.")
        return
    try:
        plan = reads.plan(text)
    except QuantBotError as error:
        _parts.problem(error)
        return
    _estimate(plan)


def _estimate(plan: Any) -> None:
    factors = [f"{fmt.plural(plan.n_points, 'point')}"]
    factors += [fmt.plural(len(plan.folds), "fold"), fmt.plural(len(plan.assets), "asset")]
    st.metric("Trials", fmt.count(plan.n_trials), help=" x ".join(factors))
    st.caption(f"{' x '.join(factors)}, in {fmt.plural(plan.n_blocks, 'block')}")
    workers = int(st.number_input("Workers", 1, 64, reads.cores(), key="n.workers", help="Processes on this machine."))
    for label, value in reads.cost(plan, workers).items():
        st.markdown(f"{label}: {fmt.plain(value)}")
    _parts.warnings(plan.warnings)
    existing = reads.status_or_none(plan.identity)
    label = "Start sweep"
    if existing is not None and existing.state == "done":
        st.info("Exactly this sweep is in the store already: nothing needs to be computed.")
        label = "Open it"
    elif existing is not None:
        st.info(
            f"Exactly this sweep is in the store already, {existing.state}: {fmt.count(existing.n_done)} trials done."
        )
        label = "Go on with it"
    if st.button(label, type="primary", key="n.start", icon=":material/play_arrow:"):
        # One step without a Streamlit call in between, so that a second click can't come between the two.
        identity = reads.submit(plan, workers=workers)
        done = existing is not None and existing.state == "done"
        st.switch_page(_url.SURFACE if done else _url.RUNS, query_params={"run": identity})


if __name__ == "__main__":
    page()
