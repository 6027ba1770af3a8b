"""A schedule: a TOML file, checked as a whole, with every spec that it names, before anything starts.

version = 1
[when]
after_close = "XNYS"            # or after_open; or cron = "30 18 * * mon-fri" with zone = "Europe/Berlin"
delay = "2h"
[catch_up]
policy = "all"                  # or "last": what becomes of times that went by while no scheduler was alive
limit = 10
[[refresh]]                     # what `quantbot ingest csv mine/spx spx.csv --zone America/New_York` does
dataset = "mine/spx"
format = "csv"
paths = ["spx.csv"]
options = { zone = "America/New_York", calendar = "XNYS" }
[[run]]
spec = "sma-spx.toml"           # beside this file
[[pin]]
name = "the one we trade"
spec = "sma-spx.toml"
point = { fast = 20, slow = 120 }
holds = "sharpe > 0.3"
[webhook]
url_env = "QUANTBOT_WEBHOOK"
secret_env = "QUANTBOT_WEBHOOK_SECRET"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quantbot.errors import NotFoundError, SpecError
from quantbot.parameters import nearest
from sweeps.reading import MAX_BYTES, MAX_PROBLEMS, parse_toml, problem_text, show
from sweeps.schedule.rules import Rule
from sweeps.schedule.sections import CatchUp, Duration, PinEntry, Refresh, RunEntry, Webhook, When
from sweeps.sections import Section
from sweeps.spec import Spec, load_spec, parse_spec

VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TABLES: dict[str, type[Section]] = {"when": When, "catch_up": CatchUp, "webhook": Webhook}
_LISTS: dict[str, type[Section]] = {"refresh": Refresh, "run": RunEntry, "pin": PinEntry}
_DURATION: TypeAdapter[str] = TypeAdapter(Duration)
_MOST = 100  # entries of one list
_WITHIN = "12h"


@dataclass(frozen=True)
class ScheduledSpec:
    """A run or a pin with its checked spec; `folder` is the spec file's, where a strategy's file is looked for."""

    entry: RunEntry | PinEntry
    spec: Spec
    folder: Path


@dataclass(frozen=True)
class Schedule:
    """A checked schedule; `load_schedule` makes it.

    Attributes
    ----------
    name
        The file's, without its ending.
    text
        The file's content.
    title
        For people; the name where the file has none.
    within
        The longest time that a job waits for its runs, ns; then it is reported with what is there.
    """

    name: str
    text: str
    folder: Path
    title: str
    when: When
    catch_up: CatchUp
    refreshes: tuple[Refresh, ...]
    runs: tuple[ScheduledSpec, ...]
    pins: tuple[ScheduledSpec, ...]
    webhook: Webhook | None
    within_ns: int

    @cached_property
    def rule(self) -> Rule:
        """When it falls due."""
        return self.when.rule()

    def specs(self) -> dict[str, str]:
        """Return the TOML of every spec that it names, by the file's name in the schedule."""
        return {each.entry.spec: each.spec.to_toml() for each in (*self.runs, *self.pins)}


def load_schedules(place: str | Path) -> tuple[Schedule, ...]:
    """Read every ``*.toml`` of a folder, or one file, as schedules.

    Raises
    ------
    SpecError
        With every problem of every file at once.
    NotFoundError
        If there is nothing.
    """
    place = Path(place)
    files = sorted(place.glob("*.toml")) if place.is_dir() else [place]
    if not files or not (place.is_dir() or place.is_file()):
        what = "no *.toml in it" if place.is_dir() else "nothing there"
        raise NotFoundError(f"{place} must be a folder of schedules or one of their files; found {what}")
    found, problems = [], list[str]()
    for file in files:
        try:
            found.append(load_schedule(file))
        except SpecError as error:
            problems += [f"{file.name}: {problem}" for problem in error.problems]
    if problems:
        raise SpecError(problems, str(place))
    return tuple(found)


def load_schedule(path: str | Path) -> Schedule:
    """Read one schedule's file, and the specs that it names."""
    file = Path(path)
    if not _NAME.fullmatch(file.stem):
        raise SpecError(
            "the file's name is the schedule's: 1 to 64 of a-z, 0-9, dot, dash and underscore, a letter or digit "
            f"first; found {file.stem!r:.100}"
        )
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror or error}") from None
    return parse_schedule(data, file.stem, file.parent)


