"""From the template to a kernel's source: what one job does within a bar, set into loops over bars and lanes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from quantbot import syntax
from quantbot.bars import template
from quantbot.bars.execution import Route
from quantbot.bars.orders import SIZES
from quantbot.parameters import Value

LANES = 64  # lanes stepped together: eight vectors of eight, enough independent work to hide each operation's latency
TILE = 64  # bars between two looks at the indicators: one tile of each stays in the first-level cache
# A trial alone: short, so that the loop that goes bar by bar overlaps with the next tile's vector loops.
ALONE_TILE = 32
UNROLL = 4  # bars that a lane's state stays in registers; 1 in general kernels, which have more of it than fits there
EACH, RUN, MIXED = 0, 1, 2  # of eight lanes: all use one series, or eight that lie beside each other, or any eight

# Masked, an index can't be negative, and nothing is spent on Python's counting from the end.
_MASK = 2**62 - 1
_CLOSE_BEFORE = f"close_bars[(t - 1) & {_MASK}]"
BAR_NAMES = ("open_", "high", "low", "close", "volume")
FACTORS = ("hold", "enter", "leave")
NUMBERS = (
    "entry_cost", "exit_cost", "entry_value", "buy", "sell", "fee_rate", "fee_unit", "fee_fixed", "size_value", "limit",
    "lowest", "highest", "band", "lot", "minimum", "stop_loss", "take_profit", "trailing",
)  # fmt: skip
INVERSE_VOLATILITY = "inverse_volatility"


@dataclass(frozen=True)
class Signature:
    """What the user's function is called with: argument names, and what each is.

    Attributes
    ----------
    arguments
        (name, kind): kind is "column" (an indicator), "number" or "whole" (a parameter), "word" (a parameter that
        is a choice or a switch; its value is written into the kernel), "bar" or "position".
    """

    arguments: tuple[tuple[str, str], ...]

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of the arguments of one kind."""
        return tuple(name for name, its in self.arguments if its == kind)


@dataclass(frozen=True)
class Layout:
    """Where a kernel finds things: the order of states, numbers, whole numbers and columns in its arrays."""

    states: tuple[str, ...]
    numbers: tuple[str, ...]
    own_numbers: tuple[str, ...]
    wholes: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A kernel's text and the layout of its arguments."""

    text: str
    layout: Layout


def source(
    route: Route,
    groups: frozenset[str],
    signature: Signature,
    words: tuple[tuple[str, Value], ...] = (),
    *,
    form: str = "lanes",
) -> Source:
    """Return the source of function `kernel` for one route.

    Parameters
    ----------
    groups
        The measure groups to reduce.
    words
        The values of the parameters that are written into the kernel: choices, switches, and what is fixed at 0 or 1.
    form
        "lanes" (many trials together), "single" (one trial) or "record" (one trial, every step kept).
    """
    return _Writer(route, groups, signature, dict(words), form).source()


