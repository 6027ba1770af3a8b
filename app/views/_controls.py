"""The controls of the Surface page: axes, measure, fold, asset, what happens to the rest, and what is filtered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import format as fmt
from app import reads
from app.figures.plane import largest
from app.views import _url
from sweeps.sessions import has_sessions, instruments, name_of, parts_of, sessions

if TYPE_CHECKING:
    from app.views._shown import Shown
    from quantbot.measures import Measure
    from quantbot.parameters import Value
    from sweeps.surface import Plane, Window
    from sweeps.trial import Axis

ALL = "all"
WITHIN = "s.in."
# By their codes in an address: what people read, the reduction, and the quantile.
HOWS: dict[str, tuple[str, str, float]] = {
    "median": ("median", "median", 0.5),
    "mean": ("mean", "mean", 0.5),
    "max": ("largest", "max", 0.5),
    "min": ("smallest", "min", 0.5),
    "q10": ("10 % quantile", "quantile", 0.1),
    "q25": ("25 % quantile", "quantile", 0.25),
    "q75": ("75 % quantile", "quantile", 0.75),
    "q90": ("90 % quantile", "quantile", 0.9),
}
_SLIDER = 60  # values that a slider takes; more are a list with search
_DEFAULT_PINS = 3  # to a row


@dataclass(frozen=True)
class Controls:
    """What the controls say.

    Attributes
    ----------
    how
        A code of `HOWS`; "one" where a square is one trial.
    asset
        One asset; on order books also all sessions of an instrument, or of all instruments one session; None: all.
    fold
        A fold's name, or a role that several folds have.
    pins
        Axes that are held at one value.
    within
        Ranges that the brush keeps, as `sweeps.overview.kept` takes them.
    window
        Half-open ranges of indices of x and y that are zoomed to.
    """

    x: Axis
    y: Axis | None
    measure: Measure
    how: str
    fold: str
    asset: str | None
    pins: Mapping[str, Value]
    within: Mapping[str, tuple[float, float]]
    window: Window | None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """One or two."""
        return (self.x,) if self.y is None else (self.x, self.y)

    def title(self, plane: Plane | None = None) -> str:
        """Say what a cell shows: "median Sharpe", "best of 50 Sharpe"."""
        if self.how == "one" and not (plane is not None and plane.pooled):
            return self.measure.label
        code = "median" if self.how == "one" else self.how
        better = "min" if self.measure.better < 0 else "max"
        if code == better and plane is not None:
            return f"best of {fmt.count(int(plane.n_planned.max(initial=0)))} {self.measure.label}"
        return f"{HOWS[code][0]} {self.measure.label}"

    def question(self) -> dict[str, Any]:
        """Return what `app.reads.plane` needs."""
        _, how, q = HOWS["median" if self.how == "one" else self.how]
        return {
            "x": self.x.name, "y": self.y.name if self.y else "", "measure": self.measure.name, "how": how, "q": q,
            "at": self.pins, "within": self.within, "fold": self.fold, "asset": self.asset, "window": self.window,
        }  # fmt: skip


def controls(shown: Shown, view: dict[str, str], gone: list[str]) -> Controls:
    """Show the controls, starting from the view."""
    plan, measures = shown.plan, shown.measures
    axes = {axis.name: axis for axis in plan.axes}
    names = list(axes)
    widths = [2.0, 2.0, 2.4, 2.0, 2.0, 2.0] if len(names) > 1 else [2.0, 2.4, 2.0, 2.0, 3.4]
    places = iter(st.columns([*widths, 2.0] if has_sessions(plan) else widths))
    with next(places):
        x = _url.choose("x", names, "s.x", view, default=largest(plan.axes)[0], gone=gone)
    y = None
    if len(names) > 1:
        rest = [name for name in names if name != x]
        with next(places):
            y = _url.choose("y", rest, "s.y", view, default=next(n for n in largest(plan.axes) if n != x), gone=gone)
    with next(places):
        metric = _url.choose(
            "Measure", list(measures), "s.m", view, default=plan.spec.objective.metric,
            text=lambda name: measures[name].label, gone=gone, help="What the map shows of each trial.",
        )  # fmt: skip
    with next(places):
        fold = _fold(shown, view, gone)
    asset = _session(shown, places, view, gone) if has_sessions(plan) else _asset(shown, places, view, gone)
    one_asset = asset if asset in plan.assets else None
    others = [axes[name] for name in names if name not in (x, y)]
    sampled = any(axis.sampled for axis in plan.axes)
    several = bool(others) or one_asset is None or sampled or fold not in [other.name for other in plan.folds]
    how = "one"
    if several or any(len(axes[name]) > reads.MAX_CELLS for name in (x, y) if name):
        place = next(places, None)
        with place if place is not None else st.container():
            how = _url.choose(
                "Over the rest", list(HOWS), "s.how", view, default="median", text=lambda code: HOWS[code][0],
                gone=gone, help="How the trials behind one square become one number.",
            )  # fmt: skip
    pins = {} if sampled else _pins(others, view, gone)
    if not sampled and len(pins) == len(others) and one_asset is not None and how == "median":
        how = "one" if fold in [other.name for other in plan.folds] else how
    within = _within(shown, view, gone)
    window = _window(axes[x], axes[y] if y else None, view, gone)
    return Controls(axes[x], axes[y] if y else None, measures[metric], how, fold, asset, pins, within, window)


def _asset(shown: Shown, places: Iterator[Any], view: dict[str, str], gone: list[str]) -> str | None:
    assets = [*shown.plan.assets, ALL]
    with next(places):
        asset = _url.choose("Asset", assets, "asset", view, default=assets[0], gone=gone, disabled=len(assets) < 3)
    return None if asset == ALL else asset  # one by default: a median over instruments says little


def _session(shown: Shown, places: Iterator[Any], view: dict[str, str], gone: list[str]) -> str | None:
    """Choose instrument and session of a run on order books: what both mean together, None for all of all.

    One instrument and all its sessions by default: a median over instruments says little, that over days a lot.
    """
    plan = shown.plan
    if view.get("asset") in plan.assets:  # a link to one of them
        view["s.instrument"], view["s.session"] = parts_of(view["asset"])
    view.pop("asset", None)
    names = instruments(plan)
    with next(places):
        options = [*names, ALL] if len(names) > 1 else list(names)
        instrument = _url.choose(
            "Instrument", options, "s.instrument", view, default=names[0], gone=gone, disabled=len(names) < 2,
            text=lambda name: f"all {len(names)} instruments" if name == ALL else name,
        )  # fmt: skip
    own = sessions(plan, None if instrument == ALL else instrument)
    with next(places):
        options = [ALL, *own] if len(own) > 1 else list(own)
        session = _url.choose(
            "Session", options, "s.session", view, default=options[0], gone=gone, disabled=len(own) < 2,
            text=lambda name: f"all {len(own)} sessions" if name == ALL else name,
            help="One session, or all of them reduced to one number.",
        )  # fmt: skip
    if ALL not in (instrument, session):
        return name_of(instrument, session)
    return next((name for name in (instrument, session) if name != ALL), None)


def _fold(shown: Shown, view: dict[str, str], gone: list[str]) -> str:
    folds = shown.plan.folds
    roles = [fold.role for fold in folds]
    several = [role for role in dict.fromkeys(roles) if roles.count(role) > 1 and role not in [f.name for f in folds]]
    counts: dict[str, str] = {role: f"every {role} ({roles.count(role)})" for role in several}
    options = [*(fold.name for fold in folds), *several]
    return _url.choose(
        "Fold", options, "fold", view, default=reads.judged_fold(shown.run), gone=gone, disabled=len(options) < 2,
        text=lambda name: counts.get(name, name),
    )  # fmt: skip


def _pins(others: list[Axis], view: dict[str, str], gone: list[str]) -> dict[str, Value]:
    pins: dict[str, Value] = {}
    if not others:
        return pins
    places = st.columns(max(len(others), _DEFAULT_PINS))
    for number, axis in enumerate(others):
        with places[number % len(places)]:
            pinned = _pin(axis.name, axis.values.tolist(), f"s.at.{axis.name}", view, gone)
        if pinned != ALL:
            pins[axis.name] = pinned
    return pins


def _pin(name: str, values: list[Any], key: str, view: dict[str, str], gone: list[str]) -> Any:
    options = [ALL, *values]
    if len(values) > _SLIDER:
        chosen = _url.choose(name, options, key, view, default=ALL, text=fmt.value, code=fmt.value, gone=gone)
        if chosen == ALL:
            view.pop(key, None)
        return chosen
    codes = {fmt.value(option): option for option in options}
    wanted = view.pop(key, None)
    if st.session_state.get(key) not in options:
        if wanted is not None and wanted not in codes:
            gone.append(f"{name} = {wanted} of the link is not in this run")
        st.session_state[key] = codes.get(wanted or "", ALL)
    chosen = st.select_slider(name, options, key=key, format_func=fmt.value, help=f"Hold {name} at one value.")
    if chosen != ALL:
        view[key] = fmt.value(chosen)
    return chosen


def _within(shown: Shown, view: dict[str, str], gone: list[str]) -> dict[str, tuple[float, float]]:
    known = {axis.name for axis in shown.plan.axes} | set(shown.plan.measures)
    found: dict[str, tuple[float, float]] = {}
    for key in [key for key in view if key.startswith(WITHIN)]:
        name = key.removeprefix(WITHIN)
        try:
            low, high = (float(part) for part in view[key].split(":"))
        except ValueError:
            low, high = 1.0, 0.0
        if name in known and low <= high:
            found[name] = (low, high)
        else:
            gone.append(f"the filter {name} {view.pop(key)} of the link is not of this run")
    return found


def keep_within(view: dict[str, str], within: Mapping[str, tuple[float, float]]) -> None:
    """Write ranges into a view."""
    for key in [key for key in view if key.startswith(WITHIN)]:
        del view[key]
    view |= {f"{WITHIN}{name}": f"{low:.17g}:{high:.17g}" for name, (low, high) in within.items()}


def _window(x: Axis, y: Axis | None, view: dict[str, str], gone: list[str]) -> Window | None:
    """Read the zoom from the view: ``10:40,0:25``, for the axes that it was made on."""
    text = view.get("s.win", "")
    if not text:
        return None
    lengths = [len(x), len(y) if y is not None else 1]
    try:
        parts = [tuple(int(end) for end in part.split(":")) for part in text.split(",")]
        ((x0, x1), (y0, y1)) = parts
    except ValueError:
        x0, x1, y0, y1 = 0, 0, 0, 0
    if 0 <= x0 < x1 <= lengths[0] and 0 <= y0 < y1 <= lengths[1]:
        return (x0, x1), (y0, y1)
    gone.append(f"the part {view.pop('s.win')} of the link is not on these axes")
    return None
