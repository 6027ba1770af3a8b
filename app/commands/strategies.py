"""``quantbot strategies``: the rules that a sweep can name, and whether one can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import terminal
from app.commands.options import Json, examples, group
from app.terminal import ExitCode

if TYPE_CHECKING:
    from quantbot.parameters import Parameter
    from quantbot.strategies.contract import Strategy

app = group("strategies", "List, show and check strategies.", alone=True)

Reference = Annotated[
    str,
    typer.Argument(
        metavar="REFERENCE", help="A shipped strategy's name, 'package.module:function' or 'path/to/file.py:function'."
    ),
]


@app.callback(invoke_without_command=True, epilog=examples("quantbot strategies", "quantbot strategies show donchian"))
def _strategies(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_strategies()


@app.command("list", epilog=examples("quantbot strategies list", "quantbot strategies list --json"))
def list_strategies(json: Json = False) -> None:
    """List the shipped strategies."""
    from quantbot.strategies.registry import shipped, shipped_for_books

    strategies = [(name, "bars", strategy) for name, strategy in shipped().items()]
    strategies += [(name, "book", strategy) for name, strategy in shipped_for_books().items()]
    if json:
        terminal.print_json([_document(name, strategy) | {"engine": engine} for name, engine, strategy in strategies])
        return
    terminal.print_table(
        ("strategy", "engine", "parameters", "what it does"),
        (
            (name, engine, ", ".join(one.name for one in strategy.parameters), _first_sentence(strategy.doc))
            for name, engine, strategy in strategies
        ),
    )
    terminal.note("your own: `quantbot strategies check path/to/file.py:function`")


@app.command(
    "show",
    short_help="Show a strategy's declaration.",
    epilog=examples("quantbot strategies show sma_cross", "quantbot strategies show mine/rules.py:revert --json"),
)
def show(reference: Reference, json: Json = False) -> None:
    """Show how a strategy is declared: each parameter with its bounds and its meaning."""
    from quantbot.strategies.loader import load_strategy

    strategy = load_strategy(reference)
    if json:
        terminal.print_json(_document(reference, strategy))
        return
    terminal.say(f"{reference}\n\n{strategy.doc.strip()}\n")
    terminal.print_table(
        ("parameter", "default", "accepted", "unit", "meaning"),
        (_row(parameter) for parameter in strategy.parameters),
        right=("default",),
    )
    named = ", ".join(
        f"{name} = {indicator.function.__name__}({', '.join(map(str, (*indicator.inputs, *indicator.arguments)))})"
        for name, indicator in strategy.indicators.items()
    )
    terminal.say(f"indicators: {named or 'none'}")


@app.command(
    "check",
    short_help="Check a strategy for look-ahead.",
    epilog=examples(
        "quantbot strategies check sma_cross",
        "quantbot strategies check mine/rules.py:revert",
        "quantbot strategies check mine.rules:revert --set window=50 --set band=2.5 --json",
    ),
)
def check(
    reference: Reference,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Check with this parameter's value; repeat.")
    ] = None,
    json: Json = False,
) -> None:
    """Check that a strategy does not look ahead, and that compiled and plain Python decide alike.

    The sentinel changes the bars after a moment: no decision and no order up to that moment may move. Ends with exit
    code 3 when one does, 2 when the strategy can't be loaded or compiled.
    """
    from app.points import parse_point
    from quantbot.strategies.loader import load_strategy
    from quantbot.strategies.sentinel import check_lookahead

    strategy = load_strategy(reference)
    report = check_lookahead(strategy, parse_point(settings or []) or None)
    if json:
        terminal.print_json({"strategy": reference, **vars(report)})
    else:
        terminal.say(f"{reference}: {report}")
    if not report.ok:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _row(parameter: Parameter) -> tuple[str, ...]:
    from app.format import value

    return parameter.name, value(parameter.default), parameter.wanted, parameter.unit, parameter.doc


def _document(reference: str, strategy: Strategy) -> dict[str, Any]:
    return {
        "strategy": reference,
        "doc": strategy.doc,
        "parameters": [
            {
                "name": parameter.name,
                "kind": parameter.kind,
                "default": parameter.default,
                "low": parameter.low,
                "high": parameter.high,
                "choices": parameter.choices,
                "unit": parameter.unit,
                "doc": parameter.doc,
            }
            for parameter in strategy.parameters
        ],
        "indicators": sorted(strategy.indicators),
    }


def _first_sentence(text: str) -> str:
    words = " ".join(text.split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".")