class _Writer:
    def __init__(
        self, route: Route, groups: frozenset[str], signature: Signature, words: dict[str, Value], form: str
    ) -> None:
        self.route, self.signature, self.words, self.form = route, signature, words, form
        scaled = route.size == "volatility_target"
        self.columns = signature.names("column") + ((INVERSE_VOLATILITY,) if scaled else ())
        record = form == "record"
        self.flags = {
            "RISK": bool(groups & {"core", "path"}) or record,
            "PATH": "path" in groups,
            "TRADES": "trades" in groups,
            "TAIL": "tail" in groups,
            "STOPS": route.stops,
            "LONG_ONLY": route.long_only,
            "SCALED": scaled,
            "SIMPLE": not (route.stops or route.order_fees or route.rounding or scaled or route.size != "all_cash"),
            "RECORD": record,
        }
        off: tuple[str, ...] = ()
        off += () if route.order_fees else ("fee_unit", "fee_fixed")
        off += () if route.rounding else ("lot", "minimum")
        self.constants: dict[str, ast.expr] = {name: ast.Constant(0.0) for name in off}
        self.constants["SIZE"] = ast.Constant(SIZES[route.size])
        self.constants["OPTIMISTIC"] = ast.Constant(route.optimistic)
        self.constants["EXPOSURE"] = ast.Name("scaled" if scaled else "target")
        self.constants["FILL_PRICE"] = ast.Name("open_" if route.fill == "next_open" else "close")
        used = self._used(self._bar(warming=True, position=None))
        self.layout = Layout(
            tuple(name for name in template.STATE if name in used),
            tuple(name for name in NUMBERS if name in used),
            tuple(name for name in signature.names("number") if name not in words),
            tuple(name for name in signature.names("whole") if name not in words),
            self.columns,
        )
        self.staged = route.shared and form == "single"
        self.tile = ALONE_TILE if form == "single" else TILE
        marking = used
        if self.staged:  # growths are computed from prices, and factors are needed for little else
            used = used | self._used(self._blocks([template.shared_growth_alone], warming=False))
            marking = self._used(self._blocks([template.shared_mark], warming=False))
        self.bar_names = tuple(name for name in BAR_NAMES if name in used)
        self.factors = tuple(name for name in FACTORS if name in marking)

    # -- the body ------------------------------------------------------------------------------------------------------

    def _bar(self, *, warming: bool, position: int | None) -> list[ast.stmt]:
        """Return the statements of one bar, the `position`-th of an unrolled group (None: names as they stand)."""
        bars = template.SHARED_BAR if self.route.shared else template.GENERAL_BAR
        return self._blocks(bars[self.route.fill], warming=warming, position=position)

    def _blocks(
        self,
        blocks: Iterable[Callable[[], None]],
        *,
        warming: bool,
        position: int | None = None,
        last_close: str = _CLOSE_BEFORE,
    ) -> list[ast.stmt]:
        flags = {**self.flags, "WARMING": warming}
        names = dict(self.constants)
        names["DECIDE"] = self._decide(position)
        names["LAST_CLOSE"] = _expression(last_close)
        names["INVERSE_VOLATILITY"] = self._column(len(self.columns) - 1, position)
        names["RETURNS"] = _expression(
            "returns[t]" if self.form != "lanes" else f"returns[(t * n_batches + batch) * {LANES} + lane]"
        )
        if position is not None:
            for name in (*BAR_NAMES, *FACTORS, "t"):
                names.setdefault(name, ast.Name(f"{name}_{position}"))
            names["RETURNS"] = _rename(names["RETURNS"], {"t": ast.Name(f"t_{position}")})
            names["FILL_PRICE"] = _rename(names["FILL_PRICE"], names)
        statements: list[ast.stmt] = []
        for block in blocks:
            if block is template.general_stops and not self.route.stops:
                continue
            for statement in _body(block):
                statements += _specialised(statement, flags, names)
        return statements

    def _used(self, statements: Iterable[ast.stmt]) -> set[str]:
        return {node.id for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name)}

    def _decide(self, position: int | None) -> ast.expr:
        suffix = "" if position is None else f"_{position}"
        arguments = []
        for name, kind in self.signature.arguments:
            match kind:
                case "column":
                    value = ast.unparse(self._column(self.columns.index(name), position))
                case "number" | "whole" | "word":
                    value = repr(self.words[name]) if name in self.words else f"own_{name}"
                case "bar":
                    value = ("open_" if name == "open" else name) + suffix
                case _:
                    value = "(1.0 if held else 0.0)" if self.route.shared else "target"
            arguments.append(f"{name}={value}")
        return _expression(f"decide({', '.join(arguments)})")

    def _column(self, k: int, position: int | None) -> ast.expr:
        if self.form == "lanes":
            return _expression(f"tile[{k * TILE * LANES} + (b + {position or 0}) * {LANES} + lane]")
        return _expression(f"series_{k}[t]")

    # -- the loops around it -------------------------------------------------------------------------------------------

    def source(self) -> Source:
        lines = self._lanes() if self.form == "lanes" else self._single()
        arguments = ["open_bars", "high_bars", "low_bars", "close_bars", "volume_bars", "close_before", "multiplier"]
        for k in range(len(self.columns)):
            arguments += [f"column_{k}", f"index_{k}", *([f"kind_{k}", f"table_{k}"] if self.form == "lanes" else [])]
        arguments += ["numbers", "wholes", "warm_from", "state", "returns", "tile", "factors", "n_batches"]
        if self.flags["RECORD"]:
            arguments += ["step_equity", "step_drawdown", "step_exposure", "step_target"]
            arguments += ["order_bar", "order_units", "order_price", "order_fee", "order_kind"]
        head = f"def kernel({', '.join(arguments)}):\n"
        return Source(head + "".join(f"    {line}\n" for line in lines), self.layout)

    def _tile_start(self) -> list[str]:
        lines = [
            "n_bars = close_bars.shape[0]" if self.form == "lanes" else "n_bars = len(close_bars)",
            f"for base in range(0, n_bars, {self.tile}):",
            f"    size_of_tile = min({self.tile}, n_bars - base) & {2 * self.tile - 1}",
        ]
        if self.factors:
            fills_at_open = self.route.fill == "next_open"
            lines.append(
                f"    growth_factors(open_bars, close_bars, close_before, base, size_of_tile, {fills_at_open},"
                f" {self.tile}, factors)"
            )
        return lines

    def _bar_values(self, position: int | None, used: set[str] | None = None) -> list[str]:
        suffix = "" if position is None else f"_{position}"
        offset = "" if position is None else f" + {position}"
        lines = [f"t{suffix} = (base + b{offset}) & {_MASK}"]
        wanted = {*self.bar_names, *self.factors} if used is None else used
        lines += [f"{name}{suffix} = {name.rstrip('_')}_bars[t{suffix}]" for name in self.bar_names if name in wanted]
        return lines + [
            f"{name}{suffix} = factors[{FACTORS.index(name) * self.tile} + b{offset}]"
            for name in self.factors
            if name in wanted
        ]

    def _settings(self, index: Callable[[int], str]) -> list[str]:
        # An argument may be called like one of the template's names, so it is handed over under a name of its own.
        names = [*self.layout.numbers, *(f"own_{name}" for name in self.layout.own_numbers)]
        lines = [f"{name} = numbers[{index(i)}]" for i, name in enumerate(names)]
        return lines + [f"own_{name} = wholes[{index(i)}]" for i, name in enumerate(self.layout.wholes)]

    def _load(self, index: Callable[[int], str]) -> list[str]:
        return [
            f"{name} = state[{index(i)}]" + (" > 0.5" if template.STATE[name][1] else "")
            for i, name in enumerate(self.layout.states)
        ]

    def _store(self, index: Callable[[int], str]) -> list[str]:
        return [
            f"state[{index(i)}] = " + (f"(1.0 if {name} else 0.0)" if template.STATE[name][1] else name)
            for i, name in enumerate(self.layout.states)
        ]

    def _single(self) -> list[str]:
        lines = [f"series_{k} = column_{k}[index_{k}[0]]" for k in range(len(self.columns))]
        lines += self._settings(str) + self._load(str)
        if self.flags["RECORD"]:
            lines.append("n_orders = 0")
        lines += self._tile_start()
        if self.staged:
            lines += _indented(1, self._staged())
        else:
            lines += _indented(1, ["for b in range(size_of_tile):"])
            lines += _indented(2, [*self._bar_values(None), "warm = t >= warm_from[0]"])
            lines += _indented(2, _lines(_lazy(self._bar(warming=True, position=None))))
        lines += self._store(str)
        if self.flags["RECORD"]:
            lines.append("return n_orders")
        return lines

    def _staged(self) -> list[str]:
        """Return the loops over a tile of a trial alone: all decisions, all growths, then what is summed in order.

        Only the last has to go bar by bar (and the first, if the strategy asks for its position); the others become
        vector code along the bars. A tile in which nothing is ever held needs only the decisions. `tile` holds the
        positions, two ahead, and from twice its length on the growths.
        """
        same = self.route.fill == "same_close"
        held = ["was_held = tile[b] > 0.5", "held = tile[b + 1] > 0.5"]

        def bar(
            block: Callable[[], None],
            before: list[str],
            after: list[str],
            *,
            warming: bool = False,
            last_close: str = _CLOSE_BEFORE,
        ) -> list[str]:
            body = self._blocks([block], warming=warming, last_close=last_close)
            text = [*before, *_lines(_lazy(body) if warming else body), *after]
            return [*self._bar_values(None, self._used(body)), *text] if text else []

        def over_tile(body: list[str], first: str = "0") -> list[str]:
            return [f"for b in range({first}, size_of_tile):", *_indented(1, body)]

        kept = [f"tile[b + {1 if same else 2}] = 1.0 if holds else 0.0", "held = holds", "idle = idle & (not holds)"]
        warm = ["warm = t >= warm_from[0]"]
        lines = ["tile[0] = 1.0 if held else 0.0", "idle = not held"]
        if not same:
            lines = ["tile[0] = 1.0 if was_held else 0.0", "tile[1] = 1.0 if held else 0.0"]
            lines += ["idle = not (was_held or held)"]
        lines += ["if base < warm_from[0]:"]
        lines += _indented(1, over_tile(bar(template.shared_decide, warm, kept, warming=True)))
        lines += ["else:", *_indented(1, over_tile(bar(template.shared_decide, [], kept)))]
        grown = partial(bar, template.shared_growth_alone, held, [f"tile[{2 * self.tile} + b] = growth"])
        # Nothing is held from before the window, so whatever stands for the close before its first bar is not used.
        busy = ["if base == 0:", *_indented(1, ["b = 0", *grown(last_close="close")])]
        busy += over_tile(grown(), "1 if base == 0 else 0")
        busy += over_tile(bar(template.shared_mark, [*held, f"growth = tile[{2 * self.tile} + b]"], []))
        lines += ["if not idle:", *_indented(1, busy)]
        if flat := bar(template.shared_flat, [], []):
            lines += ["else:", *_indented(1, over_tile(flat))]
        return [
            *lines,
            f"was_held = tile[size_of_tile{' - 1' if same else ''}] > 0.5",
            f"held = tile[size_of_tile{'' if same else ' + 1'}] > 0.5",
        ]

    def _lanes(self) -> list[str]:
        lines = self._tile_start()
        lines += _indented(
            1, [f"transpose(column_{k}, base, size_of_tile, table_{k})" for k in range(len(self.columns))]
        )
        lines += _indented(1, ["for batch in range(n_batches):"])
        inner = [f"first_lane = batch * {LANES}"]
        inner += [
            f"spread(table_{k}, column_{k}.shape[0], index_{k}, kind_{k}, first_lane, size_of_tile, tile,"
            f" {k * TILE * LANES})"
            for k in range(len(self.columns))
        ]
        inner += [
            f"state_at = batch * {len(self.layout.states) * LANES}",
            f"numbers_at = batch * {(len(self.layout.numbers) + len(self.layout.own_numbers)) * LANES}",
            f"wholes_at = batch * {len(self.layout.wholes) * LANES}",
            "b = 0",
        ]
        if self.route.shared:
            inner += [
                "warm_all = 0",
                f"for lane in range({LANES}):",
                "    warm_all = max(warm_all, warm_from[first_lane + lane])",
                "if base >= warm_all:",
                f"    while b + {UNROLL} <= size_of_tile:",
                *_indented(2, self._group(range(UNROLL), warming=False)),
                f"        b += {UNROLL}",
            ]
        inner += [
            "while b < size_of_tile:",
            *_indented(1, self._group(range(1), warming=True)),
            "    b += 1",
        ]
        return lines + _indented(2, inner)

    def _group(self, positions: range, *, warming: bool) -> list[str]:
        """Return the lane loop over a group of bars."""
        lines = [line for position in positions for line in self._bar_values(position)]

        def at(base: str) -> Callable[[int], str]:
            return lambda i: f"{base}_at + {i * LANES} + lane"

        inner = self._load(at("state"))
        inner += [line.replace("wholes[numbers_at", "wholes[wholes_at") for line in self._settings(at("numbers"))]
        if warming:
            inner.append("warm = t_0 >= warm_from[first_lane + lane]")
        for position in positions:
            inner += _lines(self._bar(warming=warming, position=position))
        inner += self._store(at("state"))
        return [*lines, f"for lane in range({LANES}):", *_indented(1, inner)]


