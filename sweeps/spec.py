"""A sweep's spec: a TOML file, or the same thing as a dictionary, checked as a whole before anything starts.

version = 1
[run]
name = "sma-sp500"              # a label; not part of the identity
engine = "bars"
[data]
dataset = "demo/sp500"          # a catalogue name or a URL
assets = ["SPX"]                # default: all
start = 2001-01-01              # default: all; earlier bars are history: indicators see them, no trade happens
[strategy]
name = "sma_cross"              # ours, "package.module:function" or "file.py:function" (beside the spec)
[parameters]                    # the strategy's, or any dotted setting of the engine
fast = { start = 5, stop = 60, step = 1 }             # stop included
slow = { values = [80, 100, 120, 160, 200] }
"execution.fee_bps" = { low = 1, high = 50, n = 5, scale = "log" }
[search]
method = "grid"                 # grid | random | sobol | lhs | bayes | halving; all but a grid take n and seed
where = "fast < slow"           # see sweeps.where
# batch = 32                    # bayes: points chosen at a time
# initial = "lhs"               # halving: or sobol, random, grid; eta = 3 and rungs = 4 (or min_history = "10%")
[folds]
method = "holdout"              # none | holdout | walk_forward | kfold | cpcv; see sweeps.folds
test = "20%"                    # walk_forward: n, or train and test; kfold: n; cpcv: groups and test_groups
purge = 5                       # bars that a label reaches ahead: left out beside each test; embargo: more of them
locked = true                   # the test stays hidden until `quantbot sweep unlock`, which is recorded
[execution]                     # the engine's own section; see its declaration
fee_bps = 10
[measures]
groups = ["core", "path"]
[objective]
metric = "sharpe"

With ``engine = "portfolio"`` there is no [strategy]: sections of the engine's own decide ([scenarios], [optimise],
[constraints], [rebalance], [execution], [guards]), some with tables such as [constraints.groups], and a trial takes all
assets together; see `quantbot.portfolio.sections` and docs/how-to/portfolio.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from quantbot.errors import SpecError
from sweeps.declared import declaration_problems, load_declared, spec_engine
from sweeps.reading import MAX_BYTES, MAX_PROBLEMS, Reading, parse_toml, plain_table
from sweeps.sections import (
    AxisForm,
    Data,
    Folds,
    Measures,
    Objective,
    Run,
    Scalar,
    Search,
    Section,
    StrategyChoice,
    as_datetime,
)
from sweeps.table_files import fill_tables


class Spec(Section):
    """A checked spec; `parse_spec` and `load_spec` make it.

    Attributes
    ----------
    parameters
        By setting: one value, or the axis over which it varies.
    strategy
        None where the engine takes none.
    sections
        The engine's own sections, such as "execution": one value for each setting named.
    tables
        The engine's own tables by dotted name, such as "constraints.groups": by row, its fields.
    """

    version: Literal[1]
    run: Run = Run()
    data: Data
    strategy: StrategyChoice | None = None
    parameters: dict[str, AxisForm] = Field(default_factory=dict)
    search: Search = Search()
    folds: Folds = Folds()
    sections: dict[str, dict[str, Scalar]] = Field(default_factory=dict)
    tables: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    measures: Measures = Measures()
    objective: Objective = Objective()
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def execution(self) -> Mapping[str, int | float | str]:
        """What the spec sets in the engine's section of that name."""
        return self.sections.get("execution", {})

    @property
    def name(self) -> str:
        """The run's name; made of strategy and dataset where the spec gives none."""
        if self.run.name is not None:
            return self.run.name
        what = self.strategy.name.rpartition(":")[2] if self.strategy is not None else self.run.engine
        words = f"{what}-{self.data.dataset.partition('@')[0].rpartition('/')[2]}"
        return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-._")[:128] or "run"

    @property
    def reference(self) -> str:
        """The strategy's reference, a file's path resolved beside the spec where it is there; empty without one."""
        return strategy_reference(self.strategy.name, self._folder) if self.strategy is not None else ""

    @property
    def plain_python(self) -> bool:
        """Whether the strategy's plain Python function decides."""
        return self.strategy is not None and self.strategy.plain_python

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return int.from_bytes(hashlib.sha256(self.to_toml().encode()).digest()[:8], "big")

    def to_document(self) -> dict[str, Any]:
        """Return what a TOML file of this spec holds, as plain dictionaries; defaults are left out."""
        document = self.model_dump(exclude_none=True, exclude_defaults=True, exclude={"sections", "tables"})
        document |= {section: dict(values) for section, values in self.sections.items() if values}
        for name, rows in self.tables.items():
            section, _, table = name.partition(".")
            document[section] = document.get(section, {}) | {table: {row: dict(own) for row, own in rows.items()}}
        return {"version": self.version, **document}

    def to_toml(self) -> str:
        """Return this spec as TOML; parsing it gives an equal spec."""
        from sweeps.toml_text import to_toml

        return to_toml(self.to_document())

    def canonical(self) -> bytes:
        """Return what identifies this spec, as sorted JSON: neither its name, nor formatting, nor the order of keys.

        Whole floats are written as integers, a numeric axis as its sorted distinct values (a range of more than
        100,000 as its ends), a file of a strategy without its folder: its source counts, not its place.
        """
        from sweeps.space import canonical_axis
        from sweeps.where import canonical_where

        document = self.to_document()
        document.pop("run", None)
        document["engine"] = self.run.engine
        if self.search.method != "grid":
            document["search"] = self.search.filled()
        document["parameters"] = {
            name: canonical_axis(form, self.search.method) for name, form in self.parameters.items()
        }
        for name in self.tables:
            section, _, table = name.partition(".")
            for row in document[section][table].values():
                row.update({field: sorted(value) for field, value in row.items() if isinstance(value, (list, tuple))})
        for section, values in self.sections.items():  # what an axis overrides plays no part
            kept = {name: value for name, value in values.items() if f"{section}.{name}" not in self.parameters}
            kept |= {name: rows for name, rows in document[section].items() if f"{section}.{name}" in self.tables}
            if kept:
                document[section] = kept
            else:
                document.pop(section, None)
        if self.search.where:
            document["search"]["where"] = canonical_where(self.search.where)
        if self.data.assets is not None:
            document["data"]["assets"] = sorted(set(self.data.assets))
        if self.measures.groups is not None:
            document["measures"]["groups"] = sorted(set(self.measures.groups))
        path, colon, function = (self.strategy.name if self.strategy is not None else "").rpartition(":")
        if path.endswith(".py"):
            document["strategy"]["name"] = f"{PurePath(path).name}{colon}{function}"
        return json.dumps(_plain(document), sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def load_spec(path: str | Path) -> Spec:
    """Read and check a TOML file; a strategy's file is looked for beside it, then in the current folder.

    Raises
    ------
    SpecError
        With every problem of the file at once.
    """
    file = Path(path)
    if not file.is_file():
        found = "a folder or device" if file.exists() else "nothing"
        raise SpecError(f"a TOML file is needed, found {found}", str(path))
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    return parse_spec(data, source=str(path), folder=file.parent)


def parse_spec(document: str | bytes | Mapping[str, Any], *, source: str = "spec", folder: Path | None = None) -> Spec:
    """Check a spec: TOML text, or the same thing as a dictionary.

    Parameters
    ----------
    source
        How errors call it.
    folder
        Where a strategy's file is looked for first.

    Raises
    ------
    SpecError
        With every problem at once: its key, what was needed, what was found and the nearest valid name.
    """
    reading = Reading(_table(document, source))
    engine = reading.attempt(lambda: spec_engine(reading.parts.get("run")))
    if engine is None:  # nothing else can be told apart without it
        raise SpecError(reading.problems, source)
    reading.problems += fill_tables(reading.document, engine.tables, folder)
    reading.read(engine)
    strategy = None
    if "strategy" in reading.parts:
        name = reading.parts["strategy"].name
        strategy = reading.attempt(lambda: load_declared(strategy_reference(name, folder)))
    reading.problems += islice(declaration_problems(reading.parts, engine, strategy), MAX_PROBLEMS + 1)
    return _assembled(reading, source, folder)


def read_stored_spec(text: str) -> Spec:
    """Read a spec that was checked when its plan was made; its strategy's file need not be here any more."""
    reading = Reading(_table(text, "stored spec"))
    reading.read(spec_engine(reading.parts.get("run")))
    return _assembled(reading, "stored spec", None)


def strategy_reference(name: str, folder: Path | None) -> str:
    """Return a strategy's reference, a file's path resolved beside the spec where it is there."""
    path, colon, function = name.rpartition(":")
    if folder is not None and path.endswith(".py") and "\0" not in path and (folder / path).is_file():
        return f"{folder / path}{colon}{function}"
    return name


def _assembled(reading: Reading, source: str, folder: Path | None) -> Spec:
    if reading.problems:
        raise SpecError(reading.problems, source)
    spec = Spec(**reading.parts)
    spec._folder = folder
    return spec


def _table(document: str | bytes | Mapping[str, Any], source: str) -> dict[str, Any]:
    if isinstance(document, Mapping):
        return plain_table(document, source)
    return parse_toml(document, source)


def _plain(value: Any) -> Any:
    """Return `value` with whole floats as integers and moments as text, so that equal things look equal."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, datetime):
        return as_datetime(value).astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value
