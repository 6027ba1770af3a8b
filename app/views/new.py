"""New sweep: what will it cost, and is it allowed? A form made from declarations, and the spec that it writes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import draft as drafts
from app import format as fmt
from app import reads, reads_risk, reads_user
from app.draft import AxisDraft, Draft, is_drawn
from app.views import _axes, _keeping, _parts, _url
from app.views._cost import cost
from app.views._folds_form import folds_form
from app.views._keeping import first
from quantbot.errors import QuantBotError

if TYPE_CHECKING:
    from datasets.catalog import Entry
    from quantbot.engine import Engine
    from quantbot.strategies.contract import Strategy

OWN = "my own ..."
FORM, TOML = "Form", "TOML"
ENGINES = {
    "bars": "A strategy, asset by asset",
    "portfolio": "Weights of all assets together",
    "book": "A strategy in an order book",
}


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
    _keeping.bring_back("new", "n.")
    # The cost comes first in code, last on the page: the form's widgets must not move when it changes.
    left, right = st.columns([5, 3], gap="large")
    with left:
        st.session_state.setdefault("n.face", FORM)
        face = st.segmented_control("Write it as", [FORM, TOML], key="n.face", label_visibility="collapsed")
        text = _toml() if face == TOML else _form(entries)
    with right:
        cost(text)
        if text.strip():
            _as_text(text, toml=face != TOML)
    _keeping.put_away("new", "n.", but=("n.start",))


def _toml() -> str:
    first("n.toml", st.session_state.get("n.written", ""))
    text = st.text_area(
        "Spec", key="n.toml", height=560,
        help="As in sweeps/examples, or the Python that this page writes; checked as you leave the field.",
    )  # fmt: skip
    return drafts.spec_text(text)


def _as_text(text: str, *, toml: bool) -> None:
    """Show the same as TOML and as Python; either can be pasted back into the field of the TOML face."""
    if toml:
        with st.expander("The same as TOML", expanded=True):
            st.code(text, language="toml", wrap_lines=True)
    with st.expander("The same as Python"):
        st.code(drafts.as_python(text, reads.store().url, reads.cores()), language="python", wrap_lines=True)


def _form(entries: list[Entry]) -> str:
    """Show the form and return its spec as TOML, empty while a row can't be read."""
    engine = _engine()
    entries = [entry for entry in entries if entry.kind == engine.dataset_kind]
    if not entries:
        _parts.empty(f"There is no dataset of {engine.dataset_kind} yet.", "Data: how to bring one in", _url.DATA)
        return ""
    strategy, reference = _strategy(engine) if engine.takes_strategy else (None, "")
    if engine.takes_strategy and strategy is None:
        return ""
    st.markdown("**Data**")
    data = _data(entries) | _scenarios(engine)
    st.markdown("**Parameters**")
    search = _search()
    sampled = is_drawn(search)
    axes: dict[str, tuple[Any, AxisDraft]] = {}
    told = "One value, a list (5, 10, 20), or a range: from, to, step."
    if engine.tables:
        told += f" What needs a table ({', '.join(engine.tables)}) is written as TOML."
    st.caption(told)
    for place, parameter in enumerate(strategy.parameters if strategy else ()):
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
    folds = folds_form()
    groups, metric = _measures(engine)
    try:
        document = drafts.document(
            Draft(
                reference,
                engine=engine.name,
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


def _engine() -> Engine:
    """Choose what a trial is."""
    first("n.engine", next(iter(ENGINES)))
    left, right = st.columns([1, 1], vertical_alignment="bottom")
    with left:
        chosen = st.segmented_control(
            "What decides", list(ENGINES), key="n.engine", required=True, format_func=ENGINES.__getitem__
        )
    with right:
        st.text_input("Name of the run", key="n.name", placeholder="optional", max_chars=128)
    return reads.engine(str(chosen))


def _strategy(engine: Engine) -> tuple[Strategy | None, str]:
    known = reads.strategies(engine.name)
    key = "n.strategy" if engine.name == "bars" else f"n.{engine.name}.strategy"
    policy = reads_user.policy()
    own = [] if policy is not None and not (policy.uploaded_code or policy.strategies) else [OWN]
    name = st.selectbox("Strategy", [*known, *own], key=key)
    reference = ""
    if name == OWN:
        reference = st.text_input(
            "Module or file", key="n.reference", placeholder="package.module:function or file.py:function",
            help="Code that you trust: it runs on this machine.",
        )  # fmt: skip
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


def _scenarios(engine: Engine) -> dict[str, Any]:
    """Choose scenarios that are stored, where the engine takes some and there are some."""
    known = reads_risk.scenario_names() if "scenarios" in engine.sections else []
    if not known:
        return {}
    chosen = st.selectbox(
        "Scenarios handed in", known, index=None, key="n.scenarios", placeholder="none: made from history",
        help="For scenarios.method = user; stored by quantbot ingest scenarios.",
    )  # fmt: skip
    return {"scenarios": chosen or ""}


def _search() -> dict[str, Any]:
    first("n.method", "grid")
    method = st.segmented_control(
        "Points", ["grid", "random", "sobol", "lhs", "bayes", "halving"], key="n.method", required=True,
        help="Every combination; so many drawn at random, by a Sobol sequence or as a Latin hypercube, which leave "
        "fewer gaps; batches that learn from those before; or many points on little history, of which the better ones "
        "go on to more.",
    )  # fmt: skip
    if method == "grid":
        return {"method": "grid"}
    search: dict[str, Any] = {"method": method}
    if method == "halving":
        fields = st.columns([2, 1, 1], vertical_alignment="bottom")
        first("n.initial", "lhs")
        initial = fields[0].segmented_control(
            "First points", ["lhs", "sobol", "random", "grid"], key="n.initial", required=True
        )
        search |= {"rungs": _whole("Rungs", 2, 20, 3, "n.rungs", fields[1])}
        search |= {"eta": _whole("One goes on of", 2, 1_000, 3, "n.eta", fields[2])}
        search |= {"initial": initial} if initial != "lhs" else {}
        if initial == "grid":
            return search
    places = st.columns([1, 1, 1], vertical_alignment="bottom")
    search["n"] = _whole("Number of points", 1, 10_000_000, 256, "n.n", places[0])
    search["seed"] = _whole("Seed", 0, 2**53 - 1, 0, "n.seed", places[1])
    if method == "bayes":
        search["batch"] = _whole("Chosen at a time", 1, 4_096, 32, "n.batch", places[2])
    return search


def _whole(label: str, low: int, high: int, default: int, key: str, place: Any) -> int:
    first(key, default)
    return int(place.number_input(label, low, high, key=key))


def _sections(engine: Engine, axes: dict[str, tuple[Any, AxisDraft]], sampled: bool) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for section, parameters in engine.sections.items():
        if not parameters:  # tables alone
            continue
        with st.expander(section.capitalize()):
            for parameter in parameters:
                row = _axes.row(parameter, f"n.{engine.name}.{section}.{parameter.name}", sampled=sampled)
                if row.mode != "one value":
                    name = f"{section}.{parameter.name}"
                    axes[name] = (parameter, row)
                elif row.value != parameter.default:
                    sections.setdefault(section, {})[parameter.name] = row.value
    return sections


def _measures(engine: Engine) -> tuple[list[str], str]:
    groups = list(dict.fromkeys(measure.group for measure in engine.measures if measure.group != "hold"))
    left, right = st.columns([3, 2])
    with left:
        key = f"n.{engine.name}.groups"
        first(key, list(engine.default_groups))
        chosen = st.multiselect("Measures", groups, key=key)
    ranked = {
        measure.name: measure
        for measure in engine.measures
        if measure.group in (chosen or engine.default_groups) and measure.better
    }
    with right:
        if st.session_state.get("n.metric") not in ranked:
            st.session_state["n.metric"] = "sharpe" if "sharpe" in ranked else next(iter(ranked))
        metric = st.selectbox("Objective", list(ranked), key="n.metric", format_func=lambda name: ranked[name].label)
    return ([] if tuple(chosen) == tuple(engine.default_groups) else chosen), metric or "sharpe"


def _where_example(strategy: Strategy | None) -> str:
    names = [parameter.name for parameter in (strategy.parameters if strategy else ()) if parameter.kind != "choice"]
    return f"optional, for example {names[0]} < {names[1]}" if len(names) > 1 else "optional"


if __name__ == "__main__":
    page()