# --- syntax trees -----------------------------------------------------------------------------------------------------


@cache
def _body(block: Callable[..., Any]) -> tuple[ast.stmt, ...]:
    tree = syntax.parse(inspect.getsource(block))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    return tuple(definition.body)


def _expression(text: str) -> ast.expr:
    return syntax.parse_expression(text)


def _rename(tree: ast.expr, names: Mapping[str, ast.expr]) -> ast.expr:
    renamed = _Cut({}, names).visit(syntax.parse_expression(ast.unparse(tree)))
    assert isinstance(renamed, ast.expr)
    return renamed


def _specialised(statement: ast.stmt, flags: Mapping[str, bool], names: Mapping[str, ast.expr]) -> list[ast.stmt]:
    copy = syntax.parse(ast.unparse(statement)).body
    module = _Cut(flags, names).visit(ast.Module(body=copy, type_ignores=[]))
    assert isinstance(module, ast.Module)
    return module.body


class _Cut(ast.NodeTransformer):
    """Drop what flags switch off, and put in what names stand for."""

    def __init__(self, flags: Mapping[str, bool], names: Mapping[str, ast.expr]) -> None:
        self.flags, self.names = flags, names

    def visit_If(self, node: ast.If) -> Any:
        asked = {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
        if not asked <= set(self.flags):
            return self.generic_visit(node)
        kept = node.body if eval(ast.unparse(node.test), {}, dict(self.flags)) else node.orelse
        visited: list[ast.stmt] = []
        for statement in kept:
            result = self.visit(statement)
            visited += result if isinstance(result, list) else [result]
        return visited

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.names.get(node.id, node)


def _lazy(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Ask the user's function only when it is warm; lanes ask always and drop the answer."""
    for i, statement in enumerate(statements):
        text = ast.unparse(statement)
        if text.startswith("wanted = float(decide("):
            statements[i] = syntax.parse(f"{text} if warm else 0.0").body[0]
    return statements


def _lines(statements: list[ast.stmt]) -> list[str]:
    return [line for statement in statements for line in ast.unparse(statement).splitlines()]


def _indented(depth: int, lines: Iterable[str]) -> list[str]:
    return ["    " * depth + line for line in lines]