def parse_schedule(
    data: str | bytes, name: str, folder: Path, specs: Mapping[str, str] | None = None
) -> Schedule:  # fmt: skip
    """Check a schedule's text.

    Parameters
    ----------
    folder
        Where it lies: what relative paths begin at.
    specs
        The TOML of its specs where they are known already (a job keeps them), in place of the files.
    """
    document = parse_toml(data, name)
    problems: list[str] = []
    known = [*_TABLES, *_LISTS, "version", "title", "within"]
    for key in [key for key in document if key not in known][:MAX_PROBLEMS]:
        problems.append(f"{key[:80]}: no such section; there are {', '.join(known)}{nearest(key[:80], known)}")
    if document.get("version") != VERSION or isinstance(document.get("version"), bool):
        problems.append(f"version: must be {VERSION}, found {show(document.get('version'))}")
    title = document.get("title", name)
    if not isinstance(title, str) or not 1 <= len(title) <= 200 or not title.isprintable():
        problems.append(f"title: must be a text of 1 to 200 printable characters; found {show(title)}")
    within = document.get("within", _WITHIN)
    try:
        _DURATION.validate_python(within, strict=True)
    except ValidationError as error:
        problems += [problem_text(detail, "within", None) for detail in error.errors(include_url=False)]
    parts: dict[str, Any] = {key: _table(document, key, model, problems) for key, model in _TABLES.items()}
    parts |= {key: _list(document, key, model, problems) for key, model in _LISTS.items()}
    if "when" not in document:
        problems.append("when: is required; add a [when] table")
    if not document.get("run") and not document.get("pin") and not document.get("refresh"):
        problems.append("run: a schedule needs at least one [[refresh]], [[run]] or [[pin]]")
    found = _specs(parts, folder, specs, problems)
    problems += _doubles(parts)
    problems += _refresh_problems(parts["refresh"])
    problems += _pin_problems(found["pin"])
    if problems:
        raise SpecError(problems[:MAX_PROBLEMS], name)
    from sweeps.schedule.rules import parse_duration

    return Schedule(
        name=name,
        text=data.decode("utf-8-sig") if isinstance(data, bytes) else data,
        folder=folder,
        title=title,
        when=parts["when"],
        catch_up=parts["catch_up"] or CatchUp(),
        refreshes=tuple(entry for _, entry in parts["refresh"]),
        runs=tuple(each for _, each in found["run"]),
        pins=tuple(each for _, each in found["pin"]),
        webhook=parts["webhook"],
        within_ns=parse_duration(within),
    )


def _table(document: Mapping[str, Any], key: str, model: type[Section], problems: list[str]) -> Any:
    if key not in document:
        return None
    if not isinstance(document[key], dict):
        problems.append(f"{key}: must be a table ([{key}]), found {show(document[key])}")
        return None
    return _entry(document[key], key, model, problems)


def _list(document: Mapping[str, Any], key: str, model: type[Section], problems: list[str]) -> list[tuple[int, Any]]:
    rows = document.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.append(f"{key}: must be a list of tables ([[{key}]]), found {show(rows)}")
        return []
    if len(rows) > _MOST:
        problems.append(f"{key}: must have at most {_MOST} entries, found {len(rows):,}")
        return []
    made = ((index, _entry(row, f"{key}[{index}]", model, problems)) for index, row in enumerate(rows))
    return [(index, entry) for index, entry in made if entry is not None]


def _entry(table: dict[str, Any], place: str, model: type[Section], problems: list[str]) -> Any:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        problems += [problem_text(detail, place, model) for detail in error.errors(include_url=False)]
        return None


def _specs(
    parts: Mapping[str, Any], folder: Path, texts: Mapping[str, str] | None, problems: list[str]
) -> dict[str, list[tuple[int, ScheduledSpec]]]:
    found: dict[str, list[tuple[int, ScheduledSpec]]] = {"run": [], "pin": []}
    for key, into in found.items():
        for index, entry in parts[key]:
            path = folder / entry.spec
            try:
                if texts is not None:
                    spec = parse_spec(texts[entry.spec], source=entry.spec, folder=path.parent)
                else:
                    spec = load_spec(path)
                if getattr(entry, "name", None) and key == "run":
                    spec = _named(spec, entry.name)
            except SpecError as error:
                problems += [f"{key}[{index}].spec {entry.spec}: {problem}" for problem in error.problems]
                continue
            except KeyError:
                problems.append(f"{key}[{index}].spec {entry.spec}: the job has no copy of it")
                continue
            into.append((index, ScheduledSpec(entry, spec, path.parent)))
    return found


def _named(spec: Spec, name: str) -> Spec:
    try:
        run = type(spec.run)(name=name, engine=spec.run.engine)
    except ValidationError as error:
        raise SpecError([problem_text(detail, "run", None) for detail in error.errors(include_url=False)]) from None
    return spec.model_copy(update={"run": run})


def _doubles(parts: Mapping[str, Any]) -> Iterator[str]:
    for key, field in (("refresh", "dataset"), ("pin", "name")):
        seen: dict[str, int] = {}
        for index, entry in parts[key]:
            value = getattr(entry, field)
            if value in seen:
                yield f"{key}[{index}].{field}: {value!r} is {key}[{seen[value]}]'s already"
            seen.setdefault(value, index)


def _refresh_problems(entries: list[tuple[int, Refresh]]) -> Iterator[str]:
    from sweeps.schedule.refresh import refresh_problems

    for index, entry in entries:
        for problem in refresh_problems(entry):
            yield f"refresh[{index}].{problem}"


def _pin_problems(found: list[tuple[int, ScheduledSpec]]) -> Iterator[str]:
    from sweeps.schedule.pins import pin_problems

    for index, each in found:
        for problem in pin_problems(each):
            yield f"pin[{index}].{problem}"


__all__ = ["Schedule", "ScheduledSpec", "load_schedule", "load_schedules", "parse_schedule"]
