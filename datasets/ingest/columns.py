"""Which column plays which role: what the user named, else what it is usually called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datasets.ingest.options import REQUIRED_ROLES, ROLES, USUAL_NAMES, BarOptions, nearest
from quantbot.errors import DataError, InputError


def choose_columns(source: str, headings: Sequence[str] | None, n_columns: int, options: BarOptions) -> dict[str, int]:
    """Give the position of each role's column.

    Parameters
    ----------
    source
        For messages.
    headings
        The columns' names; None where the source has none, and then `options.columns` gives positions.
    n_columns
        How many there are.

    Raises
    ------
    DataError
        If a required column is missing or a name occurs twice; the message lists what is there.
    """
    if headings is None:
        return _by_position(source, n_columns, options)
    _refuse_repeats(source, headings, options)
    chosen: dict[str, int] = {}
    missing: list[str] = []
    for role in ROLES:
        if role in options.columns:
            named = options.columns[role]
            if named is None:
                continue
            at = _named(source, role, named, headings)
            if at is None:
                missing.append(f"{role} ({named!r}{nearest(str(named), list(headings))})")
            else:
                chosen[role] = at
            continue
        if role == "symbol" and options.symbol is not None:
            continue
        at = _usual(source, role, headings)
        if at is not None:
            chosen[role] = at
        elif role in REQUIRED_ROLES:
            missing.append(role)
    if missing:
        there = ", ".join(repr(heading) for heading in headings[:40]) + (", …" if len(headings) > 40 else "")
        hint = "; columns={'volume': None} says that there is none" if missing == ["volume"] else ""
        raise DataError(
            f"{source} has no column for {', '.join(missing)}; there are {there}. Name columns with "
            f"columns={{'time': …, 'close': …}}{hint}"
        )
    _refuse_double_use(source, chosen, headings)
    return chosen


def choose_time(source: str, headings: Sequence[str], options: BarOptions) -> int:
    """Give the position of the time's column: the one that is named, else the one that is called so.

    Raises
    ------
    DataError
        If there is none, or more than one.
    """
    named = options.columns.get("time")
    at = _usual(source, "time", headings) if named is None else _named(source, "time", named, headings)
    if at is None:
        wanted = "time" if named is None else f"time ({named!r}{nearest(str(named), list(headings))})"
        raise DataError(f"{source} has no column for {wanted}; name it with columns={{'time': ...}}")
    return at


def _by_position(source: str, n_columns: int, options: BarOptions) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for role, named in options.columns.items():
        if named is None:
            continue
        if isinstance(named, str) and not named.isdecimal():
            raise InputError(f"{source} is read without a header: give the position of {role} (from 0), not {named!r}")
        at = int(named)
        if not 0 <= at < n_columns:
            raise DataError(f"{source} has {n_columns} columns, 0 to {n_columns - 1}; {role} can't be column {at}")
        chosen[role] = at
    missing = [role for role in REQUIRED_ROLES if role not in options.columns]
    if missing:
        raise InputError(f"{source} is read without a header: give the position of {', '.join(missing)} in columns")
    _require_all(chosen)
    _refuse_double_use(source, chosen, None)
    return chosen


def _require_all(chosen: Mapping[str, int]) -> None:
    for role in REQUIRED_ROLES:
        if role not in chosen and role != "volume":
            raise InputError(f"columns: {role} can't be None; only volume, symbol and adjusted_close may be left out")


def _named(source: str, role: str, named: str | int, headings: Sequence[str]) -> int | None:
    if isinstance(named, int):
        if not 0 <= named < len(headings):
            raise DataError(
                f"{source} has {len(headings)} columns, 0 to {len(headings) - 1}; {role} can't be column {named}"
            )
        return named
    if role in ("time", "open", "high", "low", "close") and not isinstance(named, str):
        raise InputError(f"columns: {role} must be a column's name or position, was {named!r}")
    return headings.index(named) if named in headings else None


def _usual(source: str, role: str, headings: Sequence[str]) -> int | None:
    names = USUAL_NAMES.get(role, ())
    found = [at for at, heading in enumerate(headings) if _plain(heading) in names]
    if len(found) > 1:
        both = " and ".join(repr(headings[at]) for at in found)
        raise DataError(f"{source} has more than one column that may be {role}: {both}; name one in columns")
    return found[0] if found else None


def _plain(heading: str) -> str:
    return " ".join(heading.strip("<> ").lower().replace("_", " ").replace(".", " ").split())


def _refuse_repeats(source: str, headings: Sequence[str], options: BarOptions) -> None:
    seen: set[str] = set()
    for heading in headings:
        if heading in seen and (heading or "" in options.columns.values()):
            raise DataError(f"{source} names the column {heading!r} twice; rename one of them")
        seen.add(heading)


def _refuse_double_use(source: str, chosen: Mapping[str, int], headings: Sequence[str] | None) -> None:
    by_position: dict[int, str] = {}
    for role, at in chosen.items():
        if at in by_position:
            name = repr(headings[at]) if headings else str(at)
            raise InputError(f"{source}: column {name} can't be both {by_position[at]} and {role}")
        by_position[at] = role
